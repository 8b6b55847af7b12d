//! The two tables: how they are made, read and removed.

use std::fmt;

use jiff::Timestamp;
use rowtide_core::{Error, Result};

use super::{
    control::{self, Control},
    row::{self, Row},
};
use crate::{
    catalog::{self, Dialect},
    client::{
        self, Bound, Cell, Client, Code, Failure, KeyRange, Keys, Lookup, Parameter, ReadRequest,
        Reads, Statement,
    },
};

/// The names of the tables.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    pub(super) metadata: String,
    pub(super) control: String,
    database: String,
}

/// What the name of the control table has behind that of the metadata table.
pub(super) const SUFFIX: &str = "_rowtide";

impl Tables {
    pub(super) fn new(database: &str, metadata: &str) -> Self {
        let control = format!("{metadata}{SUFFIX}");
        Self { metadata: metadata.to_owned(), control, database: database.to_owned() }
    }

    /// The rows of the metadata table in a transaction.
    pub(super) async fn rows(&self, reads: &mut dyn Reads, keys: Keys) -> Result<Vec<Row>> {
        let lookup = Lookup { table: &self.metadata, columns: &row::COLUMNS, keys };
        let rows = reads.rows(lookup).await.map_err(|failure| self.error(failure))?;
        rows.into_iter().map(Row::read).collect()
    }

    /// The token and the state of each row, in a transaction.
    pub(super) async fn states(&self, reads: &mut dyn Reads) -> Result<Vec<(String, Cell)>> {
        let columns = &["PartitionToken", "State"];
        let lookup = Lookup { table: &self.metadata, columns, keys: Keys::All };
        let rows = reads.rows(lookup).await.map_err(|failure| self.error(failure))?;
        let pair = |row: Vec<Cell>| {
            let [token, state] = <[Cell; 2]>::try_from(row).ok()?;
            Some((token.into_text()?, state))
        };
        Ok(rows.into_iter().filter_map(pair).collect())
    }

    /// The rows of the control table in a transaction.
    pub(super) async fn controls(&self, reads: &mut dyn Reads, keys: Keys) -> Result<Vec<Control>> {
        let lookup = Lookup { table: &self.control, columns: &control::COLUMNS, keys };
        let rows = reads.rows(lookup).await.map_err(|failure| self.error(failure))?;
        rows.into_iter().map(Control::read).collect()
    }

    /// A time that all is read at which belongs together.
    pub(super) async fn now(&self, client: &dyn Client) -> Result<Timestamp> {
        client.now().await.map_err(|failure| self.error(failure))
    }

    /// The rows of the metadata table; none without the table.
    pub(super) async fn rows_at(&self, client: &dyn Client, at: Timestamp) -> Result<Vec<Row>> {
        let rows = self.read_at(client, &self.metadata, &row::COLUMNS, at).await?;
        rows.into_iter().map(Row::read).collect()
    }

    /// The rows of the control table; none without the table, as another program leaves it.
    pub(super) async fn controls_at(
        &self,
        client: &dyn Client,
        at: Timestamp,
    ) -> Result<Vec<Control>> {
        let rows = self.read_at(client, &self.control, &control::COLUMNS, at).await?;
        rows.into_iter().map(Control::read).collect()
    }

    async fn read_at(
        &self,
        client: &dyn Client,
        table: &str,
        columns: &[&str],
        at: Timestamp,
    ) -> Result<Vec<Vec<Cell>>> {
        let request = ReadRequest {
            table: table.to_owned(),
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
            range: KeyRange { from: Bound::Unbounded, to: Bound::Unbounded },
            rows_max: 0,
            at,
        };
        let read = async { client::all(client.read(request).await?).await };
        match read.await {
            Err(failure) if is_missing_table(&failure) => Ok(Vec::new()),
            read => read.map_err(|failure| self.error(failure)),
        }
    }

    /// What the engine does about a failure.
    pub(super) fn error(&self, failure: Failure) -> Error {
        let message = format!("failed to read or write {self}");
        match failure.code {
            Code::NotFound => {
                let help = "`rowtide setup` makes the table and the one beside it, and so does \
                            `create = true`; a table that another program made has to have the \
                            columns of Apache Beam's";
                Error::config(message).key("table").help(help).because(failure)
            }
            Code::Denied => Error::fatal(message).because(failure).help(
                "the account needs the role `roles/spanner.databaseUser`; a database role needs \
                 SELECT, INSERT, UPDATE and DELETE on both tables",
            ),
            _ => failure.error(message),
        }
    }

    /// The statements that make both tables.
    pub(super) fn creation(&self, dialect: Dialect) -> Vec<String> {
        match dialect {
            Dialect::GoogleSql => vec![
                format!("CREATE TABLE IF NOT EXISTS {} {GOOGLE_SQL_METADATA}", self.metadata),
                format!("CREATE TABLE IF NOT EXISTS {} {GOOGLE_SQL_CONTROL}", self.control),
            ],
            Dialect::Postgres => vec![
                format!("CREATE TABLE IF NOT EXISTS \"{}\" {POSTGRES_METADATA}", self.metadata),
                format!("CREATE TABLE IF NOT EXISTS \"{}\" {POSTGRES_CONTROL}", self.control),
            ],
        }
    }

