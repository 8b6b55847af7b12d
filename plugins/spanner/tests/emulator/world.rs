//! A database with the table of the conformance suite.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use google_cloud_spanner::{
    client::{DatabaseClient, Spanner},
    key::{Key, KeySet},
    mutation::Mutation,
    statement::Statement,
    types,
    value::Value as Wire,
};
use rowtide_conformance::{Upstream, Write};
use rowtide_core::{Error, Result, Value, async_trait};

use super::{Database, Dialect, Emulator, failed};

pub(crate) struct World {
    pub(crate) database: Database,
    pub(crate) client: DatabaseClient,
    settings: String,
    elsewhere: AtomicI64,
}

/// The columns, each for the values of one type: its name, and its type in both dialects.
const COLUMNS: [(&str, &str, &str); 15] = [
    ("c_bool", "BOOL", "boolean"),
    ("c_int", "INT64", "bigint"),
    ("c_float", "FLOAT64", "double precision"),
    ("c_float32", "FLOAT32", "real"),
    ("c_numeric", "NUMERIC", "numeric"),
    ("c_text", "STRING(MAX)", "varchar"),
    ("c_bytes", "BYTES(MAX)", "bytea"),
    ("c_json", "JSON", "jsonb"),
    ("c_date", "DATE", "date"),
    ("c_timestamp", "TIMESTAMP", "timestamptz"),
    ("a_int", "ARRAY<INT64>", "bigint[]"),
    ("a_text", "ARRAY<STRING(MAX)>", "varchar[]"),
    ("a_float", "ARRAY<FLOAT64>", "double precision[]"),
    ("a_numeric", "ARRAY<NUMERIC>", "numeric[]"),
    ("a_bytes", "ARRAY<BYTES(MAX)>", "bytea[]"),
];

/// The table and the stream that a test reads.
pub(crate) fn definitions(dialect: Dialect, options: &str) -> Vec<String> {
    let column = |(name, google_sql, postgres): &(&str, &str, &str)| match dialect {
        Dialect::GoogleSql => format!("{name} {google_sql}"),
        Dialect::Postgres => format!("{name} {postgres}"),
    };
    let columns = COLUMNS.iter().map(column).collect::<Vec<_>>().join(", ");
    match dialect {
        Dialect::GoogleSql => vec![
            format!("CREATE TABLE items (id INT64 NOT NULL, {columns}) PRIMARY KEY (id)"),
            "CREATE TABLE others (id INT64 NOT NULL) PRIMARY KEY (id)".to_owned(),
            stream(dialect, options),
        ],
        Dialect::Postgres => vec![
            format!("CREATE TABLE items (id bigint PRIMARY KEY, {columns})"),
            "CREATE TABLE others (id bigint PRIMARY KEY)".to_owned(),
            stream(dialect, options),
        ],
    }
}

fn stream(dialect: Dialect, options: &str) -> String {
    let clause = if dialect == Dialect::GoogleSql { "OPTIONS" } else { "WITH" };
    let options = if options.is_empty() { String::new() } else { format!("{clause} ({options})") };
    format!("CREATE CHANGE STREAM changes FOR items {options}")
}

impl World {
    pub(crate) async fn make(emulator: Emulator, dialect: Dialect, snapshot: &str) -> Result<Self> {
        let database = emulator.database(dialect, &definitions(dialect, "")).await?;
        let client = connect(&database).await?;
        let settings = format!(
            "database = '{}'\nendpoint = '{}'\nchange_stream = 'changes'\n\
             heartbeat_every = '100ms'\nsnapshot = '{snapshot}'\n",
            database.name, database.endpoint
        );
        Ok(Self { database, client, settings, elsewhere: AtomicI64::new(0) })
    }

