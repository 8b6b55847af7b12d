//! A query of a change stream, from its beginning to its end.

mod arguments;
mod frame;
mod item;

use std::{
    collections::VecDeque,
    future::pending,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use fastrand::Rng;
use jiff::Timestamp;
use prost::bytes::Bytes;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};
use tonic::Status;

pub(crate) use arguments::{Arguments, reads_stream};
pub(crate) use frame::Frame;
pub(crate) use item::row_of;

use crate::{
    faults::{Faults, Tokens, happens},
    messages::{ExecuteSqlRequest, ResultSetMetadata},
    query::{
        frame::array_of,
        item::{Children, Fields, Item, Shape},
    },
    schema::Dialect,
    server::Shared,
    status,
    store::{Partition, Record, Store, now},
};

/// What is sent of one query.
pub(crate) struct Telling {
    shared: Arc<Shared>,
    arguments: Arguments,
    faults: Faults,
    chance: Rng,
    shape: Shape,
    metadata: Option<ResultSetMetadata>,
    changed: Arc<Notify>,
    cursor: Cursor,
    frames: VecDeque<Frame>,
    sent_at: Instant,
    has_told: bool,
    is_over: bool,
    /// Whether it may end when some children are told and others are not. The first query of the
    /// roots may, so that another one tells them all.
    forgets_children: bool,
}

/// Where a query stands; what follows depends on nothing else.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cursor {
    /// The first record of a time of which not all is told.
    record: usize,
    /// How many of that time are told.
    told: usize,
    /// How many records of children are told.
    children: usize,
    /// What decides the order in which things come.
    order: u64,
}

/// What a look at the store comes to.
enum Look {
    Items(Vec<(Item, Cursor)>),
    /// The last ones.
    End(Vec<(Item, Cursor)>),
    Nothing,
}

/// How many records are looked at in one go.
const LOOK: usize = 256;

/// How many children a record has at most.
const CHILDREN: usize = 20;

impl Telling {
    /// Begins a query, or resumes one.
    pub(crate) fn begin(shared: &Arc<Shared>, request: &ExecuteSqlRequest) -> Result<Self, Status> {
        let faults = shared.faults();
        let mut store = shared.store();
        let arguments = Arguments::parse(request, &store, shared.options.heartbeat_min)?;
        arguments.check(&store, shared.wording())?;
        let subject = arguments.token.clone().unwrap_or_default();
        let number = shared.count_query(&subject);
        let mut chance = faults.chance(&subject, number);
        if happens(&mut chance, faults.refuse) {
            return Err(status::unavailable());
        }
        let fields = match happens(&mut faults.chance(&subject, 0), faults.unknown_fields) {
            true => Fields::WithUnknown,
            false => Fields::Known,
        };
        let shape = Shape { dialect: store.dialect, fields };
        let partition = store.partitions.get(&subject);
        if let Some(partition) = partition.filter(|_| number == 1) {
            shared.note_begin(&partition.parents);
        }
        let first = Cursor {
            record: partition.map_or(0, |partition| first_at(partition, arguments.start)),
            told: 0,
            children: 0,
            order: if happens(&mut chance, faults.shuffle) { chance.u64(1..) } else { 0 },
        };
        let changed =
            partition.map_or_else(Arc::default, |partition| Arc::clone(&partition.changed));
        let is_resumed = !request.resume_token.is_empty();
        let forgets_children = partition.is_none() && number == 1 && !is_resumed;
        let cursor = Cursor::decode(&request.resume_token).filter(|_| is_resumed).unwrap_or(first);
        let stream = store.stream.as_mut().map(|stream| stream.name.clone()).unwrap_or_default();
        drop(store);
        shared.open.fetch_add(1, Ordering::SeqCst);
        Ok(Self {
            shared: Arc::clone(shared),
            arguments,
            faults,
            chance,
            shape,
            metadata: (!is_resumed).then(|| shape.metadata(&stream)),
            changed,
            cursor,
            frames: VecDeque::new(),
            sent_at: Instant::now(),
            has_told: false,
            is_over: false,
            forgets_children,
        })
    }

