//! The statements on one table.

use std::time::Duration;

use rowtide_sql::{Dialect, TableName};
use sqlx::{Row, mysql::MySqlRow};

use crate::{
    config::{Done, Order, OutboxConfig},
    database::mysql::{
        catalog::Found,
        quote,
        values::{self, Wire},
    },
    keys::{Key, Keys},
    layout::{FoundRow, Messages, id_column},
};

/// How many rows one statement settles at most, and holds locks on.
const KEYS_MAX: usize = 10_000;

/// The statements, as far as they are the same each time.
#[derive(Clone, Debug)]
pub(super) struct Statements {
    table: String,
    /// The column of the key, quoted.
    column: String,
    form: Form,
    /// The index that finds a row by its key.
    index: String,
    /// The index that finds what is to be delivered.
    todo_index: String,
    todo: String,
    done_column: String,
    done: Done,
    batch_rows: usize,
    list: String,
    wires: Vec<Wire>,
    /// Where the column is whose 16 bytes are a UUID.
    id: Option<usize>,
}

/// How a key is a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Number,
    Text,
    Hexadecimal,
}

impl Statements {
    pub(super) fn new(
        config: &OutboxConfig,
        table: &TableName,
        found: &Found,
        messages: &Messages,
    ) -> Self {
        let id = id_column(config);
        let column = match config.order {
            Order::Transactions => config.order_column.as_str(),
            Order::None => id,
        };
        let wire = |name: &str| found.column(name).map_or(Wire::Cast, |column| column.wire);
        let form = match (config.order, wire(column)) {
            (Order::Transactions, _) => Form::Number,
            (_, Wire::Bytes | Wire::Binary16) => Form::Hexadecimal,
            _ => Form::Text,
        };
        let names = messages.selection();
        let wires: Vec<_> = names.iter().map(|name| wire(name)).collect();
        let list = names.iter().zip(&wires).map(|(name, wire)| wire.expression(name));
        let list = list.collect::<Vec<_>>().join(", ");
        let index = found.unique_index(column).map(quote).unwrap_or_default();
        let done_column = quote(&config.done_column);
        let (todo, todo_index) = match config.done {
            Done::Mark => (
                format!("{done_column} IS NULL"),
                found.index_from(&config.done_column).map_or(index.clone(), quote),
            ),
            Done::Delete | Done::Keep => ("TRUE".to_owned(), index.clone()),
        };
        Self {
            table: table.quoted(Dialect::MySql),
            column: quote(column),
            form,
            index,
            todo_index,
            todo,
            done_column,
            done: config.done,
            batch_rows: usize::try_from(config.delete_rows.get())
                .map_or(KEYS_MAX, |rows| rows.min(KEYS_MAX)),
            list,
            id: names.iter().position(|name| **name == *id),
            wires,
        }
    }

    /// The keys of what is to be delivered, in order, behind `after`.
    pub(super) fn keys(&self, after: Option<&Key>, rows_max: u32) -> String {
        let Self { table, column, todo_index, todo, .. } = self;
        let behind = after.map(|key| format!(" AND {column} > {}", self.literal(key)));
        let key = self.key_expression();
        format!(
            "SELECT {key} FROM {table} FORCE INDEX ({todo_index}) WHERE {todo}{} \
             ORDER BY {column} LIMIT {rows_max}",
            behind.unwrap_or_default()
        )
    }

    /// The rows from one key to another, in order.
    pub(super) fn rows(&self, first: &Key, last: &Key) -> String {
        let Self { table, column, todo_index, todo, list, .. } = self;
        let (first, last) = (self.literal(first), self.literal(last));
        let key = self.key_expression();
        format!(
            "SELECT {key}, {list} FROM {table} FORCE INDEX ({todo_index}) \
             WHERE {todo} AND {column} BETWEEN {first} AND {last} ORDER BY {column}"
        )
    }

