//! The log: rows that our triggers wrote, and what they say.

use std::{borrow::Cow, sync::Arc};

use jiff::Timestamp;
use rowtide_core::{Change, ChangeId, Error, ErrorKind, Operation, Result, Row, Value};
use rusqlite::{Connection, types::ValueRef};
use sha2::{Digest as _, Sha256};

use crate::{
    capture::{
        layout::{Layout, Layouts, no_log},
        names::Names,
    },
    connection::failure,
};

/// What a log row is, as its `operation` says.
pub(crate) mod operation {
    pub(crate) const MARKER: i64 = 0;
    pub(crate) const INSERT: i64 = 1;
    pub(crate) const UPDATE_BEFORE: i64 = 2;
    pub(crate) const UPDATE_AFTER: i64 = 3;
    pub(crate) const DELETE: i64 = 4;
    pub(crate) const CAPTURED: i64 = 5;
    /// A row whose new columns were written before the triggers knew them.
    pub(crate) const REFRESHED: i64 = 6;
}

/// A stretch of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// The row before the first one to read.
    pub(crate) after: i64,
    /// The last row to read: one at which a transaction ends, such as max(id) of a short read.
    pub(crate) up_to: i64,
    /// About how many bytes of changes to read at most; at least one change is.
    pub(crate) bytes_max: usize,
    /// How many log rows to read at most; an update is two and never parted.
    pub(crate) rows_max: usize,
}

/// What a stretch of the log holds.
#[derive(Debug)]
pub(crate) struct LogBatch {
    pub(crate) changes: Vec<Change>,
    /// The last row read. Smaller than `up_to` where the batch was full, before a table that was
    /// captured, and before a hole.
    pub(crate) last: i64,
    /// The batch is this row alone: what a pipeline does then is not a change, and may be its end.
    pub(crate) captured: Option<Captured>,
}

/// A table came under capture, in the transaction that made its triggers.
#[derive(Clone, Debug)]
pub(crate) struct Captured {
    pub(crate) id: i64,
    pub(crate) layout: Arc<Layout>,
    pub(crate) reason: Reason,
    /// Whether the table had no row then.
    pub(crate) empty: bool,
}

/// Why a table came under capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It never was before.
    First,
    /// It was before, and writes may have been missed since, or its rowids may have changed.
    Again,
}

/// Reads the log rows of `span` that say something to this pipeline.
///
/// # Errors
/// `PositionLost` if the log is missing, or its first row of `span`. Before a hole further on the
/// batch ends, so that what is before it can be delivered.
pub(crate) fn read(connection: &Connection, layouts: &mut Layouts, span: Span) -> Result<LogBatch> {
    let mut reader = Reader::new(layouts, span);
    while !reader.is_full() && reader.batch.last < span.up_to {
        match reader.run(connection) {
            Err(error) if *error.kind() == ErrorKind::PositionLost && reader.whole > span.after => {
                reader.batch.last = reader.whole;
                break;
            }
            result => result?,
        }
    }
    Ok(reader.batch)
}

struct Reader<'a> {
    layouts: &'a mut Layouts,
    span: Span,
    batch: LogBatch,
    bytes: usize,
    rows: usize,
    layout: Option<Arc<Layout>>,
    /// The first image of an update, whose second follows; the batch is not full between them.
    before: Option<Row>,
    /// The last row that was read and is no first image.
    whole: i64,
    /// Whether the next row must begin a batch.
    is_cut: bool,
    /// The row being taken, and when it was logged.
    id: i64,
    at: (f64, Option<Timestamp>),
}

impl<'a> Reader<'a> {
    fn new(layouts: &'a mut Layouts, span: Span) -> Self {
        let batch = LogBatch { changes: Vec::new(), last: span.after, captured: None };
        let at = (f64::NAN, None);
        let whole = span.after;
        Self {
            layouts,
            span,
            batch,
            bytes: 0,
            rows: 0,
            layout: None,
            before: None,
            whole,
            is_cut: false,
            id: 0,
            at,
        }
    }

    fn is_full(&self) -> bool {
        self.batch.captured.is_some()
            || self.is_cut
            || (self.before.is_none()
                && (self.bytes >= self.span.bytes_max || self.rows >= self.span.rows_max))
    }

