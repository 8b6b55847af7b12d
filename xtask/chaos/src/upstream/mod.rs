//! Databases that changes come from.

pub(crate) mod cockroachdb;
#[path = "../../../../tests/survives_kill/image.rs"]
mod image;
pub(crate) mod outbox;
pub(crate) mod spanner;
pub(crate) mod sqlite;

use std::hash::{DefaultHasher, Hash, Hasher};

/// The same of the same value in each run of this program.
pub(crate) fn digest(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
