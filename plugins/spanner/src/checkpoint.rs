//! Positions in a metadata table as Apache Beam's connector keeps it, and with it Dataflow, spream
//! and screamer.
//!
//! A row is a partition. The columns are theirs, and so what a row says must make sense to them: a
//! position is cut down to its time. What has no column there is in the control table beside.

mod config;
mod control;
mod row;
mod saving;
mod tables;
mod tree;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rowtide_core::{
    CheckpointStore, CheckpointUpdate, Claim, Error, Owner, PartitionState, Progress, Result,
    async_trait,
};
use rowtide_failpoint::reach;
use tokio::time::timeout;

use crate::client::Client;
use saving::{Before, Claiming, Saving};
use tables::Tables;

pub(crate) struct SpannerCheckpoint {
    client: Arc<dyn Client>,
    tables: Arc<Tables>,
    /// How long to wait for an answer.
    patience: Duration,
    session: Mutex<Session>,
}

/// What has been saved under a claim: from then on it does not go back.
#[derive(Default)]
struct Session {
    epoch: u64,
    /// Whether each of these partitions has ended, as far as is known.
    saved: HashMap<String, bool>,
}

impl SpannerCheckpoint {
    pub(crate) fn new(client: Arc<dyn Client>, tables: Tables, patience: Duration) -> Self {
        Self { client, tables: Arc::new(tables), patience, session: Mutex::default() }
    }

    async fn within<T>(&self, doing: impl Future<Output = Result<T>>) -> Result<T> {
        timeout(self.patience, doing).await.unwrap_or_else(|_| {
            let message = format!("no answer about {} in {:?}", self.tables, self.patience);
            Err(Error::transient(message))
        })
    }

    /// What was saved under this claim before.
    fn before(&self, claim: &Claim, update: &CheckpointUpdate) -> Before {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if session.epoch != claim.epoch {
            *session = Session { epoch: claim.epoch, ..Session::default() };
        }
        let names = update.states.iter().map(|state| state.partition.id.as_str());
        let named: HashSet<_> = names.filter(|name| session.saved.contains_key(*name)).collect();
        let forgotten: HashSet<_> = update.forgotten.iter().map(|id| id.as_str()).collect();
        let is_unfinished = session.saved.iter().any(|(name, has_ended)| {
            !has_ended && !named.contains(name.as_str()) && !forgotten.contains(name.as_str())
        });
        Before { saved: named.into_iter().map(str::to_owned).collect(), is_unfinished }
    }

    fn note_saved(&self, claim: &Claim, update: &CheckpointUpdate) {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if session.epoch != claim.epoch {
            return;
        }
        let saved = update
            .states
            .iter()
            .map(|state| (state.partition.id.as_str().to_owned(), state.progress.is_finished()));
        session.saved.extend(saved);
        for id in &update.forgotten {
            session.saved.remove(id.as_str());
        }
    }

    /// Whether it was saved is not known, so that no partition is known not to have ended.
    fn note_failed(&self) {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.saved.values_mut().for_each(|has_ended| *has_ended = true);
    }

