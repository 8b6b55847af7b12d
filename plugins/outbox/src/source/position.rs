use rowtide_core::{Position, Result};
use serde::{Deserialize, Serialize};

use crate::keys::Keys;

/// What a position of this source holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutboxPosition {
    /// Tells the server from another one at the same address.
    pub(crate) server: String,
    /// The end of the database's log behind the rows, unless that does not matter.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) log_end: u64,
    pub(crate) progress: Progress,
}

/// How far the outbox is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Progress {
    /// Rows are deleted or marked: those that were yielded and not acknowledged by then.
    Pending {
        /// Names the opening of the source that yielded them.
        run: String,
        keys: Keys,
    },
    /// Rows are kept: what was read last, if anything was.
    Kept(Option<Cursor>),
}

/// Where `done = "keep"` goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Cursor {
    /// PostgreSQL: behind all that a snapshot sees, or inside what another one sees beyond it.
    Snapshots {
        /// All that this one sees has been read; unset, nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen: Option<String>,
        /// What this one sees beyond it is being read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reading: Option<Reading>,
    },
    /// SQLite: behind this row.
    Row {
        seq: i64,
        /// A digest of the row, which tells the table from another one with the same numbers.
        digest: String,
    },
}

/// A place between two snapshots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reading {
    pub(crate) snapshot: String,
    /// The number of the last row that was read.
    pub(crate) after: i64,
}

fn is_zero(log_end: &u64) -> bool {
    *log_end == 0
}

impl OutboxPosition {
    pub(crate) fn decode(position: &Position) -> Result<Self> {
        position.decode()
    }

    pub(crate) fn encode(&self) -> Result<Position> {
        Position::encode(self)
    }
}
