use std::{
    hash::{BuildHasher, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::keys::{Key, Keys};

/// The rows that were yielded and are not yet deleted or marked.
pub(crate) struct Pending {
    /// Names this opening of the source.
    run: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    keys: Keys,
    /// What this opening has settled of earlier ones' rows: whatever has their keys from then on is
    /// another message.
    settled_before: Vec<(String, Keys)>,
}

impl State {
    /// Those of another opening's keys that this one has not settled.
    fn left(&self, run: &str, mut keys: Keys) -> Keys {
        let same = self.settled_before.iter().filter(|(settled, _)| settled == run);
        same.for_each(|(_, settled)| keys.remove_all(settled));
        keys
    }
}

impl Default for Pending {
    fn default() -> Self {
        let run = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
        Self { run, state: Mutex::default() }
    }
}

impl Pending {
    pub(crate) fn run(&self) -> &str {
        &self.run
    }

    pub(crate) fn keys(&self) -> Keys {
        self.lock().keys.clone()
    }

    pub(crate) fn insert<'k>(&self, keys: impl IntoIterator<Item = &'k Key>) {
        let pending = &mut self.lock().keys;
        keys.into_iter().for_each(|key| pending.insert(key));
    }

    /// Begins anew at a position; what this opening has settled of it is known.
    pub(crate) fn resume(&self, run: &str, keys: Keys) {
        let unsettled = self.unsettled(run, keys);
        self.lock().keys = unsettled;
    }

    /// Those of a position's keys that may still have to be settled.
    pub(crate) fn unsettled(&self, run: &str, keys: Keys) -> Keys {
        let state = self.lock();
        if run == self.run { state.keys.intersection(&keys) } else { state.left(run, keys) }
    }

    /// Whether rows were yielded beside these and are not settled.
    pub(crate) fn is_more_than(&self, keys: &Keys) -> bool {
        let mut rest = self.keys();
        rest.remove_all(keys);
        !rest.is_empty()
    }

    /// Notes that these keys of an opening are deleted or marked.
    pub(crate) fn settled(&self, run: &str, keys: &Keys) {
        let mut state = self.lock();
        state.keys.remove_all(keys);
        if run != self.run {
            state.settled_before.push((run.to_owned(), keys.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(seqs: impl IntoIterator<Item = i64>) -> Keys {
        let mut keys = Keys::default();
        seqs.into_iter().for_each(|seq| keys.insert(&Key::Seq(seq)));
        keys
    }

    #[test]
    fn what_is_settled_is_not_settled_again() {
        let pending = Pending::default();
        pending.insert(&[Key::Seq(1), Key::Seq(2)]);
        let first = pending.unsettled(pending.run(), keys([1, 2]));
        assert!(!pending.is_more_than(&first));
        pending.insert(&[Key::Seq(3)]);
        assert!(pending.is_more_than(&first));
        pending.settled(pending.run(), &first);
        assert_eq!(pending.unsettled(pending.run(), keys([1, 2, 3])), keys([3]));
    }

    #[test]
    fn a_reader_that_resumes_leaves_out_what_is_delivered_and_reads_the_rest_again() {
        let pending = Pending::default();
        pending.insert(&[Key::Seq(1), Key::Seq(2), Key::Seq(3)]);
        pending.settled(pending.run(), &keys([1]));
        pending.resume(pending.run(), keys([1, 2]));
        assert_eq!(pending.keys(), keys([2]));
    }

    #[test]
    fn of_another_opening_nothing_is_known_to_be_settled() {
        let pending = Pending::default();
        pending.resume("another", keys([1, 2]));
        assert_eq!(pending.keys(), keys([1, 2]));
        assert_eq!(pending.unsettled("another", keys([1, 2])), keys([1, 2]));
    }

    #[test]
    fn what_this_opening_has_settled_of_another_one_may_come_again_as_another_message() {
        let pending = Pending::default();
        pending.settled("another", &keys([1, 2]));
        pending.resume("another", keys([1, 2, 3]));
        assert_eq!(pending.keys(), keys([3]));
        assert_eq!(pending.unsettled("another", keys([1, 2, 3])), keys([3]));
        assert_eq!(pending.unsettled("a third", keys([1])), keys([1]));
    }
}
