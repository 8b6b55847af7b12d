//! What the server says of itself and of the table.

use rowtide_core::{Column, Error, Result};
use rowtide_sql::{TableName, failure};
use sqlx::{MySqlConnection, Row, mysql::MySqlRow};

use crate::database::mysql::values::Wire;

/// The table as it is.
#[derive(Debug)]
pub(super) struct Found {
    /// When it was made; emptying it by TRUNCATE, which counts from 1 again, makes it anew.
    created: String,
    pub(super) columns: Vec<FoundColumn>,
    indexes: Vec<Index>,
}

/// A column as it is.
#[derive(Debug)]
pub(super) struct FoundColumn {
    pub(super) name: String,
    declared: String,
    pub(super) wire: Wire,
    pub(super) is_numbered: bool,
}

#[derive(Debug)]
struct Index {
    name: String,
    first: String,
    columns: i64,
    is_unique: bool,
}

const TABLE: &str = "
SELECT CAST(table_schema AS CHAR), CAST(coalesce(engine, 'no engine') AS CHAR),
       CAST(coalesce(create_time, '') AS CHAR)
FROM information_schema.tables
WHERE table_schema = coalesce(?, database()) AND table_name = ?";

const COLUMNS: &str = "
SELECT CAST(column_name AS CHAR), CAST(data_type AS CHAR), CAST(column_type AS CHAR),
       CAST(extra AS CHAR)
FROM information_schema.columns
WHERE table_schema = coalesce(?, database()) AND table_name = ?
ORDER BY ordinal_position";

const INDEXES: &str = "
SELECT CAST(index_name AS CHAR), CAST(max(CASE WHEN seq_in_index = 1 THEN column_name END) AS CHAR),
       CAST(count(*) AS SIGNED), CAST(max(non_unique) AS SIGNED)
FROM information_schema.statistics
WHERE table_schema = coalesce(?, database()) AND table_name = ?
GROUP BY index_name";

const SERVER: &str = "SHOW GLOBAL VARIABLES WHERE variable_name IN ('server_uuid', 'server_uid', 'hostname', 'port', 'version')";

impl Found {
    pub(super) async fn look(
        connection: &mut MySqlConnection,
        table: &TableName,
    ) -> Result<Option<Self>> {
        let doing = |error| failure(format!("failed to look at the outbox `{table}`"), error);
        let Some(row) = fetch(connection, TABLE, table).await.map_err(doing)?.pop() else {
            return Ok(None);
        };
        let engine: String = row.try_get(1).map_err(doing)?;
        if !engine.eq_ignore_ascii_case("innodb") {
            let message = format!("the outbox `{table}` has no transactions: it is of {engine}");
            return Err(Error::config(message).key("table").help("ALTER TABLE … ENGINE=InnoDB"));
        }
        let created: String = row.try_get(2).map_err(doing)?;
        let rows = fetch(connection, COLUMNS, table).await.map_err(doing)?;
        let columns = rows.iter().map(FoundColumn::new).collect::<sqlx::Result<_>>();
        let rows = fetch(connection, INDEXES, table).await.map_err(doing)?;
        let indexes = rows.iter().map(Index::new).collect::<sqlx::Result<_>>();
        let (columns, indexes) = (columns.map_err(doing)?, indexes.map_err(doing)?);
        Ok(Some(Self { created, columns, indexes }))
    }

    pub(super) fn column(&self, name: &str) -> Option<&FoundColumn> {
        // Names of columns have no case here.
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// The index in which each value of the column is once.
    pub(super) fn unique_index(&self, column: &str) -> Option<&str> {
        let is_it = |index: &&Index| {
            index.first.eq_ignore_ascii_case(column) && index.columns == 1 && index.is_unique
        };
        // The primary key first: its entries are the rows.
        let mut found: Vec<_> = self.indexes.iter().filter(is_it).collect();
        found.sort_by_key(|index| index.name != "PRIMARY");
        found.first().map(|index| index.name.as_str())
    }

    /// An index that begins with the column.
    pub(super) fn index_from(&self, column: &str) -> Option<&str> {
        let found = self.indexes.iter().find(|index| index.first.eq_ignore_ascii_case(column));
        found.map(|index| index.name.as_str())
    }

    /// The columns, as a consumer is told of them.
    pub(super) fn described(&self) -> Vec<Column> {
        let described = |column: &FoundColumn| {
            let mut described = Column::new(column.name.as_str(), column.wire.column_type());
            described.declared = column.declared.as_str().into();
            described
        };
        self.columns.iter().map(described).collect()
    }

    /// What tells this table of this server from any other: the server's own id, or its address,
    /// and when the table was made. The numbers of another one mean nothing.
    pub(super) async fn identity(&self, connection: &mut MySqlConnection) -> Result<String> {
        let doing = |error| failure("failed to ask the server who it is", error);
        let rows = sqlx::query(SERVER).persistent(false).fetch_all(connection).await;
        let variables: sqlx::Result<Vec<(String, String)>> =
            rows.map_err(doing)?.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect();
        let mut variables = variables.map_err(doing)?;
        if let Some(at) = variables.iter().position(|(name, _)| name == "version") {
            check_version(&variables.remove(at).1)?;
        }
        if variables.iter().any(|(name, _)| name.starts_with("server_")) {
            variables.retain(|(name, _)| name.starts_with("server_"));
        }
        variables.sort();
        let server: Vec<_> = variables.into_iter().map(|(_, value)| value).collect();
        Ok(format!("{}/{}", server.join(":"), self.created))
    }
}

/// The first versions that know JSON_TABLE.
fn check_version(version: &str) -> Result<()> {
    let (system, oldest) = match version.contains("MariaDB") {
        true => ("MariaDB", (10, 6)),
        false => ("MySQL", (8, 0)),
    };
    let mut numbers = version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let found = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    if found >= oldest {
        return Ok(());
    }
    let message = format!("{system} {version} is too old");
    let help = format!("{}.{} is the oldest that works", oldest.0, oldest.1);
    Err(Error::config(message).key("database").help(help))
}

impl FoundColumn {
    fn new(row: &MySqlRow) -> sqlx::Result<Self> {
        let (data_type, declared): (String, String) = (row.try_get(1)?, row.try_get(2)?);
        let extra: String = row.try_get(3)?;
        Ok(Self {
            name: row.try_get(0)?,
            wire: Wire::of_type(&data_type, &declared),
            declared,
            is_numbered: extra.to_ascii_lowercase().contains("auto_increment"),
        })
    }
}

impl Index {
    fn new(row: &MySqlRow) -> sqlx::Result<Self> {
        Ok(Self {
            name: row.try_get(0)?,
            first: row.try_get(1)?,
            columns: row.try_get(2)?,
            is_unique: row.try_get::<i64, _>(3)? == 0,
        })
    }
}

async fn fetch(
    connection: &mut MySqlConnection,
    query: &'static str,
    table: &TableName,
) -> sqlx::Result<Vec<MySqlRow>> {
    let query = sqlx::query(query).bind(table.schema()).bind(table.name());
    query.persistent(false).fetch_all(connection).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_too_old_is_told() {
        for (version, is_enough) in [
            ("10.11.19-MariaDB-0+deb12u1-log", true),
            ("10.6.0-MariaDB", true),
            ("10.5.29-MariaDB", false),
            ("8.0.36", true),
            ("9.1.0-cluster", true),
            ("5.7.44-log", false),
        ] {
            assert_eq!(check_version(version).is_ok(), is_enough, "{version}");
        }
    }
}
