//! What the metadata table has no column for: one row in a table of its own.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rowtide_core::{Claim, Error, Owner, Result};

use super::row::{Stage, Target, time};
use crate::client::{Cell, Write, commit_timestamp};

/// The columns that are read, in this order.
pub(super) const COLUMNS: [&str; 6] =
    ["Pipeline", "Epoch", "Owner", "StartTimestamp", "Finished", "FinishedTokens"];

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Control {
    pub(super) pipeline: String,
    pub(super) epoch: u64,
    pub(super) owner: Owner,
    /// Where the pipeline began.
    pub(super) start: Option<Timestamp>,
    /// Whether all partitions have ended.
    pub(super) is_finished: bool,
    /// The partitions that are saved as finished and not forgotten. The metadata table loses the
    /// rows of those after a day, while a child may still wait for them.
    pub(super) finished: BTreeSet<String>,
}

impl Control {
    /// Reads the cells of [`COLUMNS`].
    ///
    /// # Errors
    /// `Fatal` for what this store does not write.
    pub(super) fn read(cells: Vec<Cell>) -> Result<Self> {
        Self::parse(cells).ok_or_else(|| {
            Error::fatal("the row of the claim cannot be read")
                .help("it is damaged, or a newer version of Rowtide wrote it")
        })
    }

    fn parse(cells: Vec<Cell>) -> Option<Self> {
        let [pipeline, epoch, owner, start, is_finished, finished] =
            <[Cell; COLUMNS.len()]>::try_from(cells).ok()?;
        let (Cell::Bool(is_finished), Cell::List(finished)) = (is_finished, finished) else {
            return None;
        };
        let start = match start {
            Cell::Null => None,
            cell => Some(cell.text()?.parse().ok()?),
        };
        Some(Self {
            pipeline: pipeline.into_text()?,
            epoch: epoch.text()?.parse().ok()?,
            owner: serde_json::from_str(owner.text()?).ok()?,
            start,
            is_finished,
            finished: finished.into_iter().map(Cell::into_text).collect::<Option<_>>()?,
        })
    }

    /// The row of a pipeline that is claimed for the first time.
    pub(super) fn insert(&self, table: &str) -> Result<Write> {
        Ok(Write::Insert { table: table.to_owned(), values: self.values()? })
    }

    pub(super) fn update(&self, table: &str) -> Result<Write> {
        Ok(Write::Update { table: table.to_owned(), values: self.values()? })
    }

    /// The time of the claim, which nothing here reads, is for people.
    pub(super) fn claimed(write: Write) -> Write {
        match write {
            Write::Insert { table, mut values } => {
                values.push(("ClaimedAt", commit_timestamp()));
                Write::Insert { table, values }
            }
            Write::Update { table, mut values } => {
                values.push(("ClaimedAt", commit_timestamp()));
                Write::Update { table, values }
            }
            other => other,
        }
    }

    fn values(&self) -> Result<Vec<(&'static str, Cell)>> {
        let owner = serde_json::to_string(&self.owner)
            .map_err(|error| Error::fatal("failed to write an owner as JSON").because(error))?;
        Ok(vec![
            ("Pipeline", Cell::Text(self.pipeline.clone())),
            ("Epoch", Cell::Text(self.epoch.to_string())),
            ("Owner", Cell::Text(owner)),
            ("StartTimestamp", self.start.map_or(Cell::Null, time)),
            ("Finished", Cell::Bool(self.is_finished)),
            ("FinishedTokens", Cell::List(self.finished.iter().cloned().map(Cell::Text).collect())),
        ])
    }

    /// Takes over what an update changes.
    pub(super) fn advance(&mut self, targets: &[Target], forgotten: &[String], rest: Rest) {
        for target in targets {
            match target.stage {
                Stage::Finished => self.finished.insert(target.token.clone()),
                _ => self.finished.remove(&target.token),
            };
        }
        for token in forgotten {
            self.finished.remove(token);
        }
        let roots = targets.iter().filter(|target| target.parents.is_empty());
        self.start = self.start.or(roots.map(Target::start).min());
        if rest == Rest::Nothing && targets.is_empty() {
            self.start = None;
        }
        let is_any_there = !targets.is_empty() || rest == Rest::Finished;
        self.is_finished = is_any_there
            && rest != Rest::Unfinished
            && targets.iter().all(|target| target.stage == Stage::Finished);
    }
}

/// What there is beside the partitions that an update names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    Nothing,
    Finished,
    /// Some partition has not ended, or it makes no difference.
    Unfinished,
}

/// The row of the claim's pipeline, if the claim holds.
///
/// # Errors
/// A lost claim, if it does not.
pub(super) fn find<'a>(controls: &'a [Control], claim: &Claim) -> Result<&'a Control> {
    let found = controls.iter().find(|control| control.pipeline == claim.pipeline);
    let control = found.ok_or_else(|| {
        let message = format!("the claim of pipeline `{}` is gone from its table", claim.pipeline);
        Error::fatal(message).help("somebody removed it while the pipeline ran; start it again")
    })?;
    if control.epoch != claim.epoch {
        return Err(Error::claim_lost(&claim.pipeline, &control.owner));
    }
    Ok(control)
}
