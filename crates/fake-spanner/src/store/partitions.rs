use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::Arc,
};

use jiff::Timestamp;
use tokio::sync::Notify;
use tonic::Status;

use super::{Record, Told};
use crate::datum::Key;

/// Into how many parts the keys are divided; each partition has some of them.
const SLOTS: u32 = 1 << 16;

/// All partitions that ever were, and those that live.
#[derive(Default)]
pub(crate) struct Partitions {
    all: HashMap<Arc<str>, Partition>,
    /// The living ones by their first slot.
    live: BTreeMap<u32, Arc<str>>,
    /// How many there ever were.
    made: u64,
}

/// A range of keys, for as long as it stays the same.
pub(crate) struct Partition {
    pub(crate) slots: Range<u32>,
    pub(crate) start: Timestamp,
    pub(crate) end: Option<Timestamp>,
    pub(crate) parents: Vec<Arc<str>>,
    pub(crate) children: Vec<Arc<str>>,
    /// In the order of their commits.
    pub(crate) records: Vec<Arc<Record>>,
    /// Told whenever there is more.
    pub(crate) changed: Arc<Notify>,
}

/// When a partition lived, and what it came of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    pub token: String,
    pub parents: Vec<String>,
    pub start: Timestamp,
    pub end: Option<Timestamp>,
}

impl Partitions {
    /// Begins anew with so many partitions.
    pub(crate) fn begin(&mut self, count: usize, at: Timestamp) {
        for partition in self.all.values() {
            partition.changed.notify_waiters();
        }
        self.all.clear();
        self.live.clear();
        for slots in divided(0..SLOTS, count) {
            self.add(slots, at, Vec::new());
        }
    }

    pub(crate) fn get(&self, token: &str) -> Option<&Partition> {
        self.all.get(token)
    }

    /// The partition that the row of this key is told in.
    pub(crate) fn token(&self, table: &str, key: &Key) -> Arc<str> {
        let slot = slot(table, key);
        let found = self.live.range(..=slot).next_back().map(|(_, token)| Arc::clone(token));
        found.unwrap_or_else(|| "".into())
    }

    pub(crate) fn tell(&mut self, records: Vec<(Arc<str>, Record)>) {
        for (token, record) in records {
            if let Some(partition) = self.all.get_mut(&token) {
                partition.records.push(Arc::new(record));
                partition.changed.notify_waiters();
            }
        }
    }

    /// The tokens of the partitions that live, in the order of their keys.
    pub(crate) fn live(&self) -> Vec<String> {
        self.live.values().map(|token| token.to_string()).collect()
    }

    /// The partitions that lived at a time.
    pub(crate) fn at(&self, at: Timestamp) -> Vec<Arc<str>> {
        let lived = |partition: &Partition| {
            partition.start <= at && partition.end.is_none_or(|end| at < end)
        };
        let tokens = self.all.iter().filter(|(_, partition)| lived(partition));
        let mut tokens: Vec<_> = tokens.map(|(token, _)| Arc::clone(token)).collect();
        tokens.sort();
        tokens
    }

    /// Forgets the partitions that ended before a time.
    pub(crate) fn forget(&mut self, before: Timestamp) {
        self.all.retain(|_, partition| partition.end.is_none_or(|end| end >= before));
    }

    pub(crate) fn reshape(
        &mut self,
        parents: &[String],
        children: usize,
        at: Timestamp,
    ) -> Result<(), Status> {
        let slots = self.side_by_side(parents)?;
        if children == 0 || children > slots.len() {
            return Err(Status::invalid_argument("partitions cannot be divided like that"));
        }
        let parents: Vec<Arc<str>> = parents.iter().map(|token| token.as_str().into()).collect();
        for parent in &parents {
            if let Some(partition) = self.all.get_mut(parent) {
                self.live.remove(&partition.slots.start);
                partition.end = Some(at);
            }
        }
        for range in divided(slots, children) {
            let overlaps = |parent: &&Arc<str>| {
                let own = &self.all[&**parent].slots;
                own.start < range.end && range.start < own.end
            };
            let of_range: Vec<_> = parents.iter().filter(overlaps).cloned().collect();
            let child = self.add(range, at, of_range.clone());
            for parent in of_range {
                if let Some(partition) = self.all.get_mut(&parent) {
                    partition.children.push(Arc::clone(&child));
                }
            }
        }
        for parent in &parents {
            self.all[parent].changed.notify_waiters();
        }
        Ok(())
    }

    pub(crate) fn lineages(&self) -> Vec<Lineage> {
        let lineage = |(token, partition): (&Arc<str>, &Partition)| Lineage {
            token: token.to_string(),
            parents: partition.parents.iter().map(|parent| parent.to_string()).collect(),
            start: partition.start,
            end: partition.end,
        };
        self.all.iter().map(lineage).collect()
    }

    /// All that was told, partition by partition.
    pub(crate) fn told(&self) -> Vec<Told> {
        let of_partition = |(token, partition): (&Arc<str>, &Partition)| {
            let records = partition.records.iter();
            records.flat_map(|record| record.told(token)).collect::<Vec<_>>()
        };
        self.all.iter().flat_map(of_partition).collect()
    }

    fn add(&mut self, slots: Range<u32>, start: Timestamp, parents: Vec<Arc<str>>) -> Arc<str> {
        // Nothing can be read from the order of tokens.
        self.made += 1;
        let number = self.made.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let token: Arc<str> = format!("__8BAYEG0l{number:016x}").into();
        self.live.insert(slots.start, Arc::clone(&token));
        let partition = Partition {
            slots,
            start,
            end: None,
            parents,
            children: Vec::new(),
            records: Vec::new(),
            changed: Arc::default(),
        };
        self.all.insert(Arc::clone(&token), partition);
        token
    }

    /// The slots of partitions that live side by side.
    fn side_by_side(&self, tokens: &[String]) -> Result<Range<u32>, Status> {
        let refused = || Status::invalid_argument("those do not live side by side");
        let mut whole: Option<Range<u32>> = None;
        for token in tokens {
            let partition = self.all.get(token.as_str()).ok_or_else(refused)?;
            let slots = partition.slots.clone();
            whole = match whole {
                _ if partition.end.is_some() => return Err(refused()),
                None => Some(slots),
                Some(before) if before.end == slots.start => Some(before.start..slots.end),
                Some(_) => return Err(refused()),
            };
        }
        whole.ok_or_else(refused)
    }
}

fn divided(slots: Range<u32>, count: usize) -> impl Iterator<Item = Range<u32>> {
    let (start, length) = (u64::from(slots.start), slots.len() as u64);
    let count = count as u64;
    let bound = move |index: u64| u32::try_from(start + length * index / count).unwrap_or(SLOTS);
    (0..count).map(move |index| bound(index)..bound(index + 1))
}

/// Keys that follow each other are far apart, so that each partition has some.
fn slot(table: &str, key: &Key) -> u32 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let text = format!("{table}{:?}", key.0);
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    (hash >> 24) as u32 % SLOTS
}
