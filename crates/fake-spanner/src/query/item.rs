//! What a query tells, in either dialect.

use std::sync::Arc;

use jiff::Timestamp;
use prost::Message;
use prost::bytes::Bytes;
use serde_json::{Value as Json, json};

use crate::{
    datum::Datum,
    messages::{Field, ResultSetMetadata, StructType, TypeMessage},
    schema::{Dialect, Kind, array, structs},
    store::Record,
};

/// One thing that a partition tells.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Record(Arc<Record>),
    Heartbeat(Timestamp),
    Children(Children),
    /// Nothing, in a row of its own.
    Empty,
}

/// The partitions that one goes on in.
#[derive(Clone, Debug)]
pub(crate) struct Children {
    pub(crate) start: Timestamp,
    pub(crate) number: usize,
    /// Each with its parents.
    pub(crate) children: Vec<(Arc<str>, Vec<Arc<str>>)>,
}

/// Whether records have only the fields that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fields {
    Known,
    /// And one more at the end of each.
    WithUnknown,
}

/// How the records of one query look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) dialect: Dialect,
    pub(crate) fields: Fields,
}

impl Shape {
    /// What the first message says of the rows.
    pub(crate) fn metadata(self, stream: &str) -> ResultSetMetadata {
        let (name, of) = match self.dialect {
            Dialect::GoogleSql => ("ChangeRecord".to_owned(), self.google_sql()),
            Dialect::Postgres => {
                (format!("read_json_{stream}"), Kind::Json.message(Dialect::Postgres))
            }
        };
        row_of(vec![Field { name, r#type: Some(of) }])
    }

    /// One element of a row; in PostgreSQL, the row.
    pub(crate) fn element(self, item: &Item) -> Bytes {
        match item {
            Item::Record(record) if self.fields == Fields::Known => {
                record.encoded.get_or_init(|| self.encoded(item)).clone()
            }
            _ => self.encoded(item),
        }
    }

    fn encoded(self, item: &Item) -> Bytes {
        let value = match self.dialect {
            Dialect::GoogleSql => self.google_element(item),
            Dialect::Postgres => Datum::text(self.json(item).to_string()),
        };
        value.value().encode_to_vec().into()
    }

    fn google_sql(self) -> TypeMessage {
        let of = |kind: Kind| kind.message(Dialect::GoogleSql);
        let (text, json, at) = (of(Kind::String), of(Kind::Json), of(Kind::Timestamp));
        let (integer, flag) = (of(Kind::Int64), of(Kind::Bool));
        let columns = structs(&[
            ("name", text.clone()),
            ("type", json.clone()),
            ("is_primary_key", flag.clone()),
            ("ordinal_position", integer.clone()),
        ]);
        let rows = [("keys", json.clone()), ("new_values", json.clone()), ("old_values", json)];
        let mut data = vec![
            ("commit_timestamp", at.clone()),
            ("record_sequence", text.clone()),
            ("server_transaction_id", text.clone()),
            ("is_last_record_in_transaction_in_partition", flag.clone()),
            ("table_name", text.clone()),
            ("column_types", columns),
            ("mods", structs(&rows)),
            ("mod_type", text.clone()),
            ("value_capture_type", text.clone()),
            ("number_of_records_in_transaction", integer.clone()),
            ("number_of_partitions_in_transaction", integer),
            ("transaction_tag", text.clone()),
            ("is_system_transaction", flag),
        ];
        let mut heartbeat = vec![("timestamp", at.clone())];
        let child = [("token", text.clone()), ("parent_partition_tokens", array(text.clone()))];
        let mut children = vec![
            ("start_timestamp", at),
            ("record_sequence", text.clone()),
            ("child_partitions", structs(&child)),
        ];
        if self.fields == Fields::WithUnknown {
            for fields in [&mut data, &mut heartbeat, &mut children] {
                fields.push(("from_the_future", text.clone()));
            }
        }
        structs(&[
            ("data_change_record", structs(&data)),
            ("heartbeat_record", structs(&heartbeat)),
            ("child_partitions_record", structs(&children)),
        ])
    }

    /// A struct of three arrays, one of which has what is told.
    fn google_element(self, item: &Item) -> Datum {
        let mut arrays = [const { Vec::new() }; 3];
        let (place, mut fields) = match item {
            Item::Record(record) => (0, data_fields(record)),
            Item::Heartbeat(at) => (1, vec![Datum::text(at.to_string())]),
            Item::Children(children) => (2, children_fields(children)),
            // All fields of a change without a time are null.
            Item::Empty => (0, vec![Datum::Null; 13]),
        };
        if self.fields == Fields::WithUnknown {
            fields.push(Datum::text("?"));
        }
        arrays[place].push(Datum::List(fields));
        Datum::List(arrays.map(Datum::List).to_vec())
    }

    fn json(self, item: &Item) -> Json {
        let (name, mut record) = match item {
            Item::Record(record) => ("data_change_record", data_json(record)),
            Item::Heartbeat(at) => ("heartbeat_record", json!({ "timestamp": at.to_string() })),
            Item::Children(children) => ("child_partitions_record", children_json(children)),
            Item::Empty => return json!({ "heartbeat_record": { "timestamp": EPOCH } }),
        };
        if self.fields == Fields::WithUnknown {
            record["from_the_future"] = "?".into();
        }
        json!({ name: record })
    }
}

/// A heartbeat of long ago, which says nothing.
const EPOCH: &str = "1970-01-01T00:00:00Z";

pub(crate) fn row_of(fields: Vec<Field>) -> ResultSetMetadata {
    ResultSetMetadata { row_type: Some(StructType { fields }), transaction: None }
}

fn data_fields(record: &Record) -> Vec<Datum> {
    let number = |number: usize| Datum::text(number.to_string());
    let columns = record.columns.iter().map(|column| {
        Datum::List(vec![
            Datum::text(column.name.as_str()),
            Datum::text(column.kind.as_str()),
            Datum::Bool(column.is_key),
            number(column.ordinal),
        ])
    });
    let rows = record.mods.iter().map(|row| {
        let images = [&row.keys, &row.new_values, &row.old_values];
        Datum::List(images.map(|image| Datum::text(image.as_str())).to_vec())
    });
    vec![
        Datum::text(record.at.to_string()),
        Datum::text(record.sequence.as_str()),
        Datum::text(&*record.transaction),
        Datum::Bool(record.is_last),
        Datum::text(record.table.as_str()),
        Datum::List(columns.collect()),
        Datum::List(rows.collect()),
        Datum::text(record.mod_type),
        Datum::text(record.capture.name()),
        number(record.records),
        number(record.partitions),
        Datum::text(&*record.tag),
        Datum::Bool(false),
    ]
}

fn children_fields(children: &Children) -> Vec<Datum> {
    let child = |(token, parents): &(Arc<str>, Vec<Arc<str>>)| {
        let parents = parents.iter().map(|parent| Datum::text(&**parent)).collect();
        Datum::List(vec![Datum::text(&**token), Datum::List(parents)])
    };
    vec![
        Datum::text(children.start.to_string()),
        Datum::text(format!("{:08}", children.number)),
        Datum::List(children.children.iter().map(child).collect()),
    ]
}

/// What is JSON in the store stands in a record as it is.
fn inner(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or(Json::Null)
}

fn data_json(record: &Record) -> Json {
    let columns = record.columns.iter().map(|column| {
        json!({
            "name": column.name,
            "type": inner(&column.kind),
            "is_primary_key": column.is_key,
            "ordinal_position": column.ordinal,
        })
    });
    let rows = record.mods.iter().map(|row| {
        json!({
            "keys": inner(&row.keys),
            "new_values": inner(&row.new_values),
            "old_values": inner(&row.old_values),
        })
    });
    json!({
        "commit_timestamp": record.at.to_string(),
        "record_sequence": record.sequence,
        "server_transaction_id": *record.transaction,
        "is_last_record_in_transaction_in_partition": record.is_last,
        "table_name": record.table,
        "column_types": columns.collect::<Json>(),
        "mods": rows.collect::<Json>(),
        "mod_type": record.mod_type,
        "value_capture_type": record.capture.name(),
        "number_of_records_in_transaction": record.records,
        "number_of_partitions_in_transaction": record.partitions,
        "transaction_tag": *record.tag,
        "is_system_transaction": false,
    })
}

fn children_json(children: &Children) -> Json {
    let child = |(token, parents): &(Arc<str>, Vec<Arc<str>>)| {
        let parents: Vec<&str> = parents.iter().map(|parent| &**parent).collect();
        json!({ "token": **token, "parent_partition_tokens": parents })
    };
    json!({
        "start_timestamp": children.start.to_string(),
        "record_sequence": format!("{:08}", children.number),
        "child_partitions": children.children.iter().map(child).collect::<Json>(),
    })
}
