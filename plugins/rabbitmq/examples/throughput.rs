//! Messages of 200 bytes a second into a quorum queue: the sink, beside a bare loop of its client.
//!
//! `cargo run --release -p rowtide-rabbitmq --example throughput -- amqp://guest:guest@localhost`

#![expect(clippy::unwrap_used, reason = "a measurement that fails has no result")]

use std::{collections::VecDeque, sync::Arc, time::Instant};

use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable},
};
use rowtide_core::{
    Change, ChangeId, Column, ColumnType, Context, Operation, Row, Shutdown, Table, Value,
    registry, settings::Settings,
};
use rowtide_rabbitmq as _;

const MESSAGES: u64 = 200_000;
const PAYLOAD: usize = 200;
const WINDOW: usize = 5_000;
/// What the engine writes at once, and between two flushes.
const BATCH: usize = 500;
const FLUSH: usize = 10_000;

#[tokio::main]
async fn main() {
    let url = std::env::args().nth(1).unwrap();
    let mut ratios = Vec::new();
    for round in 0..5 {
        let bare = bare(&url).await;
        let sink = sink(&url).await;
        println!("round {round}: bare {bare:.0}/s, sink {sink:.0}/s, {:.2}", sink / bare);
        ratios.push(sink / bare);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median {:.2}", ratios[ratios.len() / 2]);
}

async fn bare(url: &str) -> f64 {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare("bare".into(), durable, arguments).await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let payload = [b'x'; PAYLOAD];
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let begin = Instant::now();
    let mut window = VecDeque::with_capacity(WINDOW);
    for _ in 0..MESSAGES {
        if window.len() == WINDOW {
            let oldest: lapin::PublisherConfirm = window.pop_front().unwrap();
            assert!(oldest.await.unwrap().is_ack());
        }
        let properties = BasicProperties::default().with_delivery_mode(2);
        let sent = channel.basic_publish("".into(), "bare".into(), options, &payload, properties);
        window.push_back(sent.await.unwrap());
    }
    for oldest in window {
        assert!(oldest.await.unwrap().is_ack());
    }
    let rate = MESSAGES as f64 / begin.elapsed().as_secs_f64();
    channel.queue_delete("bare".into(), QueueDeleteOptions::default()).await.unwrap();
    connection.close(200, "OK".into()).await.unwrap();
    rate
}

async fn sink(url: &str) -> f64 {
    let entry = |key: &str, value: &str| (key.to_owned(), Settings::Text(value.to_owned()));
    let settings = Settings::Table(vec![entry("url", url), entry("queue", "sink")]);
    let factory = registry::sink("rabbitmq", &settings).unwrap();
    let mut sink = factory.open(&Context::new("throughput", Shutdown::never())).await.unwrap();
    let changes = changes();
    let begin = Instant::now();
    for span in changes.chunks(FLUSH) {
        for batch in span.chunks(BATCH) {
            sink.write(batch).await.unwrap();
        }
        sink.flush().await.unwrap();
    }
    let rate = MESSAGES as f64 / begin.elapsed().as_secs_f64();
    drop(sink);
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.queue_delete("sink".into(), QueueDeleteOptions::default()).await.unwrap();
    connection.close(200, "OK".into()).await.unwrap();
    rate
}

/// Rows whose JSON is about as long as the bare payload.
fn changes() -> Vec<Change> {
    let key = Column::new("id", ColumnType::Int).in_key(0);
    let table = Table::new("orders", vec![key, Column::new("note", ColumnType::Text)]);
    let table = Arc::new(table);
    let change = |number: u64| {
        let id = ChangeId::new("throughput").major(number);
        let mut change = Change::new(id, Arc::clone(&table), Operation::Insert);
        let note = Value::from("x".repeat(100));
        change.after = Some(Row::new([Value::Int(number.cast_signed()), note]));
        change
    };
    (0..MESSAGES).map(change).collect()
}
