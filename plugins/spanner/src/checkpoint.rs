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
    CheckpointStore, CheckpointUpdate, Claim, Error, Owner, PartitionState, Result, async_trait,
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
        let is_forgotten = |name: &str| update.forgotten.iter().any(|id| id.as_str() == name);
        let mut others = session.saved.iter().filter(|(name, _)| !named.contains(name.as_str()));
        let is_unfinished = others.any(|(name, has_ended)| !has_ended && !is_forgotten(name));
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
        let before = self.before(claim, update);
        let saving = Saving::new(Arc::clone(&self.tables), claim.clone(), update, before)?;
        let saved = self.within(async {
            reach!("spanner checkpoint: not saved yet");
            let saved = self.client.transact(Arc::new(saving)).await;
            saved.map_err(|failure| self.tables.error(failure))?
        });
        match saved.await {
            Ok(()) => {
                reach!("spanner checkpoint: saved, not noted");
                self.note_saved(claim, update);
            }
            Err(error) => {
                self.note_failed();
                return Err(error);
            }
        }
        Ok(())
    }
}
