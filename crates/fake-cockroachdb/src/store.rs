//! A small MVCC store: every version of every row, and a log of them in the order of commit.

mod definition;
mod schema;
mod selection;
mod transaction;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

pub use schema::{Column, Image, Schema};
pub use selection::Answer;
pub(crate) use selection::gc_error;
pub(crate) use transaction::fulfils;

use crate::{Hlc, sql::SqlError};

/// All tables of a database, and their history.
pub(crate) struct Store {
    pub(crate) database: String,
    pub(crate) tables: Vec<Table>,
    /// What was committed, in order.
    log: Vec<Arc<Commit>>,
    last: Hlc,
    /// What is older has been forgotten.
    pub(crate) gc_threshold: Hlc,
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) unreadable: BTreeSet<String>,
}

/// A table, dropped or not.
pub(crate) struct Table {
    /// With its schema, without the database.
    pub(crate) name: String,
    pub(crate) kind: TableKind,
    pub(crate) schema: Arc<Schema>,
    pub(crate) created: Hlc,
    pub(crate) dropped: bool,
    pub(crate) gc_ttl_seconds: u64,
    rows: BTreeMap<Arc<str>, Vec<Version>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableKind {
    Table,
    View,
}

/// A row from `at` on.
struct Version {
    at: Hlc,
    mvcc: Hlc,
    image: Option<Image>,
}

/// Something that a changefeed tells.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Commit {
    Row(RowCommit),
    /// The table cannot be read any more, and what a changefeed says then.
    Gone {
        table: usize,
        at: Hlc,
        message: String,
    },
}

/// A new version of a row, or an old one under a new schema.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RowCommit {
    pub(crate) table: usize,
    pub(crate) key: Arc<str>,
    /// The time of the commit, of the scan or of the change of the schema.
    pub(crate) updated: Hlc,
    /// The time at which the row got its values.
    pub(crate) mvcc: Hlc,
    pub(crate) before: Option<Image>,
    pub(crate) after: Option<Image>,
}

impl Store {
    pub(crate) fn new(database: &str) -> Self {
        let settings = [("kv.rangefeed.enabled", "true"), ("feature.changefeed.enabled", "true")];
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            database: database.to_owned(),
            tables: Vec::new(),
            log: Vec::new(),
            last: Hlc::default(),
            gc_threshold: Hlc::default(),
            settings: settings.into_iter().map(owned).collect(),
            unreadable: BTreeSet::new(),
        }
    }

    /// A time after all that was committed; nothing is committed up to it any more.
    pub(crate) fn now(&mut self) -> Hlc {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        self.last = match wall > self.last.wall {
            true => Hlc { wall, logical: 0 },
            false => Hlc { logical: self.last.logical + 1, ..self.last },
        };
        self.last
    }

    /// The table of a name with or without schema and database.
    pub(crate) fn table(&self, name: &str) -> Result<&Table, SqlError> {
        let index = self.table_index(name)?;
        Ok(&self.tables[index])
    }

    fn table_mut(&mut self, name: &str) -> Result<&mut Table, SqlError> {
        let index = self.table_index(name)?;
        Ok(&mut self.tables[index])
    }

    pub(crate) fn table_index(&self, name: &str) -> Result<usize, SqlError> {
        let full = self.qualified(name);
        let is = |table: &Table| !table.dropped && table.name == full;
        let missing = || SqlError::new("42P01", format!("relation \"{name}\" does not exist"));
        self.tables.iter().position(is).ok_or_else(missing)
    }

    /// `orders`, `public.orders` and `shop.public.orders` are one name.
    pub(crate) fn qualified(&self, name: &str) -> String {
        let own = name.strip_prefix(&format!("{}.", self.database)).unwrap_or(name);
        if own.contains('.') { own.to_owned() } else { format!("public.{own}") }
    }

    /// The commits from the place `from` of the log on.
    pub(crate) fn since(&self, from: usize, limit: usize) -> &[Arc<Commit>] {
        let from = from.min(self.log.len());
        &self.log[from..self.log.len().min(from + limit)]
    }

    /// The place in the log right behind what was committed up to `at`.
    pub(crate) fn place_after(&self, at: Hlc) -> usize {
        self.log.partition_point(|commit| match &**commit {
            Commit::Row(row) => row.updated <= at,
            Commit::Gone { at: gone, .. } => *gone <= at,
        })
    }

    pub(crate) fn log_length(&self) -> usize {
        self.log.len()
    }

    /// The rows of a table as they were at `at`, each as a scan tells it.
    pub(crate) fn scan(&self, table: usize, at: Hlc) -> Vec<Arc<Commit>> {
        let rows = self.tables[table].rows.iter();
        let commit = |(key, version): (&Arc<str>, &Version)| {
            Arc::new(Commit::Row(RowCommit {
                table,
                key: Arc::clone(key),
                updated: at,
                mvcc: version.mvcc,
                before: None,
                after: version.image.clone(),
            }))
        };
        rows.filter_map(|(key, versions)| Some((key, version_at(versions, at)?)))
            .filter(|(_, version)| version.image.is_some())
            .map(commit)
            .collect()
    }

    /// Keeps a version, and tells changefeeds of it.
    fn append(&mut self, row: RowCommit) {
        let version = Version { at: row.updated, mvcc: row.mvcc, image: row.after.clone() };
        self.tables[row.table].rows.entry(Arc::clone(&row.key)).or_default().push(version);
        self.log.push(Arc::new(Commit::Row(row)));
    }

    /// Forgets what is older than now, so that no changefeed can begin there.
    pub(crate) fn collect_garbage(&mut self) {
        self.gc_threshold = self.now();
    }
}

impl Table {
    /// The row of a key, as it is now.
    fn current(&self, key: &str) -> Option<&Version> {
        self.rows.get(key)?.last()
    }

    /// All rows as they are now.
    fn all(&self) -> impl Iterator<Item = (&Arc<str>, &Image, Hlc)> {
        self.rows.iter().filter_map(|(key, versions)| {
            let version = versions.last()?;
            Some((key, version.image.as_ref()?, version.mvcc))
        })
    }
}

fn version_at(versions: &[Version], at: Hlc) -> Option<&Version> {
    let later = versions.partition_point(|version| version.at <= at);
    versions[..later].last()
}