    /// The tokens of the partitions that are there now.
    async fn tokens(&self) -> Result<BTreeSet<String>> {
        let sql = match self.database.dialect {
            Dialect::GoogleSql => {
                "SELECT ChangeRecord FROM READ_changes (start_timestamp => @p1, end_timestamp => \
                 @p1, partition_token => @p2, heartbeat_milliseconds => 1000)"
            }
            Dialect::Postgres => {
                "SELECT * FROM \"spanner\".\"read_json_changes\" ($1, $1, $2, 1000, null)"
            }
        };
        let query = async {
            let now = jiff::Timestamp::now().to_string();
            let statement = Statement::builder(sql)
                .add_typed_param("p1", Wire::from(now), types::timestamp())
                .add_typed_param("p2", Wire::null(), types::string());
            let mut rows = self.client.single_use().build().execute_query(statement).await?;
            let mut tokens = BTreeSet::new();
            while let Some(row) = rows.next().await.transpose()? {
                let record: serde_json::Value = row.get(0)?;
                collect_tokens(&record, &mut tokens);
            }
            Ok::<_, google_cloud_spanner::Error>(tokens)
        };
        query.await.map_err(|error| failed("asking for the partitions")(error.into()))
    }
}

fn collect_tokens(record: &serde_json::Value, tokens: &mut BTreeSet<String>) {
    match record {
        serde_json::Value::Array(values) => {
            values.iter().for_each(|value| collect_tokens(value, tokens));
        }
        serde_json::Value::Object(members) => {
            if let Some(token) = members.get("token").and_then(|token| token.as_str()) {
                tokens.insert(token.to_owned());
            }
            members.values().for_each(|value| collect_tokens(value, tokens));
        }
        _ => {}
    }
}

pub(crate) async fn connect(database: &Database) -> Result<DatabaseClient> {
    let connect = async {
        let spanner = Spanner::builder().with_endpoint(&database.endpoint).build().await?;
        Ok(spanner.database_client(&database.name).build().await?)
    };
    connect.await.map_err(failed("connecting to the emulator"))
}

impl Drop for World {
    /// The partitions of a database that is left would go on to churn.
    fn drop(&mut self) {
        let database = self.database.clone();
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(database.drop()).map_err(std::io::Error::other)
        });
        let dropped = dropping.join().expect("no panic");
        dropped.expect("the database is dropped");
    }
}

/// The column of a value and how it is sent.
fn sent(value: &Value) -> Option<(&'static str, Wire)> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(value) => ("c_bool", Wire::from(*value)),
        Value::Int(value) => ("c_int", Wire::from(*value)),
        Value::Float(value) => ("c_float", Wire::from(*value)),
        Value::Float32(value) => ("c_float32", Wire::from(f64::from(*value))),
        Value::Decimal(text) => ("c_numeric", Wire::from(&**text)),
        Value::Text(text) => ("c_text", Wire::from(&**text)),
        Value::Bytes(bytes) => ("c_bytes", Wire::from(STANDARD.encode(bytes))),
        Value::Json(text) => ("c_json", Wire::from(&**text)),
        Value::Date(date) => ("c_date", Wire::from(date.to_string())),
        Value::Timestamp(at) => ("c_timestamp", Wire::from(at.to_string())),
        Value::Array(values) => {
            let column = values.iter().find_map(sent).map_or("c_int", |(column, _)| column);
            let column =
                COLUMNS.iter().find(|(name, ..)| name[2..] == column[2..] && name.starts_with('a'));
            let element = |value| sent(value).map_or_else(Wire::null, |(_, value)| value);
            let values: Vec<_> = values.iter().map(element).collect();
            (column.expect("a column for the array").0, Wire::from(values))
        }
        other => panic!("no column for {other:?}"),
    })
}

fn row(mutation: google_cloud_spanner::builder::WriteBuilder, key: i64, value: &Value) -> Mutation {
    let sent = sent(value);
    let mut mutation = mutation.set("id").to(key);
    for (name, ..) in COLUMNS {
        let value = match &sent {
            Some((column, value)) if *column == name => value.clone(),
            _ => Wire::null(),
        };
        mutation = mutation.set(name).to(value);
    }
    mutation.build()
}

