use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use prost::bytes::Bytes;
use serde_json::Value as Json;

use super::{Rows, transaction::Changed};
use crate::{
    datum::Datum,
    schema::{Capture, Dialect, Table},
};

/// Rows of a table that a transaction changed in the same way, as one partition tells of them.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) at: Timestamp,
    pub(crate) sequence: String,
    pub(crate) transaction: Arc<str>,
    pub(crate) tag: Arc<str>,
    pub(crate) is_last: bool,
    pub(crate) table: String,
    pub(crate) columns: Arc<[ToldColumn]>,
    pub(crate) mods: Vec<Mod>,
    pub(crate) mod_type: &'static str,
    pub(crate) capture: Capture,
    pub(crate) records: usize,
    pub(crate) partitions: usize,
    /// The row that tells it, as it goes over the wire.
    pub(crate) encoded: OnceLock<Bytes>,
}

/// A column that a record tells of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ToldColumn {
    pub(crate) name: String,
    /// The type as JSON.
    pub(crate) kind: String,
    pub(crate) is_key: bool,
    pub(crate) ordinal: usize,
}

/// One changed row, as JSON objects.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mod {
    pub(crate) keys: String,
    pub(crate) new_values: String,
    pub(crate) old_values: String,
}

/// One changed row as the change stream tells it, and where.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Told {
    pub token: String,
    pub committed_at: Timestamp,
    pub transaction: String,
    pub sequence: String,
    /// Which of its record's rows.
    pub number: usize,
    pub table: String,
    pub mod_type: &'static str,
    pub keys: String,
    pub new_values: String,
    pub old_values: String,
}

/// What the records of a transaction have in common.
pub(crate) struct Scope {
    pub(crate) at: Timestamp,
    pub(crate) transaction: Arc<str>,
    pub(crate) tag: Arc<str>,
    pub(crate) capture: Capture,
    pub(crate) dialect: Dialect,
}

impl Record {
    /// The rows that it tells of.
    pub(crate) fn told(&self, token: &str) -> impl Iterator<Item = Told> {
        self.mods.iter().enumerate().map(move |(number, row)| Told {
            token: token.to_owned(),
            committed_at: self.at,
            transaction: self.transaction.to_string(),
            sequence: self.sequence.clone(),
            number,
            table: self.table.clone(),
            mod_type: self.mod_type,
            keys: row.keys.clone(),
            new_values: row.new_values.clone(),
            old_values: row.old_values.clone(),
        })
    }
}

/// The records of a transaction, each with the token of its partition.
pub(crate) fn of_transaction(
    scope: &Scope,
    tables: &[Rows],
    changed: &[Changed],
    token: impl Fn(&Changed) -> Arc<str>,
) -> Vec<(Arc<str>, Record)> {
    let mut records: Vec<(Arc<str>, Record)> = Vec::new();
    for row in changed.iter().filter(|row| tables[row.table].table.is_watched) {
        let rows = &tables[row.table];
        let Some(mod_type) = mod_type(&rows.table, row) else { continue };
        let token = token(row);
        let columns = columns(scope, rows, row, mod_type);
        let change = images(scope.capture, rows, row, &columns);
        let columns = told_columns(scope.dialect, rows, &columns);
        let same = records.iter_mut().find(|(own, record)| {
            *own == token
                && record.table == rows.table.name
                && record.mod_type == mod_type
                && *record.columns == *columns
        });
        match same {
            Some((_, record)) => record.mods.push(change),
            None => {
                records.push((token, record(scope, &rows.table.name, mod_type, columns, change)))
            }
        }
    }
    number(&mut records);
    records
}

