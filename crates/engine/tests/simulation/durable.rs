use std::collections::{BTreeMap, BTreeSet};

use rowtide_core::{
    CheckpointUpdate, Error, ErrorKind, PartitionId, PartitionState, Position, Progress,
};

use crate::plan::{Plan, Row};

/// What survives a crash: the rows downstream, the checkpoint, and what the upstream still has.
/// Every change of it is checked against the invariants.
#[derive(Default)]
pub struct Durable {
    /// How many rows of each partition are downstream; the first ones, without a gap.
    pub rows: BTreeMap<String, usize>,
    pub duplicates: u64,
    pub epoch: u64,
    pub states: BTreeMap<PartitionId, PartitionState>,
    /// Partitions that were ever in the checkpoint.
    seen: BTreeSet<PartitionId>,
    /// Up to where the upstream has forgotten.
    pub acknowledged: BTreeMap<String, usize>,
    pub yielded: BTreeSet<(String, usize)>,
    /// The rows that the downstream has refused, and takes once it is mended.
    pub refused: BTreeSet<(String, usize)>,
    pub is_mended: bool,
    /// How many rows of each partition were downstream at a clean stop.
    pub settled: BTreeMap<String, usize>,
    pub saves: u64,
}

type Checked = Result<(), (u8, String)>;

impl Durable {
    pub fn new(plan: &Plan) -> Self {
        let rows = plan.partitions.keys().map(|id| (id.clone(), 0)).collect();
        Self { rows, ..Self::default() }
    }

    /// Takes a row downstream (or settles it, if it is refused there).
    pub fn append(&mut self, plan: &Plan, partition: &str, row: &Row) -> Checked {
        let have = self.rows.get(partition).copied().unwrap_or_default();
        ensure(row.number <= have, 3, || {
            format!("row {} of {partition} arrives and {have} does not", row.number)
        })?;
        let settled = self.settled.get(partition).copied().unwrap_or_default();
        ensure(row.number >= settled, 9, || {
            format!("row {} of {partition} is delivered again after a clean stop", row.number)
        })?;
        let place = (partition.to_owned(), row.number);
        if row.is_poison && plan.stops_on_rejected && !self.is_mended {
            self.refused.insert(place);
        } else {
            self.refused.remove(&place);
        }
        if row.number < have {
            self.duplicates += 1;
            return self.check_duplicate(plan, partition, row);
        }
        for parent in &plan.partitions[partition].parents {
            let all = plan.partitions[parent].rows_before(usize::MAX);
            ensure(self.rows[parent] == all, 4, || format!("{partition} overtakes {parent}"))?;
        }
        self.rows.insert(partition.to_owned(), have + 1);
        Ok(())
    }

    /// What a checkpoint has is never delivered again.
    fn check_duplicate(&self, plan: &Plan, partition: &str, row: &Row) -> Checked {
        let saved = plan.partitions[partition].rows_before(self.saved(partition));
        ensure(row.number >= saved, 7, || {
            format!("row {} of {partition} is delivered again, saved up to {saved}", row.number)
        })
    }

    /// The entry up to which a partition is saved.
    pub fn saved(&self, partition: &str) -> usize {
        let state = self.states.get(&PartitionId::new(partition));
        index(state.and_then(|state| state.progress.position())).unwrap_or_default()
    }

    pub fn ended(&self) -> BTreeSet<String> {
        let ended = |id: &&PartitionId| {
            self.states.get(*id).is_none_or(|state| state.progress.is_finished())
        };
        self.seen.iter().filter(ended).map(|id| id.as_str().to_owned()).collect()
    }

    pub fn apply(&mut self, plan: &Plan, update: &CheckpointUpdate) -> Checked {
        let is_first = self.states.is_empty();
        let mut news = false;
        for state in &update.states {
            news |= self.check_state(plan, state)?;
        }
        for state in &update.states {
            self.check_children(plan, state, update)?;
        }
        let is_empty = update.states.is_empty() && update.forgotten.is_empty();
        ensure(news || is_first || is_empty, 1, || "saved without a new position".into())?;
        for state in &update.states {
            self.seen.insert(state.partition.id.clone());
            self.states.insert(state.partition.id.clone(), state.clone());
        }
        for id in &update.forgotten {
            self.check_forgotten(plan, id)?;
            self.states.remove(id);
        }
        self.saves += 1;
        Ok(())
    }

    /// True if the state is another one than before.
    fn check_state(&self, plan: &Plan, state: &PartitionState) -> Result<bool, (u8, String)> {
        let id = state.partition.id.as_str();
        let old = self.states.get(&state.partition.id).map(|state| &state.progress);
        ensure(
            old.is_some()
                || state.progress.position().is_none()
                || !self.seen.contains(&state.partition.id),
            10,
            || format!("{id} was forgotten and is saved again"),
        )?;
        let old_index = index(old.and_then(Progress::position)).unwrap_or_default();
        if let Some(position) = state.progress.position() {
            let new = index(Some(position)).ok_or((6, format!("made up: {position}")))?;
            ensure(self.yielded.contains(&(id.to_owned(), new)), 6, || {
                format!("{position} was never yielded")
            })?;
            ensure(new >= old_index, 10, || format!("{id} goes back from {old_index} to {new}"))?;
            let rows = plan.partitions[id].rows_before(new);
            self.check_not_refused(id, rows)?;
            ensure(self.rows[id] >= rows, 1, || format!("{position} saved, not all is durable"))?;
        }
        if state.progress.is_finished() {
            let all = plan.partitions[id].rows_before(usize::MAX);
            self.check_not_refused(id, all)?;
            ensure(self.rows[id] == all, 1, || {
                format!("the end of {id} saved, not all is durable")
            })?;
        } else {
            let had_ended = old.is_some_and(Progress::is_finished);
            ensure(!had_ended, 10, || format!("{id} had ended"))?;
        }
        let is_waiting = state.progress == Progress::Waiting;
        Ok(!is_waiting && old != Some(&state.progress))
    }

