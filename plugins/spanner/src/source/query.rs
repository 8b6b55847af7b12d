//! A query of one partition, read ahead by a task of its own.

use std::{
    convert::Infallible,
    future::poll_fn,
    mem::take,
    num::NonZeroUsize,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use rowtide_core::{Error, settings::ByteSize};
use tokio::{
    sync::{
        OwnedSemaphorePermit, Semaphore,
        mpsc::{self, UnboundedReceiver, UnboundedSender},
    },
    task::AbortHandle,
    time::{Instant, sleep_until, timeout},
};

use super::Shared;
use crate::{
    client::{Client, Failure, Raw, Rows, Statement},
    record::{Decoder, Record},
};

/// How long a partition is read while others wait for their turn.
const TURN: Duration = Duration::from_secs(10);

/// How often one whose turn is over looks whether others wait.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What permits stand for; a semaphore counts no single bytes.
const UNIT: usize = 1024;

/// How many bytes of records go together at most, but for one record.
const MESSAGE_BYTES: usize = 64 * 1024;

/// A query that runs. Dropping it ends it.
pub(crate) struct Query {
    messages: UnboundedReceiver<Message>,
    task: AbortHandle,
}

/// What a query tells.
pub(crate) enum Message {
    /// Records, and the room that they take until it is dropped.
    Records(Vec<Record>, OwnedSemaphorePermit),
    /// Nothing more comes.
    End(End),
}

/// Why a query ended.
pub(crate) enum End {
    /// By itself.
    Clean,
    /// It told nothing for too long.
    Silent,
    /// Others wait for their turn.
    TurnOver,
    /// The server ended it.
    Failed(Failure),
    /// It told what cannot be read.
    Unreadable(Error),
}

/// What the queries of a source share: turns, and memory.
pub(crate) struct Room {
    turns: Option<Turns>,
    bytes: Arc<Semaphore>,
    units: usize,
}

#[derive(Clone)]
struct Turns {
    free: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

/// What the task of a query has.
struct Pump {
    client: Arc<dyn Client>,
    turns: Option<Turns>,
    bytes: Arc<Semaphore>,
    units: usize,
    silence_max: Duration,
    messages: UnboundedSender<Message>,
}

impl Room {
    pub(crate) fn new(partitions_max: Option<NonZeroUsize>, bytes_max: ByteSize) -> Self {
        let units = (bytes_max.as_usize() / UNIT).clamp(1, Semaphore::MAX_PERMITS);
        let turns = partitions_max.map(|partitions| Turns {
            free: Arc::new(Semaphore::new(partitions.get())),
            waiting: Arc::default(),
        });
        Self { turns, bytes: Arc::new(Semaphore::new(units)), units }
    }

    /// Waits for a turn, which lasts until what is returned is dropped.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Turns::take(self.turns.as_ref()).await
    }
}

impl Turns {
    async fn take(turns: Option<&Self>) -> Option<OwnedSemaphorePermit> {
        let turns = turns?;
        let _waiting = Waiting::new(&turns.waiting);
        Arc::clone(&turns.free).acquire_owned().await.ok()
    }

    fn are_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

/// Counts one that waits, for as long as it does.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Query {
    pub(crate) fn start(shared: &Shared, statement: Statement) -> Self {
        let (sender, messages) = mpsc::unbounded_channel();
        let pump = Pump {
            client: Arc::clone(&shared.client),
            turns: shared.room.turns.clone(),
            bytes: Arc::clone(&shared.room.bytes),
            units: shared.room.units,
            silence_max: shared.silence_max(),
            messages: sender,
        };
        let task = tokio::spawn(pump.run(statement)).abort_handle();
        Self { messages, task }
    }

    /// The next message; the last one is an end.
    pub(crate) async fn next(&mut self) -> Message {
        self.messages.recv().await.unwrap_or(Message::End(End::Silent))
    }

    /// The next message if it is there already.
    pub(crate) fn ready(&mut self) -> Option<Message> {
        self.messages.try_recv().ok()
    }
}

impl Drop for Query {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pump {
    async fn run(self, statement: Statement) {
        let turn = Turns::take(self.turns.as_ref()).await;
        let mut records = Vec::new();
        let Err(end) = self.read(statement, &mut records).await;
        let end = self.tell(&mut records).await.err().unwrap_or(end);
        drop(turn);
        // Whoever does not listen any more wants nothing.
        let _ = self.messages.send(Message::End(end));
    }

    /// Reads until the end, and tells all but the last records.
    async fn read(
        &self,
        statement: Statement,
        records: &mut Vec<Record>,
    ) -> Result<Infallible, End> {
        let turn_over = Instant::now() + TURN;
        let mut rows = match timeout(self.silence_max, self.client.query(statement)).await {
            Err(_) => return Err(End::Silent),
            Ok(rows) => rows.map_err(End::Failed)?,
        };
        let mut decoder = Decoder::new(rows.columns()).map_err(End::Unreadable)?;
        let mut bytes = 0;
        loop {
            let row = {
                let mut next = pin!(self.row(&mut *rows, turn_over));
                match poll_fn(|context| Poll::Ready(next.as_mut().poll(context))).await {
                    Poll::Ready(row) => row?,
                    // What is there already waits for no further row.
                    Poll::Pending => {
                        self.tell(records).await?;
                        bytes = 0;
                        next.await?
                    }
                }
            };
            let known = records.len();
            decoder.decode(row, records).map_err(End::Unreadable)?;
            bytes += records[known..].iter().map(Record::bytes).sum::<usize>();
            if bytes >= MESSAGE_BYTES {
                self.tell(records).await?;
                bytes = 0;
            }
        }
    }

    /// Hands on what was read, as soon as there is room for it.
    async fn tell(&self, records: &mut Vec<Record>) -> Result<(), End> {
        if records.is_empty() {
            return Ok(());
        }
        let bytes = records.iter().map(Record::bytes).sum::<usize>();
        let units = u32::try_from((bytes / UNIT + 1).min(self.units)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.bytes).acquire_many_owned(units).await;
        let room = room.map_err(|_| End::Silent)?;
        let message = Message::Records(take(records), room);
        self.messages.send(message).map_err(|_| End::Clean)
    }

    /// The next row, or why there is none.
    async fn row(&self, rows: &mut dyn Rows, turn_over: Instant) -> Result<Vec<Raw>, End> {
        let mut next = pin!(timeout(self.silence_max, rows.next()));
        let mut look_at = turn_over;
        loop {
            tokio::select! {
                biased;
                () = sleep_until(look_at), if self.turns.is_some() => {
                    if self.turns.as_ref().is_some_and(Turns::are_wanted) {
                        return Err(End::TurnOver);
                    }
                    look_at = Instant::now() + LOOK_EVERY;
                }
                row = &mut next => return match row {
                    Err(_) => Err(End::Silent),
                    Ok(Err(failure)) => Err(End::Failed(failure)),
                    Ok(Ok(None)) => Err(End::Clean),
                    Ok(Ok(Some(row))) => Ok(row),
                },
            }
        }
    }
}
