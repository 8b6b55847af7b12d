use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tonic::Status;

use super::{Row, Rows};
use crate::datum::{Datum, Key};

/// Writes that are committed together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transaction {
    pub writes: Vec<Write>,
    pub tag: String,
}

/// What is done to one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    pub table: String,
    pub operation: WriteOperation,
    /// The columns that are written; of a row that is deleted those of its key, or none at all.
    pub columns: Vec<String>,
    pub values: Vec<Datum>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOperation {
    Insert,
    Update,
    /// Inserts, or updates.
    Upsert,
    /// Inserts, or removes and inserts.
    Replace,
    Delete,
}

/// What becomes of a row in a transaction.
pub(crate) struct Changed {
    /// Which table.
    pub(crate) table: usize,
    pub(crate) key: Key,
    pub(crate) before: Option<Row>,
    pub(crate) after: Option<Row>,
    /// The places of the columns that were written.
    pub(crate) written: BTreeSet<usize>,
}

impl Write {
    pub fn new(table: &str, operation: WriteOperation, cells: &[(&str, Datum)]) -> Self {
        Self {
            table: table.to_owned(),
            operation,
            columns: cells.iter().map(|(name, _)| (*name).to_owned()).collect(),
            values: cells.iter().map(|(_, value)| value.clone()).collect(),
        }
    }
}

impl From<Vec<Write>> for Transaction {
    fn from(writes: Vec<Write>) -> Self {
        Self { writes, tag: String::new() }
    }
}

/// What becomes of each row that a transaction writes to, in the order of the first writes.
pub(crate) fn rows(tables: &[Rows], transaction: &Transaction) -> Result<Vec<Changed>, Status> {
    let mut changed: Vec<Changed> = Vec::new();
    let mut known: BTreeMap<(usize, Key), usize> = BTreeMap::new();
    for write in &transaction.writes {
        let table = tables.iter().position(|rows| rows.table.name == write.table);
        let Some(table) = table else {
            return Err(Status::not_found(format!("Table not found: {}", write.table)));
        };
        let (key, cells) = cells(&tables[table], write)?;
        let index = *known.entry((table, key.clone())).or_insert_with(|| {
            let before = tables[table].current(&key);
            let after = before.clone();
            changed.push(Changed { table, key, before, after, written: BTreeSet::new() });
            changed.len() - 1
        });
        changed[index].write(&tables[table], write, &cells)?;
    }
    Ok(changed)
}

/// The key of a row, and the other columns that are written.
fn cells(rows: &Rows, write: &Write) -> Result<(Key, Vec<(usize, Datum)>), Status> {
    if write.columns.is_empty() && write.operation == WriteOperation::Delete {
        return Ok((Key(write.values.clone()), Vec::new()));
    }
    let mut cells = Vec::new();
    for (name, value) in write.columns.iter().zip(&write.values) {
        let place = rows.table.place(name).ok_or_else(|| {
            Status::not_found(format!("Column not found in table {}: {name}", write.table))
        })?;
        cells.push((place, value.clone()));
    }
    let of_key = |place| {
        let cell = cells.iter().find(|(own, _)| *own == place);
        cell.map(|(_, value)| value.clone()).ok_or_else(|| {
            Status::failed_precondition(format!("Missing key column of table {}", write.table))
        })
    };
    let key = Key(rows.key().map(of_key).collect::<Result<_, _>>()?);
    Ok((key, cells))
}

/// What stands for the time of the commit.
const COMMIT_TIMESTAMP: &str = "spanner.commit_timestamp()";

impl Changed {
    /// Writes the time of the commit where that was asked for.
    pub(crate) fn stamp(&mut self, at: Timestamp) {
        let is_asked_for = |cell: &Datum| *cell == Datum::text(COMMIT_TIMESTAMP);
        let Some(row) = self.after.as_ref().filter(|row| row.iter().any(is_asked_for)) else {
            return;
        };
        let stamped = |cell: &Datum| match is_asked_for(cell) {
            true => Datum::text(at.to_string()),
            false => cell.clone(),
        };
        self.after = Some(row.iter().map(stamped).collect());
    }

    fn write(
        &mut self,
        rows: &Rows,
        write: &Write,
        cells: &[(usize, Datum)],
    ) -> Result<(), Status> {
        let named = || format!("Row {:?} in table {}", self.key.0, write.table);
        let base = match (write.operation, &self.after) {
            (WriteOperation::Insert, Some(_)) => {
                return Err(Status::already_exists(format!("{} already exists", named())));
            }
            (WriteOperation::Update, None) => {
                return Err(Status::not_found(format!("{} not found", named())));
            }
            (WriteOperation::Delete, _) => {
                self.after = None;
                return Ok(());
            }
            (WriteOperation::Update | WriteOperation::Upsert, Some(row)) => row.to_vec(),
            _ => {
                self.written.extend(0..rows.table.columns.len());
                vec![Datum::Null; rows.table.columns.len()]
            }
        };
        let mut row = base;
        for (place, value) in cells {
            row[*place] = value.clone();
            self.written.insert(*place);
        }
        self.after = Some(row.into());
        Ok(())
    }
}
