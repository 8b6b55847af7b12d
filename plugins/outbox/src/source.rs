mod events;
mod maintenance;
mod pending;
pub(crate) mod position;
mod reading;

use std::sync::Arc;

use rowtide_core::{
    Context, Error, EventStream, Partition, PartitionId, Position, Result, Source, async_trait,
};
use rowtide_failpoint::reach;
use tokio::{
    sync::Mutex,
    task::{JoinHandle, JoinSet},
};

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
    /// The one statement that may run behind what is read and delivered meanwhile.
    settling: Mutex<JoinSet<Result<()>>>,
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
        reach!("outbox: locked, not read");
        let outbox = Arc::new(Outbox::new(config, database, messages));
        let maintenance = Maintenance::new(Arc::clone(&outbox));
        let maintenance = Task::spawn(maintenance.run());
        Ok(Self { outbox, settling: Mutex::default(), _maintenance: maintenance })
    }
}

#[async_trait]
impl Source for OutboxSource {
    fn read(&self, _partition: &Partition, from: Option<Position>) -> EventStream<'_> {
        reading::start(Arc::clone(&self.outbox), from)
    }

    async fn acknowledge(&self, positions: &[(PartitionId, Position)]) -> Result<()> {
        for (_, position) in positions {
            self.acknowledge_one(position).await?;
        }
        Ok(())
    }
}

impl OutboxSource {
    /// Where more is under way, the database deletes while that is delivered: the acknowledgement
    /// of it waits for this one. What is last is waited for at once.
    ///
    /// An acknowledgement that is returned from and not carried out is no loss: the keys stay
    /// pending, in each position that is yielded as well, until their rows are gone.
    async fn acknowledge_one(&self, position: &Position) -> Result<()> {
        let mut settling = self.settling.lock().await;
        while let Some(settled) = settling.join_next().await {
            settled.map_err(|error| {
                Error::fatal("clearing the outbox ended with a panic").because(error)
            })??;
        }
        let (run, keys) = self.outbox.unsettled(position)?;
        if keys.is_empty() {
            return Ok(());
        }
        let outbox = Arc::clone(&self.outbox);
        if self.outbox.pending.is_more_than(&keys) {
            settling.spawn(async move { outbox.settle(&run, &keys).await });
            return Ok(());
        }
        outbox.settle(&run, &keys).await
    }
}

impl Outbox {
    pub(crate) fn new(
        config: OutboxConfig,
        database: Arc<dyn Database>,
        messages: Messages,
    ) -> Self {
        Self { config, database, messages, pending: Pending::default() }
    }

    /// The rows that a position covers and that are still to be deleted or marked, and the opening
    /// that yielded them.
    fn unsettled(&self, position: &Position) -> Result<(String, Keys)> {
        let position = OutboxPosition::decode(position)?;
        let Progress::Pending { run, keys } = position.progress else {
            return Ok(Default::default());
        };
        if self.config.done == Done::Keep {
            return Err(other_done());
        }
        if position.server != self.database.identity() || self.has_lost(&run, position.log_end) {
            return Ok(Default::default());
        }
        let keys = self.pending.unsettled(&run, keys);
        Ok((run, keys))
    }

    /// Whether the server has lost what another opening read: its numbers may be given out again.
    fn has_lost(&self, run: &str, log_end: u64) -> bool {
        run != self.pending.run() && log_end > self.database.log_end()
    }

    async fn settle(&self, run: &str, keys: &Keys) -> Result<()> {
        reach!("outbox: delivered, not deleted");
        self.database.settle(keys).await?;
        reach!("outbox: deleted");
        self.pending.settled(run, keys);
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
                let is_here = is_here && !self.has_lost(&run, position.log_end);
                let keys = if is_here { keys } else { Keys::default() };
                if !is_here {
                    tracing::warn!(
                        "the saved position is of another server, of an earlier state of its disk, \
                         or of the outbox before it was emptied or written anew, and so are the \
                         numbers in it; messages that were delivered and are still in the outbox \
                         come again"
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

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use futures_util::FutureExt;
    use rowtide_core::{Column, ColumnType};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::{database::Reader, keys::Key};

    /// Deletes when it is let, and refuses every second time.
    struct Gated(Semaphore, AtomicUsize);

    #[async_trait]
    impl Database for Gated {
        fn identity(&self) -> &str {
            "gated"
        }

        async fn reader(&self, _: Option<Cursor>) -> Result<Box<dyn Reader>> {
            Err(Error::fatal("nobody reads here"))
        }

        async fn settle(&self, _: &Keys) -> Result<()> {
            self.0.acquire().await.unwrap().forget();
            match self.1.fetch_add(1, Ordering::Relaxed) % 2 {
                0 => Ok(()),
                _ => Err(Error::transient("gone")),
            }
        }

        async fn clean(&self, _: Duration) -> Result<u64> {
            Ok(0)
        }

        async fn oldest_writer(&self) -> Result<Option<Duration>> {
            Ok(None)
        }

        async fn lock_lost(&self) -> Error {
            std::future::pending().await
        }
    }

    fn source(gated: &Arc<Gated>) -> OutboxSource {
        let settings = serde_json::json!({ "database": "sqlite:nowhere" });
        let config = serde_json::from_value(settings).unwrap();
        let columns = ["id", "aggregatetype", "aggregateid", "payload"]
            .map(|name| Column::new(name, ColumnType::Text));
        let messages = Messages::new(&config, &columns).unwrap();
        let outbox = Arc::new(Outbox::new(config, Arc::clone(gated) as _, messages));
        let _maintenance = Task::spawn(async {});
        OutboxSource { outbox, settling: Mutex::default(), _maintenance }
    }

    impl OutboxSource {
        /// The position at which these have been yielded and are not acknowledged.
        fn position(&self, seqs: std::ops::Range<i64>) -> (PartitionId, Position) {
            let mut keys = Keys::default();
            seqs.for_each(|seq| keys.insert(&Key::Seq(seq)));
            let run = self.outbox.pending.run().to_owned();
            let progress = Progress::Pending { run, keys };
            let position = OutboxPosition { server: "gated".to_owned(), log_end: 0, progress };
            (PartitionId::new("outbox"), position.encode().unwrap())
        }
    }

    #[tokio::test]
    async fn a_backlog_is_read_on_while_what_is_delivered_is_deleted() {
        let gated = Arc::new(Gated(Semaphore::new(0), AtomicUsize::new(0)));
        let source = source(&gated);
        let yielded: Vec<_> = (0..9).map(Key::Seq).collect();
        source.outbox.pending.insert(&yielded);
        source.acknowledge(&[source.position(0..3)]).await.unwrap();
        assert_eq!(source.outbox.pending.keys().seqs().count(), 9);
        // The next one waits for the one before, and the last one for itself.
        let (second, last) = ([source.position(0..6)], [source.position(0..9)]);
        let mut waiting = Box::pin(source.acknowledge(&second));
        assert!((&mut waiting).now_or_never().is_none());
        gated.0.add_permits(1);
        waiting.await.unwrap();
        assert_eq!(source.outbox.pending.keys().seqs().collect::<Vec<_>>(), [3, 4, 5, 6, 7, 8]);
        gated.0.add_permits(2);
        let error = source.acknowledge(&last).await.unwrap_err();
        assert_eq!(error.message(), "gone");
        source.acknowledge(&last).await.unwrap();
        assert!(source.outbox.pending.keys().is_empty());
    }
}
