//! Changes of all kinds.

use std::sync::Arc;

use rowtide_core::{Change, Column, ColumnType, Operation, Row, Table, Transaction, Value};

use crate::golden::change;

/// Every operation on a table of the four columns `id`, `näme`, `price` and `data`.
pub(crate) fn every_operation() -> Vec<Change> {
    let columns = vec![
        Column::new("id", ColumnType::Int).in_key(0),
        Column::new("näme", ColumnType::Text),
        Column::new("price", ColumnType::Float),
        Column::new("data", ColumnType::Bytes),
    ];
    let mut table = Table::new("orders", columns);
    table.namespace = Some("main".into());
    let table = Arc::new(table);
    let row = |name: &str| {
        let data = Value::Bytes([1, 2, 255].into());
        Some(Row::new([Value::Int(7), Value::from(name), Value::Float(1.5), data]))
    };
    let unknown = Row::new([Value::Int(7), Value::Unknown, Value::Null, Value::Unknown]);
    let mut read = change(&table, Operation::Read, [None, row("größe \"\u{1f600}\"\n")]);
    read.committed_at = None;
    let mut update = change(&table, Operation::Update, [row("a"), row("b")]);
    update.transaction = Some(Arc::new(Transaction { id: "t1".into(), changes: None }));
    vec![
        change(&table, Operation::SnapshotBegin, [None, None]),
        read,
        change(&table, Operation::SnapshotEnd, [None, None]),
        change(&table, Operation::Insert, [None, row("a")]),
        update,
        change(&table, Operation::Update, [None, Some(unknown)]),
        change(&table, Operation::Delete, [row("b"), None]),
        change(&table, Operation::Truncate, [None, None]),
        without_key(),
        hidden_key(),
    ]
}

fn without_key() -> Change {
    let table = Arc::new(Table::new("log", vec![Column::new("line", ColumnType::Any)]));
    change(&table, Operation::Delete, [Some(Row::new([Value::from("x")])), None])
}

fn hidden_key() -> Change {
    let mut rowid = Column::new("rowid", ColumnType::Int).in_key(0);
    rowid.hidden = true;
    let table = Table::new("notes", vec![rowid, Column::new("line", ColumnType::Text)]);
    let row = Row::new([Value::Int(5), Value::from("x")]);
    change(&Arc::new(table), Operation::Insert, [None, Some(row)])
}
