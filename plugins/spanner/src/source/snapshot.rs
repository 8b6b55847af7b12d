//! The rows that are already there, all as they were at one time.
//!
//! Each table is a small tree of partitions: one begins it and finds keys to divide it by, one tells
//! of the ranges between them, one a range reads the rows, one ends it when all of those have. The
//! root of the changes is a child of those that end a table.
//!
//! Whoever finds the keys anew may find others. Until something is saved nobody reads by them, and
//! what is saved of them first is saved whole, where the one begins that tells of the ranges: so
//! the one that ends the table always waits for all that read it.

mod sample;

use std::{collections::VecDeque, sync::Arc};

use jiff::Timestamp;
use rowtide_core::{
    Change, ChangeId, Error, Event, Metadata, Operation, Partition, PartitionId, Position, Result,
    Row,
};
use rowtide_failpoint::reach;
use serde::{Deserialize, Serialize};

use super::Shared;
use crate::{
    catalog::Described,
    client::{Bound, Cell, Code, Failure, KeyRange, ReadRequest, Rows},
    value,
};

const PREFIX: &str = "snapshot:";

/// How many rows one read takes at most. It lasts as long as they take to be delivered.
const ROWS_MAX: i64 = 5_000;

/// How many bytes of rows an event has at most, but for one row.
const EVENT_BYTES: usize = 256 * 1024;

/// A place in a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SnapshotPlace {
    at: Timestamp,
    table: String,
    part: Part,
    /// The columns that there were. Only what a partition begins with has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    columns: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Part {
    Begin,
    Ranges(Vec<Range>),
    Rows(Range),
    End,
}

/// A range of keys, and how much of it is delivered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    number: usize,
    /// Inclusive; unset, the first key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<Vec<Cell>>,
    /// Exclusive; unset, behind the last key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<Vec<Cell>>,
    /// The last key that is delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<Vec<Cell>>,
    /// How many rows are delivered.
    #[serde(default)]
    rows: u64,
}

/// Reads one partition of a snapshot.
pub(super) struct SnapshotReader {
    shared: Arc<Shared>,
    id: PartitionId,
    place: SnapshotPlace,
    /// The columns that there were when the snapshot began, if that is known.
    columns: Option<Vec<String>>,
    /// The table, with those of these columns that it still has.
    described: Option<Described>,
    metadata: Arc<Metadata>,
    /// Rows that are being read, and the turn they take.
    reading: Option<(Box<dyn Rows>, Option<tokio::sync::OwnedSemaphorePermit>)>,
    /// How many rows the current read has given.
    read: i64,
    events: VecDeque<Event>,
    is_over: bool,
}

/// The partitions that begin the tables, at this time.
pub(super) fn partitions(shared: &Shared, at: Timestamp) -> Result<Vec<Partition>> {
    let tables = shared.catalog.tables().into_iter();
    let wanted = tables.filter(|(name, _)| shared.settings.tables.matches(name));
    let partition = |(table, described): (String, Described)| {
        let mut partition = Partition::new(format!("{PREFIX}begin:{table}"));
        let names = described.table.columns.iter().map(|column| column.name.to_string());
        let columns = Some(names.collect());
        let place = SnapshotPlace { at, table, part: Part::Begin, columns };
        partition.start = Some(place.position()?);
        Ok(partition)
    };
    wanted.map(partition).collect()
}

/// The partition that ends the table which another one begins.
pub(super) fn end_of(begin: &Partition) -> PartitionId {
    PartitionId::new(begin.id.as_str().replacen(":begin:", ":end:", 1))
}

pub(super) fn is_of_snapshot(id: &PartitionId) -> bool {
    id.as_str().starts_with(PREFIX)
}

impl SnapshotPlace {
    pub(crate) fn position(&self) -> Result<Position> {
        Position::encode(self)
    }
}

