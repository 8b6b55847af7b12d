//! What time it is upstream, asked for all readers together.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep_until, timeout},
};

use crate::client::Client;

/// How often the upstream is asked at most, however many partitions begin.
const EVERY: Duration = Duration::from_millis(100);

/// How long to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A partition has caught up with what was committed before it was opened. Any time that the
/// upstream was asked for after that will do, so that one answer is for all that were opened before
/// it was asked.
pub(crate) struct Clock {
    client: Arc<dyn Client>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// When the last question was asked that was answered, and the answer.
    answer: Option<(Instant, Timestamp)>,
    /// When the last question was asked.
    asked: Option<Instant>,
    /// Whoever wants to know was opened then or before.
    wanted: Option<Instant>,
    is_asking: bool,
    task: Option<AbortHandle>,
}

impl Clock {
    pub(crate) fn new(client: Arc<dyn Client>) -> Self {
        Self { client, state: Arc::default() }
    }

    /// A time that no commit before `opened` is after. None as long as it is not known; then it is
    /// asked for.
    pub(crate) fn since(&self, opened: Instant) -> Option<Timestamp> {
        let mut state = lock(&self.state);
        if let Some((_, at)) = state.answer.filter(|(asked, _)| *asked >= opened) {
            return Some(at);
        }
        state.wanted = state.wanted.max(Some(opened));
        if !state.is_asking {
            state.is_asking = true;
            let asking = ask(Arc::clone(&self.client), Arc::clone(&self.state));
            state.task = Some(tokio::spawn(asking).abort_handle());
        }
        None
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        if let Some(task) = &lock(&self.state).task {
            task.abort();
        }
    }
}

/// Asks until everybody knows.
async fn ask(client: Arc<dyn Client>, state: Arc<Mutex<State>>) {
    loop {
        let last = lock(&state).asked;
        sleep_until(last.map_or_else(Instant::now, |last| last + EVERY)).await;
        let asked = Instant::now();
        lock(&state).asked = Some(asked);
        let answer = timeout(PATIENCE, client.now()).await;
        let mut state = lock(&state);
        let Ok(Ok(at)) = answer else {
            // Whoever still wants to know asks again.
            state.is_asking = false;
            return;
        };
        state.answer = Some((asked, at));
        if state.wanted <= Some(asked) {
            state.is_asking = false;
            return;
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