    /// Reads until the batch is full, or a layout turns up that is wider than what is selected.
    fn run(&mut self, connection: &Connection) -> Result<()> {
        let width = self.layouts.width();
        let doing = |error| failure("failed to read the log", error);
        let mut statement = match connection.prepare_cached(&select(self.layouts.names(), width)) {
            Ok(statement) => statement,
            Err(error) if is_missing(&error) => return Err(no_log(self.layouts.names())),
            Err(error) => return Err(doing(error)),
        };
        let mut rows = statement.query([self.batch.last, self.span.up_to]).map_err(doing)?;
        while let Some(row) = rows.next().map_err(doing)? {
            let id = row.get(0).map_err(doing)?;
            if id != self.batch.last + 1 {
                return Err(gap(self.batch.last, id));
            }
            let number: i64 = row.get(1).map_err(doing)?;
            if self.layout.as_ref().is_none_or(|layout| layout.id != number) && number != 0 {
                self.layout = Some(self.layouts.get(connection, number)?);
                if self.layouts.width() > width {
                    return Ok(());
                }
            }
            self.take(id, row)?;
            if self.is_cut {
                return Ok(());
            }
            self.batch.last = id;
            self.rows += 1;
            if self.before.is_none() {
                self.whole = id;
            }
            if self.is_full() {
                return Ok(());
            }
        }
        if self.batch.last < self.span.up_to || self.before.is_some() {
            return Err(gap(self.batch.last, self.span.up_to + 1));
        }
        Ok(())
    }

    fn take(&mut self, id: i64, row: &rusqlite::Row<'_>) -> Result<()> {
        let doing = |error| failure(format!("failed to read log row {id}"), error);
        let operation: i64 = row.get(2).map_err(doing)?;
        if operation == operation::MARKER {
            return Ok(());
        }
        let Some(layout) = self.layout.clone() else { return Err(unknown(id)) };
        if !layout.included {
            return Ok(());
        }
        if self.before.is_some() && operation != operation::UPDATE_AFTER {
            return Err(unknown(id));
        }
        if operation == operation::CAPTURED {
            self.is_cut = self.batch.last > self.span.after;
            if self.is_cut {
                return Ok(());
            }
            let reason: String = row.get(FIXED).map_err(doing)?;
            let reason = if reason == FIRST { Reason::First } else { Reason::Again };
            let empty = row.get(FIXED + 1).map_err(doing)?;
            self.batch.captured = Some(Captured { id, layout, reason, empty });
            return Ok(());
        }
        // The first image of an update leaves the time to the second.
        if operation != operation::UPDATE_BEFORE {
            let at = row.get(3).map_err(doing)?;
            if self.at.0 != at {
                self.at = (at, committed_at(at));
            }
        }
        self.id = id;
        let image = image(row, FIXED, layout.table.columns.len()).map_err(doing)?;
        match operation {
            operation::UPDATE_BEFORE => self.before = Some(image),
            operation::UPDATE_AFTER => {
                let before = self.before.take().ok_or_else(|| unknown(id))?;
                self.update((before, image), layout);
            }
            operation::INSERT => self.push(Operation::Insert, (None, Some(image)), layout),
            operation::DELETE => self.push(Operation::Delete, (Some(image), None), layout),
            operation::REFRESHED => {
                self.push(Operation::Update, (None, Some(image)), layout);
            }
            _ => return Err(unknown(id)),
        }
        Ok(())
    }

    /// A change of the key is a delete of the old one and an insert of the new one.
    fn update(&mut self, images: (Row, Row), layout: Arc<Layout>) {
        let (before, after) = images;
        if layout.key.iter().all(|&index| is_same(&before[index], &after[index])) {
            return self.push(Operation::Update, (Some(before), Some(after)), layout);
        }
        self.push(Operation::Delete, (Some(before), None), Arc::clone(&layout));
        self.push(Operation::Insert, (None, Some(after)), layout);
        let first = self.batch.changes.len() - 2;
        for (minor, change) in (0..).zip(&mut self.batch.changes[first..]) {
            change.id = change.id.clone().minor(minor);
        }
    }

    fn push(
        &mut self,
        operation: Operation,
        (before, after): (Option<Row>, Option<Row>),
        layout: Arc<Layout>,
    ) {
        let scope = Arc::clone(self.layouts.incarnation());
        let change = Change {
            id: ChangeId::new(scope).major(self.id.unsigned_abs()),
            table: Arc::clone(&layout.table),
            operation,
            before,
            after,
            committed_at: self.at.1,
            transaction: None,
            metadata: None,
        };
        self.bytes += change.bytes();
        self.batch.changes.push(change);
    }
}

/// How many columns of a log row stand before its values.
const FIXED: usize = 4;

/// What a captured row says of a table that was never captured before.
pub(crate) const FIRST: &str = "first";
pub(crate) const AGAIN: &str = "again";

