use std::sync::Arc;

use jiff::{Timestamp, civil};
use rowtide_conformance::{Capability, Result, SourceHarness, Upstream, Write, async_trait};
use rowtide_core::{Change, Operation, Value};
use rowtide_servers::{Kind, Lease, Server};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};

use super::{Sample, failed, first_value, literal};

/// An outbox in PostgreSQL.
pub(crate) struct Postgres(pub(crate) Done);

/// What becomes of a delivered row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    Delete,
    Mark,
    Keep,
}

/// A server that no other scenario uses meanwhile, since some restart it.
struct World {
    server: Arc<Lease>,
    url: String,
    done: Done,
}

impl Done {
    pub(crate) const ALL: [Done; 3] = [Done::Delete, Done::Mark, Done::Keep];

    pub(crate) fn system(self) -> &'static str {
        match self {
            Done::Delete => "postgres_delete",
            Done::Mark => "postgres_mark",
            Done::Keep => "postgres_keep",
        }
    }

    fn setting(self) -> &'static str {
        match self {
            Done::Delete => "delete",
            Done::Mark => "mark",
            Done::Keep => "keep",
        }
    }
}

const TABLE: &str = "
CREATE TABLE outbox (
    id bigint NOT NULL,
    aggregatetype text, aggregateid text, payload jsonb,
    of_text text, of_bool bool, of_int2 smallint, of_int4 int, of_int8 bigint,
    of_float4 real, of_float8 float8, of_numeric numeric, of_bytes bytea, of_json json,
    of_uuid uuid, of_date date, of_time time, of_datetime timestamp, of_timestamp timestamptz,
    done_at timestamptz,
    seq bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id());
CREATE INDEX ON outbox (xid);
CREATE INDEX ON outbox (seq) WHERE done_at IS NULL";

#[async_trait]
impl SourceHarness for Postgres {
    fn plugin(&self) -> &str {
        "outbox"
    }

    fn lacks(&self) -> Vec<(Capability, &'static str)> {
        let mut lacks = vec![
            (Capability::Transactions, "a message is by itself"),
            (Capability::Snapshot, "a message that waits is as new as any other"),
            (Capability::Children, "a table is one partition"),
            (Capability::Elsewhere, "a position depends on nothing but the messages"),
        ];
        if self.0 != Done::Keep {
            let reason = "a position says what is done, and nothing of what is not";
            lacks.push((Capability::Loss, reason));
        }
        lacks
    }

    async fn upstream(&self) -> Result<Arc<dyn Upstream>> {
        let lease = || Server::lease(Kind::Postgres);
        let server = tokio::task::spawn_blocking(lease).await.map_err(failed)?.map_err(failed)?;
        let url = server.variable("ROWTIDE_POSTGRES_URL").map_err(failed)?;
        let url = format!("{url}?sslmode=disable");
        let world = World { server: Arc::new(server), url, done: self.0 };
        while world.held().await? > 0 {
            tokio::task::yield_now().await;
        }
        world.execute("DROP TABLE IF EXISTS outbox").await?;
        world.execute(TABLE).await?;
        Ok(Arc::new(world))
    }
}

impl World {
    async fn connect(&self) -> Result<PgConnection> {
        PgConnection::connect(&self.url).await.map_err(failed)
    }

    async fn execute(&self, statements: &str) -> Result<()> {
        let statements = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
        self.connect().await?.execute(statements).await.map_err(failed)?;
        Ok(())
    }
}

#[async_trait]
impl Upstream for World {
    fn settings(&self) -> String {
        let done = self.done.setting();
        format!("database = '{}'\ndone = '{done}'\npoll_every = '10ms'", self.url)
    }

    fn operations(&self) -> Vec<Operation> {
        vec![Operation::Insert]
    }

    fn values(&self) -> Vec<Value> {
        SAMPLES.iter().map(|(_, _, value)| value()).collect()
    }

