use std::{pin::pin, sync::Arc, time::Duration};

use rowtide_core::{
    Change, CheckpointUpdate, Context, Error, ErrorKind, Event, PartitionId, Position, Result,
    Shutdown, Sink, Source,
};
use rowtide_failpoint::reach;
use tokio::time::{Instant, sleep_until};

use crate::{
    Outcome, Until,
    checkpoint::Checkpoint,
    drain::Drain,
    environment::Random,
    inbox::{Content, Inbox, Message, Room},
    lock::{lock_lost, unless_lock_lost, without_lock},
    mutant::{self, Mutant},
    partitions::{Partitions, positions},
    pause::{Pause, Pauses},
    reader::Readers,
    rejection::never_rejected,
    settings::{Delivery, OnRejected},
    span::{Span, Written},
    status::{State, Status},
};

mod stop;

/// How long the end of a partition waits at most for others, to be saved together with them.
const GATHERING: Duration = Duration::from_millis(20);

/// The delivery loop: owns the sink, and takes what the readers put into the inbox.
///
/// A delivery is always the same four steps: flush, save, acknowledge, start children.
pub(crate) struct DeliveryLoop<'a> {
    control: Control<'a>,
    source: Arc<dyn Source>,
    sink: Box<dyn Sink>,
    inbox: Inbox,
    readers: Readers,
    partitions: Partitions,
    span: Span,
    news: Option<News>,
    /// Whether changes were flushed since the last save: then a position is not alone.
    has_flushed: bool,
    saved_at: Option<Instant>,
    outcome: Option<Outcome>,
}

/// What a delivery loop borrows from the run, which outlives it.
pub(crate) struct Control<'a> {
    pub(crate) settings: &'a Delivery,
    pub(crate) until: Until,
    pub(crate) checkpoint: &'a mut Checkpoint,
    pub(crate) drain: &'a mut Drain,
    pub(crate) pause: &'a mut Pause,
    pub(crate) reader_pauses: &'a mut Pauses,
    pub(crate) status: &'a Status,
    pub(crate) random: Random,
    /// Of the opening of both ends.
    pub(crate) context: Context,
}

/// Positions that were accepted and are not saved.
struct News {
    since: Instant,
    /// Whether they cover changes, or are positions alone.
    kind: NewsKind,
}

#[derive(PartialEq)]
enum NewsKind {
    Changes,
    PositionsAlone,
}

impl<'a> DeliveryLoop<'a> {
    pub(crate) fn new(
        control: Control<'a>,
        source: Box<dyn Source>,
        sink: Box<dyn Sink>,
        partitions: Partitions,
    ) -> Self {
        let source: Arc<dyn Source> = source.into();
        let inbox = Inbox::new(control.settings.bytes_max);
        let readers = Readers::new(Arc::clone(&source), inbox.door());
        Self {
            control,
            source,
            sink,
            inbox,
            readers,
            partitions,
            span: Span::default(),
            news: None,
            has_flushed: false,
            saved_at: None,
            outcome: None,
        }
    }

