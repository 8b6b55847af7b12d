//! Reads a log and the tables behind it, on a thread of its own.
//!
//! A read transaction is open only while a batch is fetched, never while anything is waited for:
//! an open one keeps the application's write-ahead log from being reset.

use std::{
    thread,
    time::{Duration, Instant},
};

use futures_util::stream;
use jiff::Timestamp;
use rowtide_core::{Error, Event, EventStream, Position, Result, settings::Snapshot};
use rowtide_failpoint::reach;
use rusqlite::{Connection, Transaction};
use tokio::sync::mpsc;

use crate::{
    capture::{
        Capture, Synced,
        layout::Layouts,
        log::{self, Captured, Reason, Span},
        names::Names,
    },
    config::{Install, SqliteConfig},
    connection::{FileIdentity, failure},
    source::{
        data_version,
        position::{LogPosition, Progress, Selection},
        registration, schema_version,
        snapshot::{self, Chunk, Request},
        synced,
        wake::{Stop, Wake, Woken},
    },
};

/// How large an event is at most, unless it is one change.
const EVENT_BYTES: usize = 256 << 10;
/// How often a quiet database's reader tells that it is still caught up.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Starts a thread that reads from `from` until the stream is dropped.
pub(crate) fn start(
    config: SqliteConfig,
    pipeline: String,
    from: Position,
) -> EventStream<'static> {
    let (sender, receiver) = mpsc::channel(1);
    let (wake, stop) = Wake::new(&config.path);
    let failed = sender.clone();
    let run = move || {
        let reader = Reader::open(config, &pipeline, &from, (sender.clone(), wake));
        let halted = reader.map_or_else(Halt::Failed, |mut reader| reader.run());
        if let Halt::Failed(error) = halted {
            let _ = sender.blocking_send(Err(error));
        }
    };
    if let Err(error) = thread::Builder::new().name("sqlite-read".to_owned()).spawn(run) {
        let error = Error::transient("failed to start a thread").because(error);
        let _ = failed.try_send(Err(error));
    }
    drop(failed);
    let next = |(mut receiver, stop): (mpsc::Receiver<Result<Event>>, Stop)| async move {
        let event = receiver.recv().await?;
        Some((event, (receiver, stop)))
    };
    Box::pin(stream::unfold((receiver, stop), next))
}

struct Reader {
    config: SqliteConfig,
    names: Names,
    connection: Connection,
    capture: Capture,
    synced: Synced,
    layouts: Layouts,
    position: LogPosition,
    /// All that was committed up to here has been yielded.
    attested: Option<Timestamp>,
    /// The end of the log when reading began.
    end: i64,
    file: Option<FileIdentity>,
    sender: mpsc::Sender<Result<Event>>,
    wake: Wake,
}

/// Why reading ends.
enum Halt {
    /// The partition has ended, or nobody listens any more.
    Ended,
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Halt::Failed(error)
    }
}

type Step<T = ()> = Result<T, Halt>;

/// The log and the schema at one moment.
struct Head {
    id: i64,
    schema_version: i64,
    data_version: i64,
    /// Read from the clock before the moment.
    time: Timestamp,
}

impl Reader {
    fn open(
        config: SqliteConfig,
        pipeline: &str,
        from: &Position,
        (sender, wake): (mpsc::Sender<Result<Event>>, Wake),
    ) -> Result<Self> {
        let position = LogPosition::decode(from)?;
        let names = config.names();
        let file = FileIdentity::of(&config.path).ok();
        // The file was there when the source was opened: somebody is putting another in its place.
        let mut connection = config.database().connect().map_err(|error| match &file {
            Some(_) => error,
            None => Error::transient(format!("`{}` is away", config.path.display())).because(error),
        })?;
        let layouts = Layouts::open(&connection, names.clone(), config.tables.clone())?;
        if **layouts.incarnation() != *position.incarnation {
            return Err(lost("the log is not the one that the position was read from"));
        }
        verify(&connection, &names, &position)?;
        registration::resume(&connection, &names, pipeline, position.id)?;
        reach!("sqlite: registered again");
        let mut capture = config.capture();
        let synced = synced(&config, &mut capture, &mut connection)?;
        let end = log::last(&connection, &names)?.unwrap_or(position.id);
        let now = Timestamp::now();
        let attested = from.attested().filter(|time| *time <= now);
        let mut reader = Self {
            config,
            names,
            connection,
            capture,
            synced,
            layouts,
            position,
            attested,
            end,
            file,
            sender,
            wake,
        };
        reader.merge_tables();
        Ok(reader)
    }

    fn run(&mut self) -> Halt {
        loop {
            if let Err(halt) = self.step() {
                return halt;
            }
        }
    }

