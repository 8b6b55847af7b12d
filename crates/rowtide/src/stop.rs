//! How pipelines are stopped: by a signal, or by each other.

use std::{process, thread};

use rowtide_core::{Error, Result, Shutdown};
use tokio::{runtime, sync::watch};

/// Asks pipelines to stop.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    requested: watch::Sender<bool>,
}

impl Stop {
    pub(crate) fn new() -> Self {
        Self { requested: watch::Sender::new(false) }
    }

    /// Asks everyone who holds a [`shutdown`](Self::shutdown).
    pub(crate) fn request(&self) {
        self.requested.send_replace(true);
    }

    /// What resolves once [`request`](Self::request) is called.
    pub(crate) fn shutdown(&self) -> Shutdown {
        let mut requested = self.requested.subscribe();
        // An error means that nobody is left who could ask; then it is time to stop as well.
        Shutdown::new(async move {
            let _ = requested.wait_for(|requested| *requested).await;
        })
    }

    /// Stops at the first SIGINT or SIGTERM, and exits the process at the second.
    ///
    /// # Errors
    /// `Fatal` if signals cannot be listened to.
    pub(crate) fn on_signals(&self) -> Result<()> {
        let failed = |error| Error::fatal("failed to listen to signals").because(error);
        // A thread of its own: the second signal counts even when every other thread is stuck.
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let mut signals = {
            let _entered = runtime.enter();
            Signals::listen().map_err(failed)?
        };
        let stop = self.clone();
        let listener = move || {
            runtime.block_on(async {
                let signal = signals.next().await;
                tracing::info!("{} received, stopping; a second signal exits at once", signal.name);
                stop.request();
                process::exit(signals.next().await.exit_code);
            });
        };
        thread::Builder::new().name("signals".to_owned()).spawn(listener).map_err(failed)?;
        Ok(())
    }
}

struct Signal {
    name: &'static str,
    exit_code: i32,
}

const INTERRUPT: Signal = Signal { name: "SIGINT", exit_code: 130 };

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => INTERRUPT,
            _ = self.terminate.recv() => Signal { name: "SIGTERM", exit_code: 143 },
        }
    }
}

#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn next(&mut self) -> Signal {
        self.0.recv().await;
        INTERRUPT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_reaches_every_shutdown() {
        let stop = Stop::new();
        let (early, late) = (stop.shutdown(), stop.shutdown());
        stop.request();
        early.requested().await;
        late.clone().requested().await;
        stop.shutdown().requested().await;
    }
}
