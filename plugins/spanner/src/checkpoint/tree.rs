//! The rows of a metadata table as the partitions of a pipeline.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use rowtide_core::{Partition, PartitionId, PartitionState, Progress, Result};

use super::{
    control::Control,
    row::{Row, Stage},
};
use crate::source::Place;

/// What the rows say, whoever wrote them.
pub(super) fn states(rows: Vec<Row>, control: Option<&Control>) -> Result<Vec<PartitionState>> {
    let tree = Tree::new(&rows, control);
    let mut states: Vec<_> = rows.iter().map(|row| tree.state(row)).collect::<Result<_>>()?;
    // Their rows are gone, because they ended a day ago or more.
    let gone = control.into_iter().flat_map(|control| &control.finished);
    states.extend(gone.filter(|token| !tree.rows.contains_key(token.as_str())).map(|token| {
        let partition = Partition::new(token.as_str());
        PartitionState { partition, progress: Progress::Finished(None) }
    }));
    Ok(states)
}

struct Tree<'a> {
    rows: HashMap<&'a str, &'a Row>,
    finished: HashSet<&'a str>,
    /// Where the pipeline began.
    start: Option<Timestamp>,
    /// The time up to which everything is delivered; none once all has ended.
    low_watermark: Option<Timestamp>,
}

impl<'a> Tree<'a> {
    fn new(rows: &'a [Row], control: Option<&'a Control>) -> Self {
        let unfinished = rows.iter().filter(|row| row.stage != Stage::Finished);
        let finished = control.into_iter().flat_map(|control| &control.finished);
        Self {
            rows: rows.iter().map(|row| (row.token.as_str(), row)).collect(),
            finished: finished.map(String::as_str).collect(),
            start: control.and_then(|control| control.start),
            low_watermark: unfinished.map(|row| row.watermark.max(row.start)).min(),
        }
    }

    fn state(&self, row: &Row) -> Result<PartitionState> {
        let mut partition = Partition::new(row.token.as_str());
        let parents = row.parents.iter().filter(|parent| !self.has_ended_unseen(parent, row));
        partition.parents = parents.map(|parent| PartitionId::new(parent.as_str())).collect();
        partition.start = Some(Place::from(row.start).position()?);
        Ok(PartitionState { partition, progress: self.progress(row)? })
    }

    fn progress(&self, row: &Row) -> Result<Progress> {
        let position = || Place::from(row.watermark).position();
        let has_moved = row.watermark > row.start;
        Ok(match row.stage {
            Stage::Created => Progress::Waiting,
            // The other programs do not wait for all parents, and what has not moved still can.
            Stage::Scheduled | Stage::Running if !has_moved && self.is_early(row) => {
                Progress::Waiting
            }
            Stage::Scheduled | Stage::Running => Progress::Delivered(position()?),
            Stage::Finished => Progress::Finished(has_moved.then(position).transpose()?),
        })
    }

    /// Whether a parent has not ended yet.
    fn is_early(&self, row: &Row) -> bool {
        let is_unfinished = |parent: &String| {
            self.rows.get(parent.as_str()).is_some_and(|parent| parent.stage != Stage::Finished)
        };
        row.parents.iter().any(is_unfinished)
    }

    /// Whether a parent that has no row has ended. It may not be announced yet instead, and then
    /// its child waits, unless one of two things proves that nothing is left to announce it: the
    /// child was there when the pipeline began, and all of those are roots; or nothing is behind
    /// the child's start any more.
    fn has_ended_unseen(&self, parent: &str, child: &Row) -> bool {
        let is_known = self.rows.contains_key(parent) || self.finished.contains(parent);
        let was_there = self.start.is_some_and(|start| child.start <= start);
        let nothing_is_behind = self.low_watermark.is_none_or(|low| low >= child.start);
        !is_known && (was_there || nothing_is_behind)
    }
}