    /// Reads all there is, and waits for more.
    fn step(&mut self) -> Step {
        let head = self.head()?;
        while let Some(table) = self.position.next_table() {
            let table = table.to_owned();
            self.read_table(&table)?;
        }
        if self.config.snapshot == Snapshot::Only {
            self.send(Event::Finished)?;
            return Err(Halt::Ended);
        }
        self.read_log(head.id)?;
        if self.position.next_table().is_some() {
            return Ok(());
        }
        self.take_over_selection();
        self.idle(head.time)?;
        self.wait(&head)
    }

    /// Looks at the log, once the triggers agree with the schema.
    fn head(&mut self) -> Step<Head> {
        loop {
            self.sync()?;
            let head = self.look()?;
            if head.schema_version == self.synced.schema_version {
                return Ok(head);
            }
            if self.wake.is_stopped() {
                return Err(Halt::Ended);
            }
        }
    }

    fn sync(&mut self) -> Result<()> {
        if self.config.install == Install::Manual
            && schema_version(&self.connection)? == self.synced.schema_version
        {
            return Ok(());
        }
        let before = self.synced.schema_version;
        self.synced = synced(&self.config, &mut self.capture, &mut self.connection)?;
        if self.synced.schema_version != before {
            self.merge_tables();
        }
        Ok(())
    }

    fn look(&mut self) -> Result<Head> {
        let time = Timestamp::now();
        let transaction = begin(&mut self.connection)?;
        let data_version = data_version(&transaction)?;
        let schema_version = schema_version(&transaction)?;
        verify(&transaction, &self.names, &self.position)?;
        let id = log::last(&transaction, &self.names)?.unwrap_or(self.position.id);
        Ok(Head { id, schema_version, data_version, time })
    }

    /// Takes in tables that this pipeline did not know, and leaves out those that are gone.
    fn merge_tables(&mut self) {
        let layouts = &self.synced.layouts;
        let is_there = |name: &str| layouts.iter().any(|layout| layout.definition.name == name);
        self.position.tables.retain(|name, _| is_there(name));
        for layout in layouts {
            let name = layout.definition.name.clone();
            let progress = match self.config.snapshot {
                Snapshot::Never => Progress::Done,
                Snapshot::Initial | Snapshot::Only => Progress::Pending { replaces: true },
            };
            let known = self.position.tables.entry(name).or_insert_with(|| progress.clone());
            if progress == Progress::Done {
                *known = progress;
            }
        }
    }

    /// Yields the next chunk of a table, after the log up to the moment at which it was read.
    fn read_table(&mut self, table: &str) -> Step {
        let Some((id, progress, chunk)) = self.read_chunk(table)? else {
            self.head()?;
            return Ok(());
        };
        self.read_log(id)?;
        // The table came under capture again meanwhile: this chunk may lack what was missed.
        if self.position.tables.get(table) != Some(&progress) {
            return Ok(());
        }
        self.position.tables.insert(table.to_owned(), chunk.next);
        self.changes(chunk.changes)
    }

    /// `None` if the schema has changed, or the table is gone.
    fn read_chunk(&mut self, table: &str) -> Result<Option<(i64, Progress, Chunk)>> {
        let layouts = &self.synced.layouts;
        let Some(layout) = layouts.iter().find(|layout| layout.definition.name == table) else {
            self.position.tables.remove(table);
            return Ok(None);
        };
        let progress = self.position.tables.get(table).cloned().unwrap_or(Progress::Done);
        let transaction = begin(&mut self.connection)?;
        if schema_version(&transaction)? != self.synced.schema_version {
            return Ok(None);
        }
        let id = log::last(&transaction, &self.names)?.unwrap_or(self.position.id);
        let request = Request {
            layout,
            progress: &progress,
            incarnation: &self.position.incarnation,
            id,
            schema_version: self.synced.schema_version,
            rows_max: self.config.batch_rows.get(),
            bytes_max: EVENT_BYTES,
        };
        let chunk = snapshot::read(&transaction, &request)?;
        reach!("sqlite: part of a table read, not told");
        drop(transaction);
        Ok(Some((id, progress, chunk)))
    }

    /// Yields the log up to the row `up_to`.
    fn read_log(&mut self, up_to: i64) -> Step {
        while self.position.id < up_to {
            let rows_max = usize::try_from(self.config.batch_rows.get()).unwrap_or(usize::MAX);
            let after = self.position.id;
            let span = Span { after, up_to, bytes_max: EVENT_BYTES, rows_max };
            let transaction = begin(&mut self.connection)?;
            let batch = log::read(&transaction, &mut self.layouts, span)?;
            reach!("sqlite: log read, not told");
            let digest = log::digest(&transaction, &self.names, batch.last)?;
            drop(transaction);
            self.position.id = batch.last;
            self.position.digest = digest.ok_or_else(|| lost("the log was emptied"))?;
            if let Some(captured) = &batch.captured {
                self.came_under_capture(captured)?;
            }
            self.take_over_selection();
            if let Some(time) = batch.changes.last().and_then(|change| change.committed_at) {
                // The write lock was held at that time, so whatever was committed before is
                // earlier in the log.
                self.attest(time);
            }
            self.changes(batch.changes)?;
        }
        Ok(())
    }

