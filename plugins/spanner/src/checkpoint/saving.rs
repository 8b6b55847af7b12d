//! What a claim and a save do in one transaction.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rowtide_core::{CheckpointUpdate, Claim, Error, Owner, Result, async_trait};

use super::{
    control::{self, Control, Rest},
    row::{self, Direction, Row, Stage, Target},
    tables::Tables,
};
use crate::{
    client::{Keys, Reads, Work, Write},
    source::ROOT,
};

/// Takes a pipeline over.
pub(super) struct Claiming {
    tables: Arc<Tables>,
    pipeline: String,
    owner: Owner,
    /// What the last attempt claimed.
    epoch: AtomicU64,
}

/// Saves an update under a claim.
pub(super) struct Saving {
    tables: Arc<Tables>,
    claim: Claim,
    targets: Vec<Target>,
    forgotten: Vec<String>,
    before: Before,
}

/// What was saved under a claim before an update.
pub(super) struct Before {
    /// Those of the update's partitions that were.
    pub(super) saved: HashSet<String>,
    /// Whether some other partition was, and has not ended.
    pub(super) is_unfinished: bool,
}

impl Claiming {
    pub(super) fn new(tables: Arc<Tables>, pipeline: String, owner: Owner) -> Self {
        Self { tables, pipeline, owner, epoch: AtomicU64::new(0) }
    }

    /// The epoch of the claim, once it is committed.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Work for Claiming {
    async fn run(&self, reads: &mut dyn Reads) -> Result<Vec<Write>> {
        let controls = self.tables.controls(reads, Keys::All).await?;
        if let Some(other) = controls.iter().find(|control| control.pipeline != self.pipeline) {
            return Err(self.occupied(other));
        }
        let before = controls.into_iter().next();
        let epoch = before.as_ref().map_or(0, |control| control.epoch) + 1;
        self.epoch.store(epoch, Ordering::Relaxed);
        // A table that another program began tells there where it did. That the metadata table can
        // be read is better known now than at the first save.
        let roots = self.tables.rows(reads, Keys::These(vec![ROOT.to_owned()])).await?;
        let table = &self.tables.control;
        let write = match before {
            Some(before) => Control { epoch, owner: self.owner.clone(), ..before }.update(table)?,
            None => Control {
                pipeline: self.pipeline.clone(),
                epoch,
                owner: self.owner.clone(),
                start: roots.first().map(|root| root.start),
                is_finished: false,
                finished: Default::default(),
            }
            .insert(table)?,
        };
        Ok(vec![Control::claimed(write)])
    }
}

impl Claiming {
    fn occupied(&self, other: &Control) -> Error {
        let message = format!(
            "{} has the partitions of pipeline `{}`, and takes one pipeline only",
            self.tables, other.pipeline
        );
        Error::config(message)
            .key("table")
            .help("name another table, or give the pipeline its old name")
    }
}

impl Saving {
    /// Prepares a save.
    ///
    /// # Errors
    /// `Config` for positions that are not of the Spanner source.
    pub(super) fn new(
        tables: Arc<Tables>,
        claim: Claim,
        update: &CheckpointUpdate,
        before: Before,
    ) -> Result<Self> {
        let targets = update.states.iter().map(Target::of);
        let forgotten = update.forgotten.iter().map(|id| id.as_str().to_owned()).collect();
        Ok(Self { tables, claim, targets: targets.collect::<Result<_>>()?, forgotten, before })
    }

    /// The rows of the targets, and of the parents whose settings a new one takes over.
    async fn rows(&self, reads: &mut dyn Reads) -> Result<Vec<Row>> {
        let mut tokens = BTreeSet::new();
        for target in &self.targets {
            tokens.insert(target.token.clone());
            if target.stage == Stage::Created {
                tokens.extend(target.parents.iter().cloned());
            }
        }
        match tokens.is_empty() {
            true => Ok(Vec::new()),
            false => self.tables.rows(reads, Keys::These(tokens.into_iter().collect())).await,
        }
    }

    /// What there is beside the targets; looked at only where it makes a difference.
    async fn rest(&self, reads: &mut dyn Reads) -> Result<Rest> {
        let is_unfinished = |target: &Target| target.stage != Stage::Finished;
        if self.before.is_unfinished || self.targets.iter().any(is_unfinished) {
            return Ok(Rest::Unfinished);
        }
        let targets = self.targets.iter().map(|target| &target.token);
        let named: HashSet<_> = targets.chain(&self.forgotten).collect();
        let mut rest = Rest::Nothing;
        for (token, state) in self.tables.states(reads).await? {
            match (named.contains(&token), row::is_finished(&state)) {
                (true, _) => {}
                (false, true) => rest = Rest::Finished,
                (false, false) => return Ok(Rest::Unfinished),
            }
        }
        Ok(rest)
    }

    fn writes(&self, rows: &[Row]) -> Vec<Write> {
        let known: HashMap<&str, &Row> = rows.iter().map(|row| (row.token.as_str(), row)).collect();
        let table = &self.tables.metadata;
        let write = |target: &Target| match known.get(target.token.as_str()) {
            Some(row) => {
                let is_saved = self.before.saved.contains(&target.token);
                let direction = if is_saved { Direction::Forward } else { Direction::Any };
                target.update(table, row, direction)
            }
            None => {
                let parent = target.parents.iter().find_map(|parent| known.get(parent.as_str()));
                Some(target.insert(table, parent.copied()))
            }
        };
        let mut writes: Vec<_> = self.targets.iter().filter_map(write).collect();
        if !self.forgotten.is_empty() {
            writes.push(Write::Delete { table: table.clone(), keys: self.forgotten.clone() });
        }
        writes
    }
}

#[async_trait]
impl Work for Saving {
    async fn run(&self, reads: &mut dyn Reads) -> Result<Vec<Write>> {
        let key = Keys::These(vec![self.claim.pipeline.clone()]);
        let controls = self.tables.controls(reads, key).await?;
        let control = control::find(&controls, &self.claim)?;
        let rows = self.rows(reads).await?;
        let mut writes = self.writes(&rows);
        let mut after = control.clone();
        after.advance(&self.targets, &self.forgotten, self.rest(reads).await?);
        if after != *control {
            writes.push(after.update(&self.tables.control)?);
        }
        Ok(writes)
    }
}
