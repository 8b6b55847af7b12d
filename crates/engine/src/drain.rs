use std::collections::BTreeSet;

use rowtide_core::{Partition, PartitionId};

use crate::partitions::Partitions;

/// Which partitions have caught up, so that a drain knows when to end.
///
/// It outlives recoveries: what has caught up in this run stays so, whatever it yields later.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    /// Those whose `Idle` was accepted, and is perhaps not covered by the checkpoint yet.
    idle: BTreeSet<PartitionId>,
    caught_up: BTreeSet<PartitionId>,
    /// Those announced by partitions that were idle, which need not catch up.
    exempt: BTreeSet<PartitionId>,
    /// Those announced by a partition that was not idle: they hold what is to be caught up with.
    bound: BTreeSet<PartitionId>,
}

impl Drain {
    /// Forgets what was accepted and is not saved.
    pub(crate) fn recover(&mut self) {
        self.idle.clear();
    }

    pub(crate) fn idle(&mut self, id: &PartitionId) {
        if !self.caught_up.contains(id) {
            self.idle.insert(id.clone());
        }
    }

    /// Notes children. One is exempt only while each parent that announces it was idle before.
    pub(crate) fn announce(&mut self, parent: &PartitionId, children: &[Partition]) {
        let was_idle = self.idle.contains(parent) || self.is_done(parent);
        for Partition { id, .. } in children {
            if was_idle && !self.bound.contains(id) {
                self.exempt.insert(id.clone());
            } else {
                self.exempt.remove(id);
                self.bound.insert(id.clone());
            }
        }
    }

    /// Notes that all that was accepted is covered by the checkpoint, where `partitions` says so.
    pub(crate) fn settle(&mut self, partitions: &Partitions) {
        let covered = self.idle.extract_if(.., |id| partitions.is_saved(id));
        self.caught_up.extend(covered);
    }

    /// Whether every partition has caught up or ended.
    pub(crate) fn is_complete(&self, partitions: &Partitions) -> bool {
        partitions.ids().all(|id| self.is_done(id) || partitions.is_finished(id))
    }

    /// Whether a save is all that is missing.
    pub(crate) fn needs_only_a_save(&self, partitions: &Partitions) -> bool {
        let is_ready =
            |id| self.is_done(id) || self.idle.contains(id) || partitions.is_finished(id);
        !self.idle.is_empty() && partitions.ids().all(is_ready)
    }

    fn is_done(&self, id: &PartitionId) -> bool {
        self.caught_up.contains(id) || self.exempt.contains(id)
    }
}

#[cfg(test)]
mod tests {
    use rowtide_core::{PartitionState, Position};

    use super::*;

    fn id(name: &str) -> PartitionId {
        PartitionId::new(name)
    }

    fn child(name: &str, parent: &str) -> Partition {
        Partition { parents: vec![id(parent)], ..Partition::new(name) }
    }

    #[test]
    fn idle_counts_once_the_checkpoint_covers_it() {
        let mut partitions = Partitions::new(vec![PartitionState::waiting(Partition::new("a"))]);
        let mut drain = Drain::default();
        partitions.accept(&id("a"), Position::from_text("1"));
        drain.idle(&id("a"));
        drain.settle(&partitions);
        assert!(!drain.is_complete(&partitions) && drain.needs_only_a_save(&partitions));
        partitions.saved(&partitions.update());
        drain.settle(&partitions);
        assert!(drain.is_complete(&partitions));
        drain.recover();
        partitions.accept(&id("a"), Position::from_text("2"));
        assert!(drain.is_complete(&partitions), "whatever it yields later");
    }

    #[test]
    fn only_children_announced_behind_idle_need_not_catch_up() {
        let mut partitions = Partitions::new(vec![PartitionState::waiting(Partition::new("a"))]);
        let mut drain = Drain::default();
        for (children, complete) in [(child("late", "a"), true), (child("early", "a"), false)] {
            if complete {
                drain.idle(&id("a"));
                drain.settle(&partitions);
            } else {
                drain = Drain::default();
            }
            drain.announce(&id("a"), std::slice::from_ref(&children));
            partitions.announce(&id("a"), vec![children]).unwrap();
            drain.idle(&id("a"));
            drain.settle(&partitions);
            assert_eq!(drain.is_complete(&partitions), complete);
        }
    }
}
