use std::pin::Pin;

use async_trait::async_trait;
use futures_util::Stream;

use crate::{Change, Partition, PartitionId, Position, Result};

/// What reading a partition yields.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Changes, in order. Resuming from `position` skips them and all before them; without one,
    /// more must follow before anything can be saved (a row before the timestamp that covers it,
    /// half of a large transaction).
    ///
    /// An event should hold up to 256 KiB of changes, or one larger change.
    Changes {
        /// The changes, none of them for a position alone.
        changes: Vec<Change>,
        /// Where resuming goes on right behind them.
        position: Option<Position>,
    },
    /// Caught up: all that was committed upstream when this stream was opened has been yielded.
    ///
    /// A source notes the upstream's end when it starts to read and yields this on passing it, even
    /// if more follows and the position is unchanged; one that knows only a watermark, once the
    /// attested time has passed the opening. `position` covers everything yielded before. Progress
    /// without being caught up is a [`Changes`](Event::Changes) with none.
    Idle {
        /// Where resuming goes on.
        position: Position,
    },
    /// Partitions found here, each with this one among its parents; each starts once all of those
    /// are saved as finished.
    ///
    /// Every parent must announce a child before it ends itself: a partition that has ended is
    /// forgotten once all the children that it announced have started, and a child that names it
    /// later would wait for it in vain.
    Children {
        /// The children; one that was announced before is left as it is.
        partitions: Vec<Partition>,
    },
    /// This partition has ended for good. A stream that ends without it is `Transient`.
    Finished,
}

/// The events of one partition, in order.
pub type EventStream<'a> = Pin<Box<dyn Stream<Item = Result<Event>> + Send + 'a>>;

/// Where changes come from.
///
/// A source must classify every error (see [`ErrorKind`](crate::ErrorKind)): the engine reacts to
/// the kind alone. It must not retry by itself beyond what its client does, because the engine's
/// one recovery path would then not be the one that runs.
#[async_trait]
pub trait Source: Send + Sync {
    /// The partitions to read when the pipeline has no checkpoint yet.
    ///
    /// Called once, and saved before anything is read: a source that begins at "now" must resolve
    /// it into [`Partition::start`] here, never in [`read`](Self::read), or what is committed
    /// between the two is lost by a crash.
    ///
    /// # Errors
    /// None at all is `Config`, and so is whatever makes the upstream unreadable for good.
    async fn partitions(&self) -> Result<Vec<Partition>> {
        Ok(vec![Partition::whole()])
    }

    /// Streams `partition`, resuming right after `from`, or from the partition's start.
    ///
    /// Dropping the stream must stop the read and release what it holds. A position that the
    /// upstream no longer has must be `PositionLost`, never a later place.
    fn read(&self, partition: &Partition, from: Option<Position>) -> EventStream<'_>;

    /// Lets the upstream forget everything up to these positions: all that one save made durable,
    /// in one call. Positions of one partition never go back.
    ///
    /// Must not wait for anything that a suspended stream holds, since that stream may be waiting
    /// for room while this runs.
    async fn acknowledge(&self, positions: &[(PartitionId, Position)]) -> Result<()> {
        let _ = positions;
        Ok(())
    }
}
