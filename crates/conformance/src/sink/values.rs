//! Changes with every kind of value, and whether what arrived of them is what was sent.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::{Timestamp, civil};
use rowtide_core::{Change, ChangeId, Column, ColumnType, Operation, Row, Table, Value};
use serde_json::Value as Json;

use super::Delivered;
use crate::{Verdict, scenario::ensure};

/// A change of every operation, and one of every value.
pub(super) fn every_operation() -> Vec<Change> {
    let operations = [
        Operation::SnapshotBegin,
        Operation::Read,
        Operation::SnapshotEnd,
        Operation::Insert,
        Operation::Update,
        Operation::Delete,
        Operation::Truncate,
    ];
    let mut changes: Vec<_> =
        (0..).zip(operations).map(|(number, operation)| of(number, operation)).collect();
    for ((name, column_type), value) in values() {
        let key = Column::new("key", ColumnType::Int).in_key(0);
        let table = Arc::new(Table::new(name, vec![key, Column::new("value", column_type)]));
        let id = ChangeId::new("values").major(changes.len() as u64);
        let mut change = Change::new(id, table, Operation::Insert);
        change.after = Some(Row::new([Value::Int(1), value]));
        changes.push(change);
    }
    changes
}

fn of(number: u64, operation: Operation) -> Change {
    let mut change = super::case::item(number, 1, operation);
    let row = change.after.take();
    match operation {
        Operation::Read | Operation::Insert => change.after = row,
        Operation::Update => (change.before, change.after) = (row.clone(), row),
        Operation::Delete => change.before = row,
        _ => {}
    }
    change
}

fn values() -> Vec<((&'static str, ColumnType), Value)> {
    use ColumnType as Type;
    let mut found = vec![
        (("null", Type::Text), Value::Null),
        (("unknown", Type::Text), Value::Unknown),
        (("true", Type::Bool), Value::Bool(true)),
        (("smallest_int", Type::Int), Value::Int(i64::MIN)),
        (("largest_int", Type::Int), Value::Int(i64::MAX)),
        (("single", Type::Float32), Value::Float32(0.1)),
        (("decimal", Type::Decimal), Value::Decimal("-12345678901234567890.10".into())),
        (("broken_text", Type::Text), Value::RawText([0xff, 0x00].into())),
        (("bytes", Type::Bytes), Value::Bytes([0, 255, 10, 13].into())),
        (("no_bytes", Type::Bytes), Value::Bytes([].into())),
        (("json", Type::Json), Value::Json(r#"{"a":[1,null,"ü"]}"#.into())),
        (("uuid", Type::Uuid), Value::Uuid([0x12; 16])),
        (("date", Type::Date), Value::Date(civil::date(-1, 2, 28))),
        (("time", Type::Time), Value::Time(civil::time(23, 59, 59, 999_999_999))),
        (("moment", Type::DateTime), Value::DateTime(civil::date(2024, 2, 29).at(1, 2, 3, 4))),
        (("instant", Type::Timestamp), Value::Timestamp(Timestamp::UNIX_EPOCH)),
        (
            ("array", Type::Array(Box::new(Type::Int))),
            Value::Array([Value::Int(1), Value::Null, Value::Int(-1)].into()),
        ),
    ];
    for text in ["", "line\nbreak\t\"quoted\" \\ \u{0}", "ünï ☃ 𝄞", "\u{2028}"] {
        found.push((("text", Type::Text), Value::from(text)));
    }
    let floats = [0.1, -0.0, 1e300, 5e-324, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
    found.extend(floats.map(|float| (("float", Type::Float), Value::Float(float))));
    found
}

/// Fails unless `arrived` says what `change` said.
pub(super) fn must_agree(change: &Change, arrived: &Delivered) -> Verdict {
    let operation = arrived.operation;
    ensure!(operation == change.operation, "{:?} arrived as {operation:?}", change.operation);
    let Some(row) = change.image() else { return Ok(()) };
    for (column, value) in change.table.columns.iter().zip(row.values()) {
        let found = arrived.row.get(&*column.name);
        let table = &change.table.name;
        ensure!(agrees(value, found), "{value:?} of `{table}` arrived as {found:?}");
    }
    Ok(())
}

fn agrees(value: &Value, found: Option<&Json>) -> bool {
    let Some(found) = found else { return *value == Value::Unknown };
    // `{"$name": text}` stands for the text.
    let inner = found.as_object().filter(|object| object.len() == 1);
    let inner = inner.and_then(|object| object.iter().next());
    let found = inner.filter(|(name, _)| name.starts_with('$')).map_or(found, |(_, text)| text);
    let text = found.as_str();
    let number = text.map_or_else(|| found.to_string(), str::to_owned);
    let base64 = |bytes: &[u8]| text == Some(&BASE64_STANDARD.encode(bytes));
    match value {
        Value::Unknown => false,
        Value::Null => found.is_null(),
        Value::Bool(value) => found.as_bool() == Some(*value),
        Value::Int(value) => number.parse() == Ok(*value),
        Value::Float32(value) => number.parse() == Ok(*value),
        Value::Float(value) => number.parse().is_ok_and(|found| is_same_float(*value, found)),
        Value::Decimal(digits) => number == **digits,
        Value::Text(value) => text == Some(value) || (text.is_some() && base64(value.as_bytes())),
        Value::RawText(bytes) | Value::Bytes(bytes) => base64(bytes),
        Value::Json(json) => {
            let value: Option<Json> = serde_json::from_str(json).ok();
            value.as_ref() == Some(found)
                || text.is_some_and(|text| serde_json::from_str(text).ok() == value)
        }
        Value::Array(values) => found.as_array().is_some_and(|found| {
            found.len() == values.len()
                && values.iter().zip(found).all(|(value, found)| agrees(value, Some(found)))
        }),
        _ => text.is_some_and(|text| is_same_time(value, text)),
    }
}

fn is_same_float(left: f64, right: f64) -> bool {
    left.to_bits() == right.to_bits() || (left.is_nan() && right.is_nan())
}

fn is_same_time(value: &Value, text: &str) -> bool {
    match value {
        Value::Uuid(bytes) => {
            let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
            digits == bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        }
        Value::Date(date) => text.parse().ok() == Some(*date),
        Value::Time(time) => text.parse().ok() == Some(*time),
        Value::DateTime(time) => text.parse().ok() == Some(*time),
        Value::Timestamp(time) => text.parse().ok() == Some(*time),
        _ => false,
    }
}
