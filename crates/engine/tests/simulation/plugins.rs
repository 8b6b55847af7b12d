use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use rowtide_core::{
    Change, ChangeId, CheckpointStore, CheckpointUpdate, Claim, Context, Error, Event, EventStream,
    Operation, Owner, Partition, PartitionId, PartitionState, Position, Result, Row as Values,
    Sink, Source, Table, Value, async_trait,
    plugin::{Factory, InstallOptions, UninstallOptions},
};

use crate::{
    durable::position,
    plan::{Entry, Row},
    world::World,
};

/// Opens the plugins of one process in the world.
#[derive(Clone)]
pub struct Opener {
    pub world: World,
    pub process: usize,
}

impl fmt::Debug for Opener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Opener of process {}", self.process)
    }
}

struct Upstream(Opener);

struct Downstream {
    opener: Opener,
    accepted: Vec<(String, Row)>,
    arrived: usize,
    /// The rows that an accepted position covers: no reader may bring them again.
    covered: BTreeMap<String, usize>,
}

struct Store(Opener);

macro_rules! opens {
    ($what:ty, |$self:ident| $open:expr) => {
        #[async_trait]
        impl Factory<$what> for Opener {
            fn validate(&self) -> Result<()> {
                Ok(())
            }
            async fn open(&self, _: &Context) -> Result<Box<$what>> {
                let $self = self;
                $open
            }
            async fn install(&self, _: &Context, _: InstallOptions) -> Result<Vec<String>> {
                Ok(vec![])
            }
            async fn uninstall(&self, _: &Context, _: UninstallOptions) -> Result<Vec<String>> {
                Ok(vec![])
            }
            async fn forget(&self, _: &Context) -> Result<()> {
                Ok(())
            }
        }
    };
}

opens!(dyn Source, |opener| {
    opener.call("source open").await?;
    let mut state = opener.world.state();
    let process = state.process(opener.process);
    (process.proven, process.has_read, process.acknowledgement_failed) = (false, false, false);
    process.held = 0;
    Ok(Box::new(Upstream(opener.clone())))
});

opens!(dyn Sink, |opener| {
    opener.call("sink open").await?;
    opener.world.state().process(opener.process).unflushed = 0;
    Ok(Box::new(Downstream {
        opener: opener.clone(),
        accepted: vec![],
        arrived: 0,
        covered: BTreeMap::new(),
    }))
});

opens!(dyn CheckpointStore, |opener| {
    opener.call("store open").await?;
    Ok(Box::new(Store(opener.clone())))
});

impl Opener {
    /// One half of a call: before its work, or after it, when the answer may be lost.
    async fn call(&self, what: &str) -> Result<()> {
        self.world.step().await;
        self.world.fault(what)
    }

    async fn sink_call(&self, what: &str) -> Result<()> {
        self.world.sink_step().await;
        self.world.fault(what)
    }

    fn record(&self, checked: std::result::Result<(), (u8, String)>) {
        if let Err((invariant, what)) = checked {
            self.world.state().violate(invariant, what);
        }
    }

    fn note_proof(&self) {
        let mut state = self.world.state();
        let now = state.now();
        let process = state.process(self.process);
        (process.proven, process.proven_at) = (true, now);
    }

    fn check_is_proven(&self, what: &str) {
        let mut state = self.world.state();
        let proven = state.process(self.process).proven;
        state.check(proven, 10, || format!("{what} before the claim was proven"));
    }
}

#[async_trait]
impl Source for Upstream {
    async fn partitions(&self) -> Result<Vec<Partition>> {
        self.0.call("partitions").await?;
        let state = self.0.world.state();
        Ok(state.plan.roots().map(|id| Partition::new(id.as_str())).collect())
    }

    fn read(&self, partition: &Partition, from: Option<Position>) -> EventStream<'_> {
        let id = partition.id.as_str().to_owned();
        let start = self.begin(&id, from.as_ref());
        let entries = stream::unfold(start, move |index| {
            let id = id.clone();
            async move { Some((self.next(&id, index).await, index + 1)) }
        });
        Box::pin(entries.flat_map(stream::iter))
    }

    async fn acknowledge(&self, positions: &[(PartitionId, Position)]) -> Result<()> {
        self.0.check_is_proven("acknowledged");
        let fails = |error| {
            self.0.world.state().process(self.0.process).acknowledgement_failed = true;
            error
        };
        self.0.call("acknowledge").await.map_err(fails)?;
        let checked = self.0.world.state().durable.acknowledge(positions);
        self.0.record(checked);
        self.0.call("acknowledge, answered").await.map_err(fails)
    }
}

