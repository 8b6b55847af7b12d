use std::collections::{BTreeMap, BTreeSet};

use rowtide_core::{
    CheckpointUpdate, Error, Partition, PartitionId, PartitionState, Position, Progress, Result,
};
use tokio::time::Instant;

use crate::mutant::{self, Mutant};

/// The tree of partitions: how far each is accepted and saved, and which may start.
#[derive(Debug, Default)]
pub(crate) struct Partitions {
    known: BTreeMap<PartitionId, Known>,
    children: BTreeMap<PartitionId, BTreeSet<PartitionId>>,
    /// Those whose accepted progress differs from the saved one.
    moved: BTreeSet<PartitionId>,
    /// Children that were announced and are in no checkpoint yet.
    announced: BTreeSet<PartitionId>,
    /// When the first of the ends was accepted that are not saved.
    unsaved_end_since: Option<Instant>,
    /// Those that are not being read yet.
    unstarted: BTreeSet<PartitionId>,
    /// Those of which something is written that no accepted position covers.
    uncovered: BTreeSet<PartitionId>,
}

#[derive(Debug)]
struct Known {
    partition: Partition,
    /// What the delivery loop has accepted.
    accepted: Progress,
    /// What the checkpoint has.
    saved: Progress,
}

impl Partitions {
    /// The partitions as a checkpoint has them.
    pub(crate) fn new(states: Vec<PartitionState>) -> Self {
        let mut partitions = Self::default();
        for PartitionState { partition, progress } in states {
            partitions.add(partition, progress);
        }
        partitions
    }

    fn add(&mut self, partition: Partition, progress: Progress) {
        let id = partition.id.clone();
        for parent in &partition.parents {
            self.children.entry(parent.clone()).or_default().insert(id.clone());
        }
        if !progress.is_finished() {
            self.unstarted.insert(id.clone());
        }
        self.known.insert(id, Known { partition, accepted: progress.clone(), saved: progress });
    }

    /// Takes the place up to which a partition is accepted. True if it is a new one.
    // Invariant 6: the engine never looks inside a position; it asks whether it is another place.
    pub(crate) fn accept(&mut self, id: &PartitionId, position: Position) -> bool {
        let Some(known) = self.known.get_mut(id) else { return false };
        self.uncovered.remove(id);
        let is_new = !is_place(known.accepted.position(), &position);
        if is_place(known.saved.position(), &position) {
            self.moved.remove(id);
        } else {
            self.moved.insert(id.clone());
        }
        known.accepted = Progress::Delivered(position);
        is_new
    }

    /// Takes the end of a partition.
    pub(crate) fn finish(&mut self, id: &PartitionId) {
        let Some(known) = self.known.get_mut(id) else { return };
        self.uncovered.remove(id);
        known.accepted = Progress::Finished(known.accepted.position().cloned());
        self.moved.insert(id.clone());
        self.unsaved_end_since.get_or_insert_with(Instant::now);
    }

    /// Notes that something is written whose position is still to come.
    pub(crate) fn leave_uncovered(&mut self, id: &PartitionId) {
        if !self.uncovered.contains(id) {
            self.uncovered.insert(id.clone());
        }
    }

    /// Notes that what is written of a partition is read again, whatever position it had.
    pub(crate) fn start_over(&mut self, id: &PartitionId) {
        self.uncovered.remove(id);
    }

    /// Whether something of a partition is written whose position is still to come.
    pub(crate) fn is_uncovered(&self, id: &PartitionId) -> bool {
        self.uncovered.contains(id)
    }

    pub(crate) fn are_covered(&self) -> bool {
        self.uncovered.is_empty()
    }

    /// Takes the children that a partition announces. One that is known already is left as it is.
    ///
    /// # Errors
    /// `Fatal` if a child does not name the partition among its parents: it might start too early.
    pub(crate) fn announce(
        &mut self,
        parent: &PartitionId,
        children: Vec<Partition>,
    ) -> Result<()> {
        for child in children {
            // Invariant 5: who announces a child is one of its parents.
            if !child.parents.contains(parent) && !mutant::active(Mutant::AcceptsForeignChildren) {
                let message = format!(
                    "partition `{parent}` announces `{}`, which does not name it as a parent",
                    child.id
                );
                return Err(Error::fatal(message).help("this is a defect of the source; report it"));
            }
            if !self.known.contains_key(&child.id) {
                self.announced.insert(child.id.clone());
                self.add(child, Progress::Waiting);
            }
        }
        Ok(())
    }

