//! The format `debezium`: the envelope of Debezium, as its JSON converter writes it.
//!
//! - `op` is `c`, `u`, `d`, `r` or `t`; the marks of a snapshot have no form. A delete is followed
//!   by a tombstone if there is a key. A hidden key column (SQLite's rowid) is in the key alone.
//! - `source` has `version` (ours), `connector`, `name` (the pipeline's by default), `ts_ms`,
//!   `snapshot` (`"true"` for a row that a snapshot read, else `"false"`; `first` and `last` would
//!   differ when a row is delivered again), `db`, `sequence` (the id of the change), `ts_us`,
//!   `ts_ns`, `schema`, `table` and `txId`. Its times are of the commit; of processing if the
//!   upstream does not tell, as for a row that a snapshot read. The times beside `op` are of
//!   processing. `transaction` is always null: it counts what only Debezium counts.
//! - A change stream of Spanner adds to `source` what that connector of Debezium has there, and its
//!   `sequence` is that of the record.
//! - A column that the upstream did not send is `__debezium_unavailable_value`, in base64 if the
//!   column holds bytes.
//! - Bytes, and text that is not UTF-8, are base64. A float that is not finite is `"NaN"`,
//!   `"Infinity"` or `"-Infinity"`. A decimal is a string. A date is days, a time microseconds of
//!   the day, a date and time microseconds since 1970, a timestamp an ISO string.
//! - With `schemas`, a column whose values in this message do not fit its declared type, or that
//!   has none, gets the type of the values; if they differ, they are strings. Key columns are not
//!   optional unless they are null.

mod schema;
mod spanner;
mod value;

use jiff::Timestamp;
use rowtide_core::{Change, Operation, Row, Table, Value};

pub(crate) use self::value::write_value;
use self::{
    schema::{Schemas, Shapes},
    value::{write_as_text, write_unavailable_bytes},
};
use crate::{Debezium, encoder::Output, json::encoder::write_id, plans::Plans, text};

pub(crate) struct DebeziumEncoder {
    tombstones: bool,
    clock: fn() -> Timestamp,
    fixed: Fixed,
    plans: Plans<Plan>,
}

/// What is the same in all messages.
struct Fixed {
    schemas: bool,
    /// The name that topics and schemas begin with.
    name: String,
    /// The source from its beginning up to the value of `ts_ms`.
    source: Vec<u8>,
    /// `"db"` with its value.
    database: Vec<u8>,
}

/// What is the same in all messages of a table.
pub(crate) struct Plan {
    /// `"schema"` and `"table"` with their values.
    place: Vec<u8>,
    /// What is after the pipeline's name in the table's topic.
    topic: String,
    pub(crate) columns: Vec<Member>,
    pub(crate) key: Vec<Member>,
}

pub(crate) struct Member {
    index: usize,
    /// The name in quotes, and a colon.
    name: Vec<u8>,
    is_bytes: bool,
}

/// What is the same in all messages of a call.
struct Batch<'a> {
    fixed: &'a Fixed,
    now: Timestamp,
}

impl DebeziumEncoder {
    pub(crate) fn new(settings: &Debezium, pipeline: &str, clock: fn() -> Timestamp) -> Self {
        let name = settings.name.as_deref().unwrap_or(pipeline).to_owned();
        let mut source = b"{\"version\":".to_vec();
        text::string(&mut source, env!("CARGO_PKG_VERSION"));
        source.extend_from_slice(b",\"connector\":");
        text::string(&mut source, &settings.connector);
        source.extend_from_slice(b",\"name\":");
        text::string(&mut source, &name);
        source.extend_from_slice(b",\"ts_ms\":");
        let mut database = b",\"db\":".to_vec();
        text::string(&mut database, &settings.database);
        let Debezium { schemas, tombstones, .. } = *settings;
        let fixed = Fixed { schemas, name, source, database };
        Self { tombstones, clock, fixed, plans: Plans::new(Plan::new) }
    }

    pub(crate) fn encode(&mut self, changes: &[Change], output: &mut impl Output) {
        let batch = Batch { fixed: &self.fixed, now: (self.clock)() };
        for (index, change) in changes.iter().enumerate() {
            let Some(operation) = operation(change.operation) else { continue };
            let plan = self.plans.of(&change.table);
            let key = |out: &mut Vec<u8>| batch.write_key(out, plan, change);
            output.message(index, key, |out| batch.write_message(out, plan, change, operation));
            if self.tombstones && change.operation == Operation::Delete {
                output.tombstone(index, key);
            }
        }
    }
}

pub(crate) fn operation(operation: Operation) -> Option<u8> {
    match operation {
        Operation::Insert => Some(b'c'),
        Operation::Update => Some(b'u'),
        Operation::Delete => Some(b'd'),
        Operation::Read => Some(b'r'),
        Operation::Truncate => Some(b't'),
        Operation::SnapshotBegin | Operation::SnapshotEnd => None,
    }
}

