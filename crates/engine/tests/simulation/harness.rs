use std::time::Duration;

use rowtide_core::{
    Error, ErrorKind, Result, Shutdown,
    settings::{ByteSize, Period},
};
use rowtide_engine::{
    Delivery, OnRejected, Outcome, Pipeline, Until,
    simulation::{Environment, Mutant, activate, run_in},
};

use crate::{
    durable::is_injected,
    plan::{Dice, Plan, Planned},
    plugins::Opener,
    world::{Life, World},
};

/// How often a seed's process dies before it is left alone.
const LIVES: u64 = 20;

/// What a simulation has seen; counted, so that none passes because nothing happened.
#[derive(Debug, Default)]
pub struct Report {
    pub crashes: u64,
    pub stops: u64,
    pub errors: u64,
    pub rejections: u64,
    pub clean_stops: u64,
    pub rows: usize,
    pub duplicates: u64,
    pub saves: u64,
}

enum Ended {
    Crashed,
    Run(Result<Outcome>),
    /// Not within an hour.
    Hung,
}

/// Runs the engine through several lives, and then undisturbed. Fails with what went wrong.
pub fn simulate(seed: u64, mutant: Option<Mutant>) -> std::result::Result<Report, String> {
    let mut simulation = Simulation::new(seed, mutant);
    for number in 0..LIVES {
        let life = simulation.life(number);
        simulation.live(life)?;
        if simulation.has_delivered_all() {
            break;
        }
    }
    simulation.finish()
}

/// Crashes at one step after another, each time from the beginning, until a life has no more steps.
pub fn crash_at_every_step(seed: u64) -> std::result::Result<u64, String> {
    for step in 1.. {
        let mut simulation = Simulation::new(seed, None);
        simulation.live(Life { crash_at: Some(step), ..Life::default() })?;
        let crashed = simulation.report.crashes > 0;
        simulation.finish().map_err(|error| format!("crash at step {step}: {error}"))?;
        if !crashed {
            return Ok(step - 1);
        }
    }
    Ok(0)
}

struct Simulation {
    dice: Dice,
    world: World,
    report: Report,
}

