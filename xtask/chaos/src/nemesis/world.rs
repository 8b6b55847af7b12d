use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;

use super::{Fault, draw, pause};
use crate::{
    Outcome,
    history::{History, What},
};

/// Everything around the processes: servers, network, disk, clock, and who else uses the database.
pub(crate) struct World<'a> {
    pub(crate) faults: Vec<Fault>,
    pub(crate) history: &'a History,
    is_in_trouble: Mutex<()>,
    is_over: AtomicBool,
}

impl<'a> World<'a> {
    pub(crate) fn new(faults: Vec<Fault>, history: &'a History) -> Self {
        Self { faults, history, is_in_trouble: Mutex::new(()), is_over: AtomicBool::new(false) }
    }

    /// One fault after another, after some time without any and until the time is over.
    pub(crate) fn torment(&self, seed: u64, spared: Duration, end: Instant) -> Outcome {
        let mut chance = Rng::with_seed(seed);
        thread::sleep(spared);
        pause(&mut chance, 200, 2_000);
        while Instant::now() < end && !self.is_over.load(Ordering::Relaxed) {
            let Some(fault) = draw(&self.faults, |fault| fault.weight, &mut chance) else { break };
            {
                let _trouble = self.quiet();
                self.meet(fault, &mut chance)?;
            }
            pause(&mut chance, 100, 3_000);
        }
        Ok(())
    }

    /// One of them, by its name, while everything else is quiet.
    pub(crate) fn suffer(&self, name: &str, chance: &mut Rng) -> Outcome {
        let fault = self.faults.iter().find(|fault| fault.name == name);
        self.meet(fault.ok_or_else(|| format!("there is no fault `{name}`"))?, chance)
    }

    fn meet(&self, fault: &Fault, chance: &mut Rng) -> Outcome {
        self.history.add(What::FaultBegan { name: fault.name.clone() })?;
        (fault.run)(chance).map_err(|error| format!("{}: {error}", fault.name))?;
        self.history.add(What::FaultEnded { name: fault.name.clone() })
    }

    /// Makes no more trouble once what is under way is over.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// While this is held, nothing is wrong.
    pub(crate) fn quiet(&self) -> MutexGuard<'_, ()> {
        self.is_in_trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
