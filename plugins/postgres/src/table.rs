use std::time::Duration;

use rowtide_core::{Result, async_trait, plugin::UninstallScope};
use rowtide_sql::{
    Dialect, TableName,
    checkpoint::{Row, Table},
    failure, is_missing_table, postgres,
};
use sqlx::{AssertSqlSafe, Executor, PgConnection, postgres::PgConnectOptions};

/// A session may be made to lose what was committed last in a crash; a save must not be.
const DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', false) \
                       WHERE current_setting('synchronous_commit') = 'off'";

/// The table of the checkpoints, and how to get at it.
pub(crate) struct PostgresTable {
    options: PgConnectOptions,
    timeout: Duration,
    name: TableName,
    quoted: String,
}

impl PostgresTable {
    pub(crate) fn new(options: PgConnectOptions, name: &TableName, timeout: Duration) -> Self {
        let quoted = name.quoted(Dialect::Postgres);
        Self { options, timeout, name: name.clone(), quoted }
    }

    /// The statement that makes the table.
    pub(crate) fn creation(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (\
             pipeline text NOT NULL PRIMARY KEY, epoch bigint NOT NULL, saves bigint NOT NULL, \
             owner text NOT NULL, states text NOT NULL, digest bytea NOT NULL)",
            self.quoted
        )
    }

    /// The statements that remove a pipeline, and the table with the last one.
    pub(crate) async fn removal(
        &self,
        connection: &mut PgConnection,
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
        let name = Dialect::Postgres.literal(pipeline);
        Ok(vec![format!("DELETE FROM {} WHERE pipeline = {name}", self.quoted)])
    }

    pub(crate) async fn run(&self, connection: &mut PgConnection, statement: &str) -> Result<()> {
        let run = connection.execute(AssertSqlSafe(statement)).await;
        run.map(drop).map_err(|error| failure(self.place(), error))
    }
}

#[async_trait]
impl Table for PostgresTable {
    type Connection = PgConnection;

    fn place(&self) -> String {
        let (host, port) = (self.options.get_host(), self.options.get_port());
        format!("table `{}` of PostgreSQL at {host}:{port}", self.name)
    }

    async fn connect(&self) -> Result<PgConnection> {
        let mut connection = postgres::connect(&self.options, self.timeout).await?;
        self.run(&mut connection, DURABLE).await?;
        Ok(connection)
    }

    async fn select(
        &self,
        connection: &mut PgConnection,
        pipeline: &str,
    ) -> sqlx::Result<Option<Row>> {
        let sql = format!("SELECT {} FROM {} WHERE pipeline = $1", Row::COLUMNS, self.quoted);
        sqlx::query_as(AssertSqlSafe(sql)).bind(pipeline).fetch_optional(connection).await
    }

    async fn select_all(&self, connection: &mut PgConnection) -> sqlx::Result<Vec<Row>> {
        let sql = format!("SELECT {} FROM {}", Row::COLUMNS, self.quoted);
        sqlx::query_as(AssertSqlSafe(sql)).fetch_all(connection).await
    }

    async fn insert(&self, connection: &mut PgConnection, row: &Row) -> sqlx::Result<bool> {
        let sql = format!(
            "INSERT INTO {} ({}) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
            self.quoted,
            Row::COLUMNS
        );
        let inserted = sqlx::query(AssertSqlSafe(sql))
            .bind(&row.pipeline)
            .bind(row.epoch)
            .bind(row.saves)
            .bind(&row.owner)
            .bind(&row.states)
            .bind(&row.digest)
            .execute(connection)
            .await?;
        Ok(inserted.rows_affected() == 1)
    }

    async fn replace(
        &self,
        connection: &mut PgConnection,
        old: &Row,
        new: &Row,
    ) -> sqlx::Result<bool> {
        let sql = format!(
            "UPDATE {} SET epoch = $1, saves = $2, owner = $3, states = $4, digest = $5 \
             WHERE pipeline = $6 AND digest = $7",
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