    /// The next message; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return self.send(frame).await;
            }
            if self.is_over {
                return self.end();
            }
            let changed = Arc::clone(&self.changed);
            let mut news = std::pin::pin!(changed.notified());
            news.as_mut().enable();
            match self.look() {
                Ok(Look::Nothing) => {
                    // Whether it is news or time makes no difference: there is another look.
                    let _ = timeout(self.patience(), news).await;
                }
                Ok(Look::Items(items)) => self.prepare(items),
                Ok(Look::End(items)) => {
                    self.is_over = true;
                    self.prepare(items);
                    if let Some(last) = self.frames.back_mut() {
                        last.is_last = true;
                    }
                }
                Err(status) => return Some(Err(status)),
            }
        }
    }

    async fn send(&mut self, frame: Frame) -> Option<Result<Bytes, Status>> {
        if happens(&mut self.chance, self.faults.fail) {
            return Some(Err(status::broken(&mut self.chance)));
        }
        if frame.may_be_the_end() && happens(&mut self.chance, self.faults.end) {
            self.frames.clear();
            self.is_over = true;
            return self.end();
        }
        if happens(&mut self.chance, self.faults.stall) {
            return pending().await;
        }
        self.sent_at = Instant::now();
        self.has_told = true;
        if self.is_over && self.frames.is_empty() && self.cursor.children > 0 {
            self.shared.note_end(self.arguments.token.as_deref().unwrap_or_default());
        }
        Some(Ok(frame.encode(self.metadata.take().as_ref())))
    }

    /// A query without rows has its metadata nevertheless.
    fn end(&mut self) -> Option<Result<Bytes, Status>> {
        let metadata = self.metadata.take()?;
        Some(Ok(Frame::default().encode(Some(&metadata))))
    }

    /// How long to wait until there may be something to tell.
    fn patience(&self) -> Duration {
        let heartbeat = self.arguments.heartbeat.saturating_sub(self.sent_at.elapsed());
        let until = |at: Timestamp| Duration::try_from(at.duration_since(now())).ok();
        let others = [self.arguments.end, Some(self.arguments.start)];
        let others = others.into_iter().flatten().filter_map(until);
        let least = others.filter(|wait| !wait.is_zero()).min();
        least.map_or(heartbeat, |least| least.min(heartbeat)).max(Duration::from_millis(1))
    }

    fn look(&mut self) -> Result<Look, Status> {
        let shared = Arc::clone(&self.shared);
        let mut store = shared.store();
        if now() < self.arguments.start {
            return Ok(Look::Nothing);
        }
        let Some(token) = &self.arguments.token else { return Ok(self.roots(&store)) };
        let Some(partition) = store.partitions.get(token) else {
            return Err(Status::not_found("Change stream not found: it was dropped"));
        };
        let records = self.records(partition);
        if !records.is_empty() {
            return Ok(Look::Items(records));
        }
        let end = self.arguments.end;
        if let Some(at) = partition.end.filter(|at| end.is_none_or(|end| *at <= end)) {
            let children = partition.children.iter().map(|child| {
                let parents = store.partitions.get(child).map(|child| child.parents.clone());
                (Arc::clone(child), parents.unwrap_or_default())
            });
            return Ok(Look::End(self.children(at, children.collect())));
        }
        if let Some(end) = end.filter(|end| store.pass(*end)) {
            let beat = (Item::Heartbeat(end), self.cursor);
            return Ok(Look::End(if self.has_told { Vec::new() } else { vec![beat] }));
        }
        if self.sent_at.elapsed() >= self.arguments.heartbeat {
            return Ok(Look::Items(vec![(Item::Heartbeat(store.tick()), self.cursor)]));
        }
        Ok(Look::Nothing)
    }

    fn roots(&self, store: &Store) -> Look {
        let tokens = store.partitions.at(self.arguments.start);
        let children = tokens.into_iter().map(|token| (token, Vec::new())).collect();
        Look::End(self.children(self.arguments.start, children))
    }

    /// Records from the cursor on, whole times at once.
    fn records(&self, partition: &Partition) -> Vec<(Item, Cursor)> {
        let mut items = Vec::new();
        let mut cursor = self.cursor;
        while items.len() < LOOK {
            let rest = &partition.records[cursor.record.min(partition.records.len())..];
            let Some(at) = rest.first().map(|record| record.at) else { break };
            if self.arguments.end.is_some_and(|end| at > end) {
                break;
            }
            let group = &rest[..rest.partition_point(|record| record.at == at)];
            let told = cursor.told;
            for (index, record) in ordered(group, cursor.order).into_iter().enumerate().skip(told) {
                cursor.told = index + 1;
                items.push((Item::Record(record), cursor));
            }
            cursor = Cursor { record: cursor.record + group.len(), told: 0, ..cursor };
            if let Some(last) = items.last_mut() {
                last.1 = cursor;
            }
        }
        items
    }

    /// The children that are not told yet, in as many records as this query makes of them.
    fn children(
        &self,
        start: Timestamp,
        children: Vec<(Arc<str>, Vec<Arc<str>>)>,
    ) -> Vec<(Item, Cursor)> {
        let mut chance = self.faults.chance("children", self.cursor.order);
        let repeats = happens(&mut chance, self.faults.repeat_children);
        let size = if repeats { chance.usize(1..3) } else { CHILDREN };
        let mut records: Vec<Vec<_>> = children.chunks(size).map(<[_]>::to_vec).collect();
        if repeats && chance.bool() {
            records.extend(records.clone());
        }
        let record = |(number, children)| {
            let cursor = Cursor { children: number + 1, ..self.cursor };
            (Item::Children(Children { start, number, children }), cursor)
        };
        records.into_iter().enumerate().skip(self.cursor.children).map(record).collect()
    }

    /// Puts items into messages.
    fn prepare(&mut self, items: Vec<(Item, Cursor)>) {
        let items = self.with_nonsense(items);
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            let follows_children = self.cursor.children > 0 && !self.forgets_children;
            let mut frame = Frame { follows_children, ..Frame::default() };
            for _ in 0..self.chance.usize(1..=self.faults.rows_per_message.max(1)) {
                let mut elements = Vec::new();
                let records = match self.shape.dialect {
                    Dialect::GoogleSql => self.faults.records_per_row.max(1),
                    Dialect::Postgres => 1,
                };
                for (item, cursor) in items.by_ref().take(self.chance.usize(1..=records)) {
                    elements.push(self.shape.element(&item));
                    self.cursor = cursor;
                }
                if elements.is_empty() {
                    break;
                }
                frame.values.push(match self.shape.dialect {
                    Dialect::GoogleSql => array_of(&elements),
                    Dialect::Postgres => elements.swap_remove(0),
                });
            }
            frame.token = self.token();
            match happens(&mut self.chance, self.faults.chunk) {
                true => self.frames.extend(frame.cut(&mut self.chance)),
                false => self.frames.push_back(frame),
            }
        }
    }

    /// Adds heartbeats that say nothing new, and rows that say nothing at all.
    fn with_nonsense(&mut self, items: Vec<(Item, Cursor)>) -> Vec<(Item, Cursor)> {
        if self.faults.heartbeat == 0 && self.faults.empty == 0 {
            return items;
        }
        let mut all = Vec::new();
        for (item, cursor) in items {
            // Of a time that is told whole.
            let beat = match &item {
                Item::Record(record) if cursor.told == 0 => Some(Item::Heartbeat(record.at)),
                _ => None,
            };
            all.push((item, cursor));
            if let Some(beat) = beat.filter(|_| happens(&mut self.chance, self.faults.heartbeat)) {
                all.push((beat, cursor));
            }
            if happens(&mut self.chance, self.faults.empty) {
                all.push((Item::Empty, cursor));
            }
        }
        all
    }

    fn token(&mut self) -> Bytes {
        let is_given = match self.faults.tokens {
            Tokens::Unique => true,
            Tokens::Sparse => self.chance.u32(0..4) == 0,
            Tokens::Constant => return Bytes::from_static(CONSTANT),
            Tokens::None => false,
        };
        if is_given { self.cursor.encode() } else { Bytes::new() }
    }
}

