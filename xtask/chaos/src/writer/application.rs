use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use crate::{Outcome, pipeline::Writer};

/// A thread that writes until it is stopped.
pub(crate) struct Application {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Outcome>>,
}

impl Application {
    /// What is run returns once the flag is set.
    pub(crate) fn start(run: impl FnOnce(&AtomicBool) -> Outcome + Send + 'static) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let flag = stop.clone();
        Self { stop, thread: Some(thread::spawn(move || run(&flag))) }
    }
}

impl Writer for Application {
    fn stop(mut self: Box<Self>) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().ok_or("it was stopped before")?;
        thread.join().map_err(|_| "a panic of the application")?
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
