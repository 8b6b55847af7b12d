//! Measures how many changes of eight columns a second one core writes down.
//! Run it with `cargo run --release -p rowtide-format --example speed`.

use std::{hint::black_box, sync::Arc, time::Instant};

use rowtide_core::{Change, ChangeId, Column, ColumnType, Operation, Row, Table, Value};
use rowtide_format::{CloudEvents, Debezium, Encoder, Format, SqliteCdc};

const CHANGES: usize = 2000;
const ROUNDS: usize = 1000;

fn main() {
    let changes: Vec<Change> = (0..CHANGES).map(change).collect();
    let formats = [
        ("json", Format::default()),
        ("debezium", Format::Debezium(Debezium::default())),
        ("debezium, schemas", Format::Debezium(Debezium { schemas: true, ..Debezium::default() })),
        ("sqlite-cdc", Format::SqliteCdc(SqliteCdc::default())),
        ("cloudevents", Format::CloudEvents(CloudEvents::default())),
        ("changefeed-publisher", Format::ChangefeedPublisher),
    ];
    for (name, format) in formats {
        let mut encoder = Encoder::new(&format, "speed");
        let mut out = Vec::new();
        let start = Instant::now();
        for _ in 0..ROUNDS {
            out.clear();
            encoder.lines(black_box(&changes), &mut out);
            black_box(&out);
        }
        let seconds = start.elapsed().as_secs_f64();
        let rate = (CHANGES * ROUNDS) as f64 / seconds / 1e6;
        println!("{name}: {rate:.2} million changes/s, {} bytes each", out.len() / CHANGES);
    }
}

fn change(number: usize) -> Change {
    let mut id = Column::new("id", ColumnType::Int).in_key(0);
    id.declared = "INTEGER".into();
    let text = ["customer", "city", "note"].map(|name| Column::new(name, ColumnType::Text));
    let rest = [("quantity", ColumnType::Int), ("price", ColumnType::Float)];
    let rest = rest.into_iter().chain([("weight", ColumnType::Float), ("data", ColumnType::Bytes)]);
    let rest = rest.map(|(name, column_type)| Column::new(name, column_type));
    thread_local! {
        static TABLE: std::cell::OnceCell<Arc<Table>> = const { std::cell::OnceCell::new() };
    }
    let columns = || [id].into_iter().chain(text).chain(rest).collect();
    let table = TABLE
        .with(|cell| Arc::clone(cell.get_or_init(|| Arc::new(Table::new("orders", columns())))));
    let mut change =
        Change::new(ChangeId::new("3f2a").major(number as u64), table, Operation::Insert);
    change.after = Some(Row::new([
        Value::Int(number as i64),
        Value::from("customer number 12345"),
        Value::from("Amsterdam"),
        Value::from("a note of some forty characters, no more"),
        Value::Int(7),
        Value::Float(number as f64 * 1.01),
        Value::Float(0.125),
        Value::Bytes([7; 16].into()),
    ]));
    change.committed_at = jiff::Timestamp::new(1_700_000_000 + number as i64 / 100, 0).ok();
    change
}
