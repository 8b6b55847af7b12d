use rowtide_core::{Context, Error, Result};

use crate::mutant::{self, Mutant};

/// What `future` comes to, which is given up once the lock of the source is lost: whoever has it now
/// may be delivering what is newer, and a sink that is dropped delivers nothing more.
pub(crate) async fn unless_lock_lost<T>(
    context: &Context,
    future: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        biased;
        () = lock_lost(context) => Err(without_lock()),
        outcome = future => outcome,
    }
}

/// Resolves once the source has lost its lock.
pub(crate) async fn lock_lost(context: &Context) {
    if mutant::active(Mutant::ForgetsALostLock) {
        return std::future::pending().await;
    }
    context.lock_lost().await;
}

pub(crate) fn without_lock() -> Error {
    Error::transient("the source has lost its lock, and what was in flight is dropped")
}
