//! What the database holds: rows with all their versions, and what its change stream tells of them.

mod partitions;
mod record;
mod transaction;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tonic::Status;

pub use partitions::Lineage;
pub(crate) use partitions::{Partition, Partitions};
pub(crate) use record::Record;
pub use record::Told;
pub use transaction::{Transaction, Write, WriteOperation};

use crate::{
    datum::{Datum, Key},
    messages::Field,
    schema::{Capture, Dialect, Table},
};

pub(crate) struct Store {
    pub(crate) dialect: Dialect,
    pub(crate) stream: Option<ChangeStream>,
    pub(crate) partitions: Partitions,
    pub(crate) tables: Vec<Rows>,
    /// Rows as they were before this are gone.
    pub(crate) oldest_version: Timestamp,
    /// No commit that comes is at this time or before.
    last: Timestamp,
    /// Where partitions have just begun; a commit may be at that very time.
    beginning: Option<Timestamp>,
    transactions: u64,
}

pub(crate) struct ChangeStream {
    pub(crate) name: String,
    pub(crate) capture: Capture,
    pub(crate) retention: Duration,
    /// What was committed before this is not told any more.
    pub(crate) earliest: Timestamp,
    pub(crate) is_mutable: bool,
}

/// A table and the versions of its rows.
pub(crate) struct Rows {
    pub(crate) table: Table,
    /// When a row was written last.
    pub(crate) changed_at: Timestamp,
    versions: BTreeMap<Key, Vec<Version>>,
}

struct Version {
    at: Timestamp,
    row: Option<Row>,
}

pub(crate) type Row = Arc<[Datum]>;

impl Store {
    pub(crate) fn new(dialect: Dialect, stream: ChangeStream, tables: Vec<Table>) -> Self {
        let last = now();
        let tables = tables.into_iter().map(Rows::new).collect();
        Self {
            dialect,
            stream: Some(ChangeStream { earliest: last, ..stream }),
            partitions: Partitions::default(),
            tables,
            oldest_version: last,
            last,
            beginning: None,
            transactions: 0,
        }
    }

    /// A time that no commit so far is after, and every later one is.
    pub(crate) fn tick(&mut self) -> Timestamp {
        self.beginning = None;
        self.last = now().max(after(self.last));
        self.last
    }

    /// Waits for no one: as [`tick`](Self::tick), but not before a time that has come.
    pub(crate) fn pass(&mut self, at: Timestamp) -> bool {
        let has_come = now() >= at;
        if has_come {
            self.beginning = None;
            self.last = self.last.max(at);
        }
        has_come
    }

    /// Ends partitions that lie side by side, and begins so many in their place.
    pub(crate) fn reshape(&mut self, parents: &[String], children: usize) -> Result<(), Status> {
        let at = self.tick();
        self.partitions.reshape(parents, children, at)?;
        self.last = before(at);
        self.beginning = Some(at);
        Ok(())
    }

    /// Commits these transactions, all at one time; their rows must not be the same.
    pub(crate) fn commit(&mut self, transactions: &[Transaction]) -> Result<Timestamp, Status> {
        let mut changes = Vec::new();
        for transaction in transactions {
            changes.push((transaction, transaction::rows(&self.tables, transaction)?));
        }
        let at = match self.beginning.take() {
            Some(at) => {
                self.last = at;
                at
            }
            None => self.tick(),
        };
        for (transaction, mut changed) in changes {
            self.transactions += 1;
            changed.iter_mut().for_each(|row| row.stamp(at));
            if let Some(stream) = &self.stream {
                let scope = record::Scope {
                    at,
                    transaction: format!("{:020}", self.transactions).into(),
                    tag: transaction.tag.as_str().into(),
                    capture: stream.capture,
                    dialect: self.dialect,
                };
                let records = record::of_transaction(&scope, &self.tables, &changed, |row| {
                    self.partitions.token(&self.tables[row.table].table.name, &row.key)
                });
                self.partitions.tell(records);
            }
            for row in changed {
                let rows = &mut self.tables[row.table];
                rows.changed_at = at;
                let versions = rows.versions.entry(row.key).or_default();
                versions.push(Version { at, row: row.after });
            }
        }
        Ok(at)
    }

    pub(crate) fn define(&mut self, table: Table) {
        self.tables.push(Rows::new(table));
    }

    pub(crate) fn table(&self, name: &str) -> Result<&Rows, Status> {
        let found = self.tables.iter().find(|rows| rows.table.name.eq_ignore_ascii_case(name));
        found.ok_or_else(|| Status::not_found(format!("Table not found: {name}")))
    }

    /// The earliest start that the change stream takes.
    pub(crate) fn earliest(&self) -> Option<Timestamp> {
        let stream = self.stream.as_ref()?;
        let retention = SignedDuration::try_from(stream.retention).ok()?;
        let kept = now().checked_sub(retention).unwrap_or(Timestamp::MIN);
        Some(stream.earliest.max(kept))
    }
}

impl Rows {
    fn new(table: Table) -> Self {
        Self { table, changed_at: Timestamp::MIN, versions: BTreeMap::new() }
    }

    /// The row of a key as it was at a time.
    pub(crate) fn row_at(&self, key: &Key, at: Timestamp) -> Option<&Row> {
        let versions = self.versions.get(key)?;
        let known = versions.partition_point(|version| version.at <= at);
        versions[known.checked_sub(1)?].row.as_ref()
    }

    /// The first column of the key of each row that was written, and when; not of those removed.
    pub(crate) fn writes(&self) -> impl Iterator<Item = (String, Timestamp)> {
        let of_row = |(key, versions): (&Key, &Vec<Version>)| {
            let key = match key.0.first() {
                Some(Datum::Text(text)) => text.clone(),
                other => format!("{other:?}"),
            };
            let written = versions.iter().filter(|version| version.row.is_some());
            written.map(|version| (key.clone(), version.at)).collect::<Vec<_>>()
        };
        self.versions.iter().flat_map(of_row)
    }

    /// The rows as they were at a time, in the order of their keys.
    pub(crate) fn at(&self, at: Timestamp) -> impl Iterator<Item = (&Key, &Row)> {
        let then = move |versions: &Vec<Version>| {
            let known = versions.partition_point(|version| version.at <= at);
            known.checked_sub(1)
        };
        self.versions.iter().filter_map(move |(key, versions)| {
            let row = versions[then(versions)?].row.as_ref()?;
            Some((key, row))
        })
    }

    pub(crate) fn fields(&self, columns: &[usize], dialect: Dialect) -> Vec<Field> {
        let field = |&place: &usize| Field {
            name: self.table.columns[place].name.clone(),
            r#type: Some(self.table.columns[place].kind.message(dialect)),
        };
        columns.iter().map(field).collect()
    }

    fn current(&self, key: &Key) -> Option<Row> {
        self.versions.get(key)?.last()?.row.clone()
    }

    /// The places of the key's columns.
    pub(crate) fn key(&self) -> impl Iterator<Item = usize> {
        let columns = self.table.columns.iter().enumerate();
        columns.filter(|(_, column)| column.is_key).map(|(place, _)| place)
    }
}

/// The time, as exact as a commit's.
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

const MICROSECOND: SignedDuration = SignedDuration::from_micros(1);

fn after(at: Timestamp) -> Timestamp {
    at.checked_add(MICROSECOND).unwrap_or(at)
}

fn before(at: Timestamp) -> Timestamp {
    at.checked_sub(MICROSECOND).unwrap_or(at)
}
