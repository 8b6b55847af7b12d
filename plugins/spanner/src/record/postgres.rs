//! Records as JSON objects of one member.

use std::sync::Arc;

use rowtide_core::Result;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Child, ChildrenRecord, DataRecord, Mod, Record, RecordColumn, Shape, invalid, operation,
    timestamp,
};

/// The shape of the last record, and the columns as they stood there.
#[derive(Debug, Default)]
pub(crate) struct Latest(Option<(Box<str>, Arc<Shape>)>);

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    data_change_record: Option<Data<'a>>,
    heartbeat_record: Option<Heartbeat>,
    child_partitions_record: Option<Children>,
}

#[derive(Deserialize)]
struct Data<'a> {
    commit_timestamp: String,
    record_sequence: String,
    server_transaction_id: String,
    is_last_record_in_transaction_in_partition: bool,
    table_name: String,
    #[serde(borrow)]
    column_types: &'a RawValue,
    #[serde(borrow)]
    mods: Vec<Images<'a>>,
    mod_type: String,
    value_capture_type: String,
    #[serde(default)]
    number_of_records_in_transaction: i64,
    #[serde(default)]
    number_of_partitions_in_transaction: i64,
    #[serde(default)]
    transaction_tag: String,
    #[serde(default)]
    is_system_transaction: bool,
}

#[derive(Deserialize)]
struct Column<'a> {
    name: String,
    #[serde(borrow)]
    r#type: &'a RawValue,
    #[serde(default)]
    is_primary_key: bool,
    #[serde(default)]
    ordinal_position: i64,
}

#[derive(Deserialize)]
struct Images<'a> {
    #[serde(borrow)]
    keys: &'a RawValue,
    #[serde(borrow, default)]
    new_values: Option<&'a RawValue>,
    #[serde(borrow, default)]
    old_values: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Heartbeat {
    timestamp: String,
}

#[derive(Deserialize)]
struct Children {
    start_timestamp: String,
    child_partitions: Vec<ChildPartition>,
}

#[derive(Deserialize)]
struct ChildPartition {
    token: String,
    #[serde(default)]
    parent_partition_tokens: Vec<String>,
}

pub(super) fn decode(text: &str, latest: &mut Latest) -> Result<Record> {
    let row: Row<'_> = serde_json::from_str(text).map_err(unreadable)?;
    match row {
        Row { data_change_record: Some(data), .. } => {
            Ok(Record::Data(Box::new(data.record(latest)?)))
        }
        Row { heartbeat_record: Some(heartbeat), .. } => {
            Ok(Record::Heartbeat(timestamp(&heartbeat.timestamp)?))
        }
        Row { child_partitions_record: Some(children), .. } => {
            Ok(Record::Children(children.record()?))
        }
        _ => Err(invalid("a record of no known kind")),
    }
}

fn unreadable(_: serde_json::Error) -> rowtide_core::Error {
    invalid("a record that cannot be read")
}

impl Latest {
    fn shape(&mut self, table: String, columns: &RawValue) -> Result<Arc<Shape>> {
        if let Some((text, shape)) = &self.0
            && shape.table == table
            && **text == *columns.get()
        {
            return Ok(Arc::clone(shape));
        }
        let text = columns.get();
        let column = |column: Column<'_>| RecordColumn {
            name: column.name,
            type_json: compact(column.r#type),
            is_key: column.is_primary_key,
            ordinal: column.ordinal_position,
        };
        let columns: Vec<Column<'_>> = serde_json::from_str(text).map_err(unreadable)?;
        let columns = columns.into_iter().map(column).collect();
        let shape = Arc::new(Shape { table, columns });
        self.0 = Some((text.into(), Arc::clone(&shape)));
        Ok(shape)
    }
}

impl Data<'_> {
    fn record(self, latest: &mut Latest) -> Result<DataRecord> {
        let object = |raw: Option<&RawValue>| match raw {
            Some(raw) if raw.get() != "null" => raw.get().to_owned(),
            _ => "{}".to_owned(),
        };
        let images = |row: Images<'_>| Mod {
            keys: object(Some(row.keys)),
            new_values: object(row.new_values),
            old_values: object(row.old_values),
        };
        Ok(DataRecord {
            committed_at: timestamp(&self.commit_timestamp)?,
            sequence: self.record_sequence,
            transaction: self.server_transaction_id,
            is_last_in_partition: self.is_last_record_in_transaction_in_partition,
            shape: latest.shape(self.table_name, self.column_types)?,
            mods: self.mods.into_iter().map(images).collect(),
            operation: operation(&self.mod_type)?,
            capture_type: self.value_capture_type,
            records_in_transaction: self.number_of_records_in_transaction,
            partitions_in_transaction: self.number_of_partitions_in_transaction,
            transaction_tag: self.transaction_tag,
            is_system_transaction: self.is_system_transaction,
        })
    }
}

impl Children {
    fn record(self) -> Result<ChildrenRecord> {
        let child = |child: ChildPartition| Child {
            token: child.token,
            parents: child.parent_partition_tokens,
        };
        Ok(ChildrenRecord {
            start: timestamp(&self.start_timestamp)?,
            children: self.child_partitions.into_iter().map(child).collect(),
        })
    }
}

/// A type without the spaces that this dialect puts between.
fn compact(raw: &RawValue) -> String {
    raw.get().chars().filter(|character| !character.is_ascii_whitespace()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        client::{Cell, Type},
        record::{Decoder, tests::record},
    };

    fn decoded(json: &str) -> Vec<Record> {
        let mut decoder = Decoder::new(&[("read_json_s".to_owned(), Type::Json)]).unwrap();
        let mut records = Vec::new();
        decoder.decode(vec![Cell::Text(json.to_owned()).into()], &mut records).unwrap();
        records
    }

    #[test]
    fn a_change_is_the_same_as_in_the_other_dialect() {
        let json = r#"{"data_change_record": {
            "commit_timestamp": "2026-11-21T10:00:00.123456Z", "record_sequence": "00000001",
            "server_transaction_id": "tx", "is_last_record_in_transaction_in_partition": true,
            "table_name": "orders", "column_types": [
                {"name": "id", "type": {"code": "INT64"}, "is_primary_key": true,
                 "ordinal_position": 1},
                {"name": "name", "type": {"code": "STRING"}, "is_primary_key": false,
                 "ordinal_position": 2}],
            "mods": [{"keys": {"id":"7"}, "new_values": {"name":"b"}, "old_values": {"name":"a"}}],
            "mod_type": "UPDATE", "value_capture_type": "OLD_AND_NEW_VALUES",
            "number_of_records_in_transaction": 3, "number_of_partitions_in_transaction": 2,
            "transaction_tag": "tag", "is_system_transaction": false, "from_the_future": 1}}"#;
        assert_eq!(decoded(json), [record()]);
    }

    #[test]
    fn heartbeats_and_children_are_read() {
        let at = "2026-11-21T10:00:00Z".parse().unwrap();
        let json = r#"{"heartbeat_record": {"timestamp": "2026-11-21T10:00:00Z"}}"#;
        assert_eq!(decoded(json), [Record::Heartbeat(at)]);

        let json = r#"{"child_partitions_record": {"start_timestamp": "2026-11-21T10:00:00Z",
            "record_sequence": "00000001", "child_partitions": [
                {"token": "c", "parent_partition_tokens": ["a"]}]}}"#;
        let child = Child { token: "c".to_owned(), parents: vec!["a".to_owned()] };
        let expected = ChildrenRecord { start: at, children: vec![child] };
        assert_eq!(decoded(json), [Record::Children(expected)]);
    }
}