    /// Whether something has moved that a checkpoint is saved for. Announced children alone are
    /// not: they are saved with the next position of whoever announced them.
    pub(crate) fn have_moved(&self) -> bool {
        !self.moved.is_empty()
    }

    /// What a save has to change: all that was accepted. Empty unless something has moved.
    pub(crate) fn update(&self) -> CheckpointUpdate {
        self.update_of(|_| true)
    }

    /// What a save has to change that does not wait: the ends that were accepted.
    pub(crate) fn ends(&self) -> CheckpointUpdate {
        self.update_of(|id| self.known.get(id).is_some_and(|known| known.accepted.is_finished()))
    }

    fn update_of(&self, wanted: impl Fn(&PartitionId) -> bool) -> CheckpointUpdate {
        let moved: BTreeSet<_> = self.moved.iter().filter(|id| wanted(id)).collect();
        if moved.is_empty() {
            return CheckpointUpdate::default();
        }
        // Invariant 5: children are saved no later than a later position of their parent.
        let announced =
            self.announced.iter().filter(|_| !mutant::active(Mutant::SavesChildrenLate));
        let names: BTreeSet<_> = moved.into_iter().chain(announced).collect();
        let states = names.iter().filter_map(|id| self.state(id)).collect();
        CheckpointUpdate { states, forgotten: self.forgettable(&names) }
    }

    fn state(&self, id: &PartitionId) -> Option<PartitionState> {
        let known = self.known.get(id)?;
        let mut progress = known.accepted.clone();
        if mutant::active(Mutant::SavesMadeUpPosition)
            && let Progress::Delivered(position) = &progress
        {
            progress = Progress::Delivered(Position::from_text(&format!("{position}0")));
        }
        Some(PartitionState { partition: known.partition.clone(), progress })
    }

    /// Finished partitions none of whose children is waiting any more, once `named` are saved. One
    /// without children is kept: by it a pipeline knows that it has ended.
    fn forgettable(&self, named: &BTreeSet<&PartitionId>) -> Vec<PartitionId> {
        let has_started = |child: &PartitionId| match self.known.get(child) {
            Some(known) if named.contains(child) => known.accepted != Progress::Waiting,
            Some(known) => known.saved != Progress::Waiting,
            None => true,
        };
        let is_forgettable = |(id, known): &(&PartitionId, &Known)| {
            // Its end was saved before, so its last position is acknowledged, too.
            let ended = known.saved.is_finished();
            let children = self.children.get(*id).filter(|children| !children.is_empty());
            let early = mutant::active(Mutant::ForgetsParentsEarly);
            ended && children.is_some_and(|children| early || children.iter().all(has_started))
        };
        self.known.iter().filter(is_forgettable).map(|(id, _)| id.clone()).collect()
    }

    /// Notes that `update` is saved.
    pub(crate) fn saved(&mut self, update: &CheckpointUpdate) {
        self.unsaved_end_since = None;
        for state in &update.states {
            let id = &state.partition.id;
            self.moved.remove(id);
            self.announced.remove(id);
            if let Some(known) = self.known.get_mut(id) {
                known.saved = state.progress.clone();
            }
        }
        for id in &update.forgotten {
            self.known.remove(id);
            self.children.remove(id);
        }
    }

    /// Takes the partitions that may be read now and are not yet.
    pub(crate) fn take_startable(&mut self) -> BTreeSet<PartitionId> {
        let unstarted = std::mem::take(&mut self.unstarted);
        let (startable, rest): (BTreeSet<_>, BTreeSet<_>) =
            unstarted.into_iter().partition(|id| self.may_start(id));
        self.unstarted = rest;
        startable
    }

    // Invariant 4: a child starts only after all its parents are saved as finished; a parent not
    // heard of yet is waited for while somebody may announce it. One of which something is saved
    // has started before.
    fn may_start(&self, id: &PartitionId) -> bool {
        let Some(known) = self.known.get(id) else { return false };
        let parents = &known.partition.parents;
        matches!(known.saved, Progress::Delivered(_))
            || parents.iter().all(|parent| self.has_ended(parent, known))
    }

    fn has_ended(&self, id: &PartitionId, child: &Known) -> bool {
        match self.known.get(id) {
            Some(known) if mutant::active(Mutant::StartsChildrenBeforeSave) => {
                known.accepted.is_finished()
            }
            Some(known) => known.saved.is_finished(),
            None => self.have_passed(child) || mutant::active(Mutant::StartsWithoutUnknownParents),
        }
    }

