use std::time::Duration;

use rowtide_core::{Result, async_trait, plugin::UninstallScope};
use rowtide_sql::{
    Dialect, TableName,
    checkpoint::{Row, Table},
    failure, is_missing_table, mysql,
};
use sqlx::{AssertSqlSafe, Executor, MySqlConnection, mysql::MySqlConnectOptions};

/// The table of the checkpoints, and how to get at it.
pub(crate) struct MySqlTable {
    options: MySqlConnectOptions,
    timeout: Duration,
    name: TableName,
    quoted: String,
}

impl MySqlTable {
    pub(crate) fn new(options: MySqlConnectOptions, name: &TableName, timeout: Duration) -> Self {
        let quoted = name.quoted(Dialect::MySql);
        Self { options, timeout, name: name.clone(), quoted }
    }

    /// The statement that makes the table.
    pub(crate) fn creation(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (\
             pipeline VARCHAR(255) NOT NULL PRIMARY KEY, epoch BIGINT NOT NULL, \
             saves BIGINT NOT NULL, owner TEXT NOT NULL, states LONGTEXT NOT NULL, \
             digest VARBINARY(32) NOT NULL) \
             ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
            self.quoted
        )
    }

    /// The statements that remove a pipeline, and the table with the last one.
    pub(crate) async fn removal(
        &self,
        connection: &mut MySqlConnection,
        pipeline: &str,
        scope: UninstallScope,
    ) -> Result<Vec<String>> {
        let rows = match self.select_all(connection).await {
            Err(error) if is_missing_table(&error) => return Ok(Vec::new()),
            rows => rows.map_err(|error| failure(self.place(), error))?,
        };
        let is_shared = rows.iter().any(|row| row.pipeline != pipeline);
        if scope == UninstallScope::All || !is_shared {
            return Ok(vec![format!("DROP TABLE {}", self.quoted)]);
        }
        let name = Dialect::MySql.literal(pipeline);
        Ok(vec![format!("DELETE FROM {} WHERE pipeline = {name}", self.quoted)])
    }

    pub(crate) async fn run(
        &self,
        connection: &mut MySqlConnection,
        statement: &str,
    ) -> Result<()> {
        let run = connection.execute(AssertSqlSafe(statement)).await;
        run.map(drop).map_err(|error| failure(self.place(), error))
    }
}

#[async_trait]
impl Table for MySqlTable {
    type Connection = MySqlConnection;

    fn place(&self) -> String {
        let (host, port) = (self.options.get_host(), self.options.get_port());
        format!("table `{}` of MySQL at {host}:{port}", self.name)
    }

    async fn connect(&self) -> Result<MySqlConnection> {
        mysql::connect(&self.options, self.timeout).await
    }

    async fn select(
        &self,
        connection: &mut MySqlConnection,
        pipeline: &str,
    ) -> sqlx::Result<Option<Row>> {
        let sql = format!("SELECT {} FROM {} WHERE pipeline = ?", Row::COLUMNS, self.quoted);
        sqlx::query_as(AssertSqlSafe(sql)).bind(pipeline).fetch_optional(connection).await
    }

    async fn select_all(&self, connection: &mut MySqlConnection) -> sqlx::Result<Vec<Row>> {
        let sql = format!("SELECT {} FROM {}", Row::COLUMNS, self.quoted);
        sqlx::query_as(AssertSqlSafe(sql)).fetch_all(connection).await
    }

    async fn insert(&self, connection: &mut MySqlConnection, row: &Row) -> sqlx::Result<bool> {
        let sql =
            format!("INSERT INTO {} ({}) VALUES (?, ?, ?, ?, ?, ?)", self.quoted, Row::COLUMNS);
        let inserted = sqlx::query(AssertSqlSafe(sql))
            .bind(&row.pipeline)
            .bind(row.epoch)
            .bind(row.saves)
            .bind(&row.owner)
            .bind(&row.states)
            .bind(&row.digest)
            .execute(connection)
            .await;
        match inserted {
            Ok(_) => Ok(true),
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn replace(
        &self,
        connection: &mut MySqlConnection,
        old: &Row,
        new: &Row,
    ) -> sqlx::Result<bool> {
        let sql = format!(
            "UPDATE {} SET epoch = ?, saves = ?, owner = ?, states = ?, digest = ? \
             WHERE pipeline = ? AND digest = ?",
            self.quoted
        );
        let replaced = sqlx::query(AssertSqlSafe(sql))
            .bind(new.epoch)
            .bind(new.saves)
            .bind(&new.owner)
            .bind(&new.states)
            .bind(&new.digest)
            .bind(&old.pipeline)
            .bind(&old.digest)
            .execute(connection)
            .await?;
        Ok(replaced.rows_affected() == 1)
    }
}
