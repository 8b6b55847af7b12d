use std::{
    fmt,
    future::{Future, poll_fn},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use futures_util::{FutureExt, future::BoxFuture, future::Shared, task::AtomicWaker};

/// What a plugin is told when it is opened.
#[derive(Clone, Debug)]
pub struct Context {
    pipeline: Arc<str>,
    shutdown: Shutdown,
    waited_for_lock: Arc<AtomicBool>,
    lock: Arc<Lock>,
}

/// What became of the lock that a source holds.
#[derive(Debug, Default)]
struct Lock {
    is_lost: AtomicBool,
    engine: AtomicWaker,
}

/// Resolves once the pipeline is asked to stop. Clones wait for the same signal.
#[derive(Clone)]
pub struct Shutdown(Shared<BoxFuture<'static, ()>>);

impl Context {
    /// Makes the context of an opening for the pipeline of that name.
    pub fn new(pipeline: impl Into<Arc<str>>, shutdown: Shutdown) -> Self {
        let (waited_for_lock, lock) = (Arc::default(), Arc::default());
        Self { pipeline: pipeline.into(), shutdown, waited_for_lock, lock }
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

    /// Notes that a source has lost the lock that it took in this `open`, so that another process
    /// may be running the pipeline by now. The engine drops at once what is in flight, without a
    /// flush, and opens both ends anew.
    pub fn note_lock_lost(&self) {
        self.lock.is_lost.store(true, Ordering::Release);
        self.lock.engine.wake();
    }

    /// Returns once [`note_lock_lost`](Self::note_lock_lost) was called on this context. Only one
    /// task at a time may wait for it: the engine's.
    pub async fn lock_lost(&self) {
        poll_fn(|context| {
            self.lock.engine.register(context.waker());
            match self.lock.is_lost.load(Ordering::Acquire) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
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