    /// Whether all that has not ended attests to be past the start of a partition: then what ended
    /// before that start has been announced, or has ended before this checkpoint began.
    fn have_passed(&self, partition: &Known) -> bool {
        let attested = |known: &Known| {
            let position = known.saved.position().or(known.partition.start.as_ref());
            position.and_then(Position::attested)
        };
        let start = partition.partition.start.as_ref().and_then(Position::attested);
        let mut unfinished = self.known.values().filter(|known| !known.saved.is_finished());
        start.is_some() && unfinished.all(|known| attested(known) >= start)
    }

    /// What a reader of the partition needs: the partition, and where it was accepted last.
    /// Nothing where its end is accepted, whatever its reader says behind that.
    // Invariant 7: a reader resumes from the last position that the delivery loop accepted.
    pub(crate) fn resumption(&self, id: &PartitionId) -> Option<(Partition, Option<Position>)> {
        let known = self.known.get(id).filter(|known| !known.accepted.is_finished())?;
        let beginning = mutant::active(Mutant::RestartsReaderFromTheBeginning);
        let from = known.accepted.position().filter(|_| !beginning).cloned();
        Some((known.partition.clone(), from))
    }

    /// The positions that the checkpoint has.
    pub(crate) fn saved_positions(&self) -> Vec<(PartitionId, Position)> {
        let position = |(id, known): (&PartitionId, &Known)| {
            known.saved.position().map(|position| (id.clone(), position.clone()))
        };
        self.known.iter().filter_map(position).collect()
    }

    /// Whether the checkpoint has just this place of the partition.
    pub(crate) fn is_saved_place(&self, id: &PartitionId, position: &Position) -> bool {
        self.known.get(id).is_some_and(|known| is_place(known.saved.position(), position))
    }

    /// Everything that is known, as a checkpoint would have it.
    pub(crate) fn all_states(&self) -> Vec<PartitionState> {
        self.known.keys().filter_map(|id| self.state(id)).collect()
    }

    /// Whether the checkpoint has every place that was accepted of this partition.
    pub(crate) fn is_saved(&self, id: &PartitionId) -> bool {
        !self.moved.contains(id)
    }

    /// Whether the checkpoint has the end of this partition.
    pub(crate) fn is_finished(&self, id: &PartitionId) -> bool {
        self.known.get(id).is_none_or(|known| known.saved.is_finished())
    }

    /// Since when the end of some partition is accepted and not saved.
    pub(crate) fn unsaved_end_since(&self) -> Option<Instant> {
        self.unsaved_end_since.filter(|_| self.have_moved())
    }

    /// What would wait for ever is said, and not waited for.
    ///
    /// # Errors
    /// `Fatal` if a partition waits for a parent while none is read that could still announce one.
    pub(crate) fn check_for_stuck(&self) -> Result<()> {
        self.stuck().map_or(Ok(()), |partition| Err(nobody_ends_the_parents_of(partition)))
    }

    fn stuck(&self) -> Option<&Partition> {
        let is_read = |(id, known): (&PartitionId, &Known)| {
            !known.accepted.is_finished() && !self.unstarted.contains(id)
        };
        let waiting = self.known.get(self.unstarted.first()?)?;
        (!self.known.iter().any(is_read)).then_some(&waiting.partition)
    }

