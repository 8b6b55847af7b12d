//! A change stream as partitions that begin in one root, split and merge.

mod changes;
mod clock;
mod lost;
mod place;
mod query;
mod reader;
mod snapshot;
#[cfg(test)]
mod stage;

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use rowtide_core::{
    Error, Event, EventStream, Partition, PartitionId, Position, Result, Source, async_trait,
    settings::Snapshot,
};
use tokio::{sync::Mutex, time::timeout};

use crate::{
    catalog::{Catalog, Dialect},
    client::{self, Client, Code, Failure, Parameter, Statement},
    config::SpannerConfig,
};
use clock::Clock;
use lost::Restart;
pub(crate) use place::Place;
use query::Room;
use reader::Reader;
#[cfg(feature = "fuzzing")]
pub(crate) use snapshot::SnapshotPlace;
use snapshot::SnapshotReader;

/// The partition that all others descend from; a query without a token tells of them.
pub(crate) const ROOT: &str = "Parent0";

/// How far ahead of its clock Spanner takes a start.
const AHEAD_MAX: SignedDuration = SignedDuration::from_mins(10);

/// While partitions take turns, one has to tell how far it is within its turn.
const HEARTBEAT_IN_A_TURN: Duration = Duration::from_secs(2);

/// A quiet partition proves by a heartbeat that the end of the settings was reached.
const HEARTBEAT_AT_THE_END: Duration = Duration::from_secs(1);

pub(crate) struct SpannerSource {
    shared: Arc<Shared>,
}

/// What all readers of a source have in common.
pub(crate) struct Shared {
    pub(crate) client: Arc<dyn Client>,
    pub(crate) catalog: Catalog,
    pub(crate) settings: SpannerConfig,
    pub(crate) end: Option<Timestamp>,
    pub(crate) room: Room,
    pub(crate) clock: Clock,
    /// Where to go on once a position is lost, if the settings allow it.
    pub(crate) restart: Mutex<Option<Arc<Restart>>>,
    /// The full name of the change stream.
    pub(crate) path: String,
}

