use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rowtide_core::{Error, Result};
use tokio::{sync::Notify, time::Instant};

use crate::{
    durable::Durable,
    plan::{Dice, Plan},
};

/// How long a stop waits at most for a position.
const PATIENCE: Duration = Duration::from_secs(2);

/// All that outlives a process, and the checkers that watch over it.
#[derive(Clone)]
pub struct World {
    state: Arc<Mutex<State>>,
    crash: Arc<Notify>,
    stop: Arc<Notify>,
}

pub struct State {
    pub plan: Plan,
    pub durable: Durable,
    pub violations: Vec<String>,
    pub processes: BTreeMap<usize, Process>,
    pub steps: u64,
    dice: Dice,
    life: Life,
    crashed: bool,
    started: Option<Instant>,
    stopped: Option<Instant>,
    /// How long the stop took that this life has come to.
    stop_took: Option<Duration>,
    time: Duration,
}

/// What a life of the process is to suffer.
#[derive(Clone, Debug, Default)]
pub struct Life {
    pub crash_at: Option<u64>,
    pub stop_at: Option<u64>,
    /// One call in so many fails; none if `None`.
    pub faults: Option<u64>,
    pub slow: bool,
}

/// What one process, or one session of it, has done.
#[derive(Debug, Default)]
pub struct Process {
    pub claimed: bool,
    pub waited_for_lock: bool,
    pub lost: bool,
    /// Since both ends were opened: the claim was proven.
    pub proven: bool,
    pub has_read: bool,
    pub acknowledgement_failed: bool,
    pub proven_at: Duration,
    pub held: usize,
    pub unflushed: usize,
    /// The rows that an accepted position covers.
    pub covered: BTreeMap<String, usize>,
    /// How many rows of each partition are downstream, from what it has written last.
    pub written: BTreeMap<String, usize>,
}

impl World {
    pub fn new(seed: u64, plan: Plan) -> Self {
        let state = State {
            durable: Durable::new(&plan),
            plan,
            violations: Vec::new(),
            processes: BTreeMap::new(),
            steps: 0,
            dice: Dice(seed ^ 0x5eed),
            life: Life::default(),
            crashed: false,
            started: None,
            stopped: None,
            stop_took: None,
            time: Duration::ZERO,
        };
        Self { state: Arc::new(Mutex::new(state)), crash: Arc::default(), stop: Arc::default() }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins another life, in a runtime of its own.
    pub fn begin(&mut self, life: Life) {
        (self.crash, self.stop) = (Arc::default(), Arc::default());
        let mut state = self.state();
        state.time = state.now();
        state.started = Some(Instant::now());
        state.processes.clear();
        (state.life, state.crashed, state.steps) = (life, false, 0);
        (state.stopped, state.stop_took) = (None, None);
    }

    /// Notes, in the time of this life, that its process has ended by itself.
    pub fn note_end(&self) {
        let mut state = self.state();
        state.stop_took = state.stopped.map(|stopped| stopped.elapsed());
    }

    /// Ends a life, whose runtime is about to go.
    pub fn end(&self) {
        let mut state = self.state();
        state.time = state.now();
        state.started = None;
    }

    pub async fn crashed(&self) {
        self.crash.notified().await;
    }

    pub async fn stop_signal(&self) {
        self.stop.notified().await;
    }

    /// A place where time passes, the process dies, or the machine sleeps.
    pub async fn step(&self) {
        self.step_of(40).await;
    }

    /// A step of the sink, which is the slow one in some lives: then much is read ahead.
    pub async fn sink_step(&self) {
        let slow = self.state().life.slow;
        self.step_of(if slow { 2 } else { 40 }).await;
    }

    /// Takes long once in `rarity` times.
    async fn step_of(&self, rarity: u64) {
        let pause = {
            let mut state = self.state();
            state.steps += 1;
            let steps = Some(state.steps);
            if state.life.crash_at == steps {
                state.crashed = true;
                self.crash.notify_one();
            }
            if state.life.stop_at == steps {
                state.stopped = Some(Instant::now());
                self.stop.notify_one();
            }
            if state.crashed { None } else { Some(state.pause(rarity)) }
        };
        match pause {
            None => std::future::pending().await,
            Some(Duration::ZERO) => tokio::task::yield_now().await,
            Some(pause) => tokio::time::sleep(pause).await,
        }
        if self.state().crashed {
            std::future::pending::<()>().await;
        }
    }

    /// Fails now and then, with an error of any kind, but mostly one that passes.
    pub fn fault(&self, what: &str) -> Result<()> {
        let mut state = self.state();
        let Some(rate) = state.life.faults else { return Ok(()) };
        if !state.dice.one_in(rate) {
            return Ok(());
        }
        let message = format!("injected: {what}");
        Err(match state.dice.below(40) {
            0 => Error::fatal(message),
            1 => Error::config(message),
            2 => Error::position_lost(message),
            _ => Error::transient(message),
        })
    }

    /// Whether something rare happens now; never in a life without faults.
    pub fn rarely(&self) -> bool {
        let mut state = self.state();
        state.life.faults.is_some() && state.dice.one_in(20)
    }

    pub fn now(&self) -> Duration {
        self.state().now()
    }
}

impl State {
    /// A clean stop has come to its end. Unless it was too long for that, all is settled that was
    /// written; otherwise what came with a position.
    pub fn settle(&mut self) {
        let is_long = self.stop_took.is_none_or(|took| took >= PATIENCE);
        let process = self.process(0);
        let rows = if is_long { &mut process.covered } else { &mut process.written };
        let rows = std::mem::take(rows);
        self.durable.settled.extend(rows);
    }

    pub fn now(&self) -> Duration {
        self.time + self.started.map_or(Duration::ZERO, |started| started.elapsed())
    }

    fn pause(&mut self, rarity: u64) -> Duration {
        match self.dice.below(rarity) {
            0 => Duration::from_millis(self.dice.below(1_500)),
            1 | 2 => Duration::from_millis(self.dice.below(20)),
            3 => {
                // The machine sleeps: its clock goes on, and no timer does.
                self.time += Duration::from_secs(self.dice.below(3));
                Duration::ZERO
            }
            _ => Duration::ZERO,
        }
    }

    pub fn dice(&mut self) -> &mut Dice {
        &mut self.dice
    }

    pub fn violate(&mut self, invariant: u8, what: impl Into<String>) {
        self.violations.push(format!("invariant {invariant}: {}", what.into()));
    }

    pub fn check(&mut self, holds: bool, invariant: u8, what: impl FnOnce() -> String) {
        if !holds {
            self.violate(invariant, what());
        }
    }

    pub fn process(&mut self, id: usize) -> &mut Process {
        self.processes.entry(id).or_default()
    }
}
