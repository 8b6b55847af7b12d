pub(crate) mod decoding;
pub(crate) mod duplicates;
pub(crate) mod feeds;
pub(crate) mod garbage;
pub(crate) mod position;
pub(crate) mod reader;
pub(crate) mod regrouping;
pub(crate) mod statement;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use rowtide_core::{
    Error, EventStream, Partition, PartitionId, Position, Result, Source, async_trait,
    settings::Snapshot,
};
use tokio::sync::watch;

use crate::{
    config::{CockroachConfig, Import},
    connection::{Database, Patience, Session, literal},
    hlc::Hlc,
    source::{feeds::FeedId, position::FeedPosition},
    table::{Catalog, Target},
};

/// What stands for the table of a query in a position.
const QUERY: &str = "query";

/// Tables of a database, spread over changefeeds.
pub(crate) struct CockroachSource {
    pub(crate) config: CockroachConfig,
    pub(crate) database: Database,
    /// The name of the database, as the cluster knows it.
    pub(crate) name: String,
    pub(crate) cluster: String,
    /// In the order of their names; with a query the one that it reads.
    pub(crate) targets: Vec<Target>,
    /// How far each partition is, as this process knows it.
    pub(crate) known: watch::Sender<HashMap<PartitionId, FeedPosition>>,
    patience: Mutex<HashMap<FeedId, Arc<Patience>>>,
}

impl CockroachSource {
    /// Connects, and looks whether the cluster, the user and the tables are fit for changefeeds.
    pub(crate) async fn open(config: CockroachConfig) -> Result<Self> {
        let database = Database::new(&config.database, config.tls.as_ref())?;
        let session = database.session().await?;
        let catalog = Catalog::open(&session).await?;
        catalog.require_rangefeeds().await?;
        let targets = match &config.tables {
            Some(tables) => catalog.targets(tables).await?,
            None => catalog.target_of(config.query.as_deref().unwrap_or_default()).await?,
        };
        let cluster = catalog.cluster().await;
        let name = catalog.database;
        let (known, patience) = (watch::Sender::default(), Mutex::default());
        Ok(Self { config, database, name, cluster, targets, known, patience })
    }

    /// The tables of a feed.
    pub(crate) fn tables(&self, feed: &FeedId) -> BTreeSet<String> {
        if self.config.query.is_some() {
            return BTreeSet::from([QUERY.to_owned()]);
        }
        let names = self.targets.iter().map(Target::full_name);
        names.filter(|name| feed.has(name)).collect()
    }

    /// How long a feed may be silent. It outlives a reader that has failed.
    pub(crate) fn patience(&self, feed: &FeedId) -> Arc<Patience> {
        let mut patience = self.patience.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Patience::new(self.config.patience()));
        Arc::clone(patience.entry(*feed).or_insert_with(new))
    }

    pub(crate) fn note(&self, id: PartitionId, position: FeedPosition) {
        self.known.send_modify(|known| drop(known.insert(id, position)));
    }

    /// Where a pipeline begins that has no checkpoint, and whether the rows that are there are
    /// delivered.
    async fn beginning(&self, session: &Session) -> Result<(Hlc, bool)> {
        match self.config.import {
            Some(Import::CursorStore) => Ok((imported(session).await?, false)),
            None => Ok((now(session).await?, self.config.snapshot != Snapshot::Never)),
        }
    }
}

#[async_trait]
impl Source for CockroachSource {
    async fn partitions(&self) -> Result<Vec<Partition>> {
        let session = self.database.session().await?;
        let (at, is_scanned) = self.beginning(&session).await?;
        let partition = |feed: FeedId| {
            let tables = if is_scanned { BTreeSet::new() } else { self.tables(&feed) };
            let position = FeedPosition::new(&self.cluster, at, tables);
            let id = feed.to_string();
            Ok(Partition { start: Some(position.encode()?), ..Partition::new(id) })
        };
        FeedId::all(self.config.feeds.get(), 0).map(partition).collect()
    }

    fn read(&self, partition: &Partition, from: Option<Position>) -> EventStream<'_> {
        let begun = || {
            let id: FeedId = partition.id.as_str().parse()?;
            let from = from.or_else(|| partition.start.clone()).ok_or_else(|| {
                Error::position_lost(format!("feed `{id}` has no position to start at"))
            })?;
            let position = FeedPosition::decode(&from, &self.cluster)?;
            Ok((id, position))
        };
        match begun() {
            Ok((id, position)) if id.count != self.config.feeds.get() => {
                regrouping::stream(self, id, position)
            }
            Ok((id, position)) => reader::stream(self, id, position),
            Err(error) => Box::pin(futures_util::stream::iter([Err(error)])),
        }
    }

    /// The cluster keeps nothing for a feed; this notes how old the positions become.
    async fn acknowledge(&self, positions: &[(PartitionId, Position)]) -> Result<()> {
        for (id, position) in positions {
            let position = FeedPosition::decode(position, &self.cluster)?;
            self.note(id.clone(), position);
        }
        Ok(())
    }
}

/// The time of the cluster.
pub(crate) async fn now(session: &Session) -> Result<Hlc> {
    Hlc::parse(&session.value("SELECT cluster_logical_timestamp()").await?)
}

/// Where crdb-changefeed-publisher stopped.
async fn imported(session: &Session) -> Result<Hlc> {
    let sql = format!("SELECT cursor FROM cursor_store WHERE key = {}", literal("key"));
    let rows = session.query(&sql).await.map_err(|error| error.key("import"))?;
    let Some(text) = rows.first().and_then(|row| row.get(0)) else {
        let message = "the table `cursor_store` has no row `key`";
        let help = "take `import` out to begin with the rows that are there";
        return Err(Error::config(message).key("import").help(help));
    };
    text.parse().map_err(|()| {
        Error::config(format!("`{text}` in `cursor_store` is no timestamp")).key("import")
    })
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use rowtide_core::Event;
    use rowtide_fake_cockroachdb::{Options, Server};
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn progress_restores_the_patience_with_a_feed() {
        let server = Server::start(Options::default()).unwrap();
        server.execute("CREATE TABLE t (id INT8 PRIMARY KEY)").unwrap();
        let settings =
            json!({"database": server.url(), "tables": ["t"], "heartbeat_every": "20ms"});
        let config = serde_json::from_value(settings).unwrap();
        let source = CockroachSource::open(config).await.unwrap();
        let partition = source.partitions().await.unwrap().remove(0);
        let feed = partition.id.as_str().parse().unwrap();
        let least = source.patience(&feed).duration();
        source.patience(&feed).lengthen();
        assert_eq!(source.patience(&feed).duration(), least * 2);
        let mut events = source.read(&partition, None);
        while !matches!(events.next().await.unwrap().unwrap(), Event::Idle { .. }) {}
        assert_eq!(source.patience(&feed).duration(), least);
    }
}
