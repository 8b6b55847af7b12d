use std::{collections::BTreeSet, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt};
use rowtide_core::{Error, Event, Partition, PartitionId, Position, Source};
use tokio::{task::JoinSet, time::Instant};
use tracing::Instrument;

use crate::inbox::Door;

/// One task for each partition that is being read.
pub(crate) struct Readers {
    source: Arc<dyn Source>,
    door: Door,
    tasks: JoinSet<()>,
    due: BTreeSet<(Instant, PartitionId)>,
}

impl Readers {
    pub(crate) fn new(source: Arc<dyn Source>, door: Door) -> Self {
        Self { source, door, tasks: JoinSet::new(), due: BTreeSet::new() }
    }

    /// Reads `partition`, right after `from`.
    pub(crate) fn start(&mut self, partition: Partition, from: Option<Position>) {
        while self.tasks.try_join_next().is_some() {}
        let (source, door) = (Arc::clone(&self.source), self.door.clone());
        self.tasks.spawn(read_and_report(source, partition, from, door).in_current_span());
    }

    /// Notes that a reader has failed, and starts again after `pause`.
    pub(crate) fn start_later(&mut self, partition: &PartitionId, pause: Duration) {
        self.due.insert((Instant::now() + pause, partition.clone()));
    }

    /// When the next reader starts again.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// A partition whose pause is over.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<PartitionId> {
        self.due.first().filter(|(due, _)| *due <= now)?;
        self.due.pop_first().map(|(_, partition)| partition)
    }

    /// Stops all readers, without waiting.
    pub(crate) fn abort(&mut self) {
        self.tasks.abort_all();
    }

    /// Stops all readers and waits until each has let go of the source.
    pub(crate) async fn shut_down(&mut self) {
        self.tasks.shutdown().await;
    }
}

async fn read_and_report(
    source: Arc<dyn Source>,
    partition: Partition,
    from: Option<Position>,
    door: Door,
) {
    let reading = read(source.as_ref(), &partition, from, &door);
    let error = match AssertUnwindSafe(reading).catch_unwind().await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.under("source"),
        Err(_) => Error::transient(format!("the reader of partition `{}` panicked", partition.id)),
    };
    door.end(&partition.id, error);
}

async fn read(
    source: &dyn Source,
    partition: &Partition,
    from: Option<Position>,
    door: &Door,
) -> Result<(), Error> {
    let mut events = source.read(partition, from);
    while let Some(event) = events.next().await {
        let event = event?;
        let finished = matches!(event, Event::Finished);
        door.enter(&partition.id, event).await;
        if finished {
            return Ok(());
        }
    }
    let message = format!("the stream of partition `{}` ended before the partition", partition.id);
    Err(Error::transient(message))
}
