//! What a test that feeds foreign bytes gets at.

use rowtide_core::{ColumnType, Position};

use crate::{
    source::position::FeedPosition,
    table::{
        catalog::Described,
        layout,
        message::{Fields, Message, Raw, RowMessage},
    },
};

/// Types of columns, of which each column of a row gets one after the other.
const TYPES: [ColumnType; 12] = [
    ColumnType::Int,
    ColumnType::Text,
    ColumnType::Bytes,
    ColumnType::Timestamp,
    ColumnType::Json,
    ColumnType::Float,
    ColumnType::Decimal,
    ColumnType::Uuid,
    ColumnType::Date,
    ColumnType::Time,
    ColumnType::DateTime,
    ColumnType::Any,
];

/// Reads a row of a changefeed: its key in the first line, its value behind.
pub fn envelope(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (key, value) = (&bytes[..end], bytes[end..].strip_prefix(b"\n").unwrap_or(bytes));
    let told = |topic| match (Raw { topic, key, value }).message() {
        Ok(Message::Resolved(at)) => format!("resolved {:?}", at.timestamp().is_some()),
        Ok(Message::Change(message)) => rows(&message),
        Err(error) => error.to_string(),
    };
    format!("{}\n{}", told(None), told(Some("shop.public.\"o\"\"r\"@primary")))
}

/// Reads a position.
pub fn position(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let position = FeedPosition::decode(&Position::from_text(&text), "c");
    match position.and_then(|position| position.attested()) {
        Ok(position) => format!("a position {}", position.attested().is_some()),
        Err(error) => why(&error),
    }
}

fn rows(message: &RowMessage<'_>) -> String {
    let images = [&message.before, &message.after];
    let told = |first: usize| {
        let rows = images.map(|fields| row(message, fields.as_ref(), first));
        rows.join(" ")
    };
    // Each column is read as every type.
    (0..TYPES.len()).map(told).collect::<Vec<_>>().join("\n")
}

fn row(message: &RowMessage<'_>, fields: Option<&Fields<'_>>, first: usize) -> String {
    let names: Option<Vec<&str>> =
        fields.map(|Fields(fields)| fields.iter().map(|(name, _)| &**name).collect());
    let described = |(index, name): (usize, &&str)| Described {
        name: (*name).to_owned(),
        declared: String::new(),
        column_type: match TYPES[(first + index) % TYPES.len()].clone() {
            ColumnType::Any => ColumnType::Array(Box::new(ColumnType::Int)),
            of => of,
        },
        is_hidden: false,
        key: (index == 0).then_some(0),
    };
    let columns: Vec<_> =
        names.as_deref().unwrap_or(&["id"]).iter().enumerate().map(described).collect();
    let layout = layout::guessed(message.topic, &columns, names.as_deref());
    match layout.row(fields, message.key) {
        Ok(row) => row.values().iter().map(kind).collect(),
        Err(error) => error.to_string(),
    }
}

/// The name of a value's variant.
fn kind(value: &rowtide_core::Value) -> String {
    let text = format!("{value:?}");
    text.split(['(', ' ']).next().unwrap_or_default().to_owned()
}

/// Why a position cannot be read; the message itself shows all of it.
fn why(error: &rowtide_core::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