#[async_trait]
impl Upstream for World {
    fn settings(&self) -> String {
        self.settings.clone()
    }

    fn values(&self) -> Vec<Value> {
        let decimals: [&str; 2] = match self.database.dialect {
            Dialect::GoogleSql => ["-99999999999999999999999999999.999999999", "1.5"],
            Dialect::Postgres => ["-99999999999999999999999999999.999999999", "1.50"],
        };
        let json = match self.database.dialect {
            Dialect::GoogleSql => r#"{"a":[1,null,"ü"],"b":1.1}"#,
            Dialect::Postgres => r#"{"a": [1, null, "ü"], "b": 1.10}"#,
        };
        let array = |values: &[Value]| Value::Array(values.into());
        let mut values = vec![
            Value::Bool(true),
            Value::Bool(false),
            Value::Int(i64::MIN),
            Value::Int(i64::MAX),
            Value::Float(0.1 + 0.2),
            Value::Float(f64::MAX),
            Value::Float(5e-324),
            Value::Float32(1.1),
            Value::Float32(f32::MIN),
            Value::from(""),
            Value::from("\"ü\u{1f980}\\\n\t\u{1}"),
            Value::from("NULL"),
            Value::Bytes((0..=255).collect()),
            Value::from(Vec::new()),
            Value::Json(json.into()),
            Value::Json("null".into()),
            Value::Date("0001-01-01".parse().expect("a time")),
            Value::Date("9999-12-31".parse().expect("a time")),
            // The emulator cuts fractions of a second off.
            Value::Timestamp("1969-12-31T23:59:59Z".parse().expect("a time")),
            Value::Timestamp("9999-12-30T21:59:59Z".parse().expect("a time")),
            array(&[Value::Int(1), Value::Null, Value::Int(i64::MIN)]),
            array(&[Value::from("NULL"), Value::from("")]),
            array(&[Value::Float(0.1 + 0.2), Value::Float(-0.5)]),
            array(&[Value::Decimal("1.5".into()), Value::Null]),
            array(&[Value::from(vec![0, 255])]),
        ];
        values.extend(decimals.map(|decimal| Value::Decimal(decimal.into())));
        values
    }

    async fn commit(&self, writes: &[Write]) -> Result<()> {
        let mutation = |write: &Write| match write {
            Write::Insert { key, value } => row(Mutation::new_insert_builder("items"), *key, value),
            // Where a scenario could not write rows before the source began, this inserts.
            Write::Update { key, value } => {
                row(Mutation::new_insert_or_update_builder("items"), *key, value)
            }
            Write::Delete { key } => {
                let key = Key::new(vec![Wire::from(*key)]);
                Mutation::delete("items", KeySet::from(key))
            }
            Write::Truncate => unreachable!("not among the operations"),
        };
        let mutations: Vec<_> = writes.iter().map(mutation).collect();
        if mutations.is_empty() {
            return Ok(());
        }
        let written = self.client.write_only_transaction().build().write(mutations).await;
        written.map(drop).map_err(|error| failed("writing")(error.into()))
    }

    async fn commit_elsewhere(&self) -> Result<()> {
        let id = self.elsewhere.fetch_add(1, Ordering::Relaxed);
        let other = Mutation::new_insert_builder("others").set("id").to(id).build();
        let written = self.client.write_only_transaction().build().write(vec![other]).await;
        written.map(drop).map_err(|error| failed("writing elsewhere")(error.into()))
    }

    async fn split(&self) -> Result<()> {
        let before = self.tokens().await?;
        while !self.tokens().await?.is_disjoint(&before) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn losses(&self) -> Vec<&'static str> {
        vec!["the change stream was dropped and made anew"]
    }

    async fn lose(&self, loss: &str) -> Result<()> {
        let anew = stream(self.database.dialect, "");
        match self.losses().contains(&loss) {
            true => self.database.define(&["DROP CHANGE STREAM changes".to_owned(), anew]).await,
            false => Err(Error::fatal(format!("no such loss: {loss}"))),
        }
    }
}