impl SpannerSource {
    /// Connects, and looks at the change stream and its tables.
    pub(crate) async fn open(settings: SpannerConfig) -> Result<Self> {
        let client = client::connect(&settings.address()).await?;
        let catalog = Catalog::open(Arc::clone(&client), &settings.change_stream).await?;
        let tables = catalog.tables();
        if let Some(name) = settings.tables.named().find(|name| !tables.contains_key(*name)) {
            let message = format!("the change stream watches no table `{name}`");
            let names: Vec<_> = tables.keys().map(String::as_str).collect();
            let help = format!("it watches {}", names.join(", "));
            return Err(Error::config(message).key("tables").help(help));
        }
        let path = format!("{}/changeStreams/{}", settings.database, settings.change_stream);
        let shared = Shared {
            clock: Clock::new(Arc::clone(&client)),
            client,
            catalog,
            end: settings.end()?,
            room: Room::new(settings.partitions_max, settings.bytes_max),
            restart: Mutex::default(),
            path,
            settings,
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

#[async_trait]
impl Source for SpannerSource {
    async fn partitions(&self) -> Result<Vec<Partition>> {
        let shared = &self.shared;
        let now = shared.now().await?;
        let start = match shared.settings.start()? {
            Some(start) if start.duration_since(now) > AHEAD_MAX => {
                let message = format!("the start {start} is more than ten minutes away");
                return Err(Error::config(message).key("start"));
            }
            Some(start) => Place::from(start),
            None => Place::through(now),
        };
        let mut root = Partition::new(ROOT);
        root.start = Some(start.position()?);
        let mut partitions = match shared.settings.snapshot {
            Snapshot::Never => return Ok(vec![root]),
            Snapshot::Initial | Snapshot::Only => snapshot::partitions(shared, now)?,
        };
        if shared.settings.snapshot == Snapshot::Initial {
            root.parents = partitions.iter().map(snapshot::end_of).collect();
            partitions.push(root);
        }
        if partitions.is_empty() {
            let message = "the change stream watches no table, so there is nothing to read";
            return Err(Error::config(message).key("tables"));
        }
        Ok(partitions)
    }

    fn read(&self, partition: &Partition, from: Option<Position>) -> EventStream<'_> {
        let opened = Reading::open(&self.shared, partition, from);
        match opened {
            Ok(reading) => stream::try_unfold(reading, |mut reading| async {
                Ok(reading.next().await?.map(|event| (event, reading)))
            })
            .boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }
}

/// One of the two kinds of partitions.
enum Reading {
    Changes(Box<Reader>),
    Snapshot(Box<SnapshotReader>),
}

impl Reading {
    fn open(shared: &Arc<Shared>, partition: &Partition, from: Option<Position>) -> Result<Self> {
        let Some(from) = from.or_else(|| partition.start.clone()) else {
            return Err(Error::position_lost(format!("partition `{}` has no start", partition.id)));
        };
        let shared = Arc::clone(shared);
        if snapshot::is_of_snapshot(&partition.id) {
            let reader = SnapshotReader::open(shared, partition, &from)?;
            return Ok(Reading::Snapshot(Box::new(reader)));
        }
        let place: Place = from.decode()?;
        let start = partition.start.as_ref().and_then(|start| start.decode::<Place>().ok());
        let origin = start.map_or(place.at(), |start| start.at());
        Ok(Reading::Changes(Box::new(Reader::new(shared, partition.id.clone(), place, origin))))
    }

    async fn next(&mut self) -> Result<Option<Event>> {
        match self {
            Reading::Changes(reader) => reader.next().await,
            Reading::Snapshot(reader) => reader.next().await,
        }
    }
}

impl Shared {
    /// A time that no commit seen so far is after.
    pub(crate) async fn now(&self) -> Result<Timestamp> {
        let now = self.answered(self.client.now()).await;
        now.map_err(|failure| failure.error("failed to ask the database for its time"))
    }

    /// What a request comes to, unless nothing comes at all: a connection can be dead without
    /// saying so.
    pub(crate) async fn answered<T>(
        &self,
        request: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let patience = self.silence_max();
        timeout(patience, request).await.unwrap_or_else(|_| {
            let message = format!("there was no answer in {patience:?}");
            Err(Failure { code: Code::Unavailable, message })
        })
    }

    /// The query that reads a partition from a time on; without a token, the roots. It has no end,
    /// not even that of the settings: a query that ends is no proof that all was told, and now and
    /// then one ends too early, while what is told behind an end is a proof.
    pub(crate) fn statement(&self, token: Option<&str>, from: Timestamp) -> Statement {
        let stream = &self.settings.change_stream;
        let sql = match self.catalog.dialect {
            Dialect::GoogleSql => format!(
                "SELECT ChangeRecord FROM READ_{stream} (start_timestamp => @p1, \
                 end_timestamp => @p2, partition_token => @p3, heartbeat_milliseconds => @p4)"
            ),
            Dialect::Postgres => {
                format!("SELECT * FROM \"spanner\".\"read_json_{stream}\" ($1, $2, $3, $4, null)")
            }
        };
        let heartbeat = i64::try_from(self.heartbeat().as_millis()).unwrap_or(i64::MAX);
        Statement::new(sql)
            .with("p1", Parameter::Timestamp(Some(from)))
            .with("p2", Parameter::Timestamp(None))
            .with("p3", Parameter::Text(token.map(str::to_owned)))
            .with("p4", Parameter::Int(heartbeat))
    }

    fn heartbeat(&self) -> Duration {
        let every = self.settings.heartbeat_every.duration();
        if self.settings.partitions_max.is_some() {
            return every.min(HEARTBEAT_IN_A_TURN);
        }
        // By the clock here, which is near enough for this.
        let is_soon = |end: Timestamp| end <= Timestamp::now() + every;
        if self.end.is_some_and(is_soon) { every.min(HEARTBEAT_AT_THE_END) } else { every }
    }

    /// How long a query may tell nothing at all.
    pub(crate) fn silence_max(&self) -> Duration {
        (3 * self.heartbeat()).max(Duration::from_secs(30))
    }
}

/// The token of a partition; the root has none.
fn token(id: &PartitionId) -> Option<&str> {
    (id.as_str() != ROOT).then(|| id.as_str())
}
