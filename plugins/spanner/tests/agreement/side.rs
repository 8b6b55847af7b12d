//! One of the two, and the client that both are asked with.

use google_cloud_auth::credentials::anonymous;
use google_cloud_spanner::{
    client::{DatabaseClient, Spanner},
    mutation::Mutation,
    statement::Statement,
    types,
    value::Value as Wire,
};
use jiff::Timestamp;
use rowtide_core::{Error, Result};
use rowtide_fake_spanner::{Capture, Column, Dialect as FakeDialect, Kind, Options, Server, Table};
use serde_json::Value as Json;

use crate::emulator::{Database, Dialect, Emulator, failed};

/// The columns of the table: their names, and their types in both dialects and on the scripted
/// server.
type Defined = (&'static str, &'static str, &'static str, fn() -> Kind);

const COLUMNS: [Defined; 9] = [
    ("c_bool", "BOOL", "boolean", || Kind::Bool),
    ("c_int", "INT64", "bigint", || Kind::Int64),
    ("c_float", "FLOAT64", "double precision", || Kind::Float64),
    ("c_numeric", "NUMERIC", "numeric", || Kind::Numeric),
    ("c_text", "STRING(MAX)", "varchar", || Kind::String),
    ("c_bytes", "BYTES(MAX)", "bytea", || Kind::Bytes),
    ("c_date", "DATE", "date", || Kind::Date),
    ("c_timestamp", "TIMESTAMP", "timestamptz", || Kind::Timestamp),
    ("a_text", "ARRAY<STRING(MAX)>", "varchar[]", || Kind::Array(Box::new(Kind::String))),
];

pub(crate) struct Side {
    pub(crate) name: &'static str,
    pub(crate) dialect: Dialect,
    pub(crate) client: DatabaseClient,
    /// The one that does as it is told.
    pub(crate) scripted: Option<Server>,
    /// A time that nothing was written before.
    pub(crate) start: Timestamp,
    database: Option<Database>,
}

/// The arguments of the read function, as they stand in the statement or as they are sent.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) stream: &'static str,
    pub(crate) start: Option<String>,
    pub(crate) end: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) heartbeat: Option<i64>,
    /// What stands behind the call.
    pub(crate) tail: &'static str,
}

/// What a change stream says, one thing each, in the order of the stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said {
    Data(Json),
    Heartbeat(Timestamp),
    Children(Json),
}

/// Why a query was refused.
pub(crate) type Refusal = (String, String);

/// Both of them, with the same table and the same stream.
pub(crate) async fn both(
    emulator: Emulator,
    dialect: Dialect,
    capture: Capture,
) -> Result<[Side; 2]> {
    let clause = if dialect == Dialect::GoogleSql { "OPTIONS" } else { "WITH" };
    let stream = format!(
        "CREATE CHANGE STREAM changes FOR ALL {clause} (value_capture_type = '{}')",
        capture.name()
    );
    let database = emulator.database(dialect, &[tables(dialect), vec![stream]].concat()).await?;
    let client = connect(&database.endpoint, &database.name).await?;
    let start = Timestamp::now();
    let real =
        Side { name: "emulator", dialect, client, scripted: None, start, database: Some(database) };
    let mut columns = vec![Column::key("id", Kind::Int64)];
    columns.extend(COLUMNS.iter().map(|(name, .., kind)| Column::new(name, kind())));
    let others = Table::new("others", vec![Column::key("id", Kind::Int64)]);
    let server = Server::start(Options {
        dialect: match dialect {
            Dialect::GoogleSql => FakeDialect::GoogleSql,
            Dialect::Postgres => FakeDialect::Postgres,
        },
        capture,
        tables: vec![Table::new("items", columns), others],
        partitions: 1,
        heartbeat_min: std::time::Duration::from_millis(100),
        ..Options::default()
    });
    let server = server.map_err(|error| Error::fatal("no server").because(error))?;
    let client = connect(&server.endpoint(), server.database()).await?;
    let start = server.now();
    let fake = Side {
        name: "scripted server",
        dialect,
        client,
        scripted: Some(server),
        start,
        database: None,
    };
    Ok([real, fake])
}

fn tables(dialect: Dialect) -> Vec<String> {
    let column = |(name, google_sql, postgres, _): &Defined| match dialect {
        Dialect::GoogleSql => format!("{name} {google_sql}"),
        Dialect::Postgres => format!("{name} {postgres}"),
    };
    let columns = COLUMNS.iter().map(column).collect::<Vec<_>>().join(", ");
    match dialect {
        Dialect::GoogleSql => vec![
            format!("CREATE TABLE items (id INT64 NOT NULL, {columns}) PRIMARY KEY (id)"),
            "CREATE TABLE others (id INT64 NOT NULL) PRIMARY KEY (id)".to_owned(),
        ],
        Dialect::Postgres => vec![
            format!("CREATE TABLE items (id bigint PRIMARY KEY, {columns})"),
            "CREATE TABLE others (id bigint PRIMARY KEY)".to_owned(),
        ],
    }
}

