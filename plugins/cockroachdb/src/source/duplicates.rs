use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::{hlc::Hlc, table::message::Raw};

/// How many rows are remembered at most: some 6 MiB a half.
const ROWS_MAX: usize = 128 << 10;

/// Recognises rows that came already: same table, key and bytes, and so same timestamps.
///
/// What is above the resolved timestamp before the last is remembered, up to a bound: a cluster tells
/// a row seconds before it resolves its time, and begins again at what it has resolved. A row that is
/// not remembered any more is passed on as if it were new.
pub(super) struct Window {
    rows_max: usize,
    /// Drawn for each window, so that nobody can write two rows that are taken for one.
    secret: [u8; 16],
    now: Rows,
    before: Rows,
    resolved: u64,
}

/// When each row was updated, by the wall clock.
type Rows = HashMap<Digest, u64, BuildHasherDefault<Uniform>>;

/// 128 bits of a row, which is enough that no two of so many are the same by chance.
type Digest = [u64; 2];

/// Takes a part of a digest for its hash, which it is.
#[derive(Default)]
struct Uniform(u64);

impl Hasher for Uniform {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Default for Window {
    fn default() -> Self {
        Self {
            rows_max: ROWS_MAX,
            secret: uuid::Uuid::new_v4().into_bytes(),
            now: Rows::default(),
            before: Rows::default(),
            resolved: 0,
        }
    }
}

impl Window {
    /// Whether this row came before; it is remembered now.
    pub(super) fn has_seen(&mut self, row: &Raw<'_>, updated: Hlc) -> bool {
        let digest = self.digest(row);
        if self.before.contains_key(&digest) || self.now.insert(digest, updated.wall).is_some() {
            return true;
        }
        if self.now.len() >= self.rows_max {
            std::mem::swap(&mut self.now, &mut self.before);
            self.now.clear();
        }
        false
    }

    fn digest(&self, row: &Raw<'_>) -> Digest {
        let mut hasher = SipHasher13::new_with_key(&self.secret);
        let topic = row.topic.unwrap_or_default();
        // With their lengths, no two different rows are the same bytes.
        for part in [topic.as_bytes(), row.key, row.value] {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
        let hash = hasher.finish128();
        [hash.h1, hash.h2]
    }

    /// Forgets what is not above the resolved timestamp before this one.
    pub(super) fn advance(&mut self, resolved: Hlc) {
        let until = std::mem::replace(&mut self.resolved, resolved.wall);
        for rows in [&mut self.now, &mut self.before] {
            rows.retain(|_, updated| *updated > until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw<'r>(key: &'r str, value: &'r str) -> Raw<'r> {
        Raw { topic: Some("t"), key: key.as_bytes(), value: value.as_bytes() }
    }

    fn at(wall: u64) -> Hlc {
        Hlc { wall, logical: 0 }
    }

    #[test]
    fn only_equal_bytes_are_a_duplicate() {
        let mut window = Window::default();
        for (key, value) in [("[1]", "a"), ("[1]", "b"), ("[2]", "a"), ("[1]a", "")] {
            assert!(!window.has_seen(&raw(key, value), at(1)));
        }
        assert!(window.has_seen(&raw("[1]", "a"), at(1)));
    }

    #[test]
    fn a_row_is_remembered_until_the_second_resolved_timestamp_that_is_not_below_it() {
        let mut window = Window::default();
        window.has_seen(&raw("[1]", "a"), at(5));
        // However long the cluster lags behind what it has told.
        for resolved in [1, 2, 3, 4, 5] {
            window.advance(at(resolved));
            assert!(window.has_seen(&raw("[1]", "a"), at(5)), "{resolved}");
        }
        window.advance(at(6));
        assert!(!window.has_seen(&raw("[1]", "a"), at(5)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut window = Window { rows_max: 100, ..Window::default() };
        for key in 0..1_000 {
            window.has_seen(&raw(&key.to_string(), "a"), at(key));
            assert!(window.now.len() + window.before.len() <= 200);
        }
    }
}