impl Upstream {
    fn begin(&self, id: &str, from: Option<&Position>) -> usize {
        self.0.check_is_proven("read");
        let mut state = self.0.world.state();
        if !std::mem::replace(&mut state.process(self.0.process).has_read, true)
            && let Err((invariant, what)) = state.durable.check_acknowledged()
        {
            state.violate(invariant, what);
        }
        match state.durable.resume(&state.plan, id, from) {
            Ok(place) => place,
            Err((invariant, what)) => {
                state.violate(invariant, what);
                0
            }
        }
    }

    /// What the entry at `index` yields; behind the last one, that the partition is idle or ended.
    async fn next(&self, id: &str, index: usize) -> Vec<Result<Event>> {
        if let Err(error) = self.0.call("read").await {
            return vec![Err(error)];
        }
        if self.0.world.rarely() {
            std::panic::panic_any("injected");
        }
        match self.yielded(id, index) {
            Some(events) => events,
            None => std::future::pending().await,
        }
    }

    fn yielded(&self, id: &str, index: usize) -> Option<Vec<Result<Event>>> {
        let mut state = self.0.world.state();
        let planned = &state.plan.partitions[id];
        let (length, ends) = (planned.log.len(), planned.ends);
        let entry = planned.log.get(index).cloned();
        let mut place = |index| {
            state.durable.yielded.insert((id.to_owned(), index));
            position(id, index).as_of(Timestamp::UNIX_EPOCH)
        };
        let event = match entry {
            Some(Entry::Rows { rows, with_position }) => {
                let position = with_position.then(|| place(index + 1));
                drop(state);
                self.rows(id, &rows, position)
            }
            Some(Entry::PositionAlone) => {
                Event::Changes { changes: vec![], position: Some(place(index + 1)) }
            }
            Some(Entry::Children(names)) => {
                let partitions = names.iter().map(|name| partition(&state.plan, name)).collect();
                Event::Children { partitions }
            }
            None if index > length => return None,
            None if ends => Event::Finished,
            None => Event::Idle { position: place(index) },
        };
        Some(vec![Ok(event)])
    }

    fn rows(&self, id: &str, rows: &[Row], position: Option<Position>) -> Event {
        let changes: Vec<_> = rows.iter().map(|row| change(id, row)).collect();
        let bytes: usize = changes.iter().map(Change::bytes).sum();
        let mut state = self.0.world.state();
        let largest: Vec<_> =
            state.plan.partitions.keys().map(|id| largest(&state.plan, id)).collect();
        // One event may be alone beyond the bound, and one a partition be waiting for room.
        let alone = largest.iter().copied().max().unwrap_or_default();
        let bound = alone.max(state.plan.bytes_max as usize) + largest.iter().sum::<usize>();
        let process = state.process(self.0.process);
        process.held += bytes;
        let held = process.held;
        state.check(held <= bound, 8, || format!("{held} bytes are held of {bound}"));
        Event::Changes { changes, position }
    }
}

fn partition(plan: &crate::plan::Plan, name: &str) -> Partition {
    let mut partition = Partition::new(name);
    let parents = &plan.partitions[name].parents;
    partition.parents = parents.iter().map(|parent| PartitionId::new(parent.as_str())).collect();
    partition
}

fn change(id: &str, row: &Row) -> Change {
    let table = Arc::new(Table::new("t", vec![]));
    let mut change =
        Change::new(ChangeId::new(id).major(row.number as u64), table, Operation::Insert);
    change.after = Some(Values::new([
        Value::from(vec![0; row.bytes]),
        Value::from(row.number as i64),
        Value::from(row.is_poison),
    ]));
    change
}

fn row(change: &Change) -> (String, Row) {
    let id = change.id().to_string();
    let partition = id.split(':').next().unwrap_or_default().to_owned();
    match change.after.as_ref().map(Values::values) {
        Some([Value::Bytes(bytes), Value::Int(number), Value::Bool(is_poison)]) => {
            let number = *number as usize;
            (partition, Row { number, bytes: bytes.len(), is_poison: *is_poison })
        }
        other => panic!("not a row of ours: {other:?}"),
    }
}

fn largest(plan: &crate::plan::Plan, id: &str) -> usize {
    let bytes = |entry: &Entry| match entry {
        Entry::Rows { rows, .. } => rows.iter().map(|row| change(id, row).bytes()).sum(),
        _ => 0,
    };
    plan.partitions[id].log.iter().map(bytes).max().unwrap_or_default()
}

#[async_trait]
impl Sink for Downstream {
    async fn write(&mut self, changes: &[Change]) -> Result<()> {
        self.opener.sink_call("write").await?;
        let rows: Vec<_> = changes.iter().map(row).collect();
        self.check_is_new(&rows);
        self.accepted.extend(rows);
        self.opener.world.state().process(self.opener.process).unflushed = self.accepted.len();
        if self.opener.world.rarely() {
            self.arrive(self.accepted.len());
        }
        self.opener.sink_call("write, answered").await
    }