    /// The statements that remove those of both tables that there are, and their indexes.
    pub(super) async fn removal(&self, client: &dyn Client) -> Result<Vec<String>> {
        let dialect = catalog::dialect(client).await?;
        let quote = if dialect == Dialect::Postgres { "\"" } else { "" };
        let mut statements = Vec::new();
        for table in [&self.metadata, &self.control] {
            let indexes = self.names(client, dialect, INDEXES, table).await?;
            statements
                .extend(indexes.iter().map(|name| format!("DROP INDEX {quote}{name}{quote}")));
            let tables = self.names(client, dialect, TABLES, table).await?;
            statements.extend(tables.iter().map(|name| format!("DROP TABLE {quote}{name}{quote}")));
        }
        Ok(statements)
    }

    /// Whether both tables are there.
    pub(super) async fn exist(&self, client: &dyn Client, dialect: Dialect) -> Result<bool> {
        for table in [&self.metadata, &self.control] {
            if self.names(client, dialect, TABLES, table).await?.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn names(
        &self,
        client: &dyn Client,
        dialect: Dialect,
        query: &str,
        table: &str,
    ) -> Result<Vec<String>> {
        let parameter = if dialect == Dialect::Postgres { "$1" } else { "@p1" };
        let statement = Statement::new(format!("{query} {parameter}"))
            .with("p1", Parameter::Text(Some(table.to_owned())));
        let rows = catalog::rows(client, statement).await.map_err(|failure| self.error(failure))?;
        Ok(rows.into_iter().flatten().filter_map(Cell::into_text).collect())
    }
}

impl fmt::Display for Tables {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "table `{}` of {}", self.metadata, self.database)
    }
}

fn is_missing_table(failure: &Failure) -> bool {
    failure.code == Code::NotFound && failure.message.contains("Table not found")
}

const TABLES: &str = "SELECT table_name FROM information_schema.tables WHERE table_name =";

const INDEXES: &str = "SELECT index_name FROM information_schema.indexes \
                       WHERE index_type = 'INDEX' AND table_name =";

const GOOGLE_SQL_METADATA: &str = "(
  PartitionToken STRING(MAX) NOT NULL,
  ParentTokens ARRAY<STRING(MAX)> NOT NULL,
  StartTimestamp TIMESTAMP NOT NULL,
  EndTimestamp TIMESTAMP NOT NULL,
  HeartbeatMillis INT64 NOT NULL,
  State STRING(MAX) NOT NULL,
  Watermark TIMESTAMP NOT NULL,
  CreatedAt TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp=true),
  ScheduledAt TIMESTAMP OPTIONS (allow_commit_timestamp=true),
  RunningAt TIMESTAMP OPTIONS (allow_commit_timestamp=true),
  FinishedAt TIMESTAMP OPTIONS (allow_commit_timestamp=true)
) PRIMARY KEY (PartitionToken), ROW DELETION POLICY (OLDER_THAN(FinishedAt, INTERVAL 1 DAY))";

const POSTGRES_METADATA: &str = "(
  \"PartitionToken\" text NOT NULL,
  \"ParentTokens\" text[] NOT NULL,
  \"StartTimestamp\" timestamptz NOT NULL,
  \"EndTimestamp\" timestamptz NOT NULL,
  \"HeartbeatMillis\" bigint NOT NULL,
  \"State\" text NOT NULL,
  \"Watermark\" timestamptz NOT NULL,
  \"CreatedAt\" SPANNER.COMMIT_TIMESTAMP NOT NULL,
  \"ScheduledAt\" SPANNER.COMMIT_TIMESTAMP,
  \"RunningAt\" SPANNER.COMMIT_TIMESTAMP,
  \"FinishedAt\" SPANNER.COMMIT_TIMESTAMP,
  PRIMARY KEY (\"PartitionToken\")
) TTL INTERVAL '1 days' ON \"FinishedAt\"";

const GOOGLE_SQL_CONTROL: &str = "(
  Pipeline STRING(MAX) NOT NULL,
  Epoch INT64 NOT NULL,
  Owner STRING(MAX) NOT NULL,
  ClaimedAt TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp=true),
  StartTimestamp TIMESTAMP,
  Finished BOOL NOT NULL,
  FinishedTokens ARRAY<STRING(MAX)> NOT NULL
) PRIMARY KEY (Pipeline)";

const POSTGRES_CONTROL: &str = "(
  \"Pipeline\" text NOT NULL,
  \"Epoch\" bigint NOT NULL,
  \"Owner\" text NOT NULL,
  \"ClaimedAt\" SPANNER.COMMIT_TIMESTAMP NOT NULL,
  \"StartTimestamp\" timestamptz,
  \"Finished\" boolean NOT NULL,
  \"FinishedTokens\" text[] NOT NULL,
  PRIMARY KEY (\"Pipeline\")
)";
