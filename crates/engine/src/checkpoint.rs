use std::time::Duration;

use rowtide_core::{CheckpointStore, CheckpointUpdate, Claim, Error, PartitionState, Result};

use crate::{
    environment::{Environment, owner},
    mutant::{self, Mutant},
};

/// How long a proof of the claim is good for.
const PROOF: Duration = Duration::from_secs(1);
/// How often a proof is asked for that is old by the time it arrives. Then the store is slow, and
/// not the machine asleep.
const ATTEMPTS: u32 = 3;

/// The checkpoint of a pipeline, and the claim to save it.
pub(crate) struct Checkpoint {
    store: Box<dyn CheckpointStore>,
    pipeline: String,
    environment: Environment,
    claim: Option<Claim>,
    proven_at: Duration,
}

/// How the right to save is established when both ends are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Go on under the claim there is, if it holds.
    Prove,
    /// Claim anew: the source waited for its lock, which decides who runs.
    Claim,
}

impl Checkpoint {
    pub(crate) fn new(
        store: Box<dyn CheckpointStore>,
        pipeline: String,
        environment: Environment,
    ) -> Self {
        Self { store, pipeline, environment, claim: None, proven_at: Duration::ZERO }
    }

    // Invariant 10: nothing is saved under a lost claim. A process that was shut out must not shut
    // out its successor in turn, so a recovery proves the claim it has instead of claiming anew.
    pub(crate) async fn enter(&mut self, entry: Entry) -> Result<()> {
        if self.claim.is_some() && entry == Entry::Prove {
            if mutant::active(Mutant::SkipsTheProof) {
                return Ok(());
            }
            if !mutant::active(Mutant::ClaimsAnewOnRecovery) {
                return self.prove().await;
            }
        }
        let asked_at = self.environment.now();
        let claim = self.store.claim(&self.pipeline, &owner()).await.map_err(placed)?;
        self.claim = Some(claim);
        self.proven_at = asked_at;
        Ok(())
    }

    pub(crate) fn is_claimed(&self) -> bool {
        self.claim.is_some()
    }

    /// Proves that the claim holds.
    pub(crate) async fn prove(&mut self) -> Result<()> {
        self.save(&CheckpointUpdate::default()).await
    }

    /// Proves that the claim holds, unless that was done just now.
    // Invariant 10: a process that was frozen must not deliver what its successor has delivered,
    // so the clock counts the time in suspension.
    pub(crate) async fn prove_again(&mut self) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let age = self.environment.now().saturating_sub(self.proven_at);
            if age < PROOF || mutant::active(Mutant::FlushesUnderOldProof) {
                break;
            }
            self.prove().await?;
        }
        Ok(())
    }

    pub(crate) async fn load(&self) -> Result<Vec<PartitionState>> {
        self.store.load(&self.pipeline).await.map_err(placed)
    }

    /// Saves `update`, which proves the claim, too.
    pub(crate) async fn save(&mut self, update: &CheckpointUpdate) -> Result<()> {
        let Some(claim) = &self.claim else { return Err(unclaimed()) };
        // Taken before, since the claim may be lost while the store answers.
        let asked_at = self.environment.now();
        self.store.save(claim, update).await.map_err(placed)?;
        self.proven_at = asked_at;
        Ok(())
    }
}

/// Nothing saved must never look like something saved: it would be acknowledged.
fn unclaimed() -> Error {
    Error::fatal("the pipeline is not claimed").help("this is a defect of Rowtide; report it")
}

/// An open store knows its own settings only, and the user has those of all sections.
fn placed(error: Error) -> Error {
    error.under("checkpoint")
}