impl SnapshotReader {
    pub(super) fn open(
        shared: Arc<Shared>,
        partition: &Partition,
        from: &Position,
    ) -> Result<Self> {
        let mut place: SnapshotPlace = from.decode()?;
        let start = partition.start.as_ref().and_then(|start| start.decode::<SnapshotPlace>().ok());
        let columns = place.columns.take().or_else(|| start?.columns);
        let mut described = shared.catalog.tables().remove(&place.table);
        if let (Some(described), Some(columns)) = (&mut described, &columns) {
            described.keep(columns);
        }
        let metadata = Metadata::default()
            .with("change_stream", shared.path.as_str())
            .with("read_timestamp", rowtide_core::Value::Timestamp(place.at));
        Ok(Self {
            shared,
            id: partition.id.clone(),
            place,
            columns,
            described,
            metadata: Arc::new(metadata),
            reading: None,
            read: 0,
            events: VecDeque::new(),
            is_over: false,
        })
    }

    /// The next event; `None` behind the last one.
    pub(super) async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            if self.is_over {
                return Ok(None);
            }
            let Some(described) = self.described.clone() else {
                let message = format!("table `{}` is gone, or watched no more", self.place.table);
                return Err(Error::position_lost(message)
                    .help("begin anew with `rowtide checkpoint reset`"));
            };
            match self.place.part.clone() {
                Part::Begin => self.begin(&described).await?,
                Part::Ranges(ranges) => self.divide(ranges)?,
                Part::Rows(range) => self.rows(&described, range).await?,
                Part::End => {
                    self.mark(&described, Operation::SnapshotEnd);
                    self.finish();
                }
            }
        }
    }

    async fn begin(&mut self, described: &Described) -> Result<()> {
        self.mark(described, Operation::SnapshotBegin);
        let ranges = ranges(sample::boundaries(&self.shared, described, &self.place.table).await?);
        let partition = self.child("ranges", Part::Ranges(ranges), Vec::new())?;
        self.events.push_back(Event::Children { partitions: vec![partition] });
        self.finish();
        Ok(())
    }

    fn divide(&mut self, ranges: Vec<Range>) -> Result<()> {
        let mut partitions = Vec::new();
        for range in ranges {
            partitions.push(self.child(
                &range.number.to_string(),
                Part::Rows(range),
                Vec::new(),
            )?);
        }
        let parents = partitions.iter().map(|partition| partition.id.clone()).collect();
        partitions.push(self.child("end", Part::End, parents)?);
        self.events.push_back(Event::Children { partitions });
        self.finish();
        Ok(())
    }

    /// A partition that comes after this one, and after others.
    fn child(&self, name: &str, part: Part, others: Vec<PartitionId>) -> Result<Partition> {
        let SnapshotPlace { at, table, .. } = &self.place;
        let mut partition = Partition::new(format!("{PREFIX}{name}:{table}"));
        partition.parents = others;
        partition.parents.push(self.id.clone());
        let (table, columns) = (table.clone(), self.columns.clone());
        let place = SnapshotPlace { at: *at, table, part, columns };
        partition.start = Some(place.position()?);
        Ok(partition)
    }

    fn mark(&mut self, described: &Described, operation: Operation) {
        let scope = format!("{}/{}/{}", self.place.at, self.place.table, operation.name());
        let id = ChangeId::new(scope);
        let mut change = Change::new(id, Arc::clone(&described.table), operation);
        change.committed_at = Some(self.place.at);
        change.metadata = Some(Arc::clone(&self.metadata));
        self.events.push_back(Event::Changes { changes: vec![change], position: None });
    }

    fn finish(&mut self) {
        self.is_over = true;
        self.events.push_back(Event::Finished);
    }

    /// Reads rows until an event is full or a read has ended.
    async fn rows(&mut self, described: &Described, mut range: Range) -> Result<()> {
        let (mut rows, turn) = match self.reading.take() {
            Some(reading) => reading,
            None => {
                let turn = self.shared.room.turn().await;
                self.read = 0;
                (self.ask(described, &range).await?, turn)
            }
        };
        let key = described.table.key();
        let types: Vec<_> = rows.columns().iter().map(|(_, of)| of.clone()).collect();
        let scope: Arc<str> =
            format!("{}/{}/{}", self.place.at, self.place.table, range.number).into();
        let (mut changes, mut bytes, mut is_read) = (Vec::new(), 0, false);
        while bytes < EVENT_BYTES {
            let row = self.shared.answered(rows.next()).await;
            let row = row.map_err(|failure| self.failure(failure))?;
            let Some(row) = row else {
                is_read = true;
                break;
            };
            let cells: Vec<_> = row.into_iter().map(Cell::from).collect();
            range.after = Some(key.iter().map(|&index| cells[index].clone()).collect());
            let id = ChangeId::new(Arc::clone(&scope)).major(range.rows);
            range.rows += 1;
            self.read += 1;
            let mut change = Change::new(id, Arc::clone(&described.table), Operation::Read);
            let values = cells.into_iter().zip(&types).map(|(cell, of)| value::of_cell(cell, of));
            let values = values.collect::<Option<Vec<_>>>().ok_or_else(|| {
                let table = &self.place.table;
                Error::fatal(format!(
                    "a row of table `{table}` has a value that is not of its type"
                ))
            })?;
            change.after = Some(Row::new(values));
            change.committed_at = Some(self.place.at);
            change.metadata = Some(Arc::clone(&self.metadata));
            bytes += change.bytes();
            changes.push(change);
        }
        self.place.part = Part::Rows(range);
        if !changes.is_empty() {
            let position = Some(self.place.position()?);
            reach!("spanner: part of a table read, not told");
            self.events.push_back(Event::Changes { changes, position });
        }
        if !is_read {
            self.reading = Some((rows, turn));
        } else if self.read < ROWS_MAX {
            self.finish();
        }
        Ok(())
    }

    async fn ask(&mut self, described: &Described, range: &Range) -> Result<Box<dyn Rows>> {
        let from = match (&range.after, &range.from) {
            (Some(after), _) => Bound::Excluded(after.clone()),
            (None, Some(from)) => Bound::Included(from.clone()),
            (None, None) => Bound::Unbounded,
        };
        let to = range.to.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let columns = described.table.columns.iter().map(|column| column.name.to_string());
        let request = ReadRequest {
            table: self.place.table.clone(),
            columns: columns.collect(),
            range: KeyRange { from, to },
            rows_max: ROWS_MAX,
            at: self.place.at,
        };
        let read = self.shared.answered(self.shared.client.read(request)).await;
        read.map_err(|failure| self.failure(failure))
    }

    fn failure(&self, failure: Failure) -> Error {
        let SnapshotPlace { at, table, .. } = &self.place;
        let is_too_old = match failure.code {
            Code::FailedPrecondition | Code::OutOfRange => true,
            // Of such a time, the server may not know the table any more, nor a column.
            Code::NotFound => ["Table not found", "Column not found"]
                .iter()
                .any(|gone| failure.message.contains(gone)),
            _ => false,
        };
        if !is_too_old {
            return failure.error(format!("failed to read the rows of table `{table}`"));
        }
        Error::position_lost(format!("the rows of table `{table}` as of {at} cannot be read"))
            .because(failure)
            .help(
                "begin anew with `rowtide checkpoint reset`; `version_retention_period` of the \
                 database says how long a snapshot may take",
            )
    }
}

