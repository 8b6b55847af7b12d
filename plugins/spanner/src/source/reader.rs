//! One partition of the change stream, from its place to its end.

use std::{
    collections::{HashSet, VecDeque},
    mem::take,
    sync::Arc,
};

use jiff::Timestamp;
use rowtide_core::{Change, Error, Event, Partition, PartitionId, Result};
use rowtide_failpoint::reach;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{
    Shared,
    changes::{self, Said},
    place::Place,
    query::{End, Message, Query},
    token,
};
use crate::{
    catalog::Recent,
    record::{ChildrenRecord, DataRecord, Record},
};

/// How many bytes of changes an event has, or fewer, before no further message is taken.
const EVENT_BYTES: usize = 256 * 1024;

/// Asks for a partition again and again until it has told of its children, or of something behind
/// the end that the settings name. Only those two prove that it is over.
pub(super) struct Reader {
    pub(super) shared: Arc<Shared>,
    pub(super) id: PartitionId,
    /// Without one, the partitions are told that begin at the place.
    pub(super) token: Option<String>,
    /// Where the partition begins.
    pub(super) origin: Timestamp,
    pub(super) place: Place,
    /// Where the next query begins, if that is before the place.
    pub(super) earlier: Option<Timestamp>,
    /// How often a query has begun earlier than the place in vain.
    pub(super) retreats: u8,
    /// Where it went on after its position was lost, if it did.
    pub(super) restarted_at: Option<Timestamp>,
    opened: Instant,
    /// What the upstream's time was at most when this reader was opened, once that is known.
    opened_at: Option<Timestamp>,
    is_caught_up: bool,
    query: Option<Query>,
    /// Whether the query has told anything new.
    pub(super) has_told: bool,
    /// Whether the query has told of children.
    pub(super) has_children: bool,
    /// Whether it has told of one that no query before had told of.
    has_new_children: bool,
    /// All of which any query has told.
    announced: HashSet<String>,
    layout: Recent,
    said: Said,
    /// Transactions of which more is to come.
    unfinished: HashSet<String>,
    batch: Batch,
    events: VecDeque<Event>,
    is_over: bool,
}

/// What the next event will have.
#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
    bytes: usize,
    has_moved: bool,
}

impl Reader {
    pub(super) fn new(
        shared: Arc<Shared>,
        id: PartitionId,
        place: Place,
        origin: Timestamp,
    ) -> Self {
        Self {
            token: token(&id).map(str::to_owned),
            shared,
            id,
            origin,
            place,
            earlier: None,
            retreats: 0,
            restarted_at: None,
            opened: Instant::now(),
            opened_at: None,
            is_caught_up: false,
            query: None,
            has_told: false,
            has_children: false,
            has_new_children: false,
            announced: HashSet::new(),
            layout: Recent::default(),
            said: Said::default(),
            unfinished: HashSet::new(),
            batch: Batch::default(),
            events: VecDeque::new(),
            is_over: false,
        }
    }

