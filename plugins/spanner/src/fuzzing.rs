//! What a test that feeds foreign bytes gets at.

use rowtide_core::Position;
use serde_json::Value;

use crate::{
    catalog::Layout,
    client::{Cell, Type},
    record::{Decoder, Record},
    source::{Place, SnapshotPlace},
};

/// Reads a row of a change stream as either dialect would, and its values.
pub fn records(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let cell = serde_json::from_str(&text).map_or(Cell::Null, cell);
    let postgres = decoded(Type::Json, Cell::Text(text.into_owned()));
    format!("{postgres}\n{}", decoded(google_sql(), cell))
}

/// Reads a position of a partition, and one of a snapshot.
pub fn position(bytes: &[u8]) -> String {
    let position = Position::from_text(&String::from_utf8_lossy(bytes));
    let place = match position.decode::<Place>().and_then(|place| place.position()) {
        Ok(position) => format!("a place {}", position.attested().is_some()),
        Err(error) => why(&error),
    };
    let snapshot = match position.decode::<SnapshotPlace>() {
        Ok(place) => format!("a snapshot's place {}", place.position().is_ok()),
        Err(error) => why(&error),
    };
    format!("{place}\n{snapshot}")
}

fn decoded(of: Type, cell: Cell) -> String {
    let mut records = Vec::new();
    let read = Decoder::new(&[("ChangeRecord".to_owned(), of)])
        .and_then(|decoder| decoder.decode(vec![cell], &mut records));
    match read {
        Ok(()) => records.iter().take(3).map(told).collect::<Vec<_>>().join("\n"),
        Err(error) => error.to_string(),
    }
}

fn told(record: &Record) -> String {
    let Record::Data(data) = record else { return format!("{} bytes", record.bytes()) };
    let mut place = Place::from(data.committed_at);
    place.tell(data);
    if !place.covers(data) {
        return "a record that is told and not covered".to_owned();
    }
    let layout = match Layout::of_record(data) {
        Ok(layout) => layout,
        Err(error) => return error.to_string(),
    };
    let row = |row: &crate::record::Mod| match layout.row([&row.keys, &row.new_values]) {
        Ok(row) => row.values().iter().map(kind).collect(),
        Err(error) => error.to_string(),
    };
    data.mods.iter().map(row).collect()
}

/// The name of a value's variant.
fn kind(value: &rowtide_core::Value) -> String {
    let text = format!("{value:?}");
    text.split(['(', ' ']).next().unwrap_or_default().to_owned()
}

fn cell(value: Value) -> Cell {
    match value {
        Value::Null => Cell::Null,
        Value::Bool(value) => Cell::Bool(value),
        Value::Number(number) => Cell::Number(number.as_f64().unwrap_or_default()),
        Value::String(text) => Cell::Text(text),
        Value::Array(values) => Cell::List(values.into_iter().map(cell).collect()),
        Value::Object(members) => Cell::List(members.into_values().map(cell).collect()),
    }
}

/// The type of the one column of a change stream's rows.
fn google_sql() -> Type {
    let text = |names: &[&str]| -> Vec<(String, Type)> {
        names.iter().map(|name| ((*name).to_owned(), Type::String)).collect()
    };
    let list = |fields| Type::Array(Box::new(Type::Struct(fields)));
    let mut data = text(&[
        "commit_timestamp",
        "record_sequence",
        "server_transaction_id",
        "is_last_record_in_transaction_in_partition",
        "table_name",
        "column_types",
        "mods",
        "mod_type",
        "value_capture_type",
        "number_of_records_in_transaction",
        "number_of_partitions_in_transaction",
        "transaction_tag",
        "is_system_transaction",
    ]);
    data[5].1 = list(text(&["name", "type", "is_primary_key", "ordinal_position"]));
    data[6].1 = list(text(&["keys", "new_values", "old_values"]));
    let mut children = text(&["start_timestamp", "record_sequence", "child_partitions"]);
    children[2].1 = list(text(&["token", "parent_partition_tokens"]));
    list(vec![
        ("data_change_record".to_owned(), list(data)),
        ("heartbeat_record".to_owned(), list(text(&["timestamp"]))),
        ("child_partitions_record".to_owned(), list(children)),
    ])
}

/// Why a position cannot be read; the message itself shows all of it.
fn why(error: &rowtide_core::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
