//! Moves changes from a source to a sink without losing any.

mod settings;

use rowtide_core::{Error, Result, Shutdown};

pub use settings::{Delivery, OnRejected, Pipeline};

/// When a run ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Only when it is asked to.
    Stopped,
    /// Once every partition has caught up and everything is flushed (`rowtide run --drain`).
    CaughtUp,
}

/// Why a run ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was asked to.
    Stopped,
    /// Every partition has caught up, and everything is flushed.
    CaughtUp,
    /// Every partition has ended for good.
    Finished,
}

/// Runs until stopped, caught up (if asked), finished, or an error that is not `Transient`.
///
/// # Errors
/// Whatever the plugins said that is not `Transient`.
pub async fn run(pipeline: Pipeline, until: Until, shutdown: Shutdown) -> Result<Outcome> {
    pipeline.delivery.validate().map_err(|error| error.under("delivery"))?;
    let _ = (until, shutdown);
    Err(Error::fatal("the engine cannot run yet"))
}