fn record(
    scope: &Scope,
    table: &str,
    mod_type: &'static str,
    columns: Vec<ToldColumn>,
    change: Mod,
) -> Record {
    Record {
        at: scope.at,
        sequence: String::new(),
        transaction: Arc::clone(&scope.transaction),
        tag: Arc::clone(&scope.tag),
        is_last: false,
        table: table.to_owned(),
        columns: columns.into(),
        mods: vec![change],
        mod_type,
        capture: scope.capture,
        records: 0,
        partitions: 0,
        encoded: OnceLock::new(),
    }
}

/// What is known only once the transaction is whole.
fn number(records: &mut [(Arc<str>, Record)]) {
    let count = records.len();
    let mut tokens: Vec<_> = records.iter().map(|(token, _)| Arc::clone(token)).collect();
    tokens.sort();
    tokens.dedup();
    for index in 0..count {
        let is_last = records[index + 1..].iter().all(|(token, _)| *token != records[index].0);
        let record = &mut records[index].1;
        record.sequence = format!("{index:08}");
        record.is_last = is_last;
        record.records = count;
        record.partitions = tokens.len();
    }
}

/// What really happened to a row; nothing to one that was added and removed.
/// Of a row of which only the key was written nothing is told, unless it is new.
fn mod_type(table: &Table, row: &Changed) -> Option<&'static str> {
    let is_told = || row.written.iter().any(|place| !table.columns[*place].is_key);
    match (&row.before, &row.after) {
        (None, Some(_)) => Some("INSERT"),
        (Some(_), Some(_)) => is_told().then_some("UPDATE"),
        (Some(_), None) => Some("DELETE"),
        (None, None) => None,
    }
}

/// The places of the columns that are told of, those of the key included.
fn columns(scope: &Scope, rows: &Rows, row: &Changed, mod_type: &str) -> Vec<usize> {
    let is_told = |place: &usize| {
        rows.table.columns[*place].is_key
            || mod_type != "UPDATE"
            || scope.capture.has_whole_row()
            || row.written.contains(place)
    };
    (0..rows.table.columns.len()).filter(is_told).collect()
}

fn told_columns(dialect: Dialect, rows: &Rows, places: &[usize]) -> Vec<ToldColumn> {
    let column = |&place: &usize| {
        let column = &rows.table.columns[place];
        let kind = column.kind.json(dialect);
        ToldColumn { name: column.name.clone(), kind, is_key: column.is_key, ordinal: place + 1 }
    };
    places.iter().map(column).collect()
}

fn images(capture: Capture, rows: &Rows, row: &Changed, places: &[usize]) -> Mod {
    let others = |wanted: &dyn Fn(usize) -> bool| -> Vec<usize> {
        let other = |place: &&usize| !rows.table.columns[**place].is_key && wanted(**place);
        places.iter().filter(other).copied().collect()
    };
    let all = |_| true;
    let object = |of: &[Datum], places: Vec<usize>| object(rows, of, places);
    let of_key = |of: &[Datum]| object(of, rows.key().collect());
    let none = || "{}".to_owned();
    match (&row.before, &row.after) {
        (Some(before), Some(after)) => {
            let modified = |place: usize| row.written.contains(&place);
            let old = || object(before, others(&modified));
            Mod {
                keys: of_key(after),
                new_values: object(after, others(&all)),
                old_values: if capture.has_old() { old() } else { none() },
            }
        }
        (_, Some(after)) => {
            Mod { keys: of_key(after), new_values: object(after, others(&all)), old_values: none() }
        }
        (Some(before), None) => Mod {
            keys: of_key(before),
            new_values: none(),
            old_values: if capture.has_old() { object(before, others(&all)) } else { none() },
        },
        (None, None) => Mod { keys: none(), new_values: none(), old_values: none() },
    }
}

fn object(rows: &Rows, row: &[Datum], places: Vec<usize>) -> String {
    let member = |place: usize| {
        let name = Json::from(rows.table.columns[place].name.as_str());
        format!("{name}:{}", row[place].json())
    };
    let members: Vec<_> = places.into_iter().map(member).collect();
    format!("{{{}}}", members.join(","))
}
