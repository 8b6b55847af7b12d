use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use futures_util::{StreamExt, stream};
use rowtide_conformance::{Result, async_trait};
use rowtide_core::{
    Change, ChangeId, Column, ColumnType, Context, Error, Event, EventStream, Operation, Partition,
    PartitionId, Position, Row, Source, Table, Transaction, Value, plugin::Config, register_source,
};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{
    find,
    upstream::{Log, World},
};
use rowtide_conformance::Write;

/// A source of a table in memory.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReferenceConfig {
    /// The number of the world.
    world: u64,
    /// What it does wrong.
    defect: String,
}

pub(crate) struct Reference {
    world: Arc<World>,
    defect: Arc<str>,
    streaming: Arc<Mutex<()>>,
}

register_source!("reference", ReferenceConfig);

#[async_trait]
impl Config for ReferenceConfig {
    type Opens = dyn Source;

    async fn open(self, _: &Context) -> Result<Box<dyn Source>> {
        open(self.world, &self.defect)
    }
}

pub(crate) fn open(world: u64, defect: &str) -> Result<Box<dyn Source>> {
    let world = find::<World>(world).ok_or_else(|| Error::fatal("no world"))?;
    Ok(Box::new(Reference { world, defect: defect.into(), streaming: Arc::default() }))
}

/// Where a partition resumes: after so many transactions, and after a key while in the snapshot.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Place {
    incarnation: u64,
    transactions: usize,
    snapshot: Option<i64>,
}

struct Reader {
    world: Arc<World>,
    defect: Arc<str>,
    id: PartitionId,
    place: Place,
    ready: VecDeque<Event>,
    end: usize,
    restarts: usize,
    is_idle: bool,
    is_over: bool,
    streamed: u64,
    _guard: Option<OwnedMutexGuard<()>>,
    held: Held,
}

/// One stream, as the upstream counts them.
struct Held(Arc<World>, bool);

impl Drop for Held {
    fn drop(&mut self) {
        if self.1 {
            self.0.held.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[async_trait]
impl Source for Reference {
    async fn partitions(&self) -> Result<Vec<Partition>> {
        let incarnation = self.world.state().incarnation;
        let transactions = self.world.state().logs[0].transactions.len();
        let mut whole = Partition::new("0");
        let place = Place { incarnation, transactions, snapshot: Some(i64::MIN) };
        whole.start = Some(Position::encode(&place)?);
        Ok(vec![whole])
    }

    fn read(&self, partition: &Partition, from: Option<Position>) -> EventStream<'_> {
        let id = partition.id.clone();
        let begun = async move {
            let reader = self.reader(id, from).await?;
            Ok::<_, Error>(stream::try_unfold(reader, async |mut reader: Reader| {
                Ok(reader.next().await?.map(|event| (event, reader)))
            }))
        };
        use futures_util::TryFutureExt;
        Box::pin(begun.try_flatten_stream().fuse())
    }

    async fn acknowledge(&self, positions: &[(PartitionId, Position)]) -> Result<()> {
        if &*self.defect == "a stream locks out acknowledgements" {
            drop(self.streaming.lock().await);
        }
        let mut state = self.world.state();
        for (id, position) in positions {
            let place: Place = position.decode()?;
            if let Some(log) = state.logs.iter_mut().find(|log| log.id == *id) {
                let end = log.transactions.len();
                let all = &*self.defect == "an acknowledgement prunes everything";
                log.pruned = log.pruned.max(if all { end } else { place.transactions });
            }
        }
        Ok(())
    }
}

impl Reference {
    async fn reader(&self, id: PartitionId, from: Option<Position>) -> Result<Reader> {
        let guards = &*self.defect == "a stream locks out acknowledgements";
        let locks_out = &*self.defect == "a dropped stream locks out another";
        if locks_out && self.world.held.load(Ordering::SeqCst) > 0 {
            return Err(Error::fatal("another stream is being read"));
        }
        let guard =
            if guards { Some(Arc::clone(&self.streaming).lock_owned().await) } else { None };
        self.world.held.fetch_add(1, Ordering::SeqCst);
        let keeps = ["a dropped stream keeps its connection", "a dropped stream locks out another"];
        let releases = !keeps.contains(&&*self.defect);
        let held = Held(Arc::clone(&self.world), releases);
        let state = self.world.state();
        let log = state.log(&id)?;
        let end = log.transactions.len();
        let now = || Place { incarnation: state.incarnation, transactions: end, snapshot: None };
        let first = Place { incarnation: state.incarnation, transactions: 0, snapshot: None };
        let lenient = &*self.defect == "a strange position is a fresh start";
        let mut place = match from.as_ref().map(Position::decode::<Place>) {
            None => first,
            Some(Err(_)) if lenient => now(),
            Some(place) => place?,
        };
        let skips = &*self.defect == "what was pruned is skipped";
        if skips && place.transactions < log.pruned {
            place.transactions = log.pruned;
        }
        match (&*self.defect, place.snapshot) {
            ("resuming a snapshot skips a row", Some(key)) if key > i64::MIN => {
                place.snapshot = Some(key + 1);
            }
            ("resuming repeats a transaction", None) if place.transactions > 3 => {
                place.transactions -= 1;
            }
            _ => {}
        }
        Ok(Reader {
            restarts: self.world.restarts.load(Ordering::SeqCst),
            world: Arc::clone(&self.world),
            defect: Arc::clone(&self.defect),
            is_idle: false,
            is_over: false,
            ready: VecDeque::new(),
            streamed: 0,
            _guard: guard,
            held,
            id,
            place,
            end,
        })
    }
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.is_over {
                return Ok(None);
            }
            let world = Arc::clone(&self.world);
            let changed = world.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            self.fill()?;
            if self.ready.is_empty() && !self.is_over {
                changed.await;
            }
        }
    }

