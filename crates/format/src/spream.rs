//! The format `spream`: the lines of the program of that name, for change streams of Spanner.
//!
//! ```json
//! {"commit_timestamp":"2026-11-21T10:00:00.12Z","record_sequence":"00000000","server_transaction_id":"x","is_last_record_in_transaction_in_partition":true,"table_name":"t","column_types":[{"name":"id","type":{"code":"INT64"},"is_primary_key":true,"ordinal_position":1}],"mods":[{"keys":{"id":"1"}}],"mod_type":"INSERT","value_capture_type":"NEW_ROW","number_of_records_in_transaction":1,"number_of_partitions_in_transaction":1,"transaction_tag":"","is_system_transaction":false}
//! ```
//!
//! The changes of one record that come in one call are one line, or one message, whose key is that
//! of its rows if it is the same for all; otherwise it has none. Values are written as Spanner writes
//! them in a record: an INT64, a NUMERIC and a JSON document as a string, bytes as base64; members by
//! name in ascending order. Maps without members are left out, and so are the values of a column
//! that is unknown. What is not a change of such a record, as a row that a snapshot read, has no
//! form and is refused.

use rowtide_core::{Change, Metadata, Operation, Row, Table, Value};

use crate::{
    encoder::Output,
    plans::Plans,
    refusals::Refused,
    text::{self, PRINTER},
};

pub(crate) struct SpreamEncoder {
    plans: Plans<Plan>,
}

struct Plan {
    /// The name of the table in quotes.
    table: Vec<u8>,
    keys: Vec<Member>,
    values: Vec<Member>,
}

struct Member {
    index: usize,
    /// The name in quotes, and a colon.
    name: Vec<u8>,
}

impl SpreamEncoder {
    pub(crate) fn new() -> Self {
        Self { plans: Plans::new(Plan::new) }
    }

    pub(crate) fn encode(
        &mut self,
        changes: &[Change],
        output: &mut impl Output,
        refused: &mut Vec<Refused>,
    ) {
        let mut end = 0;
        while let Some(first) = changes.get(end) {
            let index = end;
            end += 1;
            let (operation, metadata) = match form(first) {
                Ok(Some(form)) => form,
                Ok(None) => continue,
                Err(reason) => {
                    refused.push(Refused { index, reason: reason.to_owned() });
                    continue;
                }
            };
            end += changes[end..].iter().take_while(|next| is_same_record(first, next)).count();
            let record = &changes[index..end];
            let plan = self.plans.of(&first.table);
            let write = |out: &mut Vec<u8>| plan.write(out, record, metadata, operation);
            output.message(index..end, |out| plan.write_key(out, record), write);
        }
    }
}