/// The ranges between some keys.
fn ranges(boundaries: Vec<Vec<Cell>>) -> Vec<Range> {
    let mut ranges = vec![Range::default()];
    for boundary in boundaries {
        if ranges.last().is_some_and(|last| last.from.as_ref() == Some(&boundary)) {
            continue;
        }
        if let Some(last) = ranges.last_mut() {
            last.to = Some(boundary.clone());
        }
        let number = ranges.len();
        ranges.push(Range { number, from: Some(boundary), ..Range::default() });
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_each_other_without_a_gap() {
        let key = |text: &str| vec![Cell::Text(text.to_owned())];
        let found = ranges(vec![key("b"), key("b"), key("d")]);
        let ends: Vec<_> = found.iter().map(|range| (&range.from, &range.to)).collect();
        let (b, d) = (Some(key("b")), Some(key("d")));
        assert_eq!(ends, [(&None, &b), (&b, &d), (&d, &None)]);
        assert_eq!(found.iter().map(|range| range.number).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn a_place_is_kept_to_the_last_bit_of_a_key() {
        let keys = vec![Cell::Number(0.1 + 0.2), Cell::Null, Cell::Text("x".to_owned())];
        let range = Range { after: Some(keys), rows: 7, ..Range::default() };
        let place = SnapshotPlace {
            at: Timestamp::UNIX_EPOCH,
            table: "t".to_owned(),
            part: Part::Rows(range),
            columns: None,
        };
        assert_eq!(place.position().unwrap().decode::<SnapshotPlace>().unwrap(), place);
    }
}
