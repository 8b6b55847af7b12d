use std::sync::Arc;

use jiff::{Timestamp, civil};
use rowtide_conformance::{Capability, Result, SourceHarness, Upstream, Write, async_trait};
use rowtide_core::{Change, Operation, Value};
use rowtide_servers::{Kind, Lease, Server};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, Row};

use super::{Sample, failed, first_value, literal};

/// An outbox in MySQL or MariaDB.
pub(crate) struct MySql(pub(crate) Done);

/// What becomes of a delivered row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    Delete,
    Mark,
}

/// A server that no other scenario uses meanwhile, since some restart it.
struct World {
    server: Arc<Lease>,
    url: String,
    done: Done,
}

impl Done {
    pub(crate) const ALL: [Done; 2] = [Done::Delete, Done::Mark];

    pub(crate) fn system(self) -> &'static str {
        match self {
            Done::Delete => "mysql_delete",
            Done::Mark => "mysql_mark",
        }
    }

    fn setting(self) -> &'static str {
        match self {
            Done::Delete => "delete",
            Done::Mark => "mark",
        }
    }
}

const TABLE: &str = "
DROP TABLE IF EXISTS outbox;
CREATE TABLE outbox (
    id bigint NOT NULL,
    aggregatetype text, aggregateid text, payload json,
    of_text longtext, of_char char(8), of_tinyint tinyint, of_int int, of_bigint bigint,
    of_unsigned bigint unsigned, of_float float, of_double double, of_decimal decimal(30,4),
    of_binary binary(16), of_blob longblob, of_uuid uuid, of_date date, of_time time(6),
    of_datetime datetime(6), of_timestamp timestamp(6) NULL, of_enum enum('a', 'b'), of_year year,
    done_at datetime(6),
    seq bigint NOT NULL AUTO_INCREMENT UNIQUE,
    INDEX (done_at, seq)) CHARSET=utf8mb4";

#[async_trait]
impl SourceHarness for MySql {
    fn plugin(&self) -> &str {
        "outbox"
    }

    fn lacks(&self) -> Vec<(Capability, &'static str)> {
        vec![
            (Capability::Transactions, "a message is by itself"),
            (Capability::Snapshot, "a message that waits is as new as any other"),
            (Capability::Children, "a table is one partition"),
            (Capability::Elsewhere, "a position depends on nothing but the messages"),
            (Capability::Loss, "a position says what is done, and nothing of what is not"),
        ]
    }

    async fn upstream(&self) -> Result<Arc<dyn Upstream>> {
        let lease = || Server::lease(Kind::MariaDb);
        let server = tokio::task::spawn_blocking(lease).await.map_err(failed)?.map_err(failed)?;
        let url = server.variable("ROWTIDE_MYSQL_URL").map_err(failed)?;
        let url = format!("{url}?ssl-mode=disabled");
        let world = World { server: Arc::new(server), url, done: self.0 };
        while world.held().await? > 0 {
            tokio::task::yield_now().await;
        }
        world.connect().await?.execute(TABLE).await.map_err(failed)?;
        Ok(Arc::new(world))
    }
}

impl World {
    async fn connect(&self) -> Result<MySqlConnection> {
        MySqlConnection::connect(&self.url).await.map_err(failed)
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

    /// Other connections than the one that asks.
    async fn held(&self) -> Result<usize> {
        let mut connection = self.connect().await?;
        let count = "SELECT count(*) FROM information_schema.processlist \
                     WHERE user = 'root' AND id <> connection_id()";
        let row = connection.fetch_one(count).await.map_err(failed)?;
        let count: i64 = row.try_get(0).map_err(failed)?;
        usize::try_from(count).map_err(failed)
    }

    fn row(&self, change: &Change) -> Option<(i64, Value)> {
        first_value(change)
    }
}

const SAMPLES: &[Sample] = &[
    ("of_text", "'plain'", || Value::from("plain")),
    ("of_text", "''", || Value::from("")),
    ("of_text", "'snow ☃ 雪 \u{1F980}'", || Value::from("snow ☃ 雪 \u{1F980}")),
    ("of_char", "'eight'", || Value::from("eight")),
    ("of_tinyint", "-128", || Value::Int(-128)),
    ("of_int", "2147483647", || Value::Int(2_147_483_647)),
    ("of_bigint", "9223372036854775807", || Value::Int(i64::MAX)),
    ("of_bigint", "-9223372036854775808", || Value::Int(i64::MIN)),
    ("of_unsigned", "18446744073709551615", || Value::Decimal("18446744073709551615".into())),
    ("of_float", "0.1", || Value::Float32(0.1)),
    ("of_double", "0.1", || Value::Float(0.1)),
    ("of_double", "-1.7976931348623157e308", || Value::Float(f64::MIN)),
    ("of_decimal", "12345678901234567890.1200", || {
        Value::Decimal("12345678901234567890.1200".into())
    }),
    ("of_blob", "X'00ff10'", || Value::Bytes([0, 255, 16].into())),
    ("of_blob", "X''", || Value::Bytes([].into())),
    ("of_binary", "X'000102030405060708090a0b0c0d0e0f'", || {
        Value::Bytes((0..16).collect::<Vec<u8>>().into())
    }),
    // MariaDB's JSON is a text.
    ("payload", r#"'{"a": [1, null]}'"#, || Value::from(r#"{"a": [1, null]}"#)),
    ("of_uuid", "'00112233-4455-6677-8899-aabbccddeeff'", || {
        Value::Uuid(std::array::from_fn(|index| u8::try_from(index * 17).unwrap_or_default()))
    }),
    ("of_date", "'1000-01-01'", || Value::Date(civil::date(1000, 1, 1))),
    ("of_date", "'9999-12-31'", || Value::Date(civil::date(9999, 12, 31))),
    ("of_time", "'-838:59:59'", || Value::from("-838:59:59.000000")),
    ("of_datetime", "'1969-12-31 23:59:59.000001'", || {
        Value::DateTime(civil::date(1969, 12, 31).at(23, 59, 59, 1_000))
    }),
    ("of_timestamp", "'2024-02-29 10:00:00.5'", || {
        Value::Timestamp(Timestamp::constant(1_709_200_800, 500_000_000))
    }),
    ("of_enum", "'b'", || Value::from("b")),
    ("of_year", "2026", || Value::Int(2026)),
];
