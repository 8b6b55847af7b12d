//! The statements on one table.

use std::{fmt::Write as _, time::Duration};

use rowtide_core::Value;
use rowtide_failpoint::reach;
use rowtide_sql::TableName;
use rusqlite::{
    Connection, OptionalExtension, Row, TransactionBehavior, params,
    types::{Type, Value as Cell, ValueRef},
};
use sha2::{Digest, Sha256};

use crate::{
    config::{Done, Order, OutboxConfig},
    database::sqlite::{catalog::Found, quote},
    keys::{Key, Keys},
    layout::{FoundRow, Messages, id_column},
};

/// How many rows one transaction settles; a few milliseconds' worth, for which all others wait.
const ROWS_MAX: usize = 2_000;

/// The time, as the marks have it.
const NOW: &str = "strftime('%Y-%m-%d %H:%M:%f', 'now')";

/// The statements, as far as they are the same each time.
#[derive(Debug)]
pub(super) struct Statements {
    table: String,
    /// The column of the key, quoted.
    column: String,
    pub(super) is_numbered: bool,
    list: String,
    todo: String,
    done: Done,
    done_column: String,
    batch_rows: usize,
    pub(super) rows_max: usize,
    pub(super) bytes_max: usize,
}

impl Statements {
    pub(super) fn new(
        config: &OutboxConfig,
        table: &TableName,
        found: &Found,
        messages: &Messages,
    ) -> Self {
        // As they are in the table, whose names have no case.
        let spelled = |name: &str| match found.column(name) {
            Some(column) => quote(&column.name),
            None => quote(name),
        };
        let is_numbered = config.order == Order::Transactions;
        let column = if is_numbered { &config.order_column } else { id_column(config) };
        let list: Vec<_> = messages.selection().iter().map(|name| spelled(name)).collect();
        let done_column = spelled(&config.done_column);
        let todo = match config.done {
            Done::Mark => format!("{done_column} IS NULL"),
            Done::Delete | Done::Keep => "TRUE".to_owned(),
        };
        let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            table: quote(table.name()),
            column: spelled(column),
            is_numbered,
            list: list.join(", "),
            todo,
            done: config.done,
            done_column,
            batch_rows: number(config.delete_rows.get()).min(ROWS_MAX),
            rows_max: number(config.page_rows.get()),
            bytes_max: usize::try_from(config.page_bytes.0).unwrap_or(usize::MAX),
        }
    }

    /// Whether nothing is settled.
    pub(super) fn keeps(&self) -> bool {
        self.done == Done::Keep
    }

    /// Some rows behind `after` in the order of their keys that `is_new` lets through, and whether
    /// there are no more. The read is over when this returns.
    pub(super) fn rows(
        &self,
        connection: &Connection,
        after: Option<&Key>,
        mut is_new: impl FnMut(&Key) -> bool,
    ) -> rusqlite::Result<(Vec<FoundRow>, bool)> {
        let Self { table, column, list, todo, .. } = self;
        let behind =
            if after.is_some() { format!("{column} > ?") } else { "?1 IS NULL".to_owned() };
        let select = format!(
            "SELECT {column}, {list} FROM {table} WHERE {todo} AND {behind} ORDER BY {column}"
        );
        let mut statement = connection.prepare_cached(&select)?;
        let mut answer = statement.query([after.map_or(Cell::Null, cell)])?;
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while let Some(row) = answer.next()? {
            let key = self.key(row)?;
            if !is_new(&key) {
                continue;
            }
            let width = row.as_ref().column_count();
            let values = (1..width).map(|index| row.get_ref(index).map(value));
            let values = values.collect::<rusqlite::Result<Box<[_]>>>()?;
            bytes += values.iter().map(Value::bytes).sum::<usize>();
            rows.push(FoundRow { key, values });
            if rows.len() >= self.rows_max || bytes >= self.bytes_max {
                return Ok((rows, false));
            }
        }
        Ok((rows, true))
    }

    /// A digest of the row of this number; `None` if there is no such row.
    pub(super) fn digest(
        &self,
        connection: &Connection,
        seq: i64,
    ) -> rusqlite::Result<Option<String>> {
        let Self { table, column, list, .. } = self;
        let select = format!("SELECT {list} FROM {table} WHERE {column} = ?");
        let mut statement = connection.prepare_cached(&select)?;
        let digest = |row: &Row<'_>| {
            let mut digest = Sha256::new();
            for index in 0..row.as_ref().column_count() {
                let value = value(row.get_ref(index)?);
                // Values of different types have different forms, whose lengths keep them apart.
                let text = format!("{value:?}");
                digest.update(text.len().to_le_bytes());
                digest.update(text);
            }
            let mut text = String::new();
            for byte in digest.finalize().iter().take(16) {
                // Writing to a string cannot fail.
                let _ = write!(text, "{byte:02x}");
            }
            Ok(text)
        };
        statement.query_row([seq], digest).optional()
    }

    /// Deletes or marks the rows of these keys, each by itself.
    pub(super) fn settle(&self, connection: &mut Connection, keys: &Keys) -> rusqlite::Result<()> {
        let Self { table, column, done_column, todo, .. } = self;
        let statement = match self.done {
            Done::Mark => {
                format!("UPDATE {table} SET {done_column} = {NOW} WHERE {column} = ? AND {todo}")
            }
            Done::Delete | Done::Keep => format!("DELETE FROM {table} WHERE {column} = ?"),
        };
        let seqs = keys.seqs().map(Key::Seq);
        let keys: Vec<_> = seqs.chain(keys.ids().map(|id| Key::Id(id.into()))).collect();
        for batch in keys.chunks(self.batch_rows) {
            let behavior = TransactionBehavior::Immediate;
            let transaction = connection.transaction_with_behavior(behavior)?;
            {
                let mut statement = transaction.prepare_cached(&statement)?;
                for key in batch {
                    statement.execute([cell(key)])?;
                }
            }
            reach!("outbox: deletion not committed");
            transaction.commit()?;
        }
        Ok(())
    }

    /// Deletes rows that were marked longer ago, and returns how many.
    pub(super) fn clean(
        &self,
        connection: &Connection,
        marked_for: Duration,
    ) -> rusqlite::Result<u64> {
        let Self { table, column, done_column, batch_rows, .. } = self;
        let age = format!("-{} seconds", marked_for.as_secs_f64());
        let delete = format!(
            "DELETE FROM {table} WHERE {column} IN (SELECT {column} FROM {table} \
             WHERE {done_column} < strftime('%Y-%m-%d %H:%M:%f', 'now', ?) LIMIT {batch_rows})"
        );
        let deleted = connection.execute(&delete, params![age])?;
        Ok(u64::try_from(deleted).unwrap_or(u64::MAX))
    }

    fn key(&self, row: &Row<'_>) -> rusqlite::Result<Key> {
        if self.is_numbered {
            return row.get(0).map(Key::Seq);
        }
        Ok(Key::Id(match row.get_ref(0)? {
            ValueRef::Text(text) => match str::from_utf8(text) {
                Ok(text) => format!("t{text}").into(),
                Err(_) => return Err(unfit(Type::Text, "is not of UTF-8")),
            },
            ValueRef::Integer(number) => format!("i{number}").into(),
            ValueRef::Blob(bytes) => {
                bytes.iter().fold("b".to_owned(), |text, byte| format!("{text}{byte:02x}")).into()
            }
            ValueRef::Null => return Err(unfit(Type::Null, "is NULL")),
            ValueRef::Real(_) => return Err(unfit(Type::Real, "is a REAL")),
        }))
    }
}

