//! Which rows: sets of keys, as short as the gaps between them allow.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// What tells a row of an outbox from all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// The number that the database gave it.
    Seq(i64),
    /// Its own id as a text, in a table without numbers.
    Id(Box<str>),
}

/// A set of keys: runs of numbers, and ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Keys {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    runs: Vec<(i64, i64)>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    ids: BTreeSet<Box<str>>,
}

impl Keys {
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.ids.is_empty()
    }

    pub(crate) fn contains(&self, key: &Key) -> bool {
        match key {
            Key::Seq(seq) => {
                let behind = self.runs.partition_point(|(_, last)| last < seq);
                self.runs.get(behind).is_some_and(|(first, _)| first <= seq)
            }
            Key::Id(id) => self.ids.contains(id),
        }
    }

    pub(crate) fn insert(&mut self, key: &Key) {
        match key {
            Key::Seq(seq) => self.insert_seq(*seq),
            Key::Id(id) => drop(self.ids.insert(id.clone())),
        }
    }

    fn insert_seq(&mut self, seq: i64) {
        // The first run that the number is in, stands before, or follows at once.
        let index = self.runs.partition_point(|(_, last)| last.saturating_add(1) < seq);
        match self.runs.get_mut(index) {
            Some((first, _)) if *first <= seq => {
                let last = &mut self.runs[index].1;
                *last = seq.max(*last);
                let end = *last;
                if self.runs.get(index + 1).is_some_and(|(next, _)| follows(*next, end)) {
                    self.runs[index].1 = self.runs.remove(index + 1).1;
                }
            }
            Some((first, _)) if follows(*first, seq) => *first = seq,
            _ => self.runs.insert(index, (seq, seq)),
        }
    }

    /// Those of `self` that are in `other` too.
    pub(crate) fn intersection(&self, other: &Keys) -> Keys {
        let mut runs = Vec::new();
        let (mut left, mut right) = (self.runs.iter().peekable(), other.runs.iter().peekable());
        while let (Some(one), Some(two)) = (left.peek(), right.peek()) {
            let (first, last) = (one.0.max(two.0), one.1.min(two.1));
            if first <= last {
                runs.push((first, last));
            }
            if one.1 < two.1 {
                left.next();
            } else {
                right.next();
            }
        }
        Keys { runs, ids: self.ids.intersection(&other.ids).cloned().collect() }
    }

    /// Takes out what is in `other`.
    pub(crate) fn remove_all(&mut self, other: &Keys) {
        let mut rest = Vec::with_capacity(self.runs.len());
        let mut removed = other.runs.iter().peekable();
        for &(mut first, last) in &self.runs {
            while removed.peek().is_some_and(|(_, end)| *end < first) {
                removed.next();
            }
            while let Some(&&(start, end)) = removed.peek().filter(|(start, _)| *start <= last) {
                if first < start {
                    rest.push((first, start - 1));
                }
                first = end.saturating_add(1);
                if end >= last {
                    break;
                }
                removed.next();
            }
            if first <= last {
                rest.push((first, last));
            }
        }
        self.runs = rest;
        self.ids.retain(|id| !other.ids.contains(id));
    }

    /// The runs in batches of at most so many numbers: of each, the first ones and the last ones.
    pub(crate) fn runs(&self, batch: usize) -> impl Iterator<Item = (Vec<i64>, Vec<i64>)> {
        let batch = i64::try_from(batch).unwrap_or(i64::MAX).max(1);
        let mut runs = self.runs.iter().copied();
        let mut rest = None;
        std::iter::from_fn(move || {
            let (mut firsts, mut lasts, mut room) = (Vec::new(), Vec::new(), batch);
            while room > 0
                && let Some((first, last)) = rest.take().or_else(|| runs.next())
            {
                let end = last.min(first.saturating_add(room - 1));
                firsts.push(first);
                lasts.push(end);
                room -= end - first + 1;
                rest = (end < last).then(|| (end + 1, last));
            }
            (!firsts.is_empty()).then_some((firsts, lasts))
        })
    }

    /// The numbers, ascending, each one by itself.
    pub(crate) fn seqs(&self) -> impl Iterator<Item = i64> {
        self.runs.iter().flat_map(|&(first, last)| first..=last)
    }

    /// The ids.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.ids.iter().map(|id| &**id)
    }
}

