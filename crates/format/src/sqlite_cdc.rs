//! The format `sqlite-cdc`: the lines of the program of that name.
//!
//! ```json
//! {"table":"t","timestamp":"2026-11-21T10:00:00Z","operation":"INSERT","before":null,"after":{"id":1}}
//! ```
//!
//! A snapshot of a table is one `BOOTSTRAP` without rows, then an `INSERT` for each row. Bytes are
//! upper-case hex. Reals are written with all their digits; one that is not finite is a string.
//! There is no form for a truncate or the end of a snapshot. With `batch` the changes of one write
//! that follow each other in one table are one message, `{"changes":[…]}`.

use std::sync::Arc;

use jiff::Timestamp;
use rowtide_core::{Change, Operation, Row, Table, Value};

use crate::{
    SqliteCdc,
    encoder::Output,
    plans::Plans,
    text::{self, PRINTER},
};

pub(crate) struct SqliteCdcEncoder {
    batch: bool,
    plans: Plans<Plan>,
}

/// A change that has a form: its index, and what the program calls its operation.
type Formed<'a> = (usize, &'a Change, &'static str);

struct Plan {
    /// The table, up to the time.
    head: Vec<u8>,
    columns: Vec<(usize, Vec<u8>)>,
}

impl SqliteCdcEncoder {
    pub(crate) fn new(settings: &SqliteCdc) -> Self {
        Self { batch: settings.batch, plans: Plans::new(Plan::new) }
    }

    pub(crate) fn encode(&mut self, changes: &[Change], output: &mut impl Output) {
        let formed = changes
            .iter()
            .enumerate()
            .filter_map(|(index, change)| Some((index, change, operation(change.operation)?)));
        if self.batch {
            let formed: Vec<Formed<'_>> = formed.collect();
            return formed.chunk_by(is_same_table).for_each(|batch| self.join(batch, output));
        }
        for (index, change, operation) in formed {
            let plan = self.plans.of(&change.table);
            output.message(index, |_| false, |out| plan.write(out, change, operation));
        }
    }

    fn join(&mut self, batch: &[Formed<'_>], output: &mut impl Output) {
        let [(first, ..), ..] = batch else { return };
        let end = batch.last().map_or(*first, |(last, ..)| *last) + 1;
        output.message(
            *first..end,
            |_| false,
            |out| {
                out.extend_from_slice(b"{\"changes\":");
                let mut separator = b'[';
                for (_, change, operation) in batch {
                    out.push(separator);
                    separator = b',';
                    self.plans.of(&change.table).write(out, change, operation);
                }
                out.extend_from_slice(b"]}");
            },
        );
    }
}

/// A sink sends a message where its first change goes, so no batch is of two tables.
fn is_same_table((_, one, _): &Formed<'_>, (_, next, _): &Formed<'_>) -> bool {
    let (one, next) = (&one.table, &next.table);
    Arc::ptr_eq(one, next) || (&one.namespace, &one.name) == (&next.namespace, &next.name)
}

fn operation(operation: Operation) -> Option<&'static str> {
    match operation {
        Operation::SnapshotBegin => Some("BOOTSTRAP"),
        Operation::Read | Operation::Insert => Some("INSERT"),
        Operation::Update => Some("UPDATE"),
        Operation::Delete => Some("DELETE"),
        Operation::Truncate | Operation::SnapshotEnd => None,
    }
}

impl Plan {
    fn new(table: &Table) -> Self {
        let mut head = b"{\"table\":".to_vec();
        text::string(&mut head, &table.name);
        head.extend_from_slice(b",\"timestamp\":\"");
        let shown = table.columns.iter().enumerate().filter(|(_, column)| !column.hidden);
        let columns = shown.map(|(index, column)| {
            let mut name = Vec::new();
            text::string(&mut name, &column.name);
            name.push(b':');
            (index, name)
        });
        Self { head, columns: columns.collect() }
    }

    fn write(&self, out: &mut Vec<u8>, change: &Change, operation: &str) {
        out.extend_from_slice(&self.head);
        write_time(out, change.committed_at);
        out.extend_from_slice(b"\",\"operation\":\"");
        out.extend_from_slice(operation.as_bytes());
        out.extend_from_slice(b"\",\"before\":");
        self.write_row(out, change.before.as_ref());
        out.extend_from_slice(b",\"after\":");
        self.write_row(out, change.after.as_ref());
        out.push(b'}');
    }

    fn write_row(&self, out: &mut Vec<u8>, row: Option<&Row>) {
        let Some(row) = row else { return text::null(out) };
        let known = self.columns.iter().filter_map(|(index, name)| {
            let value = row.values().get(*index)?;
            value.is_known().then_some((name, value))
        });
        out.push(b'{');
        for (count, (name, value)) in known.enumerate() {
            if count > 0 {
                out.push(b',');
            }
            out.extend_from_slice(name);
            write_value(out, value);
        }
        out.push(b'}');
    }
}

/// That program's times are Go's, whose zero is the first of January of the year 1.
fn write_time(out: &mut Vec<u8>, time: Option<Timestamp>) {
    match time {
        // Writing to a vector cannot fail.
        Some(time) => drop(PRINTER.print_timestamp(&time, &mut *out)),
        None => out.extend_from_slice(b"0001-01-01T00:00:00Z"),
    }
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Unknown | Value::Null => text::null(out),
        Value::Bool(value) => text::boolean(out, *value),
        Value::Int(value) => text::integer(out, *value),
        Value::Float(value) if value.is_finite() => text::float(out, *value),
        Value::Float32(value) if value.is_finite() => text::float(out, *value),
        Value::Text(text) | Value::Decimal(text) | Value::Json(text) => text::string(out, text),
        Value::RawText(bytes) => text::string(out, &String::from_utf8_lossy(bytes)),
        Value::Bytes(bytes) => text::hex_upper(out, bytes),
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
        other => text::string(out, &printed(other)),
    }
}