    /// Delivers until asked to stop, until there is nothing left to wait for, or until an error.
    pub(crate) async fn run(&mut self, shutdown: &Shutdown) -> Result<Outcome> {
        self.begin().await?;
        let mut stop = pin!(shutdown.requested());
        loop {
            if let Some(outcome) = self.outcome {
                self.stop().await?;
                return Ok(outcome);
            }
            if self.delivery_is_due() {
                self.deliver().await?;
                continue;
            }
            self.restart_readers();
            let due = self.next_due();
            tokio::select! {
                biased;
                () = &mut stop => {
                    self.control.status.enter(State::Stopping);
                    self.stop().await?;
                    return Ok(Outcome::Stopped);
                }
                () = lock_lost(&self.control.context) => return Err(without_lock()),
                message = self.inbox.receive() => self.accept(message).await?,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    /// Stops the readers, and waits until nothing of source and sink is in use.
    pub(crate) async fn close(mut self) {
        self.readers.shut_down().await;
    }

    // Invariant 2: resuming first acknowledges what is saved, since the acknowledgement of the last
    // save may have been lost.
    async fn begin(&mut self) -> Result<()> {
        let saved = self.partitions.saved_positions();
        reach!("engine: resumed, not acknowledged again");
        if !mutant::active(Mutant::ResumesWithoutAcknowledging) {
            self.acknowledge(&saved).await?;
        }
        self.control.status.enter(State::Running);
        self.judge();
        self.start_readers()
    }

    fn delivery_is_due(&self) -> bool {
        let now = Instant::now();
        self.flush_is_due(now) || self.save_is_due(now)
    }

    /// Natural batching: an idle pipeline delivers each change at once, a busy one in batches.
    fn flush_is_due(&self, now: Instant) -> bool {
        let Some(since) = self.span.since() else { return false };
        self.inbox.is_empty()
            || self.span.changes() as u64 >= self.control.settings.flush_after
            || now.saturating_duration_since(since) >= self.control.settings.flush_every.duration()
    }

    fn save_is_due(&self, now: Instant) -> bool {
        self.ends_are_due(now)
            || (self.span.is_empty() && self.save_at().is_some_and(|due| due <= now))
    }

    /// Natural batching here too: an end alone is saved at once, and of many that wait in the inbox
    /// as many as come within a moment.
    fn ends_are_due(&self, now: Instant) -> bool {
        let Some(since) = self.partitions.unsaved_end_since() else { return false };
        self.inbox.is_empty() || now.saturating_duration_since(since) >= GATHERING
    }

    /// When the positions there are have to be saved, if nothing else happens.
    fn save_at(&self) -> Option<Instant> {
        let news = self.news.as_ref()?;
        let settings = self.control.settings;
        let regular =
            self.saved_at.map_or(news.since, |saved| saved + settings.save_every.duration());
        if news.kind == NewsKind::Changes {
            return Some(regular);
        }
        let drains = self.control.until == Until::CaughtUp;
        if drains && self.control.drain.needs_only_a_save(&self.partitions) {
            return Some(news.since);
        }
        Some(regular.max(news.since + settings.flush_every.duration()))
    }

    fn next_due(&self) -> Option<Instant> {
        // With a span and a message waiting, the message is next, and the loop asks again.
        let save = self.save_at().filter(|_| self.span.is_empty());
        save.into_iter().chain(self.readers.next_due()).min()
    }

    async fn deliver(&mut self) -> Result<()> {
        if mutant::active(Mutant::SavesBeforeFlush) {
            self.save().await?;
        }
        let ends = self.ends_are_due(Instant::now());
        self.flush().await?;
        if ends
            || self.save_is_due(Instant::now())
            || mutant::active(Mutant::SavesWithoutNewPosition)
        {
            match self.is_early() {
                // Its ends alone: a busy tree of partitions ends one all the time.
                true => self.save_update(self.partitions.ends()).await?,
                false => self.save().await?,
            }
            self.start_readers()?;
        }
        Ok(())
    }

    /// Delivers what was accepted, due or not.
    async fn deliver_now(&mut self) -> Result<()> {
        self.flush().await?;
        self.save().await
    }

    /// Whether an end has to be saved while everything else still waits for `save_every`.
    fn is_early(&self) -> bool {
        let waits = self.save_at().is_none_or(|due| due > Instant::now());
        let is_set = !self.control.settings.save_every.duration().is_zero();
        waits && is_set && self.partitions.unsaved_end_since().is_some()
    }

    async fn flush(&mut self) -> Result<()> {
        if self.span.is_empty() {
            return Ok(());
        }
        self.control.checkpoint.prove_again().await.map_err(never_rejected)?;
        reach!("engine: claim proven, not flushed");
        let flushed = unless_lock_lost(&self.control.context, self.sink.flush()).await;
        match flushed.map_err(|error| error.under("sink")) {
            Err(error)
                if error.is_transient() && mutant::active(Mutant::GoesOnAfterFailedFlush) => {}
            Err(error) => self.reject(error)?,
            Ok(()) => {}
        }
        reach!("engine: flushed, not saved");
        self.span.clear();
        self.has_flushed = true;
        Ok(())
    }

    /// Applies the reject policy to the changes that a flush has named; passes other errors on.
    fn reject(&self, error: Error) -> Result<()> {
        let ErrorKind::Rejected { indexes } = error.kind() else { return Err(error) };
        let refused = self.span.refused(indexes)?;
        for refused in &refused {
            tracing::error!(
                change = %refused.change,
                table = refused.table,
                partition = %refused.partition,
                "the sink rejected a change: {error}"
            );
        }
        match self.control.settings.on_rejected {
            OnRejected::Skip => {
                self.control.status.skip(refused.len());
                Ok(())
            }
            OnRejected::Stop if mutant::active(Mutant::SkipsWhatShouldStop) => Ok(()),
            OnRejected::Stop if error.remedy().is_none() => Err(error.help(
                "the log names the changes; set `on_rejected = \"skip\"` in [delivery] to leave such changes out",
            )),
            OnRejected::Stop => Err(error),
        }
    }

    // Invariant 1: nothing is saved before it is flushed: whoever calls this has flushed. And a
    // flush without a new position saves nothing.
    async fn save(&mut self) -> Result<()> {
        if !self.partitions.have_moved() {
            self.news = None;
            return self.save_nothing_new().await;
        }
        self.save_update(self.partitions.update()).await?;
        (self.news, self.has_flushed) = (None, false);
        self.saved_at = Some(Instant::now());
        Ok(())
    }

    async fn save_update(&mut self, update: CheckpointUpdate) -> Result<()> {
        let acknowledged = positions(&update);
        // Invariant 2: nothing is acknowledged before it is saved.
        if mutant::active(Mutant::AcknowledgesBeforeSave) {
            self.acknowledge(&acknowledged).await?;
        }
        reach!("engine: not saved yet");
        self.control.checkpoint.save(&update).await.map_err(never_rejected)?;
        reach!("engine: saved, not acknowledged");
        self.partitions.saved(&update);
        *self.control.pause = Pause::default();
        self.acknowledge(&acknowledged).await?;
        self.control.status.acknowledge(&update);
        reach!("engine: acknowledged");
        self.judge();
        Ok(())
    }

    async fn save_nothing_new(&mut self) -> Result<()> {
        if mutant::active(Mutant::SavesWithoutNewPosition) {
            let states = self.partitions.all_states();
            let update = CheckpointUpdate { states, forgotten: Vec::new() };
            self.control.checkpoint.save(&update).await?;
        }
        Ok(())
    }

    // Invariant 2: a failed acknowledgement is not advisory. It leads to a recovery, which
    // acknowledges again before it reads.
    async fn acknowledge(&mut self, positions: &[(PartitionId, Position)]) -> Result<()> {
        if positions.is_empty() {
            return Ok(());
        }
        match self.source.acknowledge(positions).await.map_err(never_rejected) {
            Err(_) if mutant::active(Mutant::IgnoresFailedAcknowledgement) => Ok(()),
            result => result,
        }
    }

    /// Starts the readers that may start now.
    fn start_readers(&mut self) -> Result<()> {
        if self.outcome.is_some() {
            return Ok(());
        }
        for partition in self.partitions.take_startable() {
            reach!("engine: partition may start");
            self.start_reader(&partition);
        }
        self.partitions.check_for_stuck()
    }

    fn restart_readers(&mut self) {
        if self.readers.next_due().is_none() {
            return;
        }
        while let Some(partition) = self.readers.take_due(Instant::now()) {
            self.start_reader(&partition);
        }
    }

    fn start_reader(&mut self, id: &PartitionId) {
        if let Some((partition, from)) = self.partitions.resumption(id) {
            self.readers.start(partition, from);
        }
    }

    // Invariant 3: what comes out of the one FIFO goes to the sink in that order, each partition's
    // changes in stream order, and what was yielded after an accepted event behind it.
    async fn accept(&mut self, message: Message) -> Result<()> {
        let Message { partition, content } = message;
        match content {
            Content::Event(Event::Changes { changes, position }, room) => {
                self.write(&partition, changes, room).await?;
                match position {
                    Some(position) => self.accept_position(&partition, position),
                    None => self.partitions.leave_uncovered(&partition),
                }
            }
            Content::Event(Event::Idle { position }, _) => {
                self.accept_position(&partition, position);
                self.accept_idle(&partition);
            }
            Content::Event(Event::Children { partitions }, _) => {
                if self.control.until == Until::CaughtUp {
                    self.control.drain.announce(&partition, &partitions);
                }
                self.partitions.announce(&partition, partitions)?;
                reach!("engine: children told, not saved");
            }
            Content::Event(Event::Finished, _) => {
                self.partitions.finish(&partition);
                reach!("engine: end of a partition told, not saved");
                self.control.status.accept_position(&partition);
                if mutant::active(Mutant::StartsChildrenBeforeSave) {
                    self.start_readers()?;
                }
            }
            Content::Ended(error) => self.restart_later(&partition, error).await?,
        }
        Ok(())
    }

    async fn write(
        &mut self,
        partition: &PartitionId,
        mut changes: Vec<Change>,
        room: Room,
    ) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        if mutant::active(Mutant::DeliversLastFirst) {
            changes.reverse();
        }
        reach!("engine: read, not written");
        let written = unless_lock_lost(&self.control.context, self.sink.write(&changes)).await;
        written.map_err(|error| never_rejected(error.under("sink")))?;
        self.control.status.accept_changes(partition, changes.len());
        let partition = partition.clone();
        self.span.push(Written { partition, changes, _room: room });
        reach!("engine: written, not flushed");
        Ok(())
    }

    fn accept_position(&mut self, partition: &PartitionId, position: Position) {
        self.control.status.accept_position(partition);
        if self.partitions.is_saved_place(partition, &position) {
            self.control.status.attest(partition, &position);
        }
        if self.partitions.accept(partition, position) {
            self.control.reader_pauses.moved(partition);
        }
        if !self.partitions.have_moved() {
            return;
        }
        let news = self
            .news
            .get_or_insert_with(|| News { since: Instant::now(), kind: NewsKind::PositionsAlone });
        if !self.span.is_empty() || self.has_flushed {
            news.kind = NewsKind::Changes;
        }
    }

    fn accept_idle(&mut self, partition: &PartitionId) {
        if self.control.until == Until::CaughtUp {
            self.control.drain.idle(partition);
            self.judge();
        }
    }

    /// A reader's error ends its partition's reading for a while, or the pipeline. What came before
    /// it is delivered: whoever mends the source may have to skip what is there.
    async fn restart_later(&mut self, partition: &PartitionId, error: Error) -> Result<()> {
        let error = never_rejected(error);
        if !error.is_transient() {
            self.deliver_now().await?;
            return Err(error);
        }
        self.partitions.start_over(partition);
        let pause = self.control.reader_pauses.next(partition, &mut self.control.random);
        self.readers.start_later(partition, pause);
        tracing::warn!(%partition, ?pause, "partition is read again after a pause: {error}");
        Ok(())
    }

    /// Whether there is nothing left to wait for.
    fn judge(&mut self) {
        if self.partitions.are_finished() {
            self.outcome = Some(Outcome::Finished);
        } else if self.control.until == Until::CaughtUp {
            self.control.drain.settle(&self.partitions);
            if self.control.drain.is_complete(&self.partitions) {
                self.outcome = Some(Outcome::CaughtUp);
            }
        }
    }
}