    /// The next event; `None` behind the last one.
    pub(super) async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            if self.is_over {
                return Ok(None);
            }
            match &mut self.query {
                None => self.ask(),
                Some(query) => {
                    let message = query.next().await;
                    self.take(message).await?;
                }
            }
        }
    }

    fn ask(&mut self) {
        if self.shared.end.is_some_and(|end| self.place.told_up_to() >= end) {
            self.finish();
            return;
        }
        reach!("spanner: partition asked for");
        self.look_at_clock();
        let from = self.earlier.unwrap_or(self.place.at());
        self.has_told = false;
        // A query that was given up may have told some of the children only.
        self.has_children = false;
        self.has_new_children = false;
        let statement = self.shared.statement(self.token.as_deref(), from);
        self.query = Some(Query::start(&self.shared, statement));
    }

    fn look_at_clock(&mut self) {
        if self.opened_at.is_none() && !self.is_caught_up {
            self.opened_at = self.shared.clock.since(self.opened);
        }
    }

    /// Takes a message, and those that are there already, until an event is full.
    async fn take(&mut self, first: Message) -> Result<()> {
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Records(records, _room) => {
                    for record in records {
                        if let Some(end) = self.shared.end.filter(|end| record.is_behind(*end)) {
                            return self.reach(end);
                        }
                        self.take_record(record).await?;
                    }
                }
                Message::End(end) => {
                    self.query = None;
                    self.flush()?;
                    return self.end(end).await;
                }
            }
            if self.batch.bytes >= EVENT_BYTES {
                break;
            }
            next = self.query.as_mut().and_then(Query::ready);
        }
        self.flush()
    }

    async fn take_record(&mut self, record: Record) -> Result<()> {
        match record {
            Record::Data(record) => self.tell(&record).await,
            Record::Heartbeat(at) => {
                self.tell_through(at);
                Ok(())
            }
            Record::Children(record) => self.tell_children(record),
        }
    }

    /// Everything up to the end of the settings has been told.
    fn reach(&mut self, end: Timestamp) -> Result<()> {
        self.query = None;
        self.tell_through(end);
        self.flush()?;
        self.finish();
        Ok(())
    }

    async fn tell(&mut self, record: &DataRecord) -> Result<()> {
        if self.place.covers(record) {
            return Ok(());
        }
        if record.committed_at > self.place.at() {
            self.unfinished.clear();
        }
        if record.is_last_in_partition {
            self.unfinished.remove(&record.transaction);
        } else {
            self.unfinished.insert(record.transaction.clone());
        }
        self.place.tell(record);
        self.note_news();
        self.batch.has_moved = true;
        let settings = &self.shared.settings;
        if !settings.tables.matches(&record.shape.table) || !settings.delivers(record.operation) {
            return Ok(());
        }
        let layout = match self.layout.of(&record.shape) {
            Some(layout) => Arc::clone(layout),
            None => {
                let layout = self.shared.catalog.layout(&record.shape).await?;
                self.layout.keep(&record.shape, &layout);
                layout
            }
        };
        let origin = changes::Origin { stream: &self.shared.path, token: self.id.as_str() };
        let said = self.said.by(record, &layout, &origin);
        let changes = changes::of_record(record, &layout, said)?;
        self.batch.bytes += changes.iter().map(Change::bytes).sum::<usize>();
        self.batch.changes.extend(changes);
        Ok(())
    }

    fn tell_through(&mut self, at: Timestamp) {
        if self.place.tell_through(at) {
            self.unfinished.clear();
            self.note_news();
            self.batch.has_moved = true;
        }
    }

    fn note_news(&mut self) {
        self.has_told = true;
        self.earlier = None;
        self.retreats = 0;
    }

    fn tell_children(&mut self, mut record: ChildrenRecord) -> Result<()> {
        self.unfinished.clear();
        self.flush()?;
        self.has_told = true;
        self.has_children = true;
        record.children.retain(|child| self.announced.insert(child.token.clone()));
        if record.children.is_empty() {
            return Ok(());
        }
        self.has_new_children = true;
        let is_root = self.token.is_none();
        // What the root does not want, its children do not want either.
        let start = match is_root && self.place.told_up_to() >= record.start {
            true => Place::through(self.place.at()),
            false => Place::from(record.start),
        };
        let start = start.position()?;
        let partition = |child: crate::record::Child| {
            let mut partition = Partition::new(child.token);
            let parents = if is_root { Vec::new() } else { child.parents };
            partition.parents = parents.into_iter().map(PartitionId::new).collect();
            if !partition.parents.contains(&self.id) {
                partition.parents.push(self.id.clone());
            }
            partition.start = Some(start.clone());
            partition
        };
        let partitions = record.children.into_iter().map(partition).collect();
        reach!("spanner: children read, not told");
        self.events.push_back(Event::Children { partitions });
        Ok(())
    }

    /// Makes an event of what has been told. No position stands inside of a transaction.
    fn flush(&mut self) -> Result<()> {
        self.look_at_clock();
        let Batch { changes, has_moved, .. } = take(&mut self.batch);
        let is_whole = self.unfinished.is_empty() && self.token.is_some();
        let position = if is_whole { Some(self.place.position()?) } else { None };
        let passes = !self.is_caught_up
            && is_whole
            && self.opened_at.is_some_and(|opened| self.place.told_up_to() >= opened);
        if !changes.is_empty() || has_moved && is_whole && !passes {
            self.events.push_back(Event::Changes { changes, position: position.clone() });
        }
        if let (true, Some(position)) = (passes, position) {
            self.is_caught_up = true;
            self.events.push_back(Event::Idle { position });
        }
        Ok(())
    }

    fn finish(&mut self) {
        reach!("spanner: end of a partition read, not told");
        self.is_over = true;
        self.events.push_back(Event::Finished);
    }

    async fn end(&mut self, end: End) -> Result<()> {
        match end {
            End::Clean => self.end_clean(),
            End::TurnOver => Ok(()),
            End::Silent => {
                warn!(partition = %self.id, "a query told nothing for too long; asking anew");
                Ok(())
            }
            End::Failed(failure) => self.failed(failure).await,
            End::Unreadable(error) => Err(error),
        }
    }

    fn end_clean(&mut self) -> Result<()> {
        // The roots are asked for until none is new: one that was left out would never be read. To
        // ask each partition that ends once more would make all its children wait.
        if self.has_children && (self.token.is_some() || !self.has_new_children) {
            self.finish();
            return Ok(());
        }
        if self.has_told {
            debug!(partition = %self.id, "a query ended before its partition; asking anew");
            return Ok(());
        }
        let message = format!("partition `{}` ended without telling where it goes on", self.id);
        Err(Error::transient(message))
    }
}