fn printed(value: &Value) -> String {
    match value {
        Value::Float(value) => value.to_string(),
        Value::Float32(value) => value.to_string(),
        Value::Date(date) => date.to_string(),
        Value::Time(time) => time.to_string(),
        Value::DateTime(time) => time.to_string(),
        Value::Timestamp(time) => time.to_string(),
        Value::Uuid(bytes) => {
            let mut out = Vec::new();
            text::uuid(&mut out, *bytes);
            String::from_utf8_lossy(&out).into_owned()
        }
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use rowtide_core::{ChangeId, Column, ColumnType};

    use super::*;
    use crate::{Encoder, Format, Messages};

    fn table() -> Arc<Table> {
        let mut rowid = Column::new("rowid", ColumnType::Int).in_key(0);
        rowid.hidden = true;
        let names = ["a", "b", "c", "d"].map(|name| Column::new(name, ColumnType::Any));
        Arc::new(Table::new("t", [vec![rowid], names.to_vec()].concat()))
    }

    fn change(operation: Operation, before: Option<Row>, after: Option<Row>) -> Change {
        let mut change = Change::new(ChangeId::new("s"), table(), operation);
        change.committed_at = "2026-11-21T10:00:00.120Z".parse().ok();
        (change.before, change.after) = (before, after);
        change
    }

    fn changes() -> Vec<Change> {
        let row = |value: Value| {
            let values = [Value::Int(1), value, Value::Null, Value::Unknown, Value::from("x")];
            Some(Row::new(values))
        };
        vec![
            change(Operation::Truncate, None, None),
            change(Operation::SnapshotBegin, None, None),
            change(Operation::Read, None, row(Value::Bytes([0xab, 1].into()))),
            change(Operation::SnapshotEnd, None, None),
            change(Operation::Update, row(Value::Int(1)), row(Value::Float(0.1 + 0.2))),
            change(Operation::Delete, row(Value::Float(f64::INFINITY)), None),
        ]
    }

    const LINES: [&str; 4] = [
        r#"{"table":"t","timestamp":"2026-11-21T10:00:00.12Z","operation":"BOOTSTRAP","before":null,"after":null}"#,
        r#"{"table":"t","timestamp":"2026-11-21T10:00:00.12Z","operation":"INSERT","before":null,"after":{"a":"AB01","b":null,"d":"x"}}"#,
        r#"{"table":"t","timestamp":"2026-11-21T10:00:00.12Z","operation":"UPDATE","before":{"a":1,"b":null,"d":"x"},"after":{"a":0.30000000000000004,"b":null,"d":"x"}}"#,
        r#"{"table":"t","timestamp":"2026-11-21T10:00:00.12Z","operation":"DELETE","before":{"a":"inf","b":null,"d":"x"},"after":null}"#,
    ];

    #[test]
    fn lines_are_those_of_the_program() {
        let format = Format::SqliteCdc(SqliteCdc::default());
        let mut out = Vec::new();
        Encoder::new(&format, "p").lines(&changes(), &mut out);
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out.lines().collect::<Vec<_>>(), LINES);
    }

    #[test]
    fn a_batch_is_one_message_and_says_which_changes_it_holds() {
        let mut encoder = Encoder::new(&Format::SqliteCdc(SqliteCdc { batch: true }), "p");
        let mut messages = Messages::new();
        encoder.messages(&changes(), &mut messages);
        let message = messages.iter().next().unwrap();
        assert_eq!((messages.iter().len(), message.changes(), message.key), (1, 1..6, None));
        let expected = format!("{{\"changes\":[{}]}}", LINES.join(","));
        assert_eq!(std::str::from_utf8(message.value.unwrap()).unwrap(), expected);

        encoder.messages(&changes()[..1], &mut messages);
        assert_eq!(messages.iter().len(), 0);
        let mut one_by_one = Encoder::new(&Format::SqliteCdc(SqliteCdc::default()), "p");
        one_by_one.messages(&changes(), &mut messages);
        let held: Vec<_> = messages.iter().map(|message| message.changes()).collect();
        assert_eq!(held, [1..2, 2..3, 4..5, 5..6]);
    }

    #[test]
    fn a_batch_ends_where_another_table_begins() {
        let of = |table: &str, mut change: Change| {
            let columns = change.table.columns.clone();
            change.table = Arc::new(Table::new(table, columns));
            change
        };
        let tables = ["t", "t", "t", "u", "u", "t"];
        let changes: Vec<_> =
            tables.into_iter().zip(changes()).map(|(table, change)| of(table, change)).collect();
        let mut messages = Messages::new();
        let mut encoder = Encoder::new(&Format::SqliteCdc(SqliteCdc { batch: true }), "p");
        encoder.messages(&changes, &mut messages);
        let held: Vec<_> = messages.iter().map(|message| message.changes()).collect();
        assert_eq!(held, [1..3, 4..5, 5..6]);
        let values = messages.iter().map(|message| message.value.unwrap().to_vec());
        let values: Vec<_> = values.map(|value| String::from_utf8(value).unwrap()).collect();
        assert_eq!(values[0], format!("{{\"changes\":[{},{}]}}", LINES[0], LINES[1]));
        let of_u = LINES[2].replace("\"table\":\"t\"", "\"table\":\"u\"");
        assert_eq!(values[1], format!("{{\"changes\":[{of_u}]}}"));
    }
}
