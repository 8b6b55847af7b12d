use std::{process, sync::Arc, time::Duration};

use jiff::Timestamp;
use rowtide_core::{
    CheckpointStore, CheckpointUpdate, Claim, Owner, PartitionState, Progress, registry,
};

use super::{CheckpointHarness, Storage};
use crate::{
    Verdict, opening,
    scenario::{made, within},
};

/// What a scenario of a checkpoint store works on.
pub(crate) struct CheckpointCase {
    harness: Arc<dyn CheckpointHarness>,
}

/// A storage made for one scenario, and how to open a store on it.
pub(crate) struct World {
    pub(crate) harness: Arc<dyn CheckpointHarness>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) patience: Duration,
}

/// An open store.
pub(crate) struct Store {
    inner: Box<dyn CheckpointStore>,
    patience: Duration,
}

impl CheckpointCase {
    pub(crate) fn new(harness: Arc<dyn CheckpointHarness>) -> Self {
        Self { harness }
    }

    pub(crate) async fn world(&self) -> Verdict<World> {
        let patience = self.harness.patience();
        let storage = made("a storage", self.harness.storage()).await??;
        Ok(World { harness: Arc::clone(&self.harness), storage, patience })
    }
}

impl World {
    /// A partition of that name, delivered up to position `number`.
    pub(crate) fn delivered(&self, id: &str, number: u64) -> PartitionState {
        delivered(&*self.harness, id, number)
    }

    /// Opens a store through the registry, for the pipeline of that name.
    pub(crate) async fn open(&self, pipeline: &str) -> Verdict<Store> {
        Ok(self.try_open(pipeline).await??)
    }

    /// Opens a store whose opening may fail.
    pub(crate) async fn try_open(&self, pipeline: &str) -> Verdict<rowtide_core::Result<Store>> {
        open(self.harness.plugin(), &self.storage.settings(), pipeline, self.patience).await
    }
}

pub(crate) fn delivered(harness: &dyn CheckpointHarness, id: &str, number: u64) -> PartitionState {
    let progress = Progress::Delivered(harness.position(number));
    PartitionState { partition: harness.partition(id), progress }
}

pub(crate) async fn open(
    plugin: &str,
    settings: &str,
    pipeline: &str,
    patience: Duration,
) -> Verdict<rowtide_core::Result<Store>> {
    let factory = registry::checkpoint(plugin, &opening::settings(settings)?)?;
    let context = opening::context(pipeline);
    let opened = within(patience, "the store to open", factory.open(&context)).await?;
    Ok(opened.map(|inner| Store { inner, patience }))
}

impl Store {
    pub(crate) async fn load(
        &self,
        pipeline: &str,
    ) -> Verdict<rowtide_core::Result<Vec<PartitionState>>> {
        let loaded = within(self.patience, "a load", self.inner.load(pipeline)).await?;
        Ok(loaded.map(sorted))
    }

    pub(crate) async fn claim(
        &self,
        pipeline: &str,
        owner: &Owner,
    ) -> Verdict<rowtide_core::Result<Claim>> {
        within(self.patience, "a claim", self.inner.claim(pipeline, owner)).await
    }

    pub(crate) async fn save(
        &self,
        claim: &Claim,
        update: &CheckpointUpdate,
    ) -> Verdict<rowtide_core::Result<()>> {
        within(self.patience, "a save", self.inner.save(claim, update)).await
    }

    /// Claims the pipeline and saves `states`.
    pub(crate) async fn keep(&self, pipeline: &str, states: &[PartitionState]) -> Verdict<Claim> {
        let claim = self.claim(pipeline, &owner("keeper")).await??;
        self.save(&claim, &update(states)).await??;
        Ok(claim)
    }
}

pub(crate) fn owner(host: &str) -> Owner {
    Owner { host: host.to_owned(), process: process::id(), since: Timestamp::UNIX_EPOCH }
}

pub(crate) fn update(states: &[PartitionState]) -> CheckpointUpdate {
    CheckpointUpdate { states: states.to_vec(), forgotten: Vec::new() }
}

/// A store may return the states in any order.
pub(crate) fn sorted(mut states: Vec<PartitionState>) -> Vec<PartitionState> {
    states.sort_by(|left, right| left.partition.id.cmp(&right.partition.id));
    states
}
