use rowtide_core::{Context, Source};
use rowtide_servers::{Kind, Lease, Server};
use serde_json::Value as Json;
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection};

use crate::relay::{self, Outcome, Relay, context, factory};

/// An empty database of a server that nobody else uses meanwhile.
pub(crate) struct World {
    pub(crate) server: Lease,
    pub(crate) url: String,
}

const TABLE: &str = "
CREATE TABLE outbox (
    seq bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    id char(36) NOT NULL DEFAULT uuid() UNIQUE, aggregatetype varchar(99) NOT NULL DEFAULT 'a',
    aggregateid varchar(99) NOT NULL DEFAULT '1', type varchar(99), payload longtext)";

const OTHERS: &str = "SELECT CAST(id AS SIGNED) FROM information_schema.processlist \
                      WHERE user = 'root' AND id <> connection_id()";

impl World {
    /// With nothing in it.
    pub(crate) async fn empty() -> Outcome<Self> {
        let lease = || Server::lease(Kind::MariaDb);
        let server = tokio::task::spawn_blocking(lease).await??;
        // Each encrypted connection costs a tenth of a second in a debug build.
        let url = format!("{}?ssl-mode=disabled", server.variable("ROWTIDE_MYSQL_URL")?);
        let world = Self { server, url };
        let mut connection = world.connect().await?;
        let others: Vec<i64> = sqlx::query_scalar(OTHERS).fetch_all(&mut connection).await?;
        for other in others {
            // It may have ended by itself.
            let _ = connection.execute(AssertSqlSafe(format!("KILL {other}"))).await;
        }
        connection.execute("DROP DATABASE rowtide; CREATE DATABASE rowtide").await?;
        Ok(world)
    }

    /// With an outbox in it.
    pub(crate) async fn new() -> Outcome<Self> {
        let world = Self::empty().await?;
        world.execute(TABLE).await?;
        Ok(world)
    }

    pub(crate) async fn connect(&self) -> Outcome<MySqlConnection> {
        Ok(MySqlConnection::connect(&self.url).await?)
    }

    pub(crate) async fn execute(&self, statements: &str) -> Outcome {
        let statements = AssertSqlSafe(statements.to_owned());
        self.connect().await?.execute(statements).await?;
        Ok(())
    }

    /// Does something to the folder of the server, which does not run meanwhile.
    pub(crate) async fn while_stopped<T>(
        &self,
        act: impl FnOnce(String) -> Outcome<T>,
    ) -> Outcome<T> {
        let query = sqlx::query_scalar("SELECT @@datadir");
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
        connection.execute("START TRANSACTION").await?;
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

    /// A relay that lives as long as its server.
    pub(crate) async fn relay(&self, more: Json) -> Outcome<Relay<'static>> {
        let source = self.open(more, &context()).await?;
        Ok(Relay::new(Box::leak(source), None))
    }
}

pub(crate) struct Writer(MySqlConnection);

impl Writer {
    pub(crate) async fn insert(&mut self, label: &str) -> Outcome {
        let insert = format!("INSERT INTO outbox (type) VALUES ('{label}')");
        self.0.execute(AssertSqlSafe(insert)).await?;
        Ok(())
    }

    pub(crate) async fn commit(mut self) -> Outcome {
        self.0.execute("COMMIT").await?;
        Ok(())
    }

    pub(crate) async fn roll_back(mut self) -> Outcome {
        self.0.execute("ROLLBACK").await?;
        Ok(())
    }
}
