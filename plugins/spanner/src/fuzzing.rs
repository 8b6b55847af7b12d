//! What a test that feeds foreign bytes gets at.

use rowtide_core::Position;
use serde_json::Value;

use crate::{
    catalog::Layout,
    client::{Cell, Type},
    record::{Decoder, Record, column_type},
    source::{Place, SnapshotPlace},
};

/// Reads a row of a change stream as either dialect would, and its values.
pub fn records(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let cell = serde_json::from_str(&text).map_or(Cell::Null, cell);
    let postgres = decoded(Type::Json, Cell::Text(text.into_owned()));
    format!("{postgres}\n{}", decoded(column_type(), cell))
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
        .and_then(|mut decoder| decoder.decode(vec![cell.into()], &mut records));
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
    let layout = match Layout::of_shape(&data.shape) {
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

/// Why a position cannot be read; the message itself shows all of it.
fn why(error: &rowtide_core::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
