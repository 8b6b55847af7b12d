//! Metadata tables as other programs make and leave them.

use google_cloud_spanner::{
    client::DatabaseClient, mutation::Mutation, statement::Statement, value::Value as Wire,
};
use jiff::Timestamp;
use rowtide_core::Result;

use crate::emulator::{Dialect, failed, metadata::Metadata, world::connect};

/// A program that keeps its partitions in such a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Spream,
    Screamer,
    Beam,
}

/// A row, its times in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Foreign {
    pub(crate) token: &'static str,
    pub(crate) parents: &'static [&'static str],
    pub(crate) start: i64,
    pub(crate) state: &'static str,
    pub(crate) watermark: i64,
}

/// A row as it is read back: its token, its state, its watermark in seconds, and which of the times
/// of its states are there.
pub(crate) type Found = (String, String, i64, [bool; 4]);

const TIMES: [&str; 4] = ["CreatedAt", "ScheduledAt", "RunningAt", "FinishedAt"];

const GOOGLE_SQL: &str = "CREATE TABLE Metadata (
  PartitionToken STRING(MAX) NOT NULL, ParentTokens ARRAY<STRING(MAX)> NOT NULL,
  StartTimestamp TIMESTAMP NOT NULL, EndTimestamp TIMESTAMP NOT NULL,
  HeartbeatMillis INT64 NOT NULL, State STRING(MAX) NOT NULL, Watermark TIMESTAMP NOT NULL,
  CreatedAt TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp=true),
  ScheduledAt TIMESTAMP OPTIONS (allow_commit_timestamp=true),
  RunningAt TIMESTAMP OPTIONS (allow_commit_timestamp=true),
  FinishedAt TIMESTAMP OPTIONS (allow_commit_timestamp=true),
) PRIMARY KEY (PartitionToken), ROW DELETION POLICY (OLDER_THAN(FinishedAt, INTERVAL 1 DAY))";

const POSTGRES: &str = "CREATE TABLE \"Metadata\" (
  \"PartitionToken\" text NOT NULL, \"ParentTokens\" text[] NOT NULL,
  \"StartTimestamp\" timestamptz NOT NULL, \"EndTimestamp\" timestamptz NOT NULL,
  \"HeartbeatMillis\" BIGINT NOT NULL, \"State\" text NOT NULL, \"Watermark\" timestamptz NOT NULL,
  \"CreatedAt\" SPANNER.COMMIT_TIMESTAMP NOT NULL, \"ScheduledAt\" SPANNER.COMMIT_TIMESTAMP,
  \"RunningAt\" SPANNER.COMMIT_TIMESTAMP, \"FinishedAt\" SPANNER.COMMIT_TIMESTAMP,
  PRIMARY KEY (\"PartitionToken\")
) TTL INTERVAL '1 days' ON \"FinishedAt\"";

impl Program {
    fn definitions(self, dialect: Dialect) -> Vec<String> {
        let indexes: &[&str] = match (self, dialect) {
            (Program::Spream, _) => &[
                "CREATE INDEX MetadataByStateWatermark ON Metadata (State, Watermark)",
                "CREATE INDEX MetadataByStateStartTimestamp ON Metadata (State, StartTimestamp)",
            ],
            (Program::Screamer, _) => &[
                "CREATE INDEX Metadata_idx ON Metadata (Watermark) STORING (ParentTokens, \
                 StartTimestamp, EndTimestamp, HeartbeatMillis, State, CreatedAt, ScheduledAt, \
                 RunningAt, FinishedAt)",
                "CREATE TABLE Runner (RunnerID STRING(MAX) NOT NULL) PRIMARY KEY (RunnerID)",
            ],
            (Program::Beam, Dialect::GoogleSql) => &[
                "CREATE INDEX WatermarkIdx ON Metadata (Watermark) STORING (State)",
                "CREATE INDEX CreatedAtIdx ON Metadata (CreatedAt, StartTimestamp)",
            ],
            (Program::Beam, Dialect::Postgres) => &[
                "CREATE INDEX \"WatermarkIdx\" ON \"Metadata\" (\"Watermark\") INCLUDE (\"State\")",
                "CREATE INDEX \"CreatedAtIdx\" ON \"Metadata\" (\"CreatedAt\", \"StartTimestamp\")",
            ],
        };
        let table = if dialect == Dialect::GoogleSql { GOOGLE_SQL } else { POSTGRES };
        let statements = [table].into_iter().chain(indexes.iter().copied());
        statements.map(str::to_owned).collect()
    }

