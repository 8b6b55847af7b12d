//! Reads a feed: scans the tables that are not covered yet, then follows what happens.

use std::collections::{BTreeSet, VecDeque};

use futures_util::stream;
use rowtide_core::{
    Change, ChangeId, Error, Event, EventStream, Operation, PartitionId, Result, Table,
    settings::Snapshot,
};
use rowtide_failpoint::reach;
use tokio_postgres::Row;

use super::{
    CockroachSource, QUERY,
    decoding::{Decoder, Origin},
    duplicates::Window,
    feeds::FeedId,
    garbage::GarbageWatch,
    now,
    position::FeedPosition,
    statement::{Scan, changefeed},
};
use crate::{
    config::{Duplicates, OnLost},
    connection::{Rows, is_lost},
    hlc::Hlc,
    table::{
        Catalog, Target,
        layout::Layouts,
        message::{Message, Raw},
    },
};

/// How large an event is at most, unless it is one change.
const EVENT_BYTES: usize = 256 << 10;

pub(super) fn stream(source: &CockroachSource, id: FeedId, from: FeedPosition) -> EventStream<'_> {
    let reader = Reader::new(source, id, from);
    Box::pin(stream::try_unfold(reader, |mut reader| async move {
        Ok(reader.next().await?.map(|event| (event, reader)))
    }))
}

struct Reader<'s> {
    source: &'s CockroachSource,
    id: FeedId,
    /// All tables of this feed.
    tables: BTreeSet<String>,
    position: FeedPosition,
    phase: Phase,
    /// What is to be yielded before anything else is read.
    ready: VecDeque<Event>,
    decoder: Decoder,
    window: Window,
    /// The time of the cluster when reading began.
    opened: Option<Hlc>,
    /// Tables that are not covered join once this has been passed: they did not exist before.
    join_after: Option<Hlc>,
    garbage: Option<GarbageWatch>,
    /// Whether all rows are to come anew, and none has yet.
    is_rescanning: bool,
}

/// What is being read.
enum Phase {
    /// Nothing yet, or nothing any more: it is decided what comes next.
    Deciding,
    /// The rows of these tables, as they were at the position.
    Scanning(Rows, BTreeSet<String>),
    /// What happens to the tables that are covered.
    Following(Rows),
    /// No table belongs to this feed.
    Unused,
    Ended,
}

/// What a row of a changefeed came to.
enum Outcome {
    /// One more change, of so many bytes.
    Change(usize),
    Resolved(Hlc),
    Nothing,
}

impl<'s> Reader<'s> {
    fn new(source: &'s CockroachSource, id: FeedId, position: FeedPosition) -> Self {
        let tables = source.tables(&id);
        let database = source.database.clone();
        let layouts = match &source.config.query {
            Some(_) => Layouts::of_query(database, source.targets.first()),
            None => Layouts::new(database, &source.name, &source.targets),
        };
        Self {
            source,
            id,
            tables,
            position,
            phase: Phase::Deciding,
            ready: VecDeque::new(),
            decoder: Decoder::new(&source.config, layouts),
            window: Window::default(),
            opened: None,
            join_after: None,
            garbage: None,
            is_rescanning: false,
        }
    }

