//! How far a partition is told.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rowtide_core::{Position, Result};
use serde::{Deserialize, Serialize};

use crate::record::DataRecord;

/// A place in a partition: everything before a time, and what of that very time.
///
/// A query begins at a time inclusive, so that what has been told of it comes again and must be
/// known. The token of the partition, which is its id, is what tells one stream from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    at: Timestamp,
    /// The last record of each transaction at that time that has been told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    seen: BTreeMap<String, String>,
    /// Whether all of that time has been told.
    #[serde(default, skip_serializing_if = "is_false")]
    through: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde demands it")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Place {
    /// Nothing of this time is told yet, or later.
    pub(crate) fn from(at: Timestamp) -> Self {
        Self { at, seen: BTreeMap::new(), through: false }
    }

    /// Everything up to this time is told.
    pub(crate) fn through(at: Timestamp) -> Self {
        Self { at, seen: BTreeMap::new(), through: true }
    }

    pub(crate) fn at(&self) -> Timestamp {
        self.at
    }

    /// The time up to which everything is told.
    pub(crate) fn told_up_to(&self) -> Timestamp {
        if self.through { self.at } else { before(self.at, SignedDuration::from_nanos(1)) }
    }

    /// Whether this record has been told.
    pub(crate) fn covers(&self, record: &DataRecord) -> bool {
        if record.committed_at != self.at {
            return record.committed_at < self.at;
        }
        let is_seen = |last: &String| order(last) >= order(&record.sequence);
        self.through || self.seen.get(&record.transaction).is_some_and(is_seen)
    }

    /// Notes that this record has been told.
    pub(crate) fn tell(&mut self, record: &DataRecord) {
        if record.committed_at > self.at {
            self.at = record.committed_at;
            self.seen.clear();
            self.through = false;
        }
        self.seen.insert(record.transaction.clone(), record.sequence.clone());
    }

    /// Notes that everything up to a time has been told; whether that is news.
    pub(crate) fn tell_through(&mut self, at: Timestamp) -> bool {
        let is_news = at > self.at || at == self.at && !self.through;
        if is_news {
            *self = Self::through(at);
        }
        is_news
    }

    pub(crate) fn position(&self) -> Result<Position> {
        Ok(Position::encode(self)?.as_of(self.told_up_to()))
    }
}

/// A time that is so much earlier, or the earliest there is.
pub(crate) fn before(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_sub(by).unwrap_or(Timestamp::MIN)
}

/// Sequences are numbers with zeros before them.
fn order(sequence: &str) -> (usize, &str) {
    let digits = sequence.trim_start_matches('0');
    (digits.len(), digits)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rowtide_core::Operation;

    use super::*;
    use crate::record::Shape;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn record(second: i64, transaction: &str, sequence: &str) -> DataRecord {
        DataRecord {
            committed_at: at(second),
            sequence: sequence.to_owned(),
            transaction: transaction.to_owned(),
            is_last_in_partition: true,
            shape: Arc::new(Shape { table: "t".to_owned(), columns: Vec::new() }),
            mods: Vec::new(),
            operation: Operation::Insert,
            capture_type: String::new(),
            records_in_transaction: 1,
            partitions_in_transaction: 1,
            transaction_tag: String::new(),
            is_system_transaction: false,
        }
    }

    #[test]
    fn what_was_told_is_covered_and_nothing_else() {
        let mut place = Place::from(at(5));
        assert!(place.covers(&record(4, "a", "0")) && !place.covers(&record(5, "a", "0")));
        place.tell(&record(5, "a", "00000009"));
        place.tell(&record(5, "b", "00000001"));
        assert!(place.covers(&record(5, "a", "00000009")));
        assert!(!place.covers(&record(5, "a", "00000010")));
        assert!(!place.covers(&record(5, "b", "00000002")));
        assert!(!place.covers(&record(5, "c", "00000000")));
        assert!(place.tell_through(at(5)) && !place.tell_through(at(5)));
        assert!(place.covers(&record(5, "c", "00000000")) && !place.covers(&record(6, "c", "0")));
        assert!(!place.tell_through(at(4)), "a place never goes back");
    }

    #[test]
    fn a_sequence_is_ordered_as_a_number() {
        assert!(order("9") < order("10") && order("0009") < order("10"));
        assert!(order("100000000") > order("99999999"));
    }

    #[test]
    fn a_place_is_kept_and_attests_only_what_is_whole() {
        let mut place = Place::from(at(5));
        place.tell(&record(7, "a", "1"));
        let position = place.position().unwrap();
        assert_eq!(position.text(), r#"{"at":"1970-01-01T00:00:07Z","seen":{"a":"1"}}"#);
        assert!(position.attested().unwrap() < at(7));
        assert_eq!(position.decode::<Place>().unwrap(), place);
        assert_eq!(Place::through(at(7)).position().unwrap().attested(), Some(at(7)));
    }
}