impl Plan {
    pub(crate) fn new(table: &Table) -> Self {
        let mut place = b",\"schema\":".to_vec();
        match &table.namespace {
            Some(namespace) => text::string(&mut place, namespace),
            None => text::null(&mut place),
        }
        place.extend_from_slice(b",\"table\":");
        text::string(&mut place, &table.name);
        let topic = match &table.namespace {
            Some(namespace) => format!(".{namespace}.{}", table.name),
            None => format!(".{}", table.name),
        };
        let shown = (0..table.columns.len()).filter(|&index| !table.columns[index].hidden);
        let columns = shown.map(|index| Member::new(table, index)).collect();
        let key = table.key().into_iter().map(|index| Member::new(table, index)).collect();
        Self { place, topic, columns, key }
    }
}

impl Member {
    fn new(table: &Table, index: usize) -> Self {
        let column = &table.columns[index];
        let mut name = Vec::new();
        text::string(&mut name, &column.name);
        name.push(b':');
        let is_bytes = column.column_type == rowtide_core::ColumnType::Bytes;
        Self { index, name, is_bytes }
    }
}

impl Batch<'_> {
    fn write_key(&self, out: &mut Vec<u8>, plan: &Plan, change: &Change) -> bool {
        let Some(image) = change.image().filter(|_| !plan.key.is_empty()) else { return false };
        if !self.fixed.schemas {
            write_row(out, &plan.key, Some(image), None);
            return true;
        }
        let shapes = Shapes::of_key(change);
        let schemas = Schemas { name: &self.fixed.name, topic: &plan.topic };
        out.extend_from_slice(b"{\"schema\":");
        schemas.write_key(out, &change.table, &shapes);
        out.extend_from_slice(b",\"payload\":");
        write_row(out, &plan.key, Some(image), Some(&shapes));
        out.push(b'}');
        true
    }

    fn write_message(&self, out: &mut Vec<u8>, plan: &Plan, change: &Change, operation: u8) {
        if !self.fixed.schemas {
            return self.write_payload(out, plan, change, (operation, None));
        }
        let shapes = Shapes::of(change);
        let schemas = Schemas { name: &self.fixed.name, topic: &plan.topic };
        out.extend_from_slice(b"{\"schema\":");
        schemas.write_envelope(out, change, &shapes);
        out.extend_from_slice(b",\"payload\":");
        self.write_payload(out, plan, change, (operation, Some(&shapes)));
        out.push(b'}');
    }

    fn write_payload(
        &self,
        out: &mut Vec<u8>,
        plan: &Plan,
        change: &Change,
        (operation, shapes): (u8, Option<&Shapes>),
    ) {
        out.extend_from_slice(b"{\"before\":");
        write_row(out, &plan.columns, change.before.as_ref(), shapes);
        out.extend_from_slice(b",\"after\":");
        write_row(out, &plan.columns, change.after.as_ref(), shapes);
        out.extend_from_slice(b",\"source\":");
        self.write_source(out, plan, change);
        out.extend_from_slice(b",\"transaction\":null,\"op\":\"");
        out.push(operation);
        out.extend_from_slice(b"\",\"ts_ms\":");
        text::integer(out, self.now.as_millisecond());
        write_fine_times(out, self.now);
        out.push(b'}');
    }

    fn write_source(&self, out: &mut Vec<u8>, plan: &Plan, change: &Change) {
        let time = change.committed_at.unwrap_or(self.now);
        out.extend_from_slice(&self.fixed.source);
        text::integer(out, time.as_millisecond());
        let is_read = change.operation == Operation::Read;
        out.extend_from_slice(b",\"snapshot\":");
        out.extend_from_slice(if is_read { b"\"true\"" } else { b"\"false\"" });
        out.extend_from_slice(&self.fixed.database);
        out.extend_from_slice(b",\"sequence\":");
        let spanner = spanner::said(change);
        match spanner.and_then(|said| said.get("record_sequence")) {
            Some(Value::Text(sequence)) => text::string(out, sequence),
            _ => {
                out.push(b'"');
                write_id(out, &change.id);
                out.push(b'"');
            }
        }
        write_fine_times(out, time);
        out.extend_from_slice(&plan.place);
        out.extend_from_slice(b",\"txId\":");
        match &change.transaction {
            Some(transaction) => text::string(out, &transaction.id),
            None => text::null(out),
        }
        if let Some(said) = spanner {
            spanner::write_fields(out, said);
        }
        out.push(b'}');
    }
}

fn write_fine_times(out: &mut Vec<u8>, time: Timestamp) {
    out.extend_from_slice(b",\"ts_us\":");
    text::integer(out, time.as_microsecond());
    out.extend_from_slice(b",\"ts_ns\":");
    text::integer(out, time.as_nanosecond());
}

/// The row of a message that carries no schema.
pub(crate) fn write_plain_row(out: &mut Vec<u8>, members: &[Member], row: Option<&Row>) {
    write_row(out, members, row, None);
}

/// Every column is there; what the upstream did not send has a value that says so.
fn write_row(out: &mut Vec<u8>, members: &[Member], row: Option<&Row>, shapes: Option<&Shapes>) {
    let Some(row) = row else { return text::null(out) };
    let missing = Value::Unknown;
    out.push(b'{');
    for (count, member) in members.iter().enumerate() {
        if count > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&member.name);
        let value = row.values().get(member.index).unwrap_or(&missing);
        if shapes.is_some_and(|shapes| shapes.is_text(member.index)) {
            write_as_text(out, value);
        } else {
            match value {
                Value::Unknown if member.is_bytes => write_unavailable_bytes(out),
                value => write_value(out, value),
            }
        }
    }
    out.push(b'}');
}