    fn is(&self, defect: &str) -> bool {
        &*self.defect == defect
    }

    fn fill(&mut self) -> Result<()> {
        let world = Arc::clone(&self.world);
        if world.restarts.load(Ordering::SeqCst) != self.restarts {
            return Err(match self.is("a restart is fatal") {
                true => Error::fatal("restarted"),
                false => Error::transient("restarted"),
            });
        }
        let state = world.state();
        let log = state.log(&self.id)?;
        let foreign = self.place.incarnation != state.incarnation
            && !self.is("another incarnation is taken for the same");
        if foreign || self.place.transactions < log.pruned {
            return Err(Error::position_lost("the log no longer has it"));
        }
        let in_snapshot = self.place.snapshot.is_some();
        match self.place.snapshot {
            Some(after) => self.fill_from_table(&state.table, log, after)?,
            None => self.fill_from_log(log)?,
        }
        let pending = self.place.transactions < log.transactions.len();
        let waits = self.is("idle only when nothing is left") && (pending || in_snapshot);
        if !self.is_idle
            && self.place.snapshot.is_none()
            && self.place.transactions >= self.end
            && !waits
        {
            self.is_idle = true;
            self.ready.push_back(Event::Idle { position: self.position()? });
        }
        if log.ended && !pending && self.place.snapshot.is_none() {
            self.is_over = true;
            let mut partitions = state.children(&self.id);
            if self.is("a child has no parent") {
                partitions.iter_mut().for_each(|child| child.parents.clear());
            }
            self.ready.extend([Event::Children { partitions }, Event::Finished]);
        }
        Ok(())
    }

