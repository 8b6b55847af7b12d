//! What the source block has more of a change stream of Spanner, as that connector of Debezium has
//! it. `low_watermark` is null: a change does not know how far the other partitions are.

use jiff::Timestamp;
use rowtide_core::{Change, Metadata, Value};

use crate::text;

/// What a field is filled from.
enum From {
    /// The part of the stream's full name behind this word.
    Name(&'static str),
    /// What the upstream said under this name.
    Said(&'static str),
    /// The time under this name, in milliseconds.
    Time(&'static str),
}

/// The fields, with their types.
const FIELDS: [(&str, &str, From); 15] = [
    ("project_id", "string", From::Name("projects")),
    ("instance_id", "string", From::Name("instances")),
    ("database_id", "string", From::Name("databases")),
    ("change_stream_name", "string", From::Name("changeStreams")),
    ("server_transaction_id", "string", From::Said("server_transaction_id")),
    ("low_watermark", "int64", From::Time("low_watermark")),
    ("read_at_timestamp", "int64", From::Time("read_timestamp")),
    ("number_records_in_transaction", "int64", From::Said("number_of_records_in_transaction")),
    ("transaction_tag", "string", From::Said("transaction_tag")),
    ("system_transaction", "boolean", From::Said("is_system_transaction")),
    ("value_capture_type", "string", From::Said("value_capture_type")),
    ("partition_token", "string", From::Said("partition_token")),
    ("mod_number", "int32", From::Said("mod_number")),
    (
        "is_last_record_in_transaction_in_partition",
        "boolean",
        From::Said("is_last_record_in_transaction_in_partition"),
    ),
    (
        "number_of_partitions_in_transaction",
        "int64",
        From::Said("number_of_partitions_in_transaction"),
    ),
];

/// What a change stream said of a change; `None` for any other upstream's.
pub(super) fn said(change: &Change) -> Option<&Metadata> {
    let metadata = change.metadata.as_deref()?;
    metadata.get("change_stream").map(|_| metadata)
}

/// Continues the source block.
pub(super) fn write_fields(out: &mut Vec<u8>, metadata: &Metadata) {
    for (name, _, from) in &FIELDS {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        match from {
            From::Name(word) => match named(metadata, word) {
                Some(part) => text::string(out, part),
                None => text::null(out),
            },
            From::Said(name) => write_value(out, metadata.get(name)),
            From::Time(name) => match metadata.get(name).and_then(time) {
                Some(at) => text::integer(out, at.as_millisecond()),
                None => text::null(out),
            },
        }
    }
}

/// Continues the fields of the source block's schema.
pub(super) fn write_schema(out: &mut Vec<u8>) {
    for (name, of, _) in &FIELDS {
        let field = format!(r#",{{"type":"{of}","optional":true,"field":"{name}"}}"#);
        out.extend_from_slice(field.as_bytes());
    }
}

/// The part of the stream's full name behind a word, such as `databases`.
fn named<'a>(metadata: &'a Metadata, word: &str) -> Option<&'a str> {
    let Some(Value::Text(name)) = metadata.get("change_stream") else { return None };
    let mut parts = name.split('/');
    parts.find(|part| *part == word)?;
    parts.next()
}

fn time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Timestamp(at) => Some(*at),
        _ => None,
    }
}

fn write_value(out: &mut Vec<u8>, value: Option<&Value>) {
    match value {
        Some(Value::Text(value)) => text::string(out, value),
        Some(Value::Bool(value)) => text::boolean(out, *value),
        Some(Value::Int(value)) => text::integer(out, *value),
        _ => text::null(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_has_what_the_stream_said() {
        let name = "projects/p/instances/i/databases/d/changeStreams/s";
        let metadata = Metadata::default()
            .with("change_stream", name)
            .with("server_transaction_id", "x")
            .with("number_of_records_in_transaction", 3)
            .with("is_system_transaction", false)
            .with("mod_number", 2);
        let mut out = b"{\"a\":1".to_vec();
        write_fields(&mut out, &metadata);
        out.push(b'}');
        let found: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let expected = serde_json::json!({
            "a": 1, "project_id": "p", "instance_id": "i", "database_id": "d",
            "change_stream_name": "s", "server_transaction_id": "x", "low_watermark": null,
            "read_at_timestamp": null, "number_records_in_transaction": 3, "transaction_tag": null,
            "system_transaction": false, "value_capture_type": null, "partition_token": null,
            "mod_number": 2, "is_last_record_in_transaction_in_partition": null,
            "number_of_partitions_in_transaction": null
        });
        assert_eq!(found, expected);

        let mut schema = b"[{}".to_vec();
        write_schema(&mut schema);
        schema.push(b']');
        let schema: Vec<serde_json::Value> = serde_json::from_slice(&schema).unwrap();
        assert_eq!(schema.len(), FIELDS.len() + 1);
        assert_eq!(schema[13]["type"], "int32");
    }
}
