//! What a test that feeds foreign bytes gets at.

use rowtide_core::{Change, Column, ColumnType, Position, Row, Value};

use crate::{
    config::OutboxConfig,
    keys::{Key, Keys},
    layout::{FoundRow, Messages},
    source::position::{OutboxPosition, Progress},
};

/// Reads a batch of the streams driver; the first byte is how many messages it should have.
pub fn batch(bytes: &[u8]) -> String {
    let settings = serde_json::json!({ "database": "sqlite:nowhere", "layout": "streams_egress" });
    let config: OutboxConfig = match serde_json::from_value(settings) {
        Ok(config) => config,
        Err(error) => return error.to_string(),
    };
    let columns = [("batch_id", ColumnType::Text), ("raw_data", ColumnType::Bytes)];
    let columns = columns.map(|(name, of)| Column::new(name, of)).to_vec();
    let columns = [columns, vec![Column::new("message_count", ColumnType::Int)]].concat();
    let (count, data) = bytes.split_first().unwrap_or((&0, &[]));
    let values =
        [Value::Text("id".into()), Value::Bytes(data.into()), Value::Int(i64::from(*count))];
    let row = FoundRow { key: Key::Id("id".into()), values: values.into() };
    let mut changes = Vec::new();
    let read =
        Messages::new(&config, &columns).and_then(|messages| messages.append(row, &mut changes));
    match read {
        Ok(()) => changes.iter().take(4).map(shape).collect(),
        Err(error) => error.to_string().replace('`', " "),
    }
}

/// Which values of a message are there, and which are empty.
fn shape(change: &Change) -> String {
    let values = change.after.as_ref().map_or(&[][..], Row::values);
    let told = |value: &Value| match value {
        Value::Null => 'o',
        value if value.bytes() > size_of::<Value>() => 'x',
        _ => '-',
    };
    format!("{}\n", values.iter().map(told).collect::<String>())
}

/// Reads a position, and does with its keys what a source does.
pub fn position(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match OutboxPosition::decode(&Position::from_text(&text)) {
        Ok(OutboxPosition { progress: Progress::Pending { keys, .. }, .. }) => used(keys),
        Ok(OutboxPosition { progress: Progress::Kept(cursor), .. }) => {
            format!("kept {}", cursor.is_some())
        }
        Err(error) => why(&error),
    }
}

fn used(mut keys: Keys) -> String {
    let before = keys.clone();
    for seq in [i64::MIN, -1, 0, 1, 2, 17, i64::MAX] {
        keys.insert(&Key::Seq(seq));
    }
    let both = keys.intersection(&before);
    keys.remove_all(&before);
    let has = [i64::MIN, 0, 17, i64::MAX].map(|seq| keys.contains(&Key::Seq(seq)));
    format!("pending {has:?} {} {}", both == before, before.is_empty())
}

/// Why a position cannot be read; the message itself shows all of it.
fn why(error: &rowtide_core::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
