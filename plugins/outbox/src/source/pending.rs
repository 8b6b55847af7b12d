use std::{
    hash::{BuildHasher, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::keys::{Key, Keys};

/// The rows that were yielded and are not yet deleted or marked.
pub(crate) struct Pending {
    /// Names this opening of the source.
    run: String,
    keys: Mutex<Keys>,
}

impl Default for Pending {
    fn default() -> Self {
        let run = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
        Self { run, keys: Mutex::default() }
    }
}

impl Pending {
    pub(crate) fn run(&self) -> &str {
        &self.run
    }

    pub(crate) fn keys(&self) -> Keys {
        self.lock().clone()
    }

    pub(crate) fn insert<'k>(&self, keys: impl IntoIterator<Item = &'k Key>) {
        let mut pending = self.lock();
        keys.into_iter().for_each(|key| pending.insert(key));
    }

    /// Begins anew at a position. Of one of this opening, what has been settled since is known.
    pub(crate) fn resume(&self, run: &str, keys: Keys) {
        let mut pending = self.lock();
        *pending = if run == self.run { pending.intersection(&keys) } else { keys };
    }

    /// Those of a position's keys that may still have to be settled.
    pub(crate) fn unsettled(&self, run: &str, keys: Keys) -> Keys {
        if run == self.run { self.lock().intersection(&keys) } else { keys }
    }

    /// Whether rows were yielded beside these and are not settled.
    pub(crate) fn is_more_than(&self, keys: &Keys) -> bool {
        let mut rest = self.keys();
        rest.remove_all(keys);
        !rest.is_empty()
    }

    pub(crate) fn settled(&self, keys: &Keys) {
        self.lock().remove_all(keys);
    }

    fn lock(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
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
        pending.settled(&first);
        assert_eq!(pending.unsettled(pending.run(), keys([1, 2, 3])), keys([3]));
    }

    #[test]
    fn a_reader_that_resumes_leaves_out_what_is_delivered_and_reads_the_rest_again() {
        let pending = Pending::default();
        pending.insert(&[Key::Seq(1), Key::Seq(2), Key::Seq(3)]);
        pending.settled(&keys([1]));
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
}