impl Simulation {
    fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        activate(mutant);
        let world = World::new(seed, Plan::new(seed));
        Self { dice: Dice(seed ^ 0x11fe), world, report: Report::default() }
    }

    fn has_delivered_all(&self) -> bool {
        let state = self.world.state();
        let all = |(id, planned): (&String, &Planned)| {
            state.durable.saved(id) == planned.log.len() || state.durable.ended().contains(id)
        };
        state.plan.partitions.iter().all(all)
    }

    fn life(&mut self, number: u64) -> Life {
        let dice = &mut self.dice;
        let ends = 1 + dice.below(60);
        let stops = number % 3 == 2;
        Life {
            // Some die on their way to the end.
            crash_at: match stops {
                true => dice.one_in(3).then(|| ends + 1 + dice.below(8)),
                false => Some(ends),
            },
            stop_at: stops.then_some(ends),
            faults: dice.pick(&[None, Some(30), Some(100)]),
            slow: dice.one_in(2),
        }
    }

    fn live(&mut self, life: Life) -> std::result::Result<(), String> {
        let (stops, faults) = (life.stop_at.is_some(), life.faults.is_some());
        let slow = life.slow;
        let ended = self.run(life, Duration::from_secs(60));
        self.check()?;
        match ended {
            Ended::Crashed => self.report.crashes += 1,
            Ended::Hung => return Err("invariant 9: no stop within its timeout".into()),
            Ended::Run(Err(error)) if is_injected(&error) => self.report.errors += 1,
            Ended::Run(Err(error)) if self.is_rejection(&error) => self.mend(),
            Ended::Run(Err(error)) => return Err(unexpected(&error)),
            Ended::Run(Ok(outcome)) => {
                self.report.stops += 1;
                let clean = stops && !faults && !slow && outcome == Outcome::Stopped;
                let mut state = self.world.state();
                let unflushed = state.process(0).unflushed;
                if clean && unflushed > 0 {
                    return Err(format!("invariant 9: stopped with {unflushed} rows unflushed"));
                }
                if clean {
                    self.report.clean_stops += 1;
                    state.settle();
                }
            }
        }
        Ok(())
    }

    fn is_rejection(&self, error: &Error) -> bool {
        let stops = self.world.state().plan.stops_on_rejected;
        stops && matches!(error.kind(), ErrorKind::Rejected { .. })
    }

    /// Somebody sees to it that the downstream takes what it has refused.
    fn mend(&mut self) {
        self.report.rejections += 1;
        self.world.state().durable.is_mended = true;
    }

    /// Without faults, everything arrives.
    fn finish(mut self) -> std::result::Result<Report, String> {
        let mut ended = self.run(Life::default(), Duration::from_secs(100_000));
        self.check()?;
        if let Ended::Run(Err(error)) = &ended
            && self.is_rejection(error)
        {
            self.mend();
            ended = self.run(Life::default(), Duration::from_secs(100_000));
            self.check()?;
        }
        let outcome = match ended {
            Ended::Run(Ok(outcome)) => outcome,
            Ended::Run(Err(error)) => return Err(unexpected(&error)),
            Ended::Crashed | Ended::Hung => return Err("no progress without faults".into()),
        };
        let state = self.world.state();
        let expected = if state.plan.endless { Outcome::CaughtUp } else { Outcome::Finished };
        if outcome != expected {
            return Err(format!("ended as {outcome:?} instead of {expected:?}"));
        }
        for (id, planned) in &state.plan.partitions {
            let (all, have) = (planned.rows_before(usize::MAX), state.durable.rows[id]);
            if have != all {
                return Err(format!("loss: {have} of {all} rows of {id} have arrived"));
            }
        }
        if let Some(refused) = state.durable.refused.first() {
            return Err(format!("loss: {refused:?} was refused and not delivered again"));
        }
        self.report.rows = state.durable.rows.values().sum();
        self.report.duplicates = state.durable.duplicates;
        self.report.saves = state.durable.saves;
        drop(state);
        Ok(self.report)
    }

    fn check(&self) -> std::result::Result<(), String> {
        match self.world.state().violations.first() {
            Some(violation) => Err(violation.clone()),
            None => Ok(()),
        }
    }

    /// One life: a runtime of its own, with virtual time, that ends as a process does.
    fn run(&mut self, life: Life, stop_after: Duration) -> Ended {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let ended = runtime.unwrap().block_on(async {
            self.world.begin(life);
            let (world, signals) = (self.world.clone(), self.world.clone());
            let environment = Environment::new(move || world.now(), self.dice.below(u64::MAX));
            let shutdown = Shutdown::new(async move {
                tokio::select! {
                    () = signals.stop_signal() => {}
                    () = tokio::time::sleep(stop_after) => {}
                }
            });
            let pipeline = pipeline(&self.world, 0);
            tokio::select! {
                biased;
                () = self.world.crashed() => Ended::Crashed,
                () = tokio::time::sleep(stop_after + Duration::from_secs(40)) => Ended::Hung,
                result = run_in(environment, pipeline, Until::CaughtUp, shutdown) => {
                    self.world.note_end();
                    Ended::Run(result)
                }
            }
        });
        self.world.end();
        ended
    }
}

/// A pipeline of process `process` in `world`.
pub fn pipeline(world: &World, process: usize) -> Pipeline {
    let opener = || Box::new(Opener { world: world.clone(), process });
    let state = world.state();
    let delivery = Delivery {
        flush_every: Period::from_millis(state.plan.flush_every_ms),
        flush_after: state.plan.flush_after,
        save_every: Period::from_millis(state.plan.save_every_ms),
        on_rejected: match state.plan.stops_on_rejected {
            true => OnRejected::Stop,
            false => OnRejected::Skip,
        },
        stop_timeout: Period::from_secs(30),
        bytes_max: ByteSize(state.plan.bytes_max),
    };
    drop(state);
    Pipeline {
        name: "simulated".into(),
        source: opener(),
        sink: opener(),
        checkpoint: opener(),
        delivery,
    }
}

fn unexpected(error: &Error) -> String {
    format!("ended with {:?}: {error}", error.kind())
}