/// The name of the operation, and what the record of the change says; none for a mark.
///
/// # Errors
/// Why a row has no form.
fn form(change: &Change) -> Result<Option<(&'static str, &Metadata)>, &'static str> {
    let operation = match change.operation {
        Operation::Insert => "INSERT",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Read => {
            return Err("the format `spream` has no form for a row of a snapshot: \
                        set `snapshot = \"never\"`, or another format");
        }
        Operation::Truncate | Operation::SnapshotBegin | Operation::SnapshotEnd => return Ok(None),
    };
    match &change.metadata {
        Some(metadata) if sequence(change).is_some() => Ok(Some((operation, metadata))),
        _ => Err("the format `spream` is for change streams of Spanner, \
                  and the change is not of a record of one"),
    }
}

fn sequence(change: &Change) -> Option<&Value> {
    change.metadata.as_ref()?.get("record_sequence")
}

/// The changes of a record have the same id but for their last number.
fn is_same_record(first: &Change, other: &Change) -> bool {
    first.id.scope() == other.id.scope()
        && first.id.numbers().next() == other.id.numbers().next()
        && first.operation == other.operation
        && sequence(first) == sequence(other)
}

impl Plan {
    fn new(table: &Table) -> Self {
        let mut name = Vec::new();
        match &table.namespace {
            Some(namespace) => text::string(&mut name, &format!("{namespace}.{}", table.name)),
            None => text::string(&mut name, &table.name),
        }
        let mut columns: Vec<_> = table.columns.iter().enumerate().collect();
        columns.sort_by_key(|(_, column)| &column.name);
        let (keys, values): (Vec<_>, Vec<_>) =
            columns.into_iter().partition(|(_, column)| column.key.is_some());
        let members = |columns: Vec<(usize, &rowtide_core::Column)>| {
            let member = |(index, column): (usize, &rowtide_core::Column)| {
                let mut name = Vec::new();
                text::string(&mut name, &column.name);
                name.push(b':');
                Member { index, name }
            };
            columns.into_iter().map(member).collect()
        };
        Self { table: name, keys: members(keys), values: members(values) }
    }

    /// Returns whether there is a key: rows with different ones have none in common.
    fn write_key(&self, out: &mut Vec<u8>, record: &[Change]) -> bool {
        let Some((first, others)) = record.split_first() else { return false };
        let value = |change: &Change, member: &Member| {
            change.image().and_then(|row| row.values().get(member.index)).cloned()
        };
        let has_same = |other: &Change| {
            self.keys.iter().all(|member| value(first, member) == value(other, member))
        };
        if !others.iter().all(has_same) {
            return false;
        }
        write_members(out, &self.keys, first.image());
        true
    }

    fn write(&self, out: &mut Vec<u8>, record: &[Change], metadata: &Metadata, operation: &str) {
        let member = |out: &mut Vec<u8>, name: &str| {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            write_value(out, metadata.get(name).unwrap_or(&Value::Null));
        };
        out.extend_from_slice(b"{\"commit_timestamp\":");
        write_value(out, &record[0].committed_at.map_or(Value::Null, Value::Timestamp));
        member(out, "record_sequence");
        member(out, "server_transaction_id");
        member(out, "is_last_record_in_transaction_in_partition");
        out.extend_from_slice(b",\"table_name\":");
        out.extend_from_slice(&self.table);
        out.extend_from_slice(b",\"column_types\":");
        match metadata.get("column_types") {
            Some(Value::Json(types)) => {
                // A column outside of the key does not say so.
                let types = types.replace("\"is_primary_key\":false,", "");
                out.extend_from_slice(types.as_bytes());
            }
            _ => out.extend_from_slice(b"[]"),
        }
        out.extend_from_slice(b",\"mods\":");
        for (number, change) in record.iter().enumerate() {
            out.push(if number == 0 { b'[' } else { b',' });
            self.write_images(out, change);
        }
        out.extend_from_slice(b"],\"mod_type\":");
        text::string(out, operation);
        member(out, "value_capture_type");
        write_number(out, metadata, "number_of_records_in_transaction");
        write_number(out, metadata, "number_of_partitions_in_transaction");
        member(out, "transaction_tag");
        member(out, "is_system_transaction");
        out.push(b'}');
    }

    fn write_images(&self, out: &mut Vec<u8>, change: &Change) {
        out.push(b'{');
        let images = [
            ("\"keys\":", &self.keys, change.image()),
            ("\"new_values\":", &self.values, change.after.as_ref()),
            ("\"old_values\":", &self.values, change.before.as_ref()),
        ];
        let mut count = 0;
        for (name, members, row) in images {
            let is_known = |member: &Member| {
                row.and_then(|row| row.values().get(member.index)).is_some_and(Value::is_known)
            };
            if !members.iter().any(is_known) {
                continue;
            }
            if count > 0 {
                out.push(b',');
            }
            count += 1;
            out.extend_from_slice(name.as_bytes());
            write_members(out, members, row);
        }
        out.push(b'}');
    }
}

fn write_members(out: &mut Vec<u8>, members: &[Member], row: Option<&Row>) {
    let known = members.iter().filter_map(|member| {
        let value = row?.values().get(member.index)?;
        value.is_known().then_some((member, value))
    });
    out.push(b'{');
    for (count, (member, value)) in known.enumerate() {
        if count > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&member.name);
        write_value(out, value);
    }
    out.push(b'}');
}

