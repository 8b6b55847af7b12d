use std::{error::Error, time::Duration};

use rowtide_core::{Context, Shutdown, Source, registry, settings::Settings};
use rowtide_servers::{Kind, Server};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::runtime::{Builder, Runtime};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// A server of one's own with an outbox in it.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) url: String,
}

const TABLE: &str = "
CREATE TABLE outbox (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    aggregatetype text NOT NULL DEFAULT 'a', aggregateid text NOT NULL, type text, payload jsonb,
    seq bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id());
CREATE INDEX ON outbox (xid);
CREATE TABLE elsewhere (n int);
CREATE TABLE aggregates (id int PRIMARY KEY, version int NOT NULL)";

impl World {
    pub(crate) async fn new(arguments: &'static [&'static str]) -> Outcome<Self> {
        let start = move || Server::start_with(Kind::Postgres, arguments);
        let server = tokio::task::spawn_blocking(start).await??;
        let url = server.variable("ROWTIDE_POSTGRES_URL")?.to_owned();
        let world = Self { server, url };
        world.connect().await?.execute(TABLE).await?;
        Ok(world)
    }

    pub(crate) async fn connect(&self) -> Outcome<PgConnection> {
        Ok(PgConnection::connect(&self.url).await?)
    }

    /// A transaction that stays open until it is told to end.
    pub(crate) async fn writer(&self) -> Outcome<Writer> {
        let mut connection = self.connect().await?;
        connection.execute("BEGIN").await?;
        Ok(Writer(connection))
    }

    pub(crate) async fn open(&self, done: &str, context: &Context) -> Outcome<Box<dyn Source>> {
        let settings = json!({ "database": self.url, "done": done, "poll_every": "5ms" });
        let factory = registry::source("outbox", &Settings::from(settings))?;
        Ok(factory.open(context).await?)
    }
}

pub(crate) struct Writer(PgConnection);

impl Writer {
    pub(crate) async fn run(&mut self, statement: &str) -> Outcome {
        self.0.execute(AssertSqlSafe(statement.to_owned())).await?;
        Ok(())
    }

    pub(crate) async fn insert(&mut self, label: &str) -> Outcome {
        self.run(&format!("INSERT INTO outbox (aggregateid, type) VALUES ('1', '{label}')")).await
    }

    /// Gives the transaction its id.
    pub(crate) async fn write_elsewhere(&mut self) -> Outcome {
        self.run("INSERT INTO elsewhere VALUES (1)").await
    }

    pub(crate) async fn commit(mut self) -> Outcome {
        self.run("COMMIT").await
    }

    pub(crate) async fn roll_back(mut self) -> Outcome {
        self.run("ROLLBACK").await
    }
}

pub(crate) fn context() -> Context {
    Context::new("test", Shutdown::never())
}

/// Runs a test, and fails it when it takes too long.
pub(crate) fn run(test: impl Future<Output = Outcome>) -> Outcome {
    let runtime: Runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(180), test).await? })
}
