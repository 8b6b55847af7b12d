//! Rebuilds a change from a line of the format `json`, given its table.
//!
//! It is what proves that nothing is lost, and an example for those who write a reader.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use rowtide_core::{
    Change, ChangeId, Column, ColumnType, Error, Metadata, Operation, Result, Row, Table,
    Transaction, Value,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::value::{has_strings, is_large_integer};
use crate::Integers;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    id: Cow<'a, str>,
    op: &'a str,
    namespace: Option<Cow<'a, str>>,
    table: Cow<'a, str>,
    #[serde(borrow)]
    key: Option<HashMap<Cow<'a, str>, &'a RawValue>>,
    #[serde(borrow)]
    before: Option<HashMap<Cow<'a, str>, &'a RawValue>>,
    #[serde(borrow)]
    after: Option<HashMap<Cow<'a, str>, &'a RawValue>>,
    committed_at: Option<&'a str>,
    transaction: Option<TransactionLine>,
    #[serde(borrow)]
    metadata: Option<HashMap<String, &'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TransactionLine {
    id: String,
    changes: Option<u64>,
}

type Members<'a> = HashMap<Cow<'a, str>, &'a RawValue>;

/// Rebuilds the change that a line was made of. Its id is all in its scope; a hidden column is
/// taken from the key.
///
/// # Errors
/// `Fatal` if the line is not of this format, or not of `table`.
pub fn change(line: &str, table: &Arc<Table>, integers: Integers) -> Result<Change> {
    let line: Line<'_> = serde_json::from_str(line).map_err(|error| wrong(line).because(error))?;
    if line.table != *table.name || line.namespace.as_deref() != table.namespace.as_deref() {
        return Err(Error::fatal(format!("the line is of table `{}`", line.table)));
    }
    let operation = operation(line.op)?;
    let mut change = Change::new(ChangeId::new(&*line.id), Arc::clone(table), operation);
    let row = |members: &Option<Members<'_>>| {
        members.as_ref().map(|members| row(table, members, line.key.as_ref(), integers)).transpose()
    };
    change.before = row(&line.before)?;
    change.after = row(&line.after)?;
    let time = line.committed_at.map(str::parse).transpose();
    change.committed_at = time.map_err(|error| wrong("committed_at").because(error))?;
    let transaction = line.transaction;
    change.transaction = transaction
        .map(|TransactionLine { id, changes }| Arc::new(Transaction { id: id.into(), changes }));
    change.metadata = line.metadata.map(|members| metadata(members, integers)).transpose()?;
    Ok(change)
}

fn metadata(members: HashMap<String, &RawValue>, integers: Integers) -> Result<Arc<Metadata>> {
    let mut metadata = Metadata::default();
    for (name, raw) in members {
        metadata = metadata.with(name, value(raw.get(), &ColumnType::Any, integers)?);
    }
    Ok(Arc::new(metadata))
}

fn operation(name: &str) -> Result<Operation> {
    use Operation as Op;
    let all = [
        Op::Read,
        Op::Insert,
        Op::Update,
        Op::Delete,
        Op::Truncate,
        Op::SnapshotBegin,
        Op::SnapshotEnd,
    ];
    all.into_iter().find(|operation| operation.name() == name).ok_or_else(|| wrong(name))
}

fn row(
    table: &Table,
    members: &Members<'_>,
    key: Option<&Members<'_>>,
    integers: Integers,
) -> Result<Row> {
    let of_column = |column: &Column| {
        let raw = if column.hidden { hidden(column, key) } else { members.get(&*column.name) };
        let Some(raw) = raw else { return Ok(Value::Unknown) };
        value(raw.get(), &column.column_type, integers)
    };
    table.columns.iter().map(of_column).collect()
}

fn hidden<'a>(column: &Column, key: Option<&'a Members<'a>>) -> Option<&'a &'a RawValue> {
    column.key?;
    let key = key?;
    key.get("$rowid").or_else(|| key.get(format!("${}", column.name).as_str()))
}

/// Rebuilds the value that was written in a column of `column_type`.
///
/// # Errors
/// `Fatal` if this is not how a value is written there.
pub fn value(raw: &str, column_type: &ColumnType, integers: Integers) -> Result<Value> {
    let raw = raw.trim();
    if raw == "null" {
        return Ok(Value::Null);
    }
    if let Some(value) = tagged(raw, column_type, integers) {
        return value;
    }
    match (column_type, raw.as_bytes().first()) {
        (ColumnType::Json, _) => Ok(Value::Json(raw.into())),
        (_, Some(b't' | b'f')) => Ok(Value::Bool(raw == "true")),
        (ColumnType::Array(element), Some(b'[')) => array(raw, element, integers),
        (_, Some(b'"')) => string(&text(raw)?, column_type, integers),
        (ColumnType::Float32, _) if raw.contains(['.', 'e', 'E']) => {
            raw.parse().map(Value::Float32).map_err(|error| wrong(raw).because(error))
        }
        _ if raw.contains(['.', 'e', 'E']) => float(raw),
        _ => raw.parse().map(Value::Int).map_err(|error| wrong(raw).because(error)),
    }
}

