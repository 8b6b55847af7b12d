use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::{FutureExt, future::BoxFuture, future::Shared};

/// What a plugin is told when it is opened.
#[derive(Clone, Debug)]
pub struct Context {
    pipeline: Arc<str>,
    shutdown: Shutdown,
    waited_for_lock: Arc<AtomicBool>,
}

/// Resolves once the pipeline is asked to stop. Clones wait for the same signal.
#[derive(Clone)]
pub struct Shutdown(Shared<BoxFuture<'static, ()>>);

impl Context {
    /// Makes the context of an opening for the pipeline of that name.
    pub fn new(pipeline: impl Into<Arc<str>>, shutdown: Shutdown) -> Self {
        Self { pipeline: pipeline.into(), shutdown, waited_for_lock: Arc::default() }
    }

    /// The name of the pipeline.
    pub fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// The signal to stop; whoever waits in `open` must give up on it.
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Notes that the source waited for its lock in this `open`, as a standby does. Another process
    /// may have run the pipeline meanwhile, so the engine claims the checkpoint anew.
    pub fn note_waited_for_lock(&self) {
        self.waited_for_lock.store(true, Ordering::Release);
    }

    /// Whether [`note_waited_for_lock`](Self::note_waited_for_lock) was called on this context.
    pub fn waited_for_lock(&self) -> bool {
        self.waited_for_lock.load(Ordering::Acquire)
    }
}

impl Shutdown {
    /// A signal that comes when `signal` resolves.
    pub fn new(signal: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(signal.boxed().shared())
    }

    /// A signal that never comes.
    pub fn never() -> Self {
        Self::new(std::future::pending())
    }

    /// Waits for the signal.
    pub async fn requested(&self) {
        self.0.clone().await;
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Shutdown").field(&self.0.peek().is_some()).finish()
    }
}
