use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::{
    Format,
    table::{CHANGEFEED_PUBLISHER, CLOUDEVENTS, DEBEZIUM, JSON, NAMES, OUTBOX, SPREAM, SQLITE_CDC},
};
use crate::outbox::Route;

impl JsonSchema for Format {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Format".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string", "enum": NAMES },
                json_table(),
                debezium_table(),
                sqlite_cdc_table(),
                cloudevents_table(),
                outbox_table(),
                table(CHANGEFEED_PUBLISHER, "The messages of crdb-changefeed-publisher.", &[]),
                table(SPREAM, "The lines of spream, for change streams of Spanner.", &[]),
            ]
        })
    }
}

type Properties<'a> = &'a [(&'a str, Value)];

/// The schema of a format's table.
fn table(name: &str, description: &str, settings: Properties<'_>) -> Value {
    let mut properties = serde_json::Map::new();
    properties.insert("type".to_owned(), json!({ "const": name, "description": description }));
    properties.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    json!({
        "type": "object",
        "properties": properties,
        "required": ["type"],
        "additionalProperties": false
    })
}

fn flag(value: bool, description: &str) -> Value {
    json!({ "type": "boolean", "default": value, "description": description })
}

fn text(default: &str, description: &str) -> Value {
    json!({ "type": "string", "default": default, "description": description })
}

fn unset_text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

/// One of some words, the first by default.
fn choice(words: &[&str], description: &str) -> Value {
    json!({ "type": "string", "enum": words, "default": words[0], "description": description })
}

fn json_table() -> Value {
    let integers = "How integers beyond 2^53 are written, which a double cannot hold.";
    table(JSON, "One object a change.", &[("integers", choice(&["number", "string"], integers))])
}

fn debezium_table() -> Value {
    let name = "The logical name in `source.name` and in the names of schemas; the pipeline's by \
                default.";
    table(
        DEBEZIUM,
        "Debezium's envelope.",
        &[
            ("schemas", flag(false, "Whether each message carries its schema.")),
            ("tombstones", flag(true, TOMBSTONES)),
            ("name", unset_text(name)),
            ("connector", text("rowtide", "What `source.connector` says.")),
            ("database", text("", "What `source.db` says.")),
        ],
    )
}

const TOMBSTONES: &str = "Whether a delete is followed by a message without value.";

fn sqlite_cdc_table() -> Value {
    let batch =
        "Whether the changes of a write that follow each other in one table are one message.";
    table(SQLITE_CDC, "The lines of the program sqlite-cdc.", &[("batch", flag(false, batch))])
}

fn cloudevents_table() -> Value {
    let mode = "Whether the attributes are beside the data in the value (`structured`), or in \
                headers (`binary`).";
    let name = "The logical name in `source` and `id`; the pipeline's by default.";
    let case = "Whether names of extension attributes are in lower case, as CloudEvents demands, \
                or as Debezium writes them (`iodebeziumtxId`).";
    let prefix = "What the name of an attribute begins with as a header; Kafka's binding has \
                  `ce_`, AMQP's `cloudEvents:`.";
    table(
        CLOUDEVENTS,
        "CloudEvents 1.0, as Debezium makes them.",
        &[
            ("mode", choice(&["structured", "binary"], mode)),
            ("name", unset_text(name)),
            (
                "connector",
                text("rowtide", "What is between the slashes of `source`, and in `type`."),
            ),
            ("database", text("", "What the extension `iodebeziumdb` says.")),
            ("extensions", flag(true, "Whether there are extension attributes.")),
            ("extension_case", choice(&["lower", "keep"], case)),
            ("header_prefix", text("ce_", prefix)),
            ("tombstones", flag(true, TOMBSTONES)),
        ],
    )
}

fn outbox_table() -> Value {
    let settings = [outbox_columns(), outbox_rules()].concat();
    table(OUTBOX, "The messages of an outbox table, as Debezium's Event Router.", &settings)
}

fn outbox_columns() -> Vec<(&'static str, Value)> {
    let timestamp = "The column with the time of a message. Unset: the time of its delivery.";
    let trace = "The column with the trace context, a text of Java properties, whose entries \
                 become headers.";
    vec![
        ("id_column", text("id", "The column whose value is the header `id`.")),
        ("key_column", text("aggregateid", "The column whose value is the key.")),
        ("payload_column", text("payload", "The column whose value is the message.")),
        ("timestamp_column", unset_text(timestamp)),
        ("route_column", text("aggregatetype", "The column of which the topic is made.")),
        ("trace_column", text("tracingspancontext", trace)),
    ]
}

fn outbox_rules() -> Vec<(&'static str, Value)> {
    let regex = "What the value of `route_column` must match as a whole; one that does not is the \
                 topic itself.";
    let replacement = "What the match becomes, with groups as `${name}` or `$1`. In a pipeline's \
                       file write `$${`.";
    let place = "Where further columns go: `column:header`, `column:headers` (the members of a JSON \
                 object), `column:envelope` or `column:partition`, and `:alias` if need be.";
    let missing = "Whether a message whose table lacks a column of `place` is refused.";
    let update = "What becomes of an update: a log line, or (`fatal`) it is refused. Deletes are \
                  left out.";
    let expand = "Whether a payload that is the text of a JSON object or array becomes that JSON.";
    let null = "Whether an expanded payload keeps members that are null.";
    let array = "Whether an expanded payload keeps members that are empty arrays.";
    let tombstone = "Whether a null or blank payload becomes a message without value.";
    let strings = "How texts are written that are keys or payloads: as they are, or as JSON \
                   strings.";
    vec![
        ("topic_regex", text(Route::REGEX, regex)),
        ("topic_replacement", text(Route::REPLACEMENT, replacement)),
        (
            "place",
            json!({
                "type": "array", "items": { "type": "string" }, "default": [], "description": place
            }),
        ),
        ("on_missing_column", choice(&["error", "ignore"], missing)),
        ("on_update", choice(&["warn", "error", "fatal"], update)),
        ("expand_payload", flag(false, expand)),
        ("expand_null", choice(&["drop", "keep"], null)),
        ("expand_empty_array", choice(&["drop", "keep"], array)),
        ("tombstone_on_empty_payload", flag(false, tombstone)),
        ("strings", choice(&["plain", "json"], strings)),
    ]
}