const CONSTANT: &[u8] = b"cloud_spanner";

impl Drop for Telling {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Cursor {
    fn encode(self) -> Bytes {
        let parts = [self.record as u64, self.told as u64, self.children as u64, self.order];
        parts.iter().flat_map(|part| part.to_be_bytes()).collect::<Vec<_>>().into()
    }

    fn decode(token: &[u8]) -> Option<Self> {
        let (parts, rest) = token.as_chunks::<8>();
        let parts: Vec<_> = parts.iter().map(|part| u64::from_be_bytes(*part)).collect();
        let [record, told, children, order] = parts[..] else { return None };
        let index = |part| usize::try_from(part).ok();
        let cursor =
            Self { record: index(record)?, told: index(told)?, children: index(children)?, order };
        rest.is_empty().then_some(cursor)
    }
}

fn first_at(partition: &Partition, start: Timestamp) -> usize {
    partition.records.partition_point(|record| record.at < start)
}

/// What was committed at one time: each transaction in its own order, and among each other in any.
fn ordered(group: &[Arc<Record>], order: u64) -> Vec<Arc<Record>> {
    let mut records = group.to_vec();
    let of_transaction = |record: &Arc<Record>| {
        let mut hash = order;
        for byte in record.transaction.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        hash
    };
    match order % 3 {
        _ if order == 0 => {}
        0 => records.sort_by_key(|record| (record.sequence.clone(), of_transaction(record))),
        _ => records.sort_by_key(|record| (of_transaction(record), record.sequence.clone())),
    }
    records
}