    async fn flush(&mut self) -> Result<()> {
        self.check_proof();
        let part = self.opener.world.state().dice().below(self.accepted.len() as u64 + 1);
        if let Err(error) = self.opener.sink_call("flush").await {
            self.arrive(part as usize);
            return Err(error);
        }
        self.arrive(self.accepted.len());
        self.opener.sink_call("flush, answered").await?;
        let accepted = std::mem::take(&mut self.accepted);
        self.arrived = 0;
        let bytes: usize = accepted.iter().map(|(id, row)| change(id, row).bytes()).sum();
        {
            let mut state = self.opener.world.state();
            let process = state.process(self.opener.process);
            process.held = process.held.saturating_sub(bytes);
            process.unflushed = 0;
        }
        let takes_all = self.opener.world.state().durable.is_mended;
        let poison = |(index, (_, row)): (usize, &(String, Row))| {
            (row.is_poison && !takes_all).then_some(index)
        };
        let indexes: Vec<_> = accepted.iter().enumerate().filter_map(poison).collect();
        if indexes.is_empty() { Ok(()) } else { Err(Error::rejected(indexes, "poison")) }
    }
}

impl Downstream {
    /// The first `count` accepted rows have arrived for good.
    fn arrive(&mut self, count: usize) {
        let mut state = self.opener.world.state();
        let state = &mut *state;
        for (id, row) in self.accepted.iter().take(count).skip(self.arrived) {
            if let Err((invariant, what)) = state.durable.append(&state.plan, id, row) {
                state.violate(invariant, what);
            }
        }
        self.arrived = self.arrived.max(count);
    }

    /// A reader resumes from the last accepted position, so in one session none covers a row twice.
    fn check_is_new(&mut self, rows: &[(String, Row)]) {
        let [(id, first), ..] = rows else { return };
        let covered = self.covered.entry(id.clone()).or_default();
        let mut state = self.opener.world.state();
        let is_new = first.number >= *covered;
        state.check(is_new, 7, || format!("row {} of {id} after row {covered}", first.number));
        let written = first.number + rows.len();
        state.process(self.opener.process).written.insert(id.clone(), written);
        if state.plan.partitions[id].has_position(first.number) {
            *covered = written;
            state.process(self.opener.process).covered.insert(id.clone(), written);
        }
    }

    fn check_proof(&self) {
        let mut state = self.opener.world.state();
        let now = state.now();
        let process = state.process(self.opener.process);
        let (age, failed) = (now.saturating_sub(process.proven_at), process.acknowledgement_failed);
        state.check(age <= Duration::from_secs(1), 10, || format!("flushed {age:?} after a proof"));
        state.check(!failed, 2, || "went on after a failed acknowledgement".into());
    }
}

#[async_trait]
impl CheckpointStore for Store {
    async fn load(&self, _: &str) -> Result<Vec<PartitionState>> {
        self.0.call("load").await?;
        Ok(self.0.world.state().durable.states.values().cloned().collect())
    }

    async fn claim(&self, pipeline: &str, owner: &Owner) -> Result<Claim> {
        self.0.call("claim").await?;
        let epoch = {
            let mut state = self.0.world.state();
            state.durable.epoch += 1;
            let epoch = state.durable.epoch;
            let process = state.process(self.0.process);
            let again = process.claimed && !process.waited_for_lock;
            state.check(!again, 10, || "claimed again what may have been lost".into());
            epoch
        };
        self.0.call("claim, answered").await?;
        self.0.note_proof();
        self.0.world.state().process(self.0.process).claimed = true;
        Ok(Claim { pipeline: pipeline.to_owned(), epoch, owner: owner.clone() })
    }

    async fn save(&self, claim: &Claim, update: &CheckpointUpdate) -> Result<()> {
        self.0.call("save").await?;
        self.save_now(claim, update)?;
        self.0.call("save, answered").await?;
        self.0.note_proof();
        Ok(())
    }
}

impl Store {
    fn save_now(&self, claim: &Claim, update: &CheckpointUpdate) -> Result<()> {
        let mut state = self.0.world.state();
        let state = &mut *state;
        if claim.epoch != state.durable.epoch {
            state.processes.entry(self.0.process).or_default().lost = true;
            return Err(Error::claim_lost(&claim.pipeline, &claim.owner));
        }
        if let Err((invariant, what)) = state.durable.apply(&state.plan, update) {
            state.violate(invariant, what);
        }
        Ok(())
    }
}
