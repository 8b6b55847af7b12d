//! The plugin as the engine uses it, for tests on each database.

pub(crate) mod exclusion;
pub(crate) mod holder;

use std::{error::Error, time::Duration};

use futures_util::StreamExt;
use rowtide_core::{
    Change, Context, Event, EventStream, Partition, PartitionId, Position, Shutdown, Source, Value,
    plugin::{Execution, InstallOptions, SourceFactory},
    registry,
    settings::Settings,
};
use serde_json::{Value as Json, json};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// A source and its stream.
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

    /// The next event's changes and its position.
    async fn event(&mut self) -> rowtide_core::Result<(Vec<Change>, Option<Position>)> {
        let ended = || rowtide_core::Error::fatal("the stream has ended");
        match self.stream.next().await.ok_or_else(ended)?? {
            Event::Changes { changes, position } => Ok((changes, position)),
            Event::Idle { position } => Ok((Vec::new(), Some(position))),
            other => panic!("{other:?}"),
        }
    }

    /// The next event's changes.
    pub(crate) async fn next(&mut self) -> rowtide_core::Result<Vec<Change>> {
        let (changes, position) = self.event().await?;
        self.position = position.or(self.position.take());
        Ok(changes)
    }

    /// The next event's labels.
    pub(crate) async fn advance(&mut self) -> rowtide_core::Result<Vec<String>> {
        Ok(labels(&self.next().await?))
    }

    /// At least so many changes, and the position behind them.
    pub(crate) async fn read(&mut self, changes_min: usize) -> rowtide_core::Result<Vec<Change>> {
        let mut found = Vec::new();
        let mut covering = None;
        while found.len() < changes_min || covering.is_none() {
            let (changes, position) = self.event().await?;
            covering = if changes.is_empty() { position.or(covering) } else { position };
            found.extend(changes);
        }
        self.position = covering;
        Ok(found)
    }

    pub(crate) async fn acknowledge(&mut self) -> rowtide_core::Result<()> {
        let Some(position) = self.position.clone() else { return Ok(()) };
        self.source.acknowledge(&[(PartitionId::new("whole"), position)]).await
    }
}

/// What messages are told apart by in these tests.
pub(crate) fn labels(changes: &[Change]) -> Vec<String> {
    changes.iter().map(|change| text(change, "type")).collect()
}

/// The value of a column.
pub(crate) fn column(change: &Change, name: &str) -> Value {
    let at = change.table.columns.iter().position(|column| &*column.name == name);
    let row = change.after.as_ref();
    at.zip(row).map_or(Value::Unknown, |(at, row)| row[at].clone())
}

/// The text in a column.
pub(crate) fn text(change: &Change, name: &str) -> String {
    match column(change, name) {
        Value::Text(text) => text.to_string(),
        other => panic!("{name}: {other:?}"),
    }
}

/// The plugin with these settings beside those of every test.
pub(crate) fn factory(database: &str, more: &Json) -> rowtide_core::Result<SourceFactory> {
    let mut settings = json!({ "database": database, "poll_every": "5ms" });
    for (name, value) in more.as_object().into_iter().flatten() {
        settings[name] = value.clone();
    }
    registry::source("outbox", &Settings::from(settings))
}

/// What `rowtide setup` does.
pub(crate) async fn setup(database: &str, more: &Json) -> rowtide_core::Result<Vec<String>> {
    let options = InstallOptions { execution: Execution::Apply, confirmed: false };
    factory(database, more)?.install(&context(), options).await
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
