//! A fake cluster, and a source on it that is opened as a pipeline does.

use std::{collections::HashMap, time::Duration};

use futures_util::StreamExt;
use rowtide_cockroachdb as _;
use rowtide_core::{
    Change, Context, Error, Event, EventStream, Operation, Partition, PartitionId, Position,
    Result, Row, Shutdown, Source, Value, registry, settings::Settings,
};
use rowtide_fake_cockroachdb::{Options, Server};
use serde_json::{Value as Json, json};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

/// A server with the tables that `sql` makes.
pub(crate) fn server(sql: &str) -> Server {
    server_with(Options::default(), sql)
}

pub(crate) fn server_with(options: Options, sql: &str) -> Server {
    let server = Server::start(options).expect("a server");
    server.execute(sql).expect("its tables");
    server
}

/// Opens a source with `settings` beside the address of `server`.
pub(crate) async fn open(server: &Server, settings: Json) -> Result<Box<dyn Source>> {
    open_at(&server.url(), settings).await
}

pub(crate) async fn open_at(url: &str, settings: Json) -> Result<Box<dyn Source>> {
    let mut all = json!({"database": url, "heartbeat_every": "20ms"});
    if let (Json::Object(all), Json::Object(settings)) = (&mut all, settings) {
        all.extend(settings);
    }
    let factory = registry::source("cockroachdb", &Settings::from(all))?;
    factory.open(&Context::new("test", Shutdown::never())).await
}

/// What was read, and where each partition is.
#[derive(Default)]
pub(crate) struct Read {
    pub(crate) changes: Vec<Change>,
    pub(crate) positions: HashMap<PartitionId, Position>,
    pub(crate) finished: Vec<PartitionId>,
    pub(crate) children: Vec<Partition>,
    pub(crate) idle: usize,
}

impl Read {
    pub(crate) fn note(&mut self, id: &PartitionId, event: Event) {
        match event {
            Event::Changes { changes, position } => {
                self.changes.extend(changes);
                if let Some(position) = position {
                    self.positions.insert(id.clone(), position);
                }
            }
            Event::Idle { position } => {
                self.positions.insert(id.clone(), position);
                self.idle += 1;
            }
            Event::Children { partitions } => self.children = partitions,
            Event::Finished => self.finished.push(id.clone()),
        }
    }

    /// Operations and keys, in the order of arrival, without marks.
    pub(crate) fn said(&self) -> Vec<(Operation, i64)> {
        let rows = self.changes.iter().filter(|change| !change.operation.is_mark());
        rows.map(|change| (change.operation, key(change))).collect()
    }

    /// The same in the order of keys, for what nothing promises an order of.
    pub(crate) fn sorted(&self) -> Vec<(Operation, i64)> {
        let mut said = self.said();
        said.sort_by_key(|(operation, key)| (*key, operation.name()));
        said
    }
}

pub(crate) fn key(change: &Change) -> i64 {
    match row_value(change, change.image().expect("a row"), "id") {
        Some(Value::Int(key)) => key,
        other => panic!("a key of {other:?}"),
    }
}

/// The value of a column after the change.
pub(crate) fn after(change: &Change, column: &str) -> Option<Value> {
    row_value(change, change.after.as_ref()?, column)
}

fn row_value(change: &Change, row: &Row, column: &str) -> Option<Value> {
    let index = change.table.columns.iter().position(|own| *own.name == *column)?;
    Some(row[index].clone())
}

/// Reads a stream until `enough` holds.
pub(crate) async fn until(
    id: &PartitionId,
    stream: &mut EventStream<'_>,
    read: &mut Read,
    enough: impl Fn(&Read) -> bool,
) -> Result<()> {
    while !enough(read) {
        let event = timeout(PATIENCE, stream.next()).await.expect("an event");
        read.note(id, event.ok_or_else(|| Error::transient("ended"))??);
    }
    Ok(())
}

/// Reads the only partition from its start or a position until `enough` holds, and drops it.
pub(crate) async fn read(
    source: &dyn Source,
    from: Option<Position>,
    enough: impl Fn(&Read) -> bool,
) -> Result<(Partition, Read)> {
    let partition = source.partitions().await?.remove(0);
    let mut found = Read::default();
    let mut stream = source.read(&partition, from);
    until(&partition.id, &mut stream, &mut found, enough).await?;
    drop(stream);
    Ok((partition, found))
}

/// Waits until the server has no changefeed left.
pub(crate) async fn released(server: &Server) {
    let wait = async {
        while server.feeds() > 0 || server.connections() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("all connections to be closed");
}
