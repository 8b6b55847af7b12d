use std::{
    collections::HashSet,
    hash::{BuildHasherDefault, Hasher},
};

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::table::message::Raw;

/// How many rows are remembered at most: some 4 MiB a half.
const ROWS_MAX: usize = 128 << 10;

/// Recognises rows that came already: same table, key and bytes, and so same timestamps.
///
/// What came since the resolved timestamp before the last is remembered, up to a bound. A row that
/// is not remembered any more is passed on as if it were new.
pub(super) struct Window {
    rows_max: usize,
    /// Drawn for each window, so that nobody can write two rows that are taken for one.
    secret: [u8; 16],
    now: Digests,
    before: Digests,
}

/// 128 bits of each row, which is enough that no two of so many are the same by chance.
type Digests = HashSet<u128, BuildHasherDefault<Uniform>>;

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
            now: Digests::default(),
            before: Digests::default(),
        }
    }
}

impl Window {
    /// Whether this row came before; it is remembered now.
    pub(super) fn has_seen(&mut self, row: &Raw<'_>) -> bool {
        let digest = self.digest(row);
        if self.before.contains(&digest) || !self.now.insert(digest) {
            return true;
        }
        if self.now.len() >= self.rows_max {
            self.advance();
        }
        false
    }

    fn digest(&self, row: &Raw<'_>) -> u128 {
        let mut hasher = SipHasher13::new_with_key(&self.secret);
        let topic = row.topic.unwrap_or_default();
        // With their lengths, no two different rows are the same bytes.
        for part in [topic.as_bytes(), row.key, row.value] {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
        hasher.finish128().as_u128()
    }

    /// Forgets what came before the last call of this.
    pub(super) fn advance(&mut self) {
        if self.now.is_empty() {
            self.before.clear();
        } else {
            std::mem::swap(&mut self.now, &mut self.before);
            self.now.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw<'r>(key: &'r str, value: &'r str) -> Raw<'r> {
        Raw { topic: Some("t"), key: key.as_bytes(), value: value.as_bytes() }
    }

    #[test]
    fn only_equal_bytes_are_a_duplicate() {
        let mut window = Window::default();
        assert!(!window.has_seen(&raw("[1]", "a")));
        assert!(!window.has_seen(&raw("[1]", "b")));
        assert!(!window.has_seen(&raw("[2]", "a")));
        assert!(!window.has_seen(&raw("[1]a", "")));
        assert!(window.has_seen(&raw("[1]", "a")));
    }

    #[test]
    fn a_row_is_remembered_for_two_resolved_timestamps() {
        let mut window = Window::default();
        window.has_seen(&raw("[1]", "a"));
        window.advance();
        assert!(window.has_seen(&raw("[1]", "a")));
        window.has_seen(&raw("[2]", "a"));
        window.advance();
        assert!(!window.has_seen(&raw("[1]", "a")));
    }

    #[test]
    fn memory_is_bounded() {
        let mut window = Window { rows_max: 100, ..Window::default() };
        for key in 0..1_000 {
            window.has_seen(&raw(&key.to_string(), "a"));
            assert!(window.now.len() + window.before.len() <= 200);
        }
    }
}
