//! Moves changes from a source to a sink without losing any.
//!
//! ```text
//! readers (one task per partition) ──one FIFO, bounded by bytes──▶ delivery loop (owns the sink)
//!    1 sink.flush()           durable downstream
//!    2 checkpoints.save()     durable here
//!    3 source.acknowledge()   forgotten upstream
//!    4 start children whose parents are all saved as finished
//! ```
//!
//! To read it from the top: `recovery` opens both ends and starts over after an error, `delivery`
//! is the loop in the picture, `inbox` and `reader` are what feeds it, `partitions` is the tree of
//! what is read, `checkpoint` guards the claim, `span` is what a flush has to cover.
//!
//! # What it deliberately does not do
//!
//! - It does not track single changes: there are no acknowledgements of changes, only the barrier
//!   of a flush that covers everything written before it.
//! - It does not look inside a position, nor compare two of them beyond "is it the same place".
//! - It does not retry a call. After an error it drops what failed and opens it again.
//! - It does not repair, reorder, merge or drop changes. What the sink refuses is left out only
//!   where the user chose `on_rejected = "skip"`.
//! - It does not keep a second process from writing to the sink; it keeps it from saving.
//! - It does not time out a plugin's call, except when the whole run is asked to stop.
//! - It knows no configuration file, no exit code and no log output; the runner does.

mod checkpoint;
mod delivery;
mod drain;
mod environment;
mod inbox;
mod lock;
mod mutant;
mod partitions;
mod pause;
mod reader;
mod recovery;
mod rejection;
mod settings;
mod span;
mod status;
mod watch;

use rowtide_core::{Result, Shutdown};

pub use settings::{Delivery, OnRejected, Pipeline};

use environment::Environment;

/// A run in an environment of the caller's, such as a simulation.
pub mod simulation {
    pub use crate::{environment::Environment, watch::run_in};

    #[cfg(feature = "mutants")]
    pub use crate::mutant::{Mutant, activate};
}

/// When a run ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Only when it is asked to, or when every partition has ended for good.
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

/// Runs `pipeline` until stopped, caught up (if asked), finished, or an error that does not pass by
/// itself. Needs a tokio runtime with time. Dropping the future ends the run like a crash does.
///
/// # Errors
/// `Config`, `PositionLost`, `Rejected` and `Fatal`, as the plugins said; never `Transient`.
pub async fn run(pipeline: Pipeline, until: Until, shutdown: Shutdown) -> Result<Outcome> {
    watch::run_in(Environment::of_this_machine(), pipeline, until, shutdown).await
}
