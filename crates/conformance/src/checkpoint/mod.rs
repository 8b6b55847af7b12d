//! What every checkpoint store must do.

mod case;
mod claims;
mod damage;
mod killing;
mod saving;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use rowtide_core::{Error, Partition, Position, Result};

use crate::{Capability, Waiver, scenario::Scenario};

pub(crate) use case::CheckpointCase;
pub(crate) use killing::save_until_killed;

/// How the suite gets at what a checkpoint store stores.
#[async_trait]
pub trait CheckpointHarness: Send + Sync {
    /// What a pipeline file says as `type`.
    fn plugin(&self) -> &str;

    /// What neither the storage nor the test can do, each with the reason, which is shown.
    fn lacks(&self) -> Vec<(Capability, &'static str)> {
        Vec::new()
    }

    /// The scenarios that are known to fail.
    fn waivers(&self) -> Vec<Waiver> {
        Vec::new()
    }

    /// How long a scenario waits for something that must happen.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// A partition of that name, for a store that takes those of one source only.
    fn partition(&self, id: &str) -> Partition {
        Partition::new(id)
    }

    /// A position that is the later the greater `number` is, for such a store.
    fn position(&self, number: u64) -> Position {
        Position::from_text(&number.to_string())
    }

    /// A position that is hard to keep, with everything that one can have, for such a store.
    fn hard_position(&self) -> Position {
        let time = jiff::Timestamp::new(1_700_000_000, 123_456_789).unwrap_or_default();
        let text = r#"{"at":"é \" \\ \u0000","n":18446744073709551615}"#;
        Position::from_text(text).as_of(time)
    }

    /// Makes a storage for one scenario, in which nothing is saved. Dropping it must remove it.
    async fn storage(&self) -> Result<Arc<dyn Storage>>;
}

/// Where a checkpoint store keeps what is saved.
#[async_trait]
pub trait Storage: Send + Sync {
    /// The settings a user would write for a store in this storage, as TOML, without `type`.
    fn settings(&self) -> String;

    /// Everything that is stored, in pieces that can be damaged one at a time: a file, or a field
    /// of a row. Called while no store is open.
    async fn stored(&self) -> Result<Vec<Vec<u8>>> {
        Err(Error::fatal("this storage cannot be read; the harness must say that it lacks Damage"))
    }

    /// Replaces one of the pieces of [`stored`](Self::stored). Called while no store is open.
    async fn overwrite(&self, piece: usize, bytes: &[u8]) -> Result<()> {
        let _ = (piece, bytes);
        Err(Error::fatal(
            "this storage cannot be damaged; the harness must say that it lacks Damage",
        ))
    }
}

pub(crate) fn scenarios() -> Vec<Scenario<CheckpointCase>> {
    [saving::scenarios(), claims::scenarios(), damage::scenarios(), killing::scenarios()]
        .into_iter()
        .flatten()
        .collect()
}