fn select(names: &Names, width: usize) -> String {
    let values: String = (0..width).map(|index| format!(", v{index}")).collect();
    format!(
        "SELECT id, layout, operation, at{values} FROM {} WHERE id > ?1 AND id <= ?2 ORDER BY id",
        names.log()
    )
}

/// Reads `count` values of a row, from the column at `first` on.
pub(crate) fn image(row: &rusqlite::Row<'_>, first: usize, count: usize) -> rusqlite::Result<Row> {
    let mut values = Vec::with_capacity(count);
    for index in first..first + count {
        values.push(value(row.get_ref(index)?));
    }
    Ok(Row::new(values))
}

/// A value with its storage class, exactly.
pub(crate) fn value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(integer) => Value::Int(integer),
        ValueRef::Real(real) => Value::Float(real),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.into()),
            Err(_) => Value::RawText(bytes.into()),
        },
        ValueRef::Blob(bytes) => Value::Bytes(bytes.into()),
    }
}

fn is_same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Float(left), Value::Float(right)) => left.to_bits() == right.to_bits(),
        _ => left == right,
    }
}

/// SQLite counts milliseconds since noon of -4713-11-24 and gives them as days.
fn committed_at(julian_day: f64) -> Option<Timestamp> {
    const UNIX_EPOCH: i64 = 210_866_760_000_000;
    #[expect(clippy::cast_possible_truncation, reason = "a time beyond 64 bits is out of range")]
    let milliseconds = (julian_day * 86_400_000.0).round() as i64;
    Timestamp::from_millisecond(milliseconds.checked_sub(UNIX_EPOCH)?).ok()
}

fn is_missing(error: &rusqlite::Error) -> bool {
    error.to_string().contains("no such ")
}

fn gap(last: i64, found: i64) -> Error {
    Error::position_lost(format!("the log has no row {} after row {last}, but {found}", last + 1))
        .help("rows were removed by something else; `rowtide checkpoint reset` starts anew")
}

fn unknown(id: i64) -> Error {
    Error::position_lost(format!("log row {id} is damaged or of a newer version"))
        .help("run the newer version, or `rowtide checkpoint reset` to start anew")
}

/// The digest of the log row `id`, all of its columns with their types; none if it is not there.
pub(crate) fn digest(connection: &Connection, names: &Names, id: i64) -> Result<Option<String>> {
    let doing = |error| failure(format!("failed to read log row {id}"), error);
    let sql = format!("SELECT * FROM {} WHERE id = ?1", names.log());
    let mut statement = match connection.prepare_cached(&sql) {
        Ok(statement) => statement,
        Err(error) if is_missing(&error) => return Err(no_log(names)),
        Err(error) => return Err(doing(error)),
    };
    // The log may have grown wider since, by columns that are NULL; a NULL is what is left out.
    let columns = statement.column_count();
    let mut rows = statement.query([id]).map_err(doing)?;
    let Some(row) = rows.next().map_err(doing)? else { return Ok(None) };
    let mut hash = Sha256::new();
    for index in 0..columns {
        let (class, bytes) = match row.get_ref(index).map_err(doing)? {
            ValueRef::Null => continue,
            ValueRef::Integer(integer) => (1_u8, Cow::Owned(integer.to_le_bytes().to_vec())),
            ValueRef::Real(real) => (2, Cow::Owned(real.to_bits().to_le_bytes().to_vec())),
            ValueRef::Text(text) => (3, Cow::Borrowed(text)),
            ValueRef::Blob(blob) => (4, Cow::Borrowed(blob)),
        };
        hash.update((index as u64).to_le_bytes());
        hash.update([class]);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(&bytes);
    }
    Ok(Some(hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()))
}

/// The last row of the log.
pub(crate) fn last(connection: &Connection, names: &Names) -> Result<Option<i64>> {
    let sql = format!("SELECT max(id) FROM {}", names.log());
    match connection.query_row(&sql, [], |row| row.get(0)) {
        Ok(last) => Ok(last),
        Err(error) if is_missing(&error) => Err(no_log(names)),
        Err(error) => Err(failure("failed to read the log", error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_julian_day_is_exact_to_the_millisecond() {
        let connection = Connection::open_in_memory().unwrap();
        for text in ["2026-11-21 10:00:00.123", "1970-01-01 00:00:00", "2099-12-31 23:59:59.999"] {
            let day =
                connection.query_row("SELECT julianday(?1)", [text], |row| row.get(0)).unwrap();
            let expected: Timestamp = format!("{}Z", text.replace(' ', "T")).parse().unwrap();
            assert_eq!(committed_at(day), Some(expected));
        }
    }
}
