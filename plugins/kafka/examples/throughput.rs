//! How much slower the sink is than librdkafka alone, on a broker of its own:
//! `cargo run --release -p rowtide-kafka --example throughput`.

#[path = "../tests/broker/mod.rs"]
mod broker;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use broker::{Broker, failed, run};
use rdkafka::{
    ClientContext,
    error::KafkaError,
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
    types::RDKafkaErrorCode,
};
use rowtide_core::{Change, ChangeId, Column, ColumnType, Operation, Result, Table, Value};
use rowtide_kafka as _;
use serde_json::json;

const MESSAGES: usize = 500_000;
const PAYLOAD: usize = 200;
/// As many as the engine writes between two flushes, and at a time.
const SPAN: usize = 10_000;
const BATCH: usize = 500;
const ROUNDS: usize = 3;

fn main() -> Result<()> {
    run(async {
        let broker = Broker::start()?;
        let mut ratios = Vec::new();
        for _ in 0..ROUNDS {
            let bare = tokio::task::block_in_place(|| bare(&broker, "speed.bare"))?;
            let whole = sink(&broker, "speed.sink", MESSAGES).await?;
            let spans = sink(&broker, "speed.spans", SPAN).await?;
            let rate = |time: Duration| MESSAGES as f64 / time.as_secs_f64();
            let (bare, whole, spans) = (rate(bare), rate(whole), rate(spans));
            println!("bare {bare:.0}/s, sink {whole:.0}/s, flushed every {SPAN} {spans:.0}/s");
            ratios.push(whole / bare);
        }
        ratios.sort_by(f64::total_cmp);
        println!("ratio {:.2}", ratios[ROUNDS / 2]);
        Ok(())
    })
}

#[derive(Default)]
struct Count(AtomicUsize);

impl ClientContext for Count {}

impl ProducerContext for Count {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.0.fetch_add(usize::from(result.is_ok()), Ordering::Relaxed);
    }
}

fn bare(broker: &Broker, topic: &str) -> Result<Duration> {
    let mut client = broker.client();
    client.set("enable.idempotence", "true");
    let producer: BaseProducer<Count> =
        client.create_with_context(Count::default()).map_err(failed)?;
    producer.client().fetch_metadata(Some(topic), broker::PATIENCE).map_err(failed)?;
    let payload = "x".repeat(PAYLOAD);
    let begin = Instant::now();
    for number in 0..MESSAGES {
        let key = format!("k{}", number % 1_000);
        let mut record = BaseRecord::to(topic).key(&key).payload(&payload);
        while let Err((error, again)) = producer.send(record) {
            let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            assert_eq!(error, full);
            producer.poll(Duration::from_millis(1));
            record = again;
        }
        if number % 1_000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    while producer.context().0.load(Ordering::Relaxed) < MESSAGES {
        producer.poll(Duration::from_millis(1));
    }
    Ok(begin.elapsed())
}

async fn sink(broker: &Broker, topic: &str, span: usize) -> Result<Duration> {
    let columns = ["id", "aggregatetype", "aggregateid", "payload"];
    let columns = columns.map(|name| Column::new(name, ColumnType::Text)).to_vec();
    let table = std::sync::Arc::new(Table::new("outbox", columns));
    let payload = "x".repeat(PAYLOAD);
    let change = |number: usize| {
        let id = ChangeId::new("m").major(number as u64);
        let mut change = Change::new(id, table.clone(), Operation::Insert);
        let texts =
            [number.to_string(), "t".into(), format!("k{}", number % 1_000), payload.clone()];
        change.after = Some(texts.map(Value::from).into_iter().collect());
        change
    };
    let changes: Vec<Change> = (0..MESSAGES).map(change).collect();
    let mut sink = broker.open(json!({ "topic": topic, "format": "outbox" })).await?;
    let begin = Instant::now();
    for (number, batch) in changes.chunks(BATCH).enumerate() {
        sink.write(batch).await?;
        if ((number + 1) * BATCH).is_multiple_of(span) {
            sink.flush().await?;
        }
    }
    sink.flush().await?;
    Ok(begin.elapsed())
}
