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
    join,
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

/// One part of the memory is for messages that are under way, the other for those being made.
const PARTS: usize = 2;

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
    memory: Memory,
}

#[derive(Clone)]
struct Turns {
    free: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

/// What records may take that were read ahead.
#[derive(Clone)]
struct Memory {
    free: Arc<Semaphore>,
    units: usize,
    readers: Arc<AtomicUsize>,
}

/// Records that were read and not handed on, and the bytes that they take.
#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    weighed: usize,
    bytes: usize,
}

/// What the task of a query has.
struct Pump {
    client: Arc<dyn Client>,
    turns: Option<Turns>,
    memory: Memory,
    silence_max: Duration,
    messages: UnboundedSender<Message>,
}

impl Room {
    pub(crate) fn new(partitions_max: Option<NonZeroUsize>, bytes_max: ByteSize) -> Self {
        let units = (bytes_max.as_usize() / UNIT / PARTS).clamp(1, Semaphore::MAX_PERMITS);
        let turns = partitions_max.map(|partitions| Turns {
            free: Arc::new(Semaphore::new(partitions.get())),
            waiting: Arc::default(),
        });
        let free = Arc::new(Semaphore::new(units));
        Self { turns, memory: Memory { free, units, readers: Arc::default() } }
    }

    /// Waits for a turn, which lasts until what is returned is dropped.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Turns::take(self.turns.as_ref()).await
    }
}

impl Turns {
    async fn take(turns: Option<&Self>) -> Option<OwnedSemaphorePermit> {
        let turns = turns?;
        let _waiting = Counted::new(&turns.waiting);
        Arc::clone(&turns.free).acquire_owned().await.ok()
    }

    fn are_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

impl Memory {
    /// Waits for room for so many bytes, or for as much as there is of it.
    async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from((bytes / UNIT + 1).min(self.units)).unwrap_or(u32::MAX);
        Arc::clone(&self.free).acquire_many_owned(units).await.ok()
    }

    /// How many bytes a message of one reader may have.
    fn share(&self) -> usize {
        let readers = self.readers.load(Ordering::Relaxed).max(1);
        (self.units * UNIT / readers).min(MESSAGE_BYTES)
    }
}

impl Batch {
    /// Takes what was added into account. A shape is counted where it is not that of the record
    /// before: those behind each other share it.
    fn weigh(&mut self) {
        for (index, record) in self.records.iter().enumerate().skip(self.weighed) {
            let before = index.checked_sub(1).and_then(|before| self.records[before].shape());
            let own = record.shape().filter(|own| !before.is_some_and(|of| Arc::ptr_eq(of, own)));
            self.bytes += record.bytes() + own.map_or(0, |shape| shape.bytes());
        }
        self.weighed = self.records.len();
    }
}

/// Counts one for as long as it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
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
            memory: shared.room.memory.clone(),
            silence_max: shared.silence_max(),
            messages: sender,
        };
        let task = tokio::spawn(pump.run(statement)).abort_handle();
        Self { messages, task }
    }

    /// The next message; the last one is an end.
    pub(crate) async fn next(&mut self) -> Message {
        self.messages.recv().await.unwrap_or_else(|| {
            // Its task is gone. Whoever asked anew at once might do so for ever.
            let error = Error::transient("a query ended without saying why");
            Message::End(End::Unreadable(error))
        })
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
        let reader = Counted::new(&self.memory.readers);
        let mut batch = Batch::default();
        let Err(end) = self.read(statement, &mut batch).await;
        let end = self.tell(&mut batch).await.err().unwrap_or(end);
        drop((turn, reader));
        // Whoever does not listen any more wants nothing.
        let _ = self.messages.send(Message::End(end));
    }

    /// Reads until the end, and tells all but the last records.
    async fn read(&self, statement: Statement, batch: &mut Batch) -> Result<Infallible, End> {
        let mut rows = match timeout(self.silence_max, self.client.query(statement)).await {
            Err(_) => return Err(End::Silent),
            Ok(rows) => rows.map_err(End::Failed)?,
        };
        // What is waited for until here comes with the first rows: were a turn over by then, they
        // would be dropped, each time anew.
        let turn_over = Instant::now() + TURN;
        let mut decoder = Decoder::new(rows.columns()).map_err(End::Unreadable)?;
        loop {
            let row = {
                let mut next = pin!(self.row(&mut *rows, turn_over));
                match poll_fn(|context| Poll::Ready(next.as_mut().poll(context))).await {
                    Poll::Ready(row) => row?,
                    // What is there already waits for no further row. The server is listened to
                    // meanwhile: that there is no room here is no silence of its own.
                    Poll::Pending => {
                        let (told, row) = join!(self.tell(batch), next);
                        told?;
                        row?
                    }
                }
            };
            decoder.decode(row, &mut batch.records).map_err(End::Unreadable)?;
            batch.weigh();
            if batch.bytes >= self.memory.share() {
                self.tell(batch).await?;
            }
        }
    }

    /// Hands on what was read, as soon as there is room for it.
    async fn tell(&self, batch: &mut Batch) -> Result<(), End> {
        batch.weigh();
        let Batch { records, bytes, .. } = take(batch);
        if records.is_empty() {
            return Ok(());
        }
        let room = self.memory.take(bytes).await.ok_or(End::Silent)?;
        self.messages.send(Message::Records(records, room)).map_err(|_| End::Clean)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::record;

    fn bytes(records: Vec<Record>) -> usize {
        let mut batch = Batch { records, ..Batch::default() };
        batch.weigh();
        let once = batch.bytes;
        batch.weigh();
        assert_eq!(batch.bytes, once);
        once
    }

    #[test]
    fn a_shape_is_counted_once_where_it_is_shared_and_each_time_where_it_is_not() {
        let (one, other) = (record(), record());
        let shape = one.shape().unwrap().bytes();
        assert!(shape > 100, "{shape}");
        assert_eq!(bytes(vec![one.clone()]), one.bytes() + shape);
        assert_eq!(bytes(vec![one.clone(), one.clone()]), 2 * one.bytes() + shape);
        assert_eq!(bytes(vec![one.clone(), other, one.clone()]), 3 * (one.bytes() + shape));
    }

    #[test]
    fn messages_that_are_made_and_those_under_way_fit_into_the_memory_together() {
        let memory = Room::new(None, ByteSize(1 << 20)).memory;
        assert_eq!(memory.share(), MESSAGE_BYTES);
        let readers: Vec<_> = (0..1_000).map(|_| Counted::new(&memory.readers)).collect();
        assert!(memory.units * UNIT + readers.len() * memory.share() <= 1 << 20);
        drop(readers);
        assert_eq!(memory.share(), MESSAGE_BYTES);
    }
}