/// A row that could neither be deleted nor marked, and would come again for ever.
fn unfit(kind: Type, why: &str) -> rusqlite::Error {
    let told = format!(
        "the id of a row {why}, which does not find the row again; with order = \"none\" an id must \
         be a text, an integer or a blob"
    );
    rusqlite::Error::FromSqlConversionFailure(0, kind, told.into())
}

/// What a key is in the table. An id begins with its type.
fn cell(key: &Key) -> Cell {
    let id = match key {
        Key::Seq(seq) => return Cell::Integer(*seq),
        Key::Id(id) => id,
    };
    let (kind, rest) = id.split_at_checked(1).unwrap_or_default();
    match kind {
        "t" => Cell::Text(rest.to_owned()),
        "i" => rest.parse().map_or(Cell::Null, Cell::Integer),
        "b" => {
            let digits =
                rest.as_bytes().chunks(2).map(|two| str::from_utf8(two).unwrap_or_default());
            let bytes = digits.map(|two| u8::from_str_radix(two, 16));
            bytes.collect::<Result<_, _>>().map_or(Cell::Null, Cell::Blob)
        }
        _ => Cell::Null,
    }
}

fn value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Real(number) => Value::Float(number),
        ValueRef::Text(bytes) => match str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.into()),
            Err(_) => Value::RawText(bytes.into()),
        },
        ValueRef::Blob(bytes) => Value::Bytes(bytes.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_again_by_its_key() {
        for (id, cell_of_id) in [
            ("t", Cell::Text(String::new())),
            ("ti7", Cell::Text("i7".to_owned())),
            ("i-7", Cell::Integer(-7)),
            ("b00ff", Cell::Blob(vec![0, 255])),
            ("b0", Cell::Blob(vec![0])),
            ("bx", Cell::Null),
            ("", Cell::Null),
        ] {
            assert_eq!(cell(&Key::Id(id.into())), cell_of_id, "{id}");
        }
    }
}