    async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let step = match self.phase {
                Phase::Ended => return Ok(None),
                Phase::Unused => std::future::pending().await,
                Phase::Deciding => self.decide().await,
                Phase::Scanning(..) | Phase::Following(_) => self.read().await,
            };
            match step {
                Err(error) if is_lost(&error) => self.lost(error).await?,
                other => other?,
            }
        }
    }

    /// Starts what the position calls for.
    async fn decide(&mut self) -> Result<()> {
        let opened = match self.opened {
            Some(opened) => opened,
            None => self.open().await?,
        };
        // A table that is left out misses changes: once it comes back it is scanned.
        self.position.tables.retain(|table| self.tables.contains(table));
        if self.tables.is_empty() {
            self.position = FeedPosition { at: opened, unused: true, ..self.position.clone() };
            self.phase = Phase::Unused;
            return self.idle();
        }
        if std::mem::take(&mut self.position.unused) {
            // Nothing was read yet, so the first table may begin at the present.
            self.position.at = opened;
            return self.progress();
        }
        let missing: BTreeSet<_> = self.tables.difference(&self.position.tables).cloned().collect();
        if !missing.is_empty() && self.join_after.is_none() {
            return self.scan(missing, opened).await;
        }
        if self.source.config.snapshot == Snapshot::Only {
            self.phase = Phase::Ended;
            self.ready.push_back(Event::Finished);
            return Ok(());
        }
        let covered: BTreeSet<_> =
            self.tables.intersection(&self.position.tables).cloned().collect();
        let rows = self.start(&covered, Scan::No).await?;
        reach!("cockroachdb: feed begun");
        self.phase = Phase::Following(rows);
        Ok(())
    }

    /// Notes the end of what is there, and how long the cluster keeps it.
    async fn open(&mut self) -> Result<Hlc> {
        let session = self.source.database.session().await?;
        let catalog = Catalog::open(&session).await?;
        let opened = now(&session).await?;
        let mut ttl = None;
        for target in self.targets(&self.tables) {
            ttl = catalog.gc_ttl(target).await.into_iter().chain(ttl).min();
        }
        self.opened = Some(opened);
        self.source.note(self.partition(), self.position.clone());
        let known = self.source.known.subscribe();
        self.garbage = ttl.map(|ttl| GarbageWatch::start(self.id, known, opened, ttl));
        Ok(opened)
    }

    fn targets(&self, tables: &BTreeSet<String>) -> Vec<&'s Target> {
        let is_query = tables.contains(QUERY);
        let is_meant = |target: &&Target| is_query || tables.contains(&target.full_name());
        self.source.targets.iter().filter(is_meant).collect()
    }

    async fn start(&self, tables: &BTreeSet<String>, scan: Scan) -> Result<Rows> {
        let config = &self.source.config;
        let sql = changefeed(config, &self.targets(tables), self.position.at, scan);
        tracing::debug!("feed {}: {sql}", self.id);
        Rows::start(&self.source.database, &sql, self.source.patience(&self.id)).await
    }

    /// Begins to scan `missing` at the position; what is above it comes later, with the others.
    async fn scan(&mut self, missing: BTreeSet<String>, opened: Hlc) -> Result<()> {
        let covers_others = !self.position.tables.is_disjoint(&self.tables);
        let rows = match self.start(&missing, Scan::Yes).await {
            Ok(rows) => rows,
            // They may be newer than the position, so the others go first.
            Err(error) if is_lost(&error) && covers_others && self.position.at < opened => {
                self.join_after = Some(opened);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.window = Window::default();
        let marks = self.marks(&missing, Operation::SnapshotBegin);
        self.ready.push_back(Event::Changes { changes: marks, position: None });
        reach!("cockroachdb: scan begun");
        self.phase = Phase::Scanning(rows, missing);
        Ok(())
    }

    fn marks(&self, tables: &BTreeSet<String>, operation: Operation) -> Vec<Change> {
        let mark = |target: &Target| {
            let mut table = Table::new(target.name.as_str(), Vec::new());
            table.namespace = Some(target.schema.as_str().into());
            let at = self.position.at;
            let full = target.full_name();
            let scope = format!("{}.{full}/{}", self.source.name, operation.name());
            let id = ChangeId::new(scope).major(at.wall).minor(u64::from(at.logical));
            let mut change = Change::new(id, table.into(), operation);
            change.committed_at = at.timestamp();
            change
        };
        self.targets(tables).into_iter().map(mark).collect()
    }

    /// Waits for a row, and takes all that are there with it, up to an event's size.
    async fn read(&mut self) -> Result<()> {
        let mut next = self.rows()?.next().await?;
        let mut changes = Vec::new();
        let mut bytes = 0;
        loop {
            let Some(row) = next else {
                self.deliver(changes);
                return self.end();
            };
            match self.take(&row, &mut changes).await? {
                Outcome::Nothing => {}
                Outcome::Change(more) => bytes += more,
                Outcome::Resolved(at) => {
                    self.deliver(changes);
                    return self.resolve(at);
                }
            }
            next = match self.rows()?.ready() {
                Some(row) if bytes < EVENT_BYTES => row?,
                // A row that was taken must not be lost.
                Some(row) => {
                    let row = row?;
                    self.deliver(std::mem::take(&mut changes));
                    bytes = 0;
                    row
                }
                None => {
                    self.deliver(changes);
                    return Ok(());
                }
            };
        }
    }

    fn rows(&mut self) -> Result<&mut Rows> {
        match &mut self.phase {
            Phase::Scanning(rows, _) | Phase::Following(rows) => Ok(rows),
            _ => Err(Error::fatal("nothing is being read")),
        }
    }

    fn deliver(&mut self, changes: Vec<Change>) {
        if !changes.is_empty() {
            self.ready.push_back(Event::Changes { changes, position: None });
        }
    }

    async fn take(&mut self, row: &Row, changes: &mut Vec<Change>) -> Result<Outcome> {
        let raw = Raw::of(row)?;
        let message = match raw.message()? {
            Message::Resolved(at) => return Ok(Outcome::Resolved(at)),
            Message::Change(message) => message,
        };
        let origin = match self.phase {
            // Committed above the scan: it comes again when the table has joined the others.
            Phase::Scanning(..) if message.updated > self.position.at => {
                return Ok(Outcome::Nothing);
            }
            Phase::Scanning(..) => Origin::Snapshot,
            _ => Origin::Log,
        };
        let drops = self.source.config.duplicates == Duplicates::Drop;
        if drops && self.window.has_seen(&raw, message.updated) {
            return Ok(Outcome::Nothing);
        }
        let change = self.decoder.change(&message, origin).await?;
        let bytes = change.bytes();
        changes.push(change);
        Ok(Outcome::Change(bytes))
    }

    /// Moves the position, the only way it moves.
    fn resolve(&mut self, at: Hlc) -> Result<()> {
        // One of zero, or of before: it says nothing.
        if at < self.position.at {
            return Ok(());
        }
        reach!("cockroachdb: resolved timestamp read, not told");
        self.is_rescanning = false;
        if at > self.position.at || matches!(self.phase, Phase::Scanning(..)) {
            self.source.patience(&self.id).restore();
        }
        if let Phase::Scanning(_, scanned) = &mut self.phase {
            reach!("cockroachdb: end of a scan read, not told");
            let scanned = std::mem::take(scanned);
            let marks = self.marks(&scanned, Operation::SnapshotEnd);
            self.position.tables.extend(scanned);
            let position = Some(self.position.attested()?);
            self.ready.push_back(Event::Changes { changes: marks, position });
            // Dropping the rows ends the scan's changefeed.
            self.phase = Phase::Deciding;
            self.window = Window::default();
            return Ok(());
        }
        self.window.advance(at);
        self.position.at = at;
        if self.join_after.is_some_and(|after| at >= after) {
            self.join_after = None;
            self.phase = Phase::Deciding;
        } else if self.opened.is_some_and(|opened| at >= opened) {
            return self.idle();
        }
        self.progress()
    }

    /// Yields the position alone.
    fn progress(&mut self) -> Result<()> {
        let position = Some(self.position.attested()?);
        self.ready.push_back(Event::Changes { changes: Vec::new(), position });
        Ok(())
    }

    fn idle(&mut self) -> Result<()> {
        let position = self.position.attested()?;
        self.ready.push_back(Event::Idle { position });
        Ok(())
    }

    /// The changefeed has ended by itself.
    fn end(&mut self) -> Result<()> {
        let is_asked_for = self.source.config.end_time.is_some();
        if !is_asked_for || matches!(self.phase, Phase::Scanning(..)) {
            return Err(Error::transient(format!("the changefeed of feed {} has ended", self.id)));
        }
        self.phase = Phase::Ended;
        self.ready.push_back(Event::Finished);
        Ok(())
    }

    /// Begins anew at the present, if the user wants that.
    async fn lost(&mut self, error: Error) -> Result<()> {
        // A position of just now cannot be too old: it is something else, such as a dropped table.
        if self.source.config.on_lost == OnLost::Stop || self.is_rescanning {
            return Err(error);
        }
        self.is_rescanning = true;
        let session = self.source.database.session().await?;
        self.position.at = now(&session).await?;
        self.position.tables.clear();
        self.join_after = None;
        self.phase = Phase::Deciding;
        tracing::warn!(
            "feed {} delivers all rows anew, as `on_lost` says; those deleted meanwhile stay \
             downstream: {error}",
            self.id
        );
        let position = Some(self.position.encode()?);
        self.ready.push_back(Event::Changes { changes: Vec::new(), position });
        Ok(())
    }

    fn partition(&self) -> PartitionId {
        PartitionId::new(self.id.to_string())
    }
}