    /// Deletes or marks the rows of these keys, so many by each.
    pub(super) fn settle(&self, keys: &Keys) -> Vec<String> {
        if self.done != Done::Mark {
            return self.delete(keys);
        }
        let Self { table, done_column, todo, .. } = self;
        let set = format!("SET {done_column} = utc_timestamp(6)");
        let numbered = |join: String| format!("UPDATE {join} {set} WHERE {todo}");
        let named = |id: String| format!("UPDATE {table} {set} WHERE {id} AND {todo}");
        self.each(keys, numbered, named)
    }

    pub(super) fn delete(&self, keys: &Keys) -> Vec<String> {
        let numbered = |join: String| format!("DELETE o FROM {join}");
        let named = |id: String| format!("DELETE FROM {} WHERE {id}", self.table);
        self.each(keys, numbered, named)
    }

    /// Statements that name every key by itself: a range would take messages along that were
    /// committed late. Rows are looked up one by one in an order that the server is told: left to
    /// itself it looks at the whole table, and waits for everybody who is inserting.
    fn each(
        &self,
        keys: &Keys,
        numbered: impl Fn(String) -> String,
        named: impl Fn(String) -> String,
    ) -> Vec<String> {
        let Self { table, column, index, .. } = self;
        if self.form == Form::Number {
            let seqs: Vec<_> = keys.seqs().map(|seq| seq.to_string()).collect();
            let join = |seqs: &[String]| {
                format!(
                    "JSON_TABLE('[{}]', '$[*]' COLUMNS (k BIGINT PATH '$')) AS k \
                     STRAIGHT_JOIN {table} AS o FORCE INDEX ({index}) ON o.{column} = k.k",
                    seqs.join(",")
                )
            };
            return seqs.chunks(self.batch_rows).map(|seqs| numbered(join(seqs))).collect();
        }
        let condition = |id: &str| format!("{column} = {}", self.literal(&Key::Id(id.into())));
        let statements: Vec<_> = keys.ids().map(|id| named(condition(id))).collect();
        let transaction =
            |part: &[String]| format!("START TRANSACTION; {}; COMMIT", part.join("; "));
        statements.chunks(self.batch_rows).map(transaction).collect()
    }

    /// The keys of rows that were marked longer ago, one batch of them.
    pub(super) fn marked(&self, marked_for: Duration) -> String {
        let Self { table, done_column, batch_rows, .. } = self;
        let (key, micros) = (self.key_expression(), marked_for.as_micros());
        format!(
            "SELECT {key} FROM {table} \
             WHERE {done_column} < utc_timestamp(6) - INTERVAL {micros} MICROSECOND \
             ORDER BY {done_column} LIMIT {batch_rows}"
        )
    }

    /// The key that is the first column of what the statements here select.
    pub(super) fn key(&self, row: &MySqlRow) -> sqlx::Result<Key> {
        match self.form {
            Form::Number => row.try_get(0).map(Key::Seq),
            Form::Text | Form::Hexadecimal => {
                let bytes: &[u8] = row.try_get_unchecked(0)?;
                Ok(Key::Id(String::from_utf8_lossy(bytes).into()))
            }
        }
    }

    /// A row of [`rows`](Self::rows).
    pub(super) fn row(&self, row: &MySqlRow) -> sqlx::Result<FoundRow> {
        let value = |(index, wire): (usize, &Wire)| {
            let value = wire.value(row, index + 1)?;
            Ok(if self.id == Some(index) { values::as_uuid(value) } else { value })
        };
        let values = self.wires.iter().enumerate().map(value).collect::<sqlx::Result<_>>()?;
        Ok(FoundRow { key: self.key(row)?, values })
    }

    fn key_expression(&self) -> String {
        let column = &self.column;
        match self.form {
            Form::Number => format!("CAST({column} AS SIGNED)"),
            Form::Text => format!("CAST({column} AS CHAR)"),
            Form::Hexadecimal => format!("hex({column})"),
        }
    }

    fn literal(&self, key: &Key) -> String {
        match key {
            Key::Seq(seq) => seq.to_string(),
            Key::Id(id) if self.form == Form::Hexadecimal => {
                // It was read as hexadecimal digits.
                format!("unhex({})", Dialect::MySql.literal(id))
            }
            Key::Id(id) => Dialect::MySql.literal(id),
        }
    }
}