async fn connect(endpoint: &str, database: &str) -> Result<DatabaseClient> {
    let connect = async {
        let anonymous = anonymous::Builder::new().build();
        let spanner = Spanner::builder().with_endpoint(endpoint).with_credentials(anonymous);
        Ok(spanner.build().await?.database_client(database).build().await?)
    };
    connect.await.map_err(failed("connecting"))
}

impl Query {
    /// Reads a partition, or the roots, from a time on.
    pub(crate) fn of(token: Option<&str>, start: Timestamp, end: Option<Timestamp>) -> Self {
        Self {
            stream: "changes",
            start: Some(start.to_string()),
            end: end.map(|end| end.to_string()),
            token: token.map(str::to_owned),
            heartbeat: Some(10_000),
            tail: "",
        }
    }

    fn statement(&self, dialect: Dialect) -> Statement {
        let Self { stream, tail, .. } = self;
        let sql = match dialect {
            Dialect::GoogleSql => {
                format!("SELECT ChangeRecord FROM READ_{stream} (@p1, @p2, @p3, @p4, NULL){tail}")
            }
            Dialect::Postgres => format!(
                "SELECT * FROM \"spanner\".\"read_json_{stream}\" ($1, $2, $3, $4, null){tail}"
            ),
        };
        let text = |text: &Option<String>| text.clone().map_or_else(Wire::null, Wire::from);
        Statement::builder(sql)
            .add_typed_param("p1", text(&self.start), types::timestamp())
            .add_typed_param("p2", text(&self.end), types::timestamp())
            .add_typed_param("p3", text(&self.token), types::string())
            .add_typed_param(
                "p4",
                self.heartbeat.map_or_else(Wire::null, Wire::from),
                types::int64(),
            )
            .build()
    }
}

fn refusal(error: &google_cloud_spanner::Error) -> Refusal {
    match error.status() {
        Some(status) => (status.code.name().to_owned(), status.message.clone()),
        None => ("no status".to_owned(), error.to_string()),
    }
}

impl Side {
    pub(crate) async fn write(&self, mutations: Vec<Mutation>) -> Result<()> {
        let written = self.client.write_only_transaction().build().write(mutations).await;
        written.map(drop).map_err(|error| failed("writing")(error.into()))
    }

    /// A time that no commit so far is after.
    pub(crate) async fn now(&self) -> Result<Timestamp> {
        match &self.scripted {
            Some(server) => Ok(server.now()),
            None => {
                // The emulator's commits can be slightly ahead of the clock.
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                Ok(Timestamp::now())
            }
        }
    }

    /// All that a query says until it ends.
    pub(crate) async fn ask(&self, query: &Query) -> Result<Vec<Said>, Refusal> {
        let statement = query.statement(self.dialect);
        self.all(self.client.single_use().build().execute_query(statement)).await
    }

    /// The same in a transaction of several reads.
    pub(crate) async fn ask_together(&self, query: &Query) -> Result<Vec<Said>, Refusal> {
        let transaction = self.client.read_only_transaction().build().await;
        let transaction = transaction.map_err(|error| refusal(&error))?;
        self.all(transaction.execute_query(query.statement(self.dialect))).await
    }

    async fn all(
        &self,
        asked: impl Future<
            Output = google_cloud_spanner::Result<google_cloud_spanner::result::ResultSet>,
        >,
    ) -> Result<Vec<Said>, Refusal> {
        let all = async {
            let mut rows = asked.await?;
            let mut said = Vec::new();
            while let Some(row) = rows.next().await.transpose()? {
                let json: Json = row.get(0)?;
                match self.dialect {
                    Dialect::GoogleSql => said.extend(of_google_sql(json)),
                    Dialect::Postgres => said.push(of_postgres(&json)),
                }
            }
            Ok(said)
        };
        all.await.map_err(|error: google_cloud_spanner::Error| refusal(&error))
    }

    pub(crate) async fn drop(&self) -> Result<()> {
        match &self.database {
            Some(database) => database.drop().await,
            None => Ok(()),
        }
    }
}

/// Each element of the row has three arrays, one of which has one record.
fn of_google_sql(row: Json) -> Vec<Said> {
    let elements = row.as_array().cloned().unwrap_or_default();
    let said = |element: Json| {
        let record = |name: &str| element[name].as_array()?.first().cloned();
        if let Some(data) = record("data_change_record") {
            return Some(Said::Data(data));
        }
        if let Some(heartbeat) = record("heartbeat_record") {
            return Some(Said::Heartbeat(time(&heartbeat["timestamp"])));
        }
        record("child_partitions_record").map(Said::Children)
    };
    elements.into_iter().filter_map(said).collect()
}

fn of_postgres(row: &Json) -> Said {
    let record = |name: &str| row.get(name).cloned();
    match (record("data_change_record"), record("heartbeat_record")) {
        (Some(data), _) => Said::Data(data),
        (_, Some(heartbeat)) => Said::Heartbeat(time(&heartbeat["timestamp"])),
        _ => Said::Children(record("child_partitions_record").expect("a record")),
    }
}

pub(crate) fn time(json: &Json) -> Timestamp {
    json.as_str().and_then(|text| text.parse().ok()).expect("a time")
}