fn write_number(out: &mut Vec<u8>, metadata: &Metadata, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    match metadata.get(name) {
        Some(Value::Int(number)) => text::integer(out, *number),
        _ => text::null(out),
    }
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Unknown | Value::Null => text::null(out),
        Value::Bool(value) => text::boolean(out, *value),
        Value::Int(value) => {
            out.push(b'"');
            text::integer(out, *value);
            out.push(b'"');
        }
        Value::Float(value) => write_float(out, *value),
        Value::Float32(value) => write_float(out, f64::from(*value)),
        Value::Bytes(bytes) | Value::RawText(bytes) => text::base64(out, bytes),
        Value::Text(value) | Value::Decimal(value) | Value::Json(value) => text::string(out, value),
        Value::Uuid(bytes) => {
            out.push(b'"');
            text::uuid(out, *bytes);
            out.push(b'"');
        }
        Value::Timestamp(at) => {
            out.push(b'"');
            // Writing to a vector cannot fail.
            drop(PRINTER.print_timestamp(at, &mut *out));
            out.push(b'"');
        }
        Value::Date(date) => text::string(out, &date.to_string()),
        Value::Array(values) => {
            out.push(b'[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(out, value);
            }
            out.push(b']');
        }
        other => text::string(out, &format!("{other:?}")),
    }
}

