use async_trait::async_trait;

use crate::{Change, Result};

/// Where changes go to.
///
/// A sink must classify every error: `Transient` for what passes by itself (the engine opens the
/// sink again and delivers again), `Fatal` for what does not, and `Rejected` for single changes that
/// the downstream will never take. It must not retry by itself beyond what its client does.
///
/// After `Transient` or `Fatal` the engine drops the sink. Nothing of a dropped sink may arrive
/// downstream later: it would arrive behind what its successor writes.
#[async_trait]
pub trait Sink: Send {
    /// Accepts `changes`, in order. They may stay in memory until [`flush`](Self::flush), which the
    /// engine calls before it has accepted more than its bound in bytes.
    ///
    /// # Errors
    /// Never `Rejected`: a sink that learns of one here remembers it until `flush`.
    async fn write(&mut self, changes: &[Change]) -> Result<()>;

    /// Returns once every accepted change is durable downstream.
    ///
    /// # Errors
    /// `Rejected { indexes }` names changes that the downstream refuses, ascending and unique,
    /// counted from the first change written since `flush` last returned `Ok` or `Rejected`. Every
    /// other change of that span must be durable, those before and those after.
    async fn flush(&mut self) -> Result<()>;
}
