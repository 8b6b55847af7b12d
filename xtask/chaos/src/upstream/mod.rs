//! Databases that changes come from.

pub(crate) mod cockroachdb;
#[path = "../../../../tests/survives_kill/image.rs"]
mod image;
pub(crate) mod outbox;
pub(crate) mod spanner;
pub(crate) mod sqlite;

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

/// The same of the same value in each run of this program.
pub(crate) fn digest(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Of a row, without columns that were added later: older rows do not tell of them.
fn row_digest(row: &Value) -> Option<u64> {
    let mut columns = row.as_object()?.clone();
    columns.retain(|name, _| !name.starts_with("extra"));
    Some(digest(Value::Object(columns).to_string()))
}
