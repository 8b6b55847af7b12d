//! How changes are written down, and read by somebody who knows nothing of the program.

use fastrand::Rng;
use serde_json::{Map, Value, json};

use crate::{
    Outcome,
    history::{Message, MessageKind},
    upstream::digest,
};

/// As it stands in the pipeline file, and how much of a row can be held against the source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Format {
    pub(crate) setting: &'static str,
    kind: Kind,
    contents: Contents,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Json,
    Debezium,
}

/// What of a row says in every format the same.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Contents {
    Whole,
    Version,
}

const JSON: Format = Format { setting: "\"json\"", kind: Kind::Json, contents: Contents::Whole };

const OTHERS: [Format; 3] = [
    Format {
        setting: "{ type = \"json\", integers = \"string\" }",
        kind: Kind::Json,
        contents: Contents::Version,
    },
    Format { setting: "\"debezium\"", kind: Kind::Debezium, contents: Contents::Version },
    Format {
        setting: "{ type = \"debezium\", schemas = true }",
        kind: Kind::Debezium,
        contents: Contents::Version,
    },
];

/// So many of them do without a schema in each message.
const BRIEF: usize = 2;

/// The columns by which rows are known in every format, beside their keys.
const PLAIN: [&str; 2] = ["version", "text"];

impl Format {
    /// Every second time the one from which all values can be rebuilt.
    pub(crate) fn draw(chance: &mut Rng) -> Self {
        if chance.bool() { JSON } else { OTHERS[chance.usize(..OTHERS.len())] }
    }

    /// The same, of those that a small disk has room for.
    pub(crate) fn draw_brief(chance: &mut Rng) -> Self {
        if chance.bool() { JSON } else { OTHERS[chance.usize(..BRIEF)] }
    }

    /// Whether it tells that what follows replaces what came before of a table.
    pub(crate) fn has_marks(self) -> bool {
        self.kind == Kind::Json
    }

    /// A message in the members of `json`; `None` of a tombstone. `key` names the columns of a
    /// table's key.
    pub(crate) fn read(
        self,
        text: &[u8],
        key: impl Fn(&str) -> &'static [&'static str],
    ) -> Outcome<Option<Value>> {
        if text.is_empty() {
            return Ok(None);
        }
        let value: Value = serde_json::from_slice(text)?;
        match self.kind {
            Kind::Json => Ok(Some(value)),
            Kind::Debezium => {
                let change = unwrapped(&value, key);
                Ok(Some(change.ok_or_else(|| format!("no change: {value}"))?))
            }
        }
    }

    /// Of a message, which is the same to the byte when it comes again; but for the times at which it
    /// was made.
    pub(crate) fn digest(self, text: &[u8], change: &Value) -> u64 {
        match self.kind {
            Kind::Json => digest(text),
            Kind::Debezium => digest(change.to_string()),
        }
    }

    /// Of a row, without columns that were added later: older rows do not tell of them.
    pub(crate) fn row(self, row: &Value) -> Option<u64> {
        let mut columns = row.as_object()?.clone();
        columns.retain(|name, _| match self.contents {
            Contents::Whole => !name.starts_with("extra"),
            Contents::Version => PLAIN.contains(&name.as_str()),
        });
        Some(digest(Value::Object(columns).to_string()))
    }
}

/// What follows a delete, so that a broker may forget the key.
pub(crate) fn tombstone() -> Message {
    Message {
        id: "tombstone".to_owned(),
        kind: MessageKind::Mark,
        table: "tombstones".to_owned(),
        key: None,
        step: None,
        place: None,
        partition: None,
        digest: 0,
        row: None,
    }
}

/// The envelope of Debezium, without the times at which it was made.
fn unwrapped(value: &Value, key: impl Fn(&str) -> &'static [&'static str]) -> Option<Value> {
    let envelope = value.get("payload").unwrap_or(value);
    let source = &envelope["source"];
    let (operation, row) = match envelope["op"].as_str()? {
        "c" => ("insert", "after"),
        "u" => ("update", "after"),
        "d" => ("delete", "before"),
        "r" => ("read", "after"),
        _ => return None,
    };
    let table = source["table"].as_str()?;
    let column = |name: &&str| ((*name).to_owned(), envelope[row][*name].clone());
    let key: Map<_, _> = key(table).iter().map(column).collect();
    let mut change = json!({
        "id": source["sequence"], "op": operation, "table": table, "key": key,
        "before": envelope["before"], "after": envelope["after"], "metadata": {},
    });
    // When a row was read is told; when it was written is not.
    if operation != "read" {
        change["metadata"] = json!({ "updated": source["ts_ns"].to_string() });
    }
    Some(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_says_what_a_line_of_json_says() {
        let row = json!({ "id": 7, "version": 3, "note": "x" });
        let source =
            json!({ "sequence": "a:1", "table": "orders", "ts_ns": 5, "snapshot": "false" });
        let envelope =
            json!({ "op": "d", "before": row, "after": null, "source": source, "ts_ms": 9 });
        let key = |_: &str| &["id"][..];
        for (format, text) in [
            (OTHERS[1], envelope.to_string()),
            (OTHERS[2], json!({ "schema": {}, "payload": envelope }).to_string()),
        ] {
            let change = format.read(text.as_bytes(), key).unwrap().unwrap();
            assert_eq!((&change["op"], &change["id"]), (&json!("delete"), &json!("a:1")));
            assert_eq!((&change["key"], &change["before"]), (&json!({ "id": 7 }), &row));
            assert!(format.read(b"", key).unwrap().is_none());
        }
        assert!(OTHERS[1].read(b"{\"op\":\"x\"}", key).is_err());
    }

    #[test]
    fn a_row_is_known_by_what_all_formats_write_the_same() {
        let [one, other] = [json!(1), json!("1")].map(|x| json!({ "version": 3, "x": x }));
        assert_eq!(OTHERS[0].row(&one), OTHERS[0].row(&other));
        assert_ne!(JSON.row(&one), JSON.row(&other));
        assert_ne!(OTHERS[0].row(&one), OTHERS[0].row(&json!({ "version": 4 })));
    }
}