/// As Go writes a float: a whole one without a point, and zero with its sign.
fn write_float(out: &mut Vec<u8>, value: f64) {
    match value {
        _ if value.is_nan() => out.extend_from_slice(b"\"NaN\""),
        f64::INFINITY => out.extend_from_slice(b"\"Infinity\""),
        f64::NEG_INFINITY => out.extend_from_slice(b"\"-Infinity\""),
        _ if value == 0.0 || (1e-6..1e21).contains(&value.abs()) => {
            out.extend_from_slice(value.to_string().as_bytes());
        }
        _ => {
            let written = format!("{value:e}");
            let written = match written.split_once('e') {
                Some((digits, exponent)) if !exponent.starts_with('-') => {
                    format!("{digits}e+{exponent}")
                }
                _ => written,
            };
            out.extend_from_slice(written.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rowtide_core::{ChangeId, Column, ColumnType};

    use super::*;
    use crate::{Encoder, Format, Messages};

    /// Each type, as a record has it.
    fn change(number: u64, values: Vec<Value>) -> Change {
        let names = [
            ("id", ColumnType::Int),
            ("b", ColumnType::Bool),
            ("f", ColumnType::Float),
            ("d", ColumnType::Decimal),
            ("t", ColumnType::Text),
            ("y", ColumnType::Bytes),
            ("j", ColumnType::Json),
            ("day", ColumnType::Date),
            ("at", ColumnType::Timestamp),
            ("e", ColumnType::Int),
            ("u", ColumnType::Uuid),
            ("a", ColumnType::Array(Box::new(ColumnType::Int))),
        ];
        let mut columns = names.map(|(name, of)| Column::new(name, of)).to_vec();
        columns[0].key = Some(0);
        let id = ChangeId::new("s").major(1).minor(number);
        let mut change = Change::new(id, Arc::new(Table::new("t", columns)), Operation::Insert);
        change.after = Some(Row::new(values));
        change.committed_at = "2026-11-21T10:00:00.12Z".parse().ok();
        let types = r#"[{"name":"id","type":{"code":"INT64"},"is_primary_key":true,"ordinal_position":1},{"name":"b","type":{"code":"BOOL"},"is_primary_key":false,"ordinal_position":2}]"#;
        let metadata = Metadata::default()
            .with("record_sequence", "00000000")
            .with("server_transaction_id", "x")
            .with("is_last_record_in_transaction_in_partition", true)
            .with("column_types", Value::Json(types.into()))
            .with("value_capture_type", "NEW_ROW")
            .with("number_of_records_in_transaction", 1)
            .with("number_of_partitions_in_transaction", 1)
            .with("transaction_tag", "")
            .with("is_system_transaction", false);
        change.metadata = Some(Arc::new(metadata));
        change
    }

    #[test]
    fn a_record_is_one_line_with_all_its_rows() {
        let values = vec![
            Value::Int(7),
            Value::Bool(true),
            Value::Float(1.5e300),
            Value::Decimal("1.50".into()),
            Value::from("\"ü\""),
            Value::from(vec![0, 255]),
            Value::Json(r#"{"a":1}"#.into()),
            Value::Date("2026-11-21".parse().unwrap()),
            Value::Timestamp("2026-11-21T10:00:00Z".parse().unwrap()),
            Value::Int(2),
            Value::Uuid([0; 16]),
            Value::Array(vec![Value::Int(1), Value::Null].into()),
        ];
        let mut sparse = vec![Value::Unknown; 12];
        (sparse[0], sparse[2]) = (Value::Int(8), Value::Float(1.0));
        let key = [vec![Value::Int(9)], vec![Value::Unknown; 11]].concat();
        let changes = [change(0, values), change(1, sparse), change(2, key)];
        let mut out = Vec::new();
        Encoder::new(&Format::Spream, "p").lines(&changes, &mut out);
        let expected = concat!(
            r#"{"commit_timestamp":"2026-11-21T10:00:00.12Z","record_sequence":"00000000","#,
            r#""server_transaction_id":"x","is_last_record_in_transaction_in_partition":true,"#,
            r#""table_name":"t","column_types":[{"name":"id","type":{"code":"INT64"},"#,
            r#""is_primary_key":true,"ordinal_position":1},{"name":"b","type":{"code":"BOOL"},"#,
            r#""ordinal_position":2}],"mods":[{"keys":{"id":"7"},"new_values":{"a":["1",null],"#,
            r#""at":"2026-11-21T10:00:00Z","b":true,"d":"1.50","day":"2026-11-21","e":"2","#,
            r#""f":1.5e+300,"j":"{\"a\":1}","t":"\"ü\"","u":"00000000-0000-0000-0000-000000000000","#,
            r#""y":"AP8="}},{"keys":{"id":"8"},"new_values":{"f":1}},{"keys":{"id":"9"}}],"#,
            r#""mod_type":"INSERT","value_capture_type":"NEW_ROW","#,
            r#""number_of_records_in_transaction":1,"number_of_partitions_in_transaction":1,"#,
            r#""transaction_tag":"","is_system_transaction":false}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    fn of_keys(keys: &[i64]) -> Vec<Change> {
        let values = |key: &i64| [vec![Value::Int(*key)], vec![Value::Unknown; 11]].concat();
        (0..).zip(keys).map(|(number, key)| change(number, values(key))).collect()
    }

    #[test]
    fn what_is_of_no_record_is_refused_and_not_left_out() {
        let mut changes = of_keys(&[1, 2, 3, 4, 5]);
        changes[0].operation = Operation::Read;
        changes[1].metadata = None;
        changes[3].metadata = Some(Arc::new(Metadata::default().with("transaction_tag", "")));
        changes[4].operation = Operation::SnapshotEnd;
        let mut encoder = Encoder::new(&Format::Spream, "p");
        let mut out = Vec::new();
        encoder.lines(&changes, &mut out);
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        let refused: Vec<_> = encoder.refused().iter().map(|refused| refused.index).collect();
        assert_eq!(refused, [0, 1, 3]);
        assert!(encoder.refused()[0].reason.contains("`snapshot = \"never\"`"));
        assert!(encoder.refused()[1].reason.contains("of Spanner"));
    }

    #[test]
    fn a_message_names_all_rows_of_its_record() {
        let mut changes = of_keys(&[1, 2, 3, 4]);
        changes[3].id = ChangeId::new("s").major(2).minor(0);
        let mut messages = Messages::new();
        Encoder::new(&Format::Spream, "p").messages(&changes, &mut messages);
        let held: Vec<_> = messages.iter().map(|message| message.changes()).collect();
        assert_eq!(held, [0..3, 3..4]);
    }

    #[test]
    fn rows_with_different_keys_have_none_in_common() {
        let key = |keys: &[i64]| {
            let mut messages = Messages::new();
            Encoder::new(&Format::Spream, "p").messages(&of_keys(keys), &mut messages);
            let message = messages.iter().next().unwrap();
            message.key.map(|key| String::from_utf8(key.to_vec()).unwrap())
        };
        assert_eq!(key(&[7]).as_deref(), Some(r#"{"id":"7"}"#));
        assert_eq!(key(&[7, 7]).as_deref(), Some(r#"{"id":"7"}"#));
        assert_eq!(key(&[7, 8]), None);
    }

    #[test]
    fn a_zero_keeps_its_sign() {
        let written = |value: f64| {
            let mut out = Vec::new();
            write_value(&mut out, &Value::Float(value));
            String::from_utf8(out).unwrap()
        };
        assert_eq!([written(0.0), written(-0.0), written(-1.0)], ["0", "-0", "-1"]);
    }
}
