use rowtide_core::{Change, ChangeId, Error, PartitionId, Result};
use tokio::time::Instant;

use crate::inbox::Room;

/// What was written to the sink since its last flush, kept so that a change that the downstream
/// refuses can be named.
#[derive(Default)]
pub(crate) struct Span {
    written: Vec<Written>,
    changes: usize,
    since: Option<Instant>,
}

pub(crate) struct Written {
    pub(crate) partition: PartitionId,
    pub(crate) changes: Vec<Change>,
    pub(crate) _room: Room,
}

/// A change that the downstream refuses.
pub(crate) struct Refused<'a> {
    pub(crate) change: &'a ChangeId,
    pub(crate) table: &'a str,
    pub(crate) partition: &'a PartitionId,
}

impl Span {
    pub(crate) fn push(&mut self, written: Written) {
        self.since.get_or_insert_with(Instant::now);
        self.changes += written.changes.len();
        self.written.push(written);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changes == 0
    }

    /// How many changes it has.
    pub(crate) fn changes(&self) -> usize {
        self.changes
    }

    /// When its first change was written.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Gives the room back of all that it covers.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The changes at `indexes`.
    ///
    /// # Errors
    /// `Fatal` if these cannot be meant: there are none, one is outside the span, or they do not
    /// ascend.
    pub(crate) fn refused(&self, indexes: &[usize]) -> Result<Vec<Refused<'_>>> {
        let ascend = indexes.windows(2).all(|pair| pair[0] < pair[1]);
        if indexes.is_empty() || !ascend || indexes.iter().any(|index| *index >= self.changes) {
            let message = format!(
                "the sink rejected the changes {indexes:?} of a span of {}, which cannot be",
                self.changes
            );
            return Err(Error::fatal(message).help("this is a defect of the sink; report it"));
        }
        Ok(indexes.iter().filter_map(|index| self.find(*index)).collect())
    }

    fn find(&self, index: usize) -> Option<Refused<'_>> {
        let mut rest = index;
        for written in &self.written {
            if let Some(change) = written.changes.get(rest) {
                return Some(Refused {
                    change: change.id(),
                    table: &change.table.name,
                    partition: &written.partition,
                });
            }
            rest -= written.changes.len();
        }
        None
    }
}
