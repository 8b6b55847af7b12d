mod events;
mod maintenance;
mod pending;
pub(crate) mod position;
mod reading;

use std::sync::Arc;

use rowtide_core::{
    Context, Error, EventStream, Partition, PartitionId, Position, Result, Source, async_trait,
};
use tokio::task::JoinHandle;

use crate::{
    config::{Done, OutboxConfig},
    database::{self, Database},
    keys::Keys,
    layout::Messages,
    source::{
        maintenance::Maintenance,
        pending::Pending,
        position::{Cursor, OutboxPosition, Progress},
    },
};

/// An outbox table as one partition.
pub(crate) struct OutboxSource {
    outbox: Arc<Outbox>,
    _maintenance: Task,
}

/// What the source and its tasks share.
pub(crate) struct Outbox {
    pub(crate) config: OutboxConfig,
    pub(crate) database: Arc<dyn Database>,
    pub(crate) messages: Messages,
    pub(crate) pending: Pending,
}

/// A task that ends with what it is for.
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl OutboxSource {
    pub(crate) async fn open(config: OutboxConfig, context: &Context) -> Result<Self> {
        let (database, messages) = database::open(&config, context).await?;
        let outbox = Arc::new(Outbox { config, database, messages, pending: Pending::default() });
        let maintenance = Maintenance::new(Arc::clone(&outbox));
        let maintenance = Task::spawn(maintenance.run());
        Ok(Self { outbox, _maintenance: maintenance })
    }
}

#[async_trait]
impl Source for OutboxSource {
    fn read(&self, _partition: &Partition, from: Option<Position>) -> EventStream<'_> {
        reading::start(Arc::clone(&self.outbox), from)
    }

    async fn acknowledge(&self, positions: &[(PartitionId, Position)]) -> Result<()> {
        for (_, position) in positions {
            self.outbox.acknowledge(position).await?;
        }
        Ok(())
    }
}

impl Outbox {
    async fn acknowledge(&self, position: &Position) -> Result<()> {
        let position = OutboxPosition::decode(position)?;
        let Progress::Pending { run, keys } = position.progress else { return Ok(()) };
        if self.config.done == Done::Keep {
            return Err(other_done());
        }
        if position.server != self.database.identity() {
            return Ok(());
        }
        let keys = self.pending.unsettled(&run, keys);
        if !keys.is_empty() {
            self.database.settle(&keys).await?;
            self.pending.settled(&keys);
        }
        Ok(())
    }

    /// Takes up where a position stands, and returns the cursor that it holds.
    ///
    /// Nothing is deleted here: a position that was read is not always one that was saved. What is
    /// pending in it is left out instead, until an acknowledgement covers it.
    fn resume(&self, from: Option<&Position>) -> Result<Option<Cursor>> {
        let Some(position) = from.map(OutboxPosition::decode).transpose()? else {
            self.pending.resume("", Keys::default());
            return Ok(None);
        };
        let is_here = position.server == self.database.identity();
        match (position.progress, self.config.done) {
            (Progress::Kept(_), Done::Keep) if !is_here => Err(other_server()),
            (Progress::Kept(cursor), Done::Keep) => Ok(cursor),
            (Progress::Pending { run, keys }, Done::Delete | Done::Mark) => {
                let keys = if is_here { keys } else { Keys::default() };
                if !is_here {
                    tracing::warn!(
                        "the saved position is of another server, and so are the numbers in it; \
                         messages that were delivered and are still in the outbox come again"
                    );
                }
                self.pending.resume(&run, keys);
                Ok(None)
            }
            _ => Err(other_done()),
        }
    }
}

fn other_server() -> Error {
    Error::position_lost("the saved position is of another server, or of another history of it")
        .help("check `database`; to read the whole outbox anew, `rowtide checkpoint reset`")
}

fn other_done() -> Error {
    let message = "the saved position was made with another `done`: \"keep\" has its own";
    Error::position_lost(message)
        .key("done")
        .help("set it as it was; or, to read the whole outbox anew, `rowtide checkpoint reset`")
}