    /// A table that comes under capture after the start was not added by the user.
    fn take_over_selection(&mut self) {
        if self.position.id >= self.end {
            self.position.selection = Selection::from(&self.config.tables);
        }
    }

    /// From here on the table is captured, and what was written to it before may be missing.
    fn came_under_capture(&mut self, captured: &Captured) -> Result<()> {
        let name = captured.layout.definition.name.clone();
        let Captured { id, reason, .. } = captured;
        tracing::info!(table = name, id, ?reason, "a table came under capture");
        let is_added = !self.position.selection.matches(&name);
        if self.config.snapshot != Snapshot::Never {
            self.position.tables.insert(name, Progress::Pending { replaces: true });
            return Ok(());
        }
        // One that is empty now may have held rows that were delivered.
        let is_new = captured.empty && *reason == Reason::First;
        if is_new || is_added {
            return Ok(());
        }
        let message = format!("writes to table `{name}` were not captured for a while");
        Err(Error::position_lost(message).help(
            "with snapshot = \"initial\" the table is read again; or `exclude` it, run until all is \
             delivered, and include it again: then only its own changes until then are missing. \
             `rowtide checkpoint reset` would skip what is logged of every table",
        ))
    }

    /// A time after now is of a clock that was wrong, and as the latest one it would stay.
    fn attest(&mut self, time: Timestamp) {
        if self.position.next_table().is_none() {
            let now = Timestamp::now();
            let times = [self.attested, Some(time)].into_iter().flatten();
            self.attested = times.filter(|time| *time <= now).max();
        }
    }

    fn encoded(&self) -> Result<Position> {
        let position = self.position.encode()?;
        Ok(match self.attested.filter(|_| self.position.next_table().is_none()) {
            Some(time) => position.as_of(time),
            None => position,
        })
    }

    fn changes(&mut self, changes: Vec<rowtide_core::Change>) -> Step {
        let position = Some(self.encoded()?);
        self.send(Event::Changes { changes, position })
    }

    fn idle(&mut self, time: Timestamp) -> Step {
        self.attest(time);
        let position = self.encoded()?;
        self.send(Event::Idle { position })
    }

    fn send(&self, event: Event) -> Step {
        self.sender.blocking_send(Ok(event)).map_err(|_| Halt::Ended)
    }

    /// Waits until somebody has committed something.
    fn wait(&mut self, head: &Head) -> Step {
        let mut told = Instant::now();
        loop {
            let time = Timestamp::now();
            if data_version(&self.connection)? != head.data_version {
                return Ok(());
            }
            self.check_file()?;
            if told.elapsed() >= HEARTBEAT {
                self.idle(time)?;
                told = Instant::now();
            }
            match self.wake.wait(self.config.poll_every.duration()) {
                Woken::Stop => return Err(Halt::Ended),
                Woken::Write => self.look_closely(head)?,
                Woken::Timer => {}
            }
        }
    }

    /// A commit is written to the file a moment before it can be seen.
    fn look_closely(&mut self, head: &Head) -> Step {
        for pause in [1, 2, 4, 8, 16, 32].map(Duration::from_millis) {
            if data_version(&self.connection)? != head.data_version {
                return Ok(());
            }
            if self.wake.wait(pause) == Woken::Stop {
                return Err(Halt::Ended);
            }
        }
        Ok(())
    }

    /// A file put in the place of ours would never be read: ours is still open.
    fn check_file(&self) -> Result<()> {
        if FileIdentity::of(&self.config.path).ok() == self.file {
            return Ok(());
        }
        let path = self.config.path.display();
        Err(Error::transient(format!("another file was put in the place of `{path}`")))
    }
}

fn begin(connection: &mut Connection) -> Result<Transaction<'_>> {
    connection.transaction().map_err(|error| failure("failed to read the database", error))
}

/// The row at the position must be there and the same, or this is another log.
fn verify(connection: &Connection, names: &Names, position: &LogPosition) -> Result<()> {
    match log::digest(connection, names, position.id)? {
        Some(digest) if digest == position.digest => Ok(()),
        Some(_) => Err(lost(&format!("log row {} is not the one that was read", position.id))),
        None => Err(lost(&format!("log row {} is gone", position.id))),
    }
}

fn lost(message: &str) -> Error {
    Error::position_lost(message).help(
        "a backup was restored, or the log was emptied; changes may be missing: \
         `rowtide checkpoint reset` starts anew",
    )
}