    /// The table as the program left it; what stands beside it is ours.
    pub(crate) async fn leave(self, dialect: Dialect, rows: &[Foreign]) -> Result<Metadata> {
        let metadata = Metadata::defined(dialect, &self.definitions(dialect)).await?;
        let client = connect(&metadata.database).await?;
        let rows: Vec<_> = rows.iter().map(Foreign::mutation).collect();
        if !rows.is_empty() {
            let written = client.write_only_transaction().build().write(rows).await;
            written.map_err(|error| failed("writing rows")(error.into()))?;
        }
        metadata.install().await?;
        Ok(metadata)
    }
}

impl Foreign {
    fn mutation(&self) -> Mutation {
        let at = |second| Wire::from(Timestamp::from_second(second).expect("a time").to_string());
        let now = Wire::from("spanner.commit_timestamp()");
        let parents = self.parents.iter().map(|parent| Wire::from(*parent));
        let reached = match self.state {
            "CREATED" => 1,
            "SCHEDULED" => 2,
            "RUNNING" => 3,
            _ => 4,
        };
        let mut row = Mutation::new_insert_builder("Metadata")
            .set("PartitionToken")
            .to(self.token)
            .set("ParentTokens")
            .to(Wire::from(parents.collect::<Vec<_>>()))
            .set("StartTimestamp")
            .to(at(self.start))
            .set("EndTimestamp")
            .to("9999-12-31T23:59:59.999999999Z")
            .set("HeartbeatMillis")
            .to(3000)
            .set("State")
            .to(self.state)
            .set("Watermark")
            .to(at(self.watermark));
        for column in &TIMES[..reached] {
            row = row.set(*column).to(now.clone());
        }
        row.build()
    }
}

/// All rows of the metadata table, by their tokens.
pub(crate) async fn found(metadata: &Metadata) -> Result<Vec<Found>> {
    let quote = if metadata.database.dialect == Dialect::Postgres { "\"" } else { "" };
    let columns = ["PartitionToken", "State", "Watermark"].into_iter().chain(TIMES);
    let columns = columns.map(|name| format!("{quote}{name}{quote}")).collect::<Vec<_>>();
    let sql = format!(
        "SELECT {} FROM {quote}Metadata{quote} ORDER BY {quote}PartitionToken{quote}",
        columns.join(", ")
    );
    let client = connect(&metadata.database).await?;
    let rows = query(&client, sql).await.map_err(|error| failed("reading rows")(error.into()))?;
    let row = |cells: Vec<Option<String>>| {
        let text = |place: usize| cells[place].clone().unwrap_or_default();
        let watermark: Timestamp = text(2).parse().expect("a time");
        let times = [3, 4, 5, 6].map(|place| cells[place].is_some());
        (text(0), text(1), watermark.as_second(), times)
    };
    Ok(rows.into_iter().map(row).collect())
}

/// The rows of a query, all columns as text.
pub(crate) async fn query(
    client: &DatabaseClient,
    sql: String,
) -> google_cloud_spanner::Result<Vec<Vec<Option<String>>>> {
    let transaction = client.single_use().build();
    let mut rows = transaction.execute_query(Statement::from(sql)).await?;
    let mut all = Vec::new();
    while let Some(row) = rows.next().await.transpose()? {
        let text = Wire::into_string;
        all.push(row.into_values().into_iter().map(text).collect());
    }
    Ok(all)
}