    /// Saves what fits in one transaction.
    async fn save_part(&self, claim: &Claim, part: &CheckpointUpdate) -> Result<()> {
        let before = self.before(claim, part);
        let saving = Saving::new(Arc::clone(&self.tables), claim.clone(), part, before)?;
        let saved = self.within(async {
            reach!("spanner checkpoint: not saved yet");
            let saved = self.client.transact(Arc::new(saving)).await;
            saved.map_err(|failure| self.tables.error(failure))?
        });
        match saved.await {
            Ok(()) => {
                reach!("spanner checkpoint: saved, not noted");
                self.note_saved(claim, part);
            }
            Err(error) => {
                self.note_failed();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Proves that the claim holds, without a lock.
    async fn prove(&self, claim: &Claim) -> Result<()> {
        let at = self.tables.now(&*self.client).await?;
        let controls = self.tables.controls_at(&*self.client, at).await?;
        control::find(&controls, claim).map(drop)
    }
}

#[async_trait]
impl CheckpointStore for SpannerCheckpoint {
    async fn load(&self, pipeline: &str) -> Result<Vec<PartitionState>> {
        self.within(async {
            let at = self.tables.now(&*self.client).await?;
            let controls = self.tables.controls_at(&*self.client, at).await?;
            let control = controls.iter().find(|control| control.pipeline == pipeline);
            if control.is_none() && !controls.is_empty() {
                // The table is another pipeline's, of which this one must not tell.
                return Ok(Vec::new());
            }
            let rows = self.tables.rows_at(&*self.client, at).await?;
            tree::states(rows, control)
        })
        .await
    }

    async fn claim(&self, pipeline: &str, owner: &Owner) -> Result<Claim> {
        let claiming = Claiming::new(Arc::clone(&self.tables), pipeline.to_owned(), owner.clone());
        let claiming = Arc::new(claiming);
        self.within(async {
            let claimed = self.client.transact(Arc::clone(&claiming) as _).await;
            claimed.map_err(|failure| self.tables.error(failure))?
        })
        .await?;
        Ok(Claim { pipeline: pipeline.to_owned(), epoch: claiming.epoch(), owner: owner.clone() })
    }

    async fn save(&self, claim: &Claim, update: &CheckpointUpdate) -> Result<()> {
        if update.states.is_empty() && update.forgotten.is_empty() {
            return self.within(self.prove(claim)).await;
        }
        for part in parts(update) {
            self.save_part(claim, &part).await?;
        }
        Ok(())
    }
}

/// How many rows one transaction writes at most: Spanner takes 80,000 values in one, those of
/// indexes included.
const ROWS_MAX: usize = 2_500;

/// An update, divided where it is too large for one transaction. Each part holds by itself if the
/// next is never saved: a partition is there before its parent has ended, and has begun before its
/// parent is forgotten.
fn parts(update: &CheckpointUpdate) -> Vec<CheckpointUpdate> {
    let forgotten: HashSet<_> = update.forgotten.iter().collect();
    let kept = update.states.iter().filter(|state| !forgotten.contains(&state.partition.id));
    let (waiting, begun): (Vec<_>, Vec<_>) =
        kept.cloned().partition(|state| state.progress == Progress::Waiting);
    let states = [waiting, begun].concat();
    let part = |states: &[PartitionState]| CheckpointUpdate {
        states: states.to_vec(),
        forgotten: Vec::new(),
    };
    let mut parts: Vec<_> = states.chunks(ROWS_MAX).map(part).collect();
    if parts.is_empty() {
        parts.push(CheckpointUpdate::default());
    }
    if let Some(last) = parts.last_mut() {
        last.forgotten = update.forgotten.clone();
    }
    parts
}

#[cfg(test)]
mod tests {
    use rowtide_core::{Partition, PartitionId, Position};

    use super::*;

    #[test]
    fn a_large_update_is_saved_in_parts_that_hold_by_themselves() {
        let state = |number: usize| {
            let progress = match number % 3 {
                0 => Progress::Waiting,
                1 => Progress::Finished(None),
                _ => Progress::Delivered(Position::from_text("1")),
            };
            PartitionState { partition: Partition::new(format!("{number:04}")), progress }
        };
        let states: Vec<_> = (0..9_000).map(state).collect();
        let forgotten = vec![PartitionId::new("0001"), PartitionId::new("gone")];
        let update = CheckpointUpdate { states, forgotten: forgotten.clone() };
        let parts = parts(&update);
        assert!(parts.iter().all(|part| part.states.len() <= ROWS_MAX));
        let saved: Vec<_> = parts.iter().flat_map(|part| &part.states).collect();
        assert_eq!((parts.len(), saved.len()), (4, 8_999), "one is forgotten at once");
        let waiting = saved.iter().take_while(|state| state.progress == Progress::Waiting).count();
        assert_eq!(waiting, 3_000, "those that are new come first");
        let forgets: Vec<_> = parts.into_iter().map(|part| part.forgotten).collect();
        assert_eq!(forgets, [vec![], vec![], vec![], forgotten]);
    }

    #[test]
    fn what_only_forgets_is_one_part() {
        let forgotten = vec![PartitionId::new("gone")];
        let update = CheckpointUpdate { states: Vec::new(), forgotten };
        assert_eq!(parts(&update), [update]);
    }
}
