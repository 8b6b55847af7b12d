//! What the file says of the table.

use rowtide_core::{Column, ColumnType, Error, Result};
use rowtide_sql::TableName;
use rusqlite::{Connection, OptionalExtension};

use crate::database::sqlite::connection::failure;

/// The table as it is.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) columns: Vec<FoundColumn>,
    /// The statement that made it.
    sql: String,
    indexes: Vec<String>,
}

/// A column as it is.
#[derive(Debug)]
pub(super) struct FoundColumn {
    pub(super) name: String,
    declared: String,
    is_key: bool,
}

impl Found {
    pub(super) fn look(connection: &Connection, table: &TableName) -> Result<Option<Self>> {
        if table.schema().is_some_and(|schema| !schema.eq_ignore_ascii_case("main")) {
            let message = format!("`{table}` is in a database of its own");
            return Err(Error::config(message).key("table").help("name its file in `database`"));
        }
        let doing = |error| failure(format!("failed to look at the outbox `{table}`"), error);
        let select =
            "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE";
        let sql = connection.query_row(select, [table.name()], |row| row.get(0)).optional();
        let Some(sql) = sql.map_err(doing)? else { return Ok(None) };
        let columns = columns(connection, table.name()).map_err(doing)?;
        let indexes = indexes(connection, table.name()).map_err(doing)?;
        Ok(Some(Self { columns, sql, indexes }))
    }

    pub(super) fn has_index(&self, name: &str) -> bool {
        self.indexes.iter().any(|index| index.eq_ignore_ascii_case(name))
    }

    pub(super) fn column(&self, name: &str) -> Option<&FoundColumn> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// Whether the column numbers the rows so that no number comes again.
    pub(super) fn is_numbered(&self, column: &FoundColumn) -> bool {
        // SQLite allows the word only for the one column that is the integer key.
        column.is_key && self.sql.to_ascii_uppercase().contains("AUTOINCREMENT")
    }

    /// The columns, as a consumer is told of them.
    pub(super) fn described(&self) -> Vec<Column> {
        self.columns.iter().map(FoundColumn::described).collect()
    }
}

impl FoundColumn {
    fn described(&self) -> Column {
        let declared = self.declared.to_ascii_uppercase();
        let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
        // SQLite's own rules of affinity; a value may differ all the same.
        let column_type = match () {
            () if has(&["INT"]) => ColumnType::Int,
            () if has(&["CHAR", "CLOB", "TEXT"]) => ColumnType::Text,
            () if has(&["BLOB"]) => ColumnType::Bytes,
            () if has(&["REAL", "FLOA", "DOUB"]) => ColumnType::Float,
            () => ColumnType::Any,
        };
        let mut column = Column::new(self.name.as_str(), column_type);
        column.declared = self.declared.as_str().into();
        column
    }
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<FoundColumn>> {
    let mut statement = connection.prepare("SELECT name, type, pk FROM pragma_table_info(?)")?;
    let column = |row: &rusqlite::Row<'_>| {
        Ok(FoundColumn {
            name: row.get(0)?,
            declared: row.get(1)?,
            is_key: row.get::<_, i64>(2)? == 1,
        })
    };
    statement.query_map([table], column)?.collect()
}

fn indexes(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("SELECT name FROM pragma_index_list(?)")?;
    statement.query_map([table], |row| row.get(0))?.collect()
}
