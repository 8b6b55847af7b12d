use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{PartitionId, PartitionState, Result};

/// Who runs a pipeline; named in the errors of those that it shuts out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The machine, by its name.
    pub host: String,
    /// The process on that machine, by its number.
    pub process: u32,
    /// When the process claimed the pipeline.
    pub since: Timestamp,
}

/// The right to save a pipeline's checkpoint, until somebody else claims it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The pipeline that is claimed.
    pub pipeline: String,
    /// Grows with each claim of the pipeline.
    pub epoch: u64,
    /// Who claimed it.
    pub owner: Owner,
}

/// What one save changes; partitions that are not named stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointUpdate {
    /// States to add, or to replace by the id of their partition.
    pub states: Vec<PartitionState>,
    /// Partitions to remove. A store applies them after `states`.
    pub forgotten: Vec<PartitionId>,
}

/// Keeps the positions of pipelines.
///
/// Positions are opaque, so no store can compare them: a [`Claim`] with a growing epoch is what
/// keeps an old process from overwriting a newer one. A store on a local file must also hold an
/// operating-system lock for the pipeline, from [`claim`](Self::claim) until it is dropped.
/// So it is opened once a run and stays open through recoveries: after an error its next call must
/// regain by itself what was lost, such as a connection.
#[async_trait]
pub trait CheckpointStore: Send + Sync {
    /// What was last saved; empty for a pipeline never seen. Changes nothing and needs no claim.
    ///
    /// # Errors
    /// Damage must be `Fatal`, never an empty answer: that would start from the beginning.
    async fn load(&self, pipeline: &str) -> Result<Vec<PartitionState>>;

    /// Takes the pipeline over: [`save`](Self::save) under any older claim fails from now on.
    ///
    /// # Errors
    /// `Fatal` if a running process holds the pipeline and the store can tell; it must name it.
    async fn claim(&self, pipeline: &str, owner: &Owner) -> Result<Claim>;

    /// Saves all of `update` or nothing, durably. An empty update proves that the claim holds.
    ///
    /// # Errors
    /// [`Error::claim_lost`](crate::Error::claim_lost) once the pipeline was claimed again.
    async fn save(&self, claim: &Claim, update: &CheckpointUpdate) -> Result<()>;
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "process {} on {}, since {}", self.process, self.host, self.since)
    }
}