    /// The log first, so that no change is overtaken by an older image; then some rows.
    fn fill_from_table(
        &mut self,
        table: &std::collections::BTreeMap<i64, Value>,
        log: &Log,
        after: i64,
    ) -> Result<()> {
        let grown = log.transactions.len() > self.end;
        let gap = self.is("the stream begins at the end of the snapshot")
            || (grown && self.is("what is written during the snapshot is lost"));
        while self.place.transactions < log.transactions.len() && !gap {
            self.fill_from_log(log)?;
        }
        self.place.transactions = log.transactions.len();
        let mut changes = Vec::new();
        for (key, value) in table.range(after.saturating_add(1)..).take(2) {
            let id = ChangeId::new("row")
                .major(key.unsigned_abs())
                .minor(self.place.transactions as u64);
            let odd = self.is("a value of the snapshot is rounded");
            let value = match value {
                Value::Float(float) if odd => Value::Float(float.round()),
                Value::Null if self.has_no_null("snapshot") => Value::Unknown,
                value => value.clone(),
            };
            changes.push(change(id, Operation::Read, *key, Some(value)));
            self.place.snapshot = Some(*key);
        }
        if changes.is_empty() {
            self.place.snapshot = None;
        }
        let position = Some(self.position()?);
        self.ready.push_back(Event::Changes { changes, position });
        Ok(())
    }

    fn fill_from_log(&mut self, log: &Log) -> Result<()> {
        let mut index = self.place.transactions;
        if index >= log.transactions.len() {
            return Ok(());
        }
        if self.is("two transactions change places") && log.is_updated_twice(5) {
            index = match index {
                5 => 6,
                6 => 5,
                index => index,
            };
        }
        self.place.transactions += 1;
        let loses = self.is("the first change of a child is lost") && log.is_child && index == 0;
        let transaction =
            Arc::new(Transaction { id: format!("{}-{index}", self.id).into(), changes: None });
        let mut changes = Vec::new();
        for (minor, write) in log.transactions[index].iter().enumerate() {
            self.streamed += 1;
            let major = match self.is("an id is counted by the stream") {
                true => self.streamed,
                false => index as u64,
            };
            let id = ChangeId::new(self.id.as_str()).major(major).minor(minor as u64);
            let mut change = self.logged(id, write);
            let told = !self.is("no transaction is told");
            change.transaction = told.then(|| Arc::clone(&transaction));
            let lost =
                loses || (change.operation == Operation::Truncate && self.is("a truncate is lost"));
            if !lost {
                changes.push(change);
            }
        }
        let quiet = changes.is_empty() && self.is("a quiet partition stands still");
        if !quiet {
            let position = Some(self.position()?);
            self.ready.push_back(Event::Changes { changes, position });
        }
        Ok(())
    }

    /// Whether a null of the snapshot, an insert or an update is delivered as unknown.
    fn has_no_null(&self, place: &str) -> bool {
        self.is("a null is unknown")
            || (place == "update" && self.is("a value that becomes null is unknown"))
            || (place == "snapshot" && self.is("a null of the snapshot is unknown"))
    }

    fn logged(&self, id: ChangeId, write: &Write) -> Change {
        match write {
            Write::Insert { key, value: Value::Null } if self.has_no_null("insert") => {
                change(id, Operation::Insert, *key, Some(Value::Unknown))
            }
            Write::Update { key, value: Value::Null } if self.has_no_null("update") => {
                change(id, Operation::Update, *key, Some(Value::Unknown))
            }
            Write::Insert { key, value } => {
                change(id, Operation::Insert, *key, Some(value.clone()))
            }
            Write::Update { key, value } => {
                change(id, Operation::Update, *key, Some(value.clone()))
            }
            Write::Delete { key } => change(id, Operation::Delete, *key, None),
            Write::Truncate => Change::new(id, items(), Operation::Truncate),
        }
    }

    fn position(&self) -> Result<Position> {
        let _ = &self.held;
        Position::encode(&self.place)
    }
}

fn items() -> Arc<Table> {
    let key = Column::new("key", ColumnType::Int).in_key(0);
    Arc::new(Table::new("items", vec![key, Column::new("value", ColumnType::Any)]))
}

fn change(id: ChangeId, operation: Operation, key: i64, value: Option<Value>) -> Change {
    let mut change = Change::new(id, items(), operation);
    match value {
        Some(value) => change.after = Some(Row::new([Value::Int(key), value])),
        None => change.before = Some(Row::new([Value::Int(key), Value::Unknown])),
    }
    change
}
