//! The scripted server, what is written to it, and how its partitions come and go.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use fastrand::Rng;
use jiff::Timestamp;
use rowtide_fake_spanner::{
    Column, Datum, Kind, Options, Server, Table, Told, Write, WriteOperation,
};

use crate::Outcome;

/// How long a partition lives.
const LIFE: Duration = Duration::from_secs(2);

/// How often something is written, and how many rows at most.
const WRITE_EVERY: Duration = Duration::from_millis(10);
const ROWS: usize = 20;

const KEYS: i64 = 5_000;

/// Where positions are kept, unless somewhere else.
pub(crate) const METADATA: &str = "PartitionMetadata";

pub(crate) struct Upstream {
    pub(crate) server: Server,
    pub(crate) start: String,
}

/// Writes, and replaces partitions, as the clock demands.
pub(crate) struct Churn<'u> {
    upstream: &'u Upstream,
    chance: Rng,
    begun: Instant,
    writes: u32,
    replaced: usize,
    partitions: usize,
    /// The partitions in the order in which they are replaced.
    row: Vec<String>,
}

impl Upstream {
    pub(crate) fn start(partitions: usize) -> Outcome<Self> {
        let columns = vec![Column::key("id", Kind::Int64), Column::new("note", Kind::String)];
        let mut tables = vec![Table::new("items", columns)];
        tables.extend(Table::of_metadata(METADATA));
        let server = Server::start(Options { tables, partitions, ..Options::default() })?;
        let start = server.now().to_string();
        Ok(Self { server, start })
    }

    pub(crate) fn told(&self) -> Vec<Told> {
        self.server.told()
    }

    /// When the row of each partition was written in the metadata table.
    pub(crate) fn saves(&self) -> Outcome<HashMap<String, Vec<Timestamp>>> {
        let mut saves: HashMap<_, Vec<_>> = HashMap::new();
        for (token, at) in self.server.writes(METADATA)? {
            saves.entry(token).or_default().push(at);
        }
        Ok(saves)
    }

    /// How many partitions there were.
    pub(crate) fn partitions(&self) -> usize {
        self.server.lineages().len()
    }
}

impl<'u> Churn<'u> {
    pub(crate) fn new(upstream: &'u Upstream, seed: u64) -> Self {
        let row = upstream.server.live();
        Self {
            upstream,
            chance: Rng::with_seed(seed),
            begun: Instant::now(),
            writes: 0,
            replaced: 0,
            partitions: row.len(),
            row,
        }
    }

    /// Does what is due by now.
    pub(crate) fn step(&mut self) -> Outcome<()> {
        while WRITE_EVERY * self.writes < self.begun.elapsed() {
            self.write()?;
            self.writes += 1;
        }
        let lives = self.begun.elapsed().as_secs_f64() / LIFE.as_secs_f64();
        let due = (lives * self.partitions as f64) as usize;
        while self.replaced < due {
            self.replace()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Outcome<()> {
        let mut ids: Vec<i64> =
            (0..self.chance.usize(1..=ROWS)).map(|_| self.chance.i64(0..KEYS)).collect();
        ids.sort_unstable();
        ids.dedup();
        let write = |id: i64| {
            let note = Datum::text(format!("{} of {id}", self.writes));
            let cells = [("id", Datum::text(id.to_string())), ("note", note)];
            Write::new("items", WriteOperation::Upsert, &cells)
        };
        let writes: Vec<_> = ids.into_iter().map(write).collect();
        self.upstream.server.commit(writes)?;
        Ok(())
    }

    /// Replaces a few that lie side by side by as many others, most of which have two parents.
    fn replace(&mut self) -> Outcome<()> {
        if self.row.is_empty() {
            self.row = self.upstream.server.live();
        }
        let count = self.chance.usize(1..=3).min(self.row.len());
        let rest = self.row.split_off(count);
        let parents = std::mem::replace(&mut self.row, rest);
        self.upstream.server.reshape(&parents, parents.len())?;
        self.replaced += parents.len();
        Ok(())
    }
}
