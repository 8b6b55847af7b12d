use rowtide_core::{Context, Source};
use rowtide_servers::{Kind, Lease, Server};
use serde_json::Value as Json;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::relay::{self, Outcome, factory};

/// An empty database of a server that nobody else uses meanwhile.
pub(crate) struct World {
    pub(crate) server: Lease,
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

/// Ends all others, and waits for their end.
pub(crate) const LEAVE: &str = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";

impl World {
    /// With nothing in it.
    pub(crate) async fn empty() -> Outcome<Self> {
        let lease = || Server::lease(Kind::Postgres);
        let server = tokio::task::spawn_blocking(lease).await??;
        // Each encrypted connection costs a tenth of a second in a debug build.
        let url = format!("{}?sslmode=disable", server.variable("ROWTIDE_POSTGRES_URL")?);
        let world = Self { server, url };
        // What is at its start is not in a transaction.
        for statement in [
            LEAVE,
            "ALTER SYSTEM RESET ALL",
            "SELECT pg_reload_conf()",
            "DROP SCHEMA public CASCADE; CREATE SCHEMA public",
        ] {
            world.execute(statement).await?;
        }
        Ok(world)
    }

    /// With an outbox in it.
    pub(crate) async fn new() -> Outcome<Self> {
        let world = Self::empty().await?;
        world.execute(TABLE).await?;
        Ok(world)
    }

    pub(crate) async fn execute(&self, statements: &str) -> Outcome {
        let statements = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
        self.connect().await?.execute(statements).await?;
        Ok(())
    }

    pub(crate) async fn connect(&self) -> Outcome<PgConnection> {
        Ok(PgConnection::connect(&self.url).await?)
    }

    /// Does something to the folder of the server, which does not run meanwhile.
    pub(crate) async fn while_stopped<T>(
        &self,
        act: impl FnOnce(String) -> Outcome<T>,
    ) -> Outcome<T> {
        let query = sqlx::query_scalar("SHOW data_directory");
        let folder = query.fetch_one(&mut self.connect().await?).await?;
        self.server.stop()?;
        let done = act(folder)?;
        self.server.restart()?;
        Ok(done)
    }

    pub(crate) async fn count(&self, query: &str) -> Outcome<i64> {
        let query = sqlx::query_scalar(AssertSqlSafe(query.to_owned()));
        Ok(query.fetch_one(&mut self.connect().await?).await?)
    }

    /// A transaction that stays open until it is told to end.
    pub(crate) async fn writer(&self) -> Outcome<Writer> {
        let mut connection = self.connect().await?;
        connection.execute("BEGIN").await?;
        Ok(Writer(connection))
    }

    pub(crate) async fn open(
        &self,
        more: Json,
        context: &Context,
    ) -> rowtide_core::Result<Box<dyn Source>> {
        factory(&self.url, &more)?.open(context).await
    }

    pub(crate) async fn setup(&self, more: Json) -> rowtide_core::Result<Vec<String>> {
        relay::setup(&self.url, &more).await
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
