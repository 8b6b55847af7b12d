use std::{error::Error, time::Duration};

use futures_util::StreamExt;
use rowtide_core::{
    Context, Event, EventStream, Partition, PartitionId, Position, Shutdown, Source, Value,
    registry, settings::Settings,
};
use rowtide_servers::{Kind, Server};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// A server of one's own with an outbox in it.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) url: String,
}

const TABLE: &str = "
CREATE TABLE outbox (
    seq bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    id char(36) NOT NULL DEFAULT uuid() UNIQUE, aggregatetype varchar(99) NOT NULL DEFAULT 'a',
    aggregateid varchar(99) NOT NULL DEFAULT '1', type varchar(99), payload longtext)";

impl World {
    pub(crate) async fn new() -> Outcome<Self> {
        let start = || Server::start_with(Kind::MariaDb, &[]);
        let server = tokio::task::spawn_blocking(start).await??;
        let url = server.variable("ROWTIDE_MYSQL_URL")?.to_owned();
        let world = Self { server, url };
        world.connect().await?.execute(TABLE).await?;
        Ok(world)
    }

    pub(crate) async fn connect(&self) -> Outcome<MySqlConnection> {
        Ok(MySqlConnection::connect(&self.url).await?)
    }

    /// A transaction that stays open until it is told to end.
    pub(crate) async fn writer(&self) -> Outcome<Writer> {
        let mut connection = self.connect().await?;
        connection.execute("START TRANSACTION").await?;
        Ok(Writer(connection))
    }

    pub(crate) async fn open(&self, context: &Context) -> Outcome<Box<dyn Source>> {
        self.open_with(json!({}), context).await
    }

    /// With more settings than there always are.
    pub(crate) async fn open_with(
        &self,
        more: serde_json::Value,
        context: &Context,
    ) -> Outcome<Box<dyn Source>> {
        let mut settings = json!({ "database": self.url, "poll_every": "5ms" });
        for (name, value) in more.as_object().into_iter().flatten() {
            settings[name] = value.clone();
        }
        let factory = registry::source("outbox", &Settings::from(settings))?;
        Ok(factory.open(context).await?)
    }

    /// A relay that lives as long as its server.
    pub(crate) async fn relay(&self, settings: serde_json::Value) -> Outcome<Relay<'static>> {
        let source = self.open_with(settings, &context()).await?;
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

/// The plugin, through the registry.
pub(crate) struct Relay<'a> {
    source: &'a dyn Source,
    stream: EventStream<'a>,
    pub(crate) position: Option<Position>,
}

impl<'a> Relay<'a> {
    pub(crate) fn new(source: &'a dyn Source, from: Option<Position>) -> Self {
        let stream = source.read(&Partition::whole(), from.clone());
        Self { source, stream, position: from }
    }

    /// The next event's labels.
    pub(crate) async fn advance(&mut self) -> rowtide_core::Result<Vec<String>> {
        let ended = || rowtide_core::Error::fatal("the stream has ended");
        match self.stream.next().await.ok_or_else(ended)?? {
            Event::Changes { changes, position } => {
                self.position = position.or(self.position.take());
                Ok(changes.iter().filter_map(label).collect())
            }
            Event::Idle { position } => {
                self.position = Some(position);
                Ok(Vec::new())
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn acknowledge(&mut self) -> rowtide_core::Result<()> {
        let Some(position) = self.position.clone() else { return Ok(()) };
        self.source.acknowledge(&[(PartitionId::new("whole"), position)]).await
    }
}

fn label(change: &rowtide_core::Change) -> Option<String> {
    let row = change.after.as_ref()?;
    let at = change.table.columns.iter().position(|column| &*column.name == "type")?;
    match &row[at] {
        Value::Text(text) => Some(text.to_string()),
        _ => None,
    }
}

pub(crate) fn context() -> Context {
    Context::new("test", Shutdown::never())
}

/// Runs a test, and fails it when it takes too long.
pub(crate) fn run(test: impl Future<Output = Outcome>) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(180), test).await? })
}