/// The value of an object whose only name begins with `$`, if `raw` is one.
fn tagged(raw: &str, column_type: &ColumnType, integers: Integers) -> Option<Result<Value>> {
    if !raw.starts_with("{\"$") {
        return None;
    }
    let members: HashMap<&str, &RawValue> = serde_json::from_str(raw).ok()?;
    let (tag, content) = members.into_iter().next()?;
    Some(of_tag(tag, content.get(), column_type, integers))
}

fn of_tag(tag: &str, raw: &str, column_type: &ColumnType, integers: Integers) -> Result<Value> {
    match tag {
        "$bool" => Ok(Value::Bool(raw == "true")),
        "$unknown" => Ok(Value::Unknown),
        "$array" => array(raw, &ColumnType::Any, integers),
        "$blob" => Ok(Value::Bytes(bytes(&text(raw)?)?)),
        "$text" => {
            let text = String::from_utf8(bytes(&text(raw)?)?.into_vec());
            Ok(text.map_or_else(|error| Value::RawText(error.into_bytes().into()), Value::from))
        }
        "$float" if *column_type == ColumnType::Float32 => float32(&text(raw)?),
        "$float" | "$float64" => float(&text(raw)?),
        "$float32" => float32(&text(raw)?),
        "$int" => text(raw)?.parse().map(Value::Int).map_err(|error| wrong(raw).because(error)),
        "$json" => Ok(Value::Json(text(raw)?.into())),
        "$decimal" => own_string(&text(raw)?, &ColumnType::Decimal),
        "$uuid" => own_string(&text(raw)?, &ColumnType::Uuid),
        "$date" => own_string(&text(raw)?, &ColumnType::Date),
        "$time" => own_string(&text(raw)?, &ColumnType::Time),
        "$datetime" => own_string(&text(raw)?, &ColumnType::DateTime),
        "$timestamp" => own_string(&text(raw)?, &ColumnType::Timestamp),
        _ => Err(wrong(tag)),
    }
}

fn string(text: &str, column_type: &ColumnType, integers: Integers) -> Result<Value> {
    if has_strings(column_type) {
        return own_string(text, column_type);
    }
    if integers == Integers::String && is_large_integer(text) {
        return text.parse().map(Value::Int).map_err(|error| wrong(text).because(error));
    }
    Ok(Value::from(text))
}

/// The value that a string is in a column whose own values are strings.
fn own_string(text: &str, column_type: &ColumnType) -> Result<Value> {
    use ColumnType as Type;
    let unreadable = |error: jiff::Error| wrong(text).because(error);
    match column_type {
        Type::Bytes => Ok(Value::Bytes(bytes(text)?)),
        Type::Decimal => Ok(Value::Decimal(text.into())),
        Type::Uuid => uuid(text),
        Type::Date => text.parse().map(Value::Date).map_err(unreadable),
        Type::Time => text.parse().map(Value::Time).map_err(unreadable),
        Type::DateTime => text.parse().map(Value::DateTime).map_err(unreadable),
        Type::Timestamp => text.parse().map(Value::Timestamp).map_err(unreadable),
        _ => Ok(Value::from(text)),
    }
}

fn array(raw: &str, element: &ColumnType, integers: Integers) -> Result<Value> {
    let elements: Vec<&RawValue> =
        serde_json::from_str(raw).map_err(|error| wrong(raw).because(error))?;
    let values = elements.into_iter().map(|raw| value(raw.get(), element, integers));
    values.collect::<Result<Box<[Value]>>>().map(Value::Array)
}

fn float(text: &str) -> Result<Value> {
    let bits = text.strip_prefix("NaN(0x").and_then(|rest| rest.strip_suffix(')'));
    let value = match bits {
        Some(bits) => u64::from_str_radix(bits, 16).ok().map(f64::from_bits),
        None => text.parse().ok(),
    };
    value.map(Value::Float).ok_or_else(|| wrong(text))
}

fn float32(text: &str) -> Result<Value> {
    let bits = text.strip_prefix("NaN(0x").and_then(|rest| rest.strip_suffix(')'));
    let value = match bits {
        Some(bits) => u32::from_str_radix(bits, 16).ok().map(f32::from_bits),
        None => text.parse().ok(),
    };
    value.map(Value::Float32).ok_or_else(|| wrong(text))
}

fn uuid(text: &str) -> Result<Value> {
    let number = u128::from_str_radix(&text.replace('-', ""), 16);
    number
        .map(|number| Value::Uuid(number.to_be_bytes()))
        .map_err(|error| wrong(text).because(error))
}

fn text(raw: &str) -> Result<String> {
    serde_json::from_str(raw).map_err(|error| wrong(raw).because(error))
}

fn bytes(text: &str) -> Result<Box<[u8]>> {
    STANDARD.decode(text).map(Into::into).map_err(|error| wrong(text).because(error))
}

fn wrong(what: &str) -> Error {
    Error::fatal(format!("`{what}` is not of the format `json`"))
}