    /// Whether every partition has ended for good, and the checkpoint says so.
    pub(crate) fn are_finished(&self) -> bool {
        self.known.values().all(|known| known.saved.is_finished())
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &PartitionId> {
        self.known.keys()
    }
}

fn is_place(known: Option<&Position>, position: &Position) -> bool {
    known.is_some_and(|known| known.is_same_place(position))
}

fn nobody_ends_the_parents_of(partition: &Partition) -> Error {
    let parents: Vec<_> = partition.parents.iter().map(PartitionId::as_str).collect();
    let message = format!(
        "partition `{}` waits for the end of {}, and nothing is read that could tell of it",
        partition.id,
        parents.join(", ")
    );
    Error::fatal(message)
        .help("a source leaves out of `parents` what ended before the pipeline began; report it")
}

/// The positions of an update, for the upstream.
pub(crate) fn positions(update: &CheckpointUpdate) -> Vec<(PartitionId, Position)> {
    let position = |state: &PartitionState| {
        let position = state.progress.position()?.clone();
        Some((state.partition.id.clone(), position))
    };
    update.states.iter().filter_map(position).collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn id(name: &str) -> PartitionId {
        PartitionId::new(name)
    }

    fn child(name: &str, parents: &[&str]) -> Partition {
        let mut partition = Partition::new(name);
        partition.parents = parents.iter().map(|parent| id(parent)).collect();
        partition
    }

    fn waiting(partitions: &[Partition]) -> Partitions {
        Partitions::new(partitions.iter().cloned().map(PartitionState::waiting).collect())
    }

    fn save(partitions: &mut Partitions) -> CheckpointUpdate {
        let update = partitions.update();
        partitions.saved(&update);
        update
    }

    #[test]
    fn a_parent_that_nobody_can_announce_any_more_is_not_waited_for() {
        let at = |second| Position::from_text("p").as_of(Timestamp::from_second(second).unwrap());
        let starting = |name, second, parents: &[&str]| {
            let mut partition = child(name, parents);
            partition.start = Some(at(second));
            PartitionState::waiting(partition)
        };
        let read = |second| PartitionState {
            progress: Progress::Delivered(at(second)),
            ..starting("read", 1, &[])
        };
        let check = |states: &[PartitionState], starts: bool| {
            let mut partitions = Partitions::new(states.to_vec());
            assert_eq!(partitions.take_startable().contains(&id("merge")), starts, "{states:?}");
        };
        let merge = starting("merge", 50, &["gone"]);
        check(&[merge.clone(), read(49)], false);
        check(&[merge.clone(), read(50)], true);
        check(&[merge.clone(), read(50), starting("waits", 40, &["read"])], false);
        check(&[merge, PartitionState::waiting(child("says nothing", &[]))], false);
        check(&[PartitionState::waiting(child("merge", &["gone"])), read(99)], false);
    }

    #[test]
    fn a_merge_starts_once_all_its_parents_are_saved_as_finished() {
        let mut partitions = waiting(&[child("a", &[]), child("b", &[])]);
        assert_eq!(partitions.take_startable(), [id("a"), id("b")].into());
        partitions.announce(&id("a"), vec![child("c", &["a", "b"])]).unwrap();
        partitions.finish(&id("a"));
        save(&mut partitions);
        partitions.finish(&id("b"));
        assert!(partitions.take_startable().is_empty());
        save(&mut partitions);
        assert_eq!(partitions.take_startable(), [id("c")].into());
    }

    #[test]
    fn a_parent_is_forgotten_in_the_save_in_which_its_last_child_has_started() {
        let mut partitions = waiting(&[child("a", &[])]);
        let children = vec![child("b", &["a"]), child("c", &["a"])];
        partitions.announce(&id("a"), children).unwrap();
        partitions.finish(&id("a"));
        assert!(save(&mut partitions).forgotten.is_empty());
        partitions.accept(&id("b"), Position::from_text("1"));
        assert!(save(&mut partitions).forgotten.is_empty());
        partitions.accept(&id("c"), Position::from_text("1"));
        assert_eq!(save(&mut partitions).forgotten, [id("a")]);
        partitions.finish(&id("b"));
        partitions.finish(&id("c"));
        assert!(save(&mut partitions).forgotten.is_empty(), "they have no children");
        assert!(partitions.are_finished());
    }

    #[test]
    fn a_child_announced_again_is_left_as_it_is() {
        let mut partitions = waiting(&[child("a", &[]), child("b", &["a"])]);
        partitions.accept(&id("b"), Position::from_text("1"));
        save(&mut partitions);
        partitions.announce(&id("a"), vec![child("b", &["a"])]).unwrap();
        assert!(!partitions.have_moved());
        assert_eq!(partitions.resumption(&id("b")).unwrap().1, Some(Position::from_text("1")));
    }

    #[test]
    fn a_partition_with_a_saved_position_starts_whatever_became_of_its_parents() {
        let progress = Progress::Delivered(Position::from_text("1"));
        let state = PartitionState { partition: child("b", &["gone"]), progress };
        assert_eq!(Partitions::new(vec![state]).take_startable(), [id("b")].into());
    }

    #[test]
    fn a_position_that_returns_to_the_saved_place_is_no_news() {
        let mut partitions = waiting(&[child("a", &[])]);
        assert!(partitions.accept(&id("a"), Position::from_text("1")));
        assert!(!partitions.accept(&id("a"), Position::from_text("1")));
        save(&mut partitions);
        assert!(!partitions.have_moved());
        partitions.accept(&id("a"), Position::from_text("1"));
        assert!(!partitions.have_moved());
        assert_eq!(save(&mut partitions), CheckpointUpdate::default());
    }
}