/// A position can name any number, also the least there is.
fn follows(next: i64, last: i64) -> bool {
    next.checked_sub(1) == Some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(seqs: impl IntoIterator<Item = i64>) -> Keys {
        let mut keys = Keys::default();
        seqs.into_iter().for_each(|seq| keys.insert(&Key::Seq(seq)));
        keys
    }

    /// All subsets of a few numbers, so that every way in which runs can touch is there.
    fn subsets() -> impl Iterator<Item = Vec<i64>> {
        (0..128_u32).map(|bits| (0..7).filter(|bit| bits >> bit & 1 == 1).map(i64::from).collect())
    }

    #[test]
    fn neighbours_are_one_run_in_whatever_order_they_come() {
        for order in [[1, 2, 3, 4], [4, 3, 2, 1], [1, 3, 4, 2], [2, 4, 1, 3]] {
            assert_eq!(keys(order).runs, [(1, 4)], "{order:?}");
        }
        assert_eq!(keys([1, 2, 4, 2]).runs, [(1, 2), (4, 4)]);
        assert_eq!(keys([i64::MAX, i64::MIN]).runs.len(), 2);
    }

    #[test]
    fn runs_that_nobody_would_write_do_no_harm() {
        for runs in ["[[-9223372036854775808,3],[-9223372036854775808,9]]", "[[5,1],[3,2]]"] {
            let mut keys: Keys = serde_json::from_str(&format!("{{\"runs\":{runs}}}")).unwrap();
            for seq in [i64::MIN, 3, 4, i64::MAX] {
                keys.insert(&Key::Seq(seq));
            }
            keys.remove_all(&keys.intersection(&keys.clone()));
        }
    }

    #[test]
    fn a_set_is_what_was_put_in() {
        for subset in subsets() {
            let set = keys(subset.iter().rev().copied());
            assert_eq!(set.seqs().collect::<Vec<_>>(), subset);
            for seq in -1..8 {
                assert_eq!(set.contains(&Key::Seq(seq)), subset.contains(&seq), "{set:?} {seq}");
            }
        }
    }

    #[test]
    fn sets_are_cut_and_taken_out_of_each_other() {
        for left in subsets() {
            for right in subsets() {
                let (one, two) = (keys(left.iter().copied()), keys(right.iter().copied()));
                let both = left.iter().copied().filter(|seq| right.contains(seq));
                assert_eq!(one.intersection(&two), keys(both));
                let rest = left.iter().copied().filter(|seq| !right.contains(seq));
                let mut cut = one.clone();
                cut.remove_all(&two);
                assert_eq!(cut, keys(rest), "{one:?} {two:?}");
            }
        }
    }

    #[test]
    fn ids_are_a_set_too() {
        let id = |text: &str| Key::Id(text.into());
        let mut keys = Keys::default();
        keys.insert(&id("b"));
        keys.insert(&id("a"));
        assert!(keys.contains(&id("a")) && !keys.contains(&id("c")));
        let mut rest = keys.clone();
        rest.remove_all(&keys.intersection(&keys));
        assert!(rest.is_empty());
        assert_eq!(keys.ids().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_position_holds_runs() {
        let text = serde_json::to_string(&keys([1, 2, 3, 9])).unwrap();
        assert_eq!(text, r#"{"runs":[[1,3],[9,9]]}"#);
        assert_eq!(serde_json::from_str::<Keys>(&text).unwrap(), keys([1, 2, 3, 9]));
    }

    #[test]
    fn runs_are_cut_into_batches_and_nothing_else_is_in_them() {
        for seqs in subsets() {
            for batch in 1..=8 {
                let mut found = Vec::new();
                for (firsts, lasts) in keys(seqs.iter().copied()).runs(batch) {
                    let before = found.len();
                    let runs = firsts.into_iter().zip(lasts);
                    found.extend(runs.flat_map(|(first, last)| first..=last));
                    assert!((1..=batch).contains(&(found.len() - before)));
                }
                assert_eq!(found, seqs);
            }
        }
        let all = Keys { runs: vec![(i64::MIN, i64::MAX)], ids: BTreeSet::new() };
        assert_eq!(all.runs(2).next(), Some((vec![i64::MIN], vec![i64::MIN + 1])));
    }
}