    fn check_not_refused(&self, id: &str, rows: usize) -> Checked {
        let covered = (id.to_owned(), 0)..(id.to_owned(), rows);
        let refused = self.refused.range(covered).next();
        ensure(refused.is_none(), 1, || format!("saved behind {refused:?}, which was refused"))
    }

    fn check_children(
        &self,
        plan: &Plan,
        state: &PartitionState,
        update: &CheckpointUpdate,
    ) -> Checked {
        let id = state.partition.id.as_str();
        let place = match &state.progress {
            Progress::Waiting => 0,
            Progress::Delivered(position) => index(Some(position)).unwrap_or_default(),
            Progress::Finished(_) => usize::MAX,
        };
        for child in plan.partitions[id].children_before(place) {
            let is_saved_now =
                update.states.iter().any(|state| state.partition.id.as_str() == child);
            let is_known = is_saved_now || self.seen.contains(&PartitionId::new(child.as_str()));
            ensure(is_known, 5, || {
                format!("{id} is saved behind its child {child}, which is not")
            })?;
        }
        Ok(())
    }

    fn check_forgotten(&self, plan: &Plan, id: &PartitionId) -> Checked {
        let state = self.states.get(id);
        let ended = state.is_some_and(|state| state.progress.is_finished());
        ensure(ended, 4, || format!("{id} is forgotten and has not ended"))?;
        let children = &plan.partitions[id.as_str()].children;
        ensure(!children.is_empty(), 4, || format!("{id} is forgotten and has no child"))?;
        for child in children {
            let state = self.states.get(&PartitionId::new(child.as_str()));
            let waits = state.is_none_or(|state| state.progress == Progress::Waiting)
                && !self.ended().contains(child);
            ensure(!waits, 4, || format!("{id} is forgotten while {child} is waiting"))?;
        }
        Ok(())
    }

    pub fn acknowledge(&mut self, positions: &[(PartitionId, Position)]) -> Checked {
        for (id, position) in positions {
            let (name, new) = (id.as_str(), index(Some(position)).unwrap_or(usize::MAX));
            let forgotten = self.seen.contains(id) && !self.states.contains_key(id);
            ensure(new <= self.saved(name) || forgotten, 2, || {
                format!("{position} is acknowledged and not saved")
            })?;
            let old = self.acknowledged.entry(name.to_owned()).or_default();
            ensure(*old <= new, 2, || format!("{name} is acknowledged back from {old} to {new}"))?;
            *old = new;
        }
        Ok(())
    }

    /// Every saved position was acknowledged; a session has to see to that before it reads.
    pub fn check_acknowledged(&self) -> Checked {
        for (id, state) in &self.states {
            let Some(saved) = index(state.progress.position()) else { continue };
            let acknowledged = self.acknowledged.get(id.as_str()).copied();
            ensure(acknowledged.is_some_and(|place| place >= saved), 2, || {
                format!("read without acknowledging {saved} of {id}")
            })?;
        }
        Ok(())
    }

    /// Where to read a partition from, or that the upstream has forgotten it.
    pub fn resume(
        &self,
        plan: &Plan,
        id: &str,
        from: Option<&Position>,
    ) -> Result<usize, (u8, String)> {
        let place = index(from).unwrap_or_default();
        let forgotten = self.acknowledged.get(id).copied().unwrap_or_default();
        ensure(place >= forgotten, 7, || {
            format!("{id} is read from {place}, the upstream has it from {forgotten}")
        })?;
        let state = self.states.get(&PartitionId::new(id));
        let is_waiting = state.is_none_or(|state| state.progress == Progress::Waiting);
        let ended = self.ended();
        for parent in plan.partitions[id].parents.iter().filter(|_| is_waiting) {
            ensure(ended.contains(parent), 4, || format!("{id} starts before {parent} has ended"))?;
        }
        Ok(place)
    }
}

pub fn position(partition: &str, index: usize) -> Position {
    Position::encode(&(partition, index)).unwrap()
}

fn index(position: Option<&Position>) -> Option<usize> {
    position?.decode::<(String, usize)>().ok().map(|(_, index)| index)
}

fn ensure(holds: bool, invariant: u8, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err((invariant, what())) }
}

/// Whether an error is one of the harness's own.
pub fn is_injected(error: &Error) -> bool {
    error.message().starts_with("injected") && !matches!(error.kind(), ErrorKind::Transient)
}
