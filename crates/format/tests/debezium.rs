//! What the format `debezium` writes, compared with files in `golden`.
//!
//! Each line of a file is a message: the index of its change, its key and its value. Run with
//! `UPDATE_GOLDEN=1` to write the files anew, and look at what has changed.

#![expect(clippy::unwrap_used, reason = "what is missing fails the test")]

use std::{env, fs, path::Path, sync::Arc};

use jiff::Timestamp;
use rowtide_core::{
    Change, ChangeId, Column, ColumnType, Operation, Row, Table, Transaction, Value,
};
use rowtide_format::{Debezium, Encoder, Format, Messages};

fn clock() -> Timestamp {
    Timestamp::new(1_800_000_000, 123_456_789).unwrap()
}

#[track_caller]
fn check(name: &str, settings: Debezium, changes: &[Change]) {
    let mut encoder = Encoder::with_clock(&Format::Debezium(settings), "shop", clock);
    let mut messages = Messages::new();
    encoder.messages(changes, &mut messages);
    let text = |bytes: Option<&[u8]>| {
        let Some(bytes) = bytes else { return "null".to_owned() };
        let text = std::str::from_utf8(bytes).unwrap();
        assert!(!text.contains('\n'));
        serde_json::from_str::<serde_json::Value>(text).unwrap();
        text.replace(env!("CARGO_PKG_VERSION"), "VERSION")
    };
    let lines: String = messages
        .iter()
        .map(|message| format!("{} {} {}\n", message.index, text(message.key), text(message.value)))
        .collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.txt"));
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &lines).unwrap();
    }
    assert_eq!(lines, fs::read_to_string(&path).unwrap());
}

fn schemas() -> Debezium {
    Debezium { schemas: true, ..Debezium::default() }
}

fn table() -> Arc<Table> {
    let mut table = Table::new(
        "orders",
        vec![
            Column::new("id", ColumnType::Int).in_key(0),
            Column::new("näme", ColumnType::Text),
            Column::new("price", ColumnType::Float),
            Column::new("data", ColumnType::Bytes),
        ],
    );
    table.namespace = Some("main".into());
    Arc::new(table)
}

fn row(name: &str) -> Option<Row> {
    let data = Value::Bytes([1, 2, 255].into());
    Some(Row::new([Value::Int(7), Value::from(name), Value::Float(1.5), data]))
}

fn change(operation: Operation, before: Option<Row>, after: Option<Row>) -> Change {
    let mut change = Change::new(ChangeId::new("s").major(3), table(), operation);
    change.committed_at = Timestamp::new(1_700_000_000, 987_654_321).ok();
    (change.before, change.after) = (before, after);
    change
}

fn every_operation() -> Vec<Change> {
    let mut read = change(Operation::Read, None, row("größe \"\u{1f600}\"\n"));
    read.committed_at = None;
    let mut update = change(Operation::Update, row("a"), row("b"));
    update.transaction = Some(Arc::new(Transaction { id: "t1".into(), changes: None }));
    vec![
        change(Operation::SnapshotBegin, None, None),
        read,
        change(Operation::SnapshotEnd, None, None),
        change(Operation::Insert, None, row("a")),
        update,
        change(Operation::Delete, row("b"), None),
        change(Operation::Truncate, None, None),
    ]
}

#[test]
fn every_operation_has_its_envelope() {
    check("operations", Debezium::default(), &every_operation());
    check("operations_schemas", schemas(), &every_operation());
}

#[test]
fn names_and_tombstones_are_as_the_settings_say() {
    let settings = Debezium {
        tombstones: false,
        name: Some("logical".to_owned()),
        connector: "sqlite".to_owned(),
        database: "shop.db".to_owned(),
        ..Debezium::default()
    };
    check("settings", settings, &[change(Operation::Delete, row("b"), None)]);
}

#[test]
fn an_unknown_column_is_unavailable_and_not_null() {
    let unknown = Row::new([Value::Int(7), Value::Unknown, Value::Unknown, Value::Unknown]);
    let null = Row::new([Value::Int(7), Value::Null, Value::Null, Value::Null]);
    let changes = [change(Operation::Update, Some(unknown), Some(null))];
    check("unknown", Debezium::default(), &changes);
    check("unknown_schemas", schemas(), &changes);
}

#[test]
fn a_table_without_key_has_no_key_and_no_tombstone() {
    let table = Arc::new(Table::new("log", vec![Column::new("line", ColumnType::Any)]));
    let mut insert = Change::new(ChangeId::new("s").major(1), table, Operation::Insert);
    insert.after = Some(Row::new([Value::from("x")]));
    let mut delete = insert.clone();
    delete.operation = Operation::Delete;
    (delete.before, delete.after) = (delete.after, None);
    check("no_key", Debezium::default(), &[insert.clone(), delete.clone()]);
    check("no_key_schemas", schemas(), &[insert, delete]);
}

#[test]
fn a_hidden_key_is_in_the_key_alone() {
    let mut rowid = Column::new("rowid", ColumnType::Int).in_key(0);
    rowid.hidden = true;
    let table = Table::new("log", vec![rowid, Column::new("line", ColumnType::Text)]);
    let mut delete = Change::new(ChangeId::new("s"), Arc::new(table), Operation::Delete);
    delete.before = Some(Row::new([Value::Int(5), Value::from("x")]));
    check("hidden_key", Debezium::default(), std::slice::from_ref(&delete));
    check("hidden_key_schemas", schemas(), &[delete]);
}

#[test]
fn a_schema_fits_the_values_of_its_message() {
    let columns = [
        ("any", ColumnType::Any),
        ("mixed", ColumnType::Int),
        ("other", ColumnType::Int),
        ("real", ColumnType::Float),
        ("numbers", ColumnType::Array(Box::new(ColumnType::Int))),
        ("at", ColumnType::DateTime),
    ];
    let columns = columns.map(|(name, column_type)| Column::new(name, column_type));
    let mut key = Column::new("key", ColumnType::Int).in_key(0);
    key.declared = "INT".into();
    let table = Arc::new(Table::new("t", [vec![key], columns.to_vec()].concat()));
    let mut update = Change::new(ChangeId::new("s"), table, Operation::Update);
    let numbers = Value::Array([Value::Int(1), Value::Null].into());
    let at = Value::DateTime("2026-01-01T00:00:00".parse().unwrap());
    update.before = Some(Row::new([
        Value::Null,
        Value::Bool(true),
        Value::Int(1),
        Value::from("x"),
        Value::Int(1),
        numbers,
        at,
    ]));
    update.after = Some(Row::new([
        Value::Null,
        Value::Null,
        Value::from("one"),
        Value::from("y"),
        Value::Float(f64::INFINITY),
        Value::Null,
        Value::Null,
    ]));
    check("deviating_schemas", schemas(), &[update]);
}
