use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use rowtide_conformance::{Result, SourceHarness, Upstream, Write, async_trait};
use rowtide_core::{Error, Operation, Partition, PartitionId, Value};
use tokio::sync::Notify;

use super::{Registered, toml};

/// A table, and the logs of what was written to it.
#[derive(Default)]
pub(crate) struct World {
    state: Mutex<State>,
    pub(crate) changed: Notify,
    pub(crate) held: AtomicUsize,
    pub(crate) restarts: AtomicUsize,
}

pub(crate) struct State {
    pub(crate) incarnation: u64,
    pub(crate) table: BTreeMap<i64, Value>,
    pub(crate) logs: Vec<Log>,
}

/// The log of one partition.
pub(crate) struct Log {
    pub(crate) id: PartitionId,
    pub(crate) parents: Vec<PartitionId>,
    pub(crate) transactions: Vec<Vec<Write>>,
    pub(crate) pruned: usize,
    pub(crate) ended: bool,
    pub(crate) is_child: bool,
}

impl Default for State {
    fn default() -> Self {
        Self { incarnation: 1, table: BTreeMap::new(), logs: vec![Log::new("0", Vec::new())] }
    }
}

impl Log {
    fn new(id: &str, parents: Vec<PartitionId>) -> Self {
        let is_child = !parents.is_empty();
        let (transactions, id) = (Vec::new(), PartitionId::new(id));
        Self { id, parents, transactions, pruned: 0, ended: false, is_child }
    }
}

impl Log {
    /// Whether the transaction at `index` and the next update the same keys.
    pub(crate) fn is_updated_twice(&self, index: usize) -> bool {
        let keys = |index: usize| -> Option<Vec<i64>> {
            self.transactions.get(index)?.iter().map(updated).collect()
        };
        keys(index).is_some() && keys(index) == keys(index + 1)
    }
}

fn updated(write: &Write) -> Option<i64> {
    match write {
        Write::Update { key, .. } => Some(*key),
        _ => None,
    }
}

impl World {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    pub(crate) fn log(&self, id: &PartitionId) -> Result<&Log> {
        let found = self.logs.iter().find(|log| log.id == *id);
        found.ok_or_else(|| Error::fatal(format!("no partition `{id}`")))
    }

    pub(crate) fn children(&self, parent: &PartitionId) -> Vec<Partition> {
        let children = self.logs.iter().filter(|log| log.parents.contains(parent));
        let partition =
            |log: &Log| Partition { id: log.id.clone(), parents: log.parents.clone(), start: None };
        children.map(partition).collect()
    }

    fn commit(&mut self, writes: &[Write]) {
        let mut open: Vec<_> = self.logs.iter_mut().filter(|log| !log.ended).collect();
        let count = open.len();
        for (index, log) in open.iter_mut().enumerate() {
            let falls_here = |write: &&Write| key(write).unsigned_abs() as usize % count == index;
            let here: Vec<_> = writes.iter().filter(falls_here).cloned().collect();
            if !here.is_empty() || writes.is_empty() {
                log.transactions.push(here);
            }
        }
        writes.iter().for_each(|write| self.apply(write));
    }

    fn apply(&mut self, write: &Write) {
        match write {
            Write::Insert { key, value } => drop(self.table.insert(*key, value.clone())),
            Write::Update { key, value } => {
                self.table.entry(*key).and_modify(|old| *old = value.clone());
            }
            Write::Delete { key } => drop(self.table.remove(key)),
            Write::Truncate => self.table.clear(),
        }
    }

    /// One partition ends in two, and two end in one.
    fn split(&mut self) {
        let next = self.logs.len();
        let open: Vec<_> = self.logs.iter_mut().filter(|log| !log.ended).collect();
        let parents: Vec<_> = open.iter().map(|log| log.id.clone()).collect();
        open.into_iter().for_each(|log| log.ended = true);
        for number in next..next + 3 - parents.len() {
            self.logs.push(Log::new(&number.to_string(), parents.clone()));
        }
    }
}

fn key(write: &Write) -> i64 {
    match write {
        Write::Insert { key, .. } | Write::Update { key, .. } | Write::Delete { key } => *key,
        Write::Truncate => 0,
    }
}

/// A harness of the plugin `plugin`, which does `defect` wrong.
pub(crate) struct Harness(pub(crate) &'static str, pub(crate) &'static str);

#[async_trait]
impl SourceHarness for Harness {
    fn plugin(&self) -> &str {
        self.0
    }

    async fn upstream(&self) -> Result<Arc<dyn Upstream>> {
        Ok(Arc::new(Memory(Registered::new(World::default()), self.1)))
    }
}

struct Memory(Registered<World>, &'static str);

#[async_trait]
impl Upstream for Memory {
    fn settings(&self) -> String {
        toml(self.0.number, self.1)
    }

    fn operations(&self) -> Vec<Operation> {
        use Operation::{Delete, Insert, Truncate, Update};
        vec![Insert, Update, Delete, Truncate]
    }

    fn values(&self) -> Vec<Value> {
        let floats = [0.1, -0.0, f64::NAN, f64::INFINITY].map(Value::Float);
        let others = [Value::Null, Value::Int(i64::MIN), Value::from(""), Value::from(vec![0])];
        floats.into_iter().chain(others).collect()
    }

    async fn commit(&self, writes: &[Write]) -> Result<()> {
        if !writes.is_empty() {
            self.0.world.state().commit(writes);
            self.0.world.changed.notify_waiters();
        }
        Ok(())
    }

    async fn commit_elsewhere(&self) -> Result<()> {
        self.0.world.state().commit(&[]);
        self.0.world.changed.notify_waiters();
        Ok(())
    }

    async fn split(&self) -> Result<()> {
        self.0.world.state().split();
        self.0.world.changed.notify_waiters();
        Ok(())
    }

    async fn restart(&self) -> Result<()> {
        self.0.world.restarts.fetch_add(1, Ordering::SeqCst);
        self.0.world.changed.notify_waiters();
        Ok(())
    }

    fn losses(&self) -> Vec<&'static str> {
        vec!["the log was pruned", "another database took its place"]
    }

    async fn lose(&self, loss: &str) -> Result<()> {
        let mut state = self.0.world.state();
        if loss == "the log was pruned" {
            state.logs.iter_mut().for_each(|log| log.pruned = log.transactions.len());
        } else {
            state.incarnation += 1;
        }
        Ok(())
    }

    async fn held(&self) -> Result<usize> {
        Ok(self.0.world.held.load(Ordering::SeqCst))
    }
}