    async fn commit(&self, writes: &[Write]) -> Result<()> {
        let mut connection = self.connect().await?;
        let mut transaction = connection.begin().await.map_err(failed)?;
        for write in writes {
            let Write::Insert { key, value } = write else { return Err(failed("not an insert")) };
            let insert = match literal(SAMPLES, value) {
                None => format!("INSERT INTO outbox (id) VALUES ({key})"),
                Some((name, literal)) => {
                    format!("INSERT INTO outbox (id, {name}) VALUES ({key}, {literal})")
                }
            };
            transaction.execute(AssertSqlSafe(insert)).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    async fn restart(&self) -> Result<()> {
        let server = Arc::clone(&self.server);
        let restart = move || server.restart();
        tokio::task::spawn_blocking(restart).await.map_err(failed)?.map_err(failed)
    }

    fn losses(&self) -> Vec<&'static str> {
        vec!["the outbox was made anew"]
    }

    async fn lose(&self, _loss: &str) -> Result<()> {
        self.execute("DROP TABLE outbox").await?;
        self.execute(TABLE).await
    }

    async fn held(&self) -> Result<usize> {
        let mut connection = self.connect().await?;
        let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rowtide'";
        let row = connection.fetch_one(count).await.map_err(failed)?;
        let count: i64 = row.try_get(0).map_err(failed)?;
        usize::try_from(count).map_err(failed)
    }

    /// The value is in whichever column is not null.
    fn row(&self, change: &Change) -> Option<(i64, Value)> {
        first_value(change)
    }
}

const SAMPLES: &[Sample] = &[
    ("of_text", "'plain'", || Value::from("plain")),
    ("of_text", "''", || Value::from("")),
    ("of_text", "'snow ☃ 雪 \u{1F980}'", || Value::from("snow ☃ 雪 \u{1F980}")),
    ("of_bool", "true", || Value::Bool(true)),
    ("of_bool", "false", || Value::Bool(false)),
    ("of_int2", "-32768", || Value::Int(-32_768)),
    ("of_int4", "2147483647", || Value::Int(2_147_483_647)),
    ("of_int8", "9223372036854775807", || Value::Int(i64::MAX)),
    ("of_int8", "-9223372036854775808", || Value::Int(i64::MIN)),
    ("of_float4", "'0.1'", || Value::Float32(0.1)),
    ("of_float8", "'NaN'", || Value::Float(f64::NAN)),
    ("of_float8", "'-0'", || Value::Float(-0.0)),
    ("of_float8", "'-Infinity'", || Value::Float(f64::NEG_INFINITY)),
    ("of_numeric", "12345678901234567890.1200", || {
        Value::Decimal("12345678901234567890.1200".into())
    }),
    ("of_bytes", r"'\x00ff10'", || Value::Bytes([0, 255, 16].into())),
    ("of_bytes", "''", || Value::Bytes([].into())),
    ("payload", r#"'{"a": [1, null]}'"#, || Value::Json(r#"{"a": [1, null]}"#.into())),
    ("of_json", r#"'{"b":1}'"#, || Value::Json(r#"{"b":1}"#.into())),
    ("of_uuid", "'00112233-4455-6677-8899-aabbccddeeff'", || {
        Value::Uuid(std::array::from_fn(|index| u8::try_from(index * 17).unwrap_or_default()))
    }),
    ("of_date", "'0001-01-01'", || Value::Date(civil::date(1, 1, 1))),
    ("of_date", "'9999-12-31'", || Value::Date(civil::date(9999, 12, 31))),
    ("of_date", "'infinity'", || Value::from("infinity")),
    ("of_time", "'23:59:59.999999'", || Value::Time(civil::time(23, 59, 59, 999_999_000))),
    ("of_datetime", "'1969-12-31 23:59:59.000001'", || {
        Value::DateTime(civil::date(1969, 12, 31).at(23, 59, 59, 1_000))
    }),
    ("of_timestamp", "'2024-02-29 12:00:00.5+02'", || {
        Value::Timestamp(Timestamp::constant(1_709_200_800, 500_000_000))
    }),
    ("of_timestamp", "'-infinity'", || Value::from("-infinity")),
];
