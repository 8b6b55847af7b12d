//! What happens to the processes themselves.

use std::{
    sync::MutexGuard,
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;

use super::{
    SCHEMA_CHANGED, World, checkpoint, draw,
    failpoint::{self, Place, Points},
    pause,
};
use crate::{
    Outcome,
    history::{Fate, ProcessEvent, What},
    instance::{Ending, Instance, Opening, end_of_log},
    pipeline::Pipeline,
};

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(150);

/// How long a process may take until it passes a point; not every one does.
const POINT_LIMIT: Duration = Duration::from_secs(12);

/// How long where nothing is wrong.
const CALM_POINT_LIMIT: Duration = Duration::from_secs(6);

/// How long the source may go wrong by itself while one of two processes has to end.
const CALM_AFTER: Duration = Duration::from_secs(20);

/// What a process says that finds the lock of a store taken.
const HELD: &str = "is held by process";

/// What it says of a change that is left out.
const REJECTED: &str = "the sink rejected a change";

/// Longer than `stop_timeout`.
const STOP_LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mishap {
    Kill,
    KillTwice,
    Freeze,
    Terminate,
    TerminateInTrouble,
    Second,
    Damage,
    Absence,
    Migration,
    Point,
    FailingCall,
}

/// What is likely.
const MISHAPS: [(Mishap, u32); 11] = [
    (Mishap::Kill, 30),
    (Mishap::KillTwice, 8),
    (Mishap::Freeze, 8),
    (Mishap::Terminate, 8),
    (Mishap::TerminateInTrouble, 6),
    (Mishap::Second, 8),
    (Mishap::Damage, 8),
    (Mishap::Absence, 4),
    (Mishap::Migration, 6),
    (Mishap::Point, 25),
    (Mishap::FailingCall, 20),
];

/// The processes of a round.
pub(crate) struct Processes<'a> {
    pub(crate) pipeline: &'a Pipeline,
    pub(crate) world: &'a World<'a>,
    pub(crate) instances: Vec<Instance>,
    pub(crate) chance: Rng,
    pub(crate) points: Option<&'a Points>,
    /// Whether one that may have taken over was killed: the first learns of it later.
    pub(crate) had_rival: bool,
}

impl Processes<'_> {
    /// Starts one that is not running.
    pub(crate) fn start(&mut self, index: usize) -> Outcome {
        self.had_rival = false;
        self.note(index, ProcessEvent::Started)?;
        let overlay = self.pipeline.upstream.overlay(None, &mut self.chance);
        self.instances[index].start(overlay.as_slice())
    }

    /// Starts the second build, in which something happens at a place.
    fn start_to(&mut self, index: usize, points: &Points, place: &Place) -> Outcome {
        self.note(index, ProcessEvent::Started)?;
        let overlay = self.pipeline.upstream.overlay(Some(&place.point), &mut self.chance);
        let variables: Vec<_> =
            overlay.into_iter().chain([(failpoint::VARIABLE, place.text())]).collect();
        self.instances[index].start_other(&points.program, &variables)
    }

    /// Starts all that do not run.
    pub(crate) fn start_all(&mut self) -> Outcome {
        for index in 0..self.instances.len() {
            if !self.instances[index].is_running() {
                self.start(index)?;
            }
        }
        Ok(())
    }

    /// How often the log says that a change was refused for good.
    pub(crate) fn rejections(&self) -> Outcome<usize> {
        self.instances[0].program().count(REJECTED)
    }

    fn note(&mut self, index: usize, event: ProcessEvent) -> Outcome {
        let instance = &mut self.instances[index];
        let (number, memory) = (instance.number, instance.memory());
        self.world.history.add(What::Process { instance: number, event, memory })
    }

    /// One mishap after another, until the time is over.
    pub(crate) fn torment(&mut self, end: Instant) -> Outcome {
        let text = self.pipeline.text();
        let has_points = self.points.is_some();
        let has_calls = self.points.is_some_and(|points| points.has_calls(&text));
        while Instant::now() < end {
            let longest = self.chance.u64(50..=4_000);
            self.live(Duration::from_millis(longest), end)?;
            let weight = |(mishap, weight): &(Mishap, u32)| match mishap {
                Mishap::Point if !has_points => 0,
                Mishap::FailingCall if !has_calls => 0,
                _ => *weight,
            };
            let Some(&(mishap, _)) = draw(&MISHAPS, weight, &mut self.chance) else {
                return Ok(());
            };
            let index = self.chance.usize(..self.pipeline.upstream.instances());
            self.suffer(mishap, index)?;
        }
        Ok(())
    }

    /// Lets them live for a while. None may end by itself.
    fn live(&mut self, time: Duration, end: Instant) -> Outcome {
        let until = end.min(Instant::now() + time);
        while Instant::now() < until {
            self.check()?;
            thread::sleep(Duration::from_millis(10));
        }
        self.look()
    }

    pub(crate) fn check(&mut self) -> Outcome {
        for index in 0..self.instances.len() {
            let Some(code) = self.instances[index].ended()? else { continue };
            if !self.is_shut_out(index, code) {
                self.note(index, ProcessEvent::Ended { code })?;
                return Err(format!("instance {index} ended by itself with {code:?}").into());
            }
            self.note(index, ProcessEvent::Refused { code })?;
            self.start(index)?;
        }
        Ok(())
    }

    /// Of two that run, one may be the first to get the source's lock while the other still has
    /// the store's, or the claim.
    fn is_shut_out(&self, index: usize, code: Option<i32>) -> bool {
        let is_held = || end_of_log(&self.instances[index].log()).contains(HELD);
        let (is_remote, has_others) =
            (self.pipeline.store.is_remote(), self.pipeline.upstream.instances() > 1);
        match code {
            Some(4) => is_remote && (has_others || self.had_rival),
            Some(1) => !is_remote && has_others && is_held(),
            _ => false,
        }
    }

    /// Writes down what is saved, and how far the sink is. In this order, so that what is saved
    /// must be in the sink.
    pub(crate) fn look(&mut self) -> Outcome {
        let states = self.instances[0].program().states()?;
        let saved = match &states {
            Some(states) => self.pipeline.upstream.places(states)?,
            None => Vec::new(),
        };
        let forgotten = self.pipeline.upstream.forgotten()?;
        let reached = self.pipeline.downstream.reached()?;
        let mut seen = Vec::new();
        for instance in &mut self.instances {
            for _ in 0..instance.recoveries()? {
                let (number, memory) = (instance.number, instance.memory());
                let event = ProcessEvent::Recovered;
                seen.push(What::Process { instance: number, event, memory });
            }
        }
        if let Some(streams) = reached {
            seen.push(What::Reached { streams });
            seen.extend(
                saved.into_iter().map(|(partition, place)| What::Saved { partition, place }),
            );
            seen.extend(
                forgotten.filter(|steps| !steps.is_empty()).map(|steps| What::Forgotten { steps }),
            );
        }
        self.world.history.add_all(seen)
    }

    fn suffer(&mut self, mishap: Mishap, index: usize) -> Outcome {
        let name = format!("{mishap:?}");
        self.world.history.add(What::FaultBegan { name: name.clone() })?;
        match mishap {
            Mishap::Kill => self.kill(index)?,
            Mishap::KillTwice => {
                self.kill(index)?;
                self.start(index)?;
                pause(&mut self.chance, 0, 300);
                self.kill(index)?;
            }
            Mishap::Freeze => self.freeze(index)?,
            Mishap::Terminate => {
                let world = self.world;
                let quiet = world.quiet();
                self.stop_quietly(index, quiet)?;
            }
            Mishap::TerminateInTrouble => {
                let ending = self.instances[index].terminate(STOP_LIMIT)?;
                self.look()?;
                let Ending { code, .. } = ending;
                self.note_stop(index, code, Fate::Disturbed)?;
            }
            Mishap::Second => self.start_a_second()?,
            Mishap::Damage => self.damage(index)?,
            Mishap::Point => self.kill_at_a_point(index)?,
            Mishap::FailingCall => self.have_a_call_fail(index)?,
            Mishap::Absence => {
                self.kill(index)?;
                pause(&mut self.chance, 1_000, 6_000);
            }
            Mishap::Migration => self.migrate()?,
        }
        if !self.instances[index].is_running() {
            self.start(index)?;
        }
        self.world.history.add(What::FaultEnded { name })
    }

    pub(crate) fn kill(&mut self, index: usize) -> Outcome {
        self.check()?;
        self.instances[index].kill()?;
        self.look()?;
        self.note(index, ProcessEvent::Killed)
    }

    /// Goes on with the second build, which ends where it is told to, or where it is by then.
    fn kill_at_a_point(&mut self, index: usize) -> Outcome {
        let Some(points) = self.points else { return Ok(()) };
        let Some(place) = points.draw(&self.pipeline.text(), &mut self.chance) else {
            return Ok(());
        };
        self.kill(index)?;
        self.end_at(index, &place, POINT_LIMIT)
    }

    /// Goes on with the second build, in which a call fails once.
    fn have_a_call_fail(&mut self, index: usize) -> Outcome {
        let Some(points) = self.points else { return Ok(()) };
        let Some(place) = points.draw_call(&self.pipeline.text(), &mut self.chance) else {
            return Ok(());
        };
        self.kill(index)?;
        self.start_to(index, points, &place)
    }

    /// Where a call can be made to fail, one begins with that.
    pub(crate) fn begin_with_a_failing_call(&mut self) -> Outcome {
        let text = self.pipeline.text();
        if !self.points.is_some_and(|points| points.has_calls(&text)) {
            return Ok(());
        }
        self.kill_all()?;
        self.suffer(Mishap::FailingCall, 0)
    }

    fn kill_all(&mut self) -> Outcome {
        for index in 0..self.instances.len() {
            if self.instances[index].is_running() {
                self.kill(index)?;
            }
        }
        Ok(())
    }

    /// One after another ends at these places, and nothing else is wrong. None runs afterwards.
    pub(crate) fn visit(&mut self, places: &[Place], end: Instant) -> Outcome {
        for place in places {
            if Instant::now() > end {
                break;
            }
            let name = format!("{:?}", Mishap::Point);
            self.world.history.add(What::FaultBegan { name: name.clone() })?;
            self.kill_all()?;
            self.end_at(0, place, CALM_POINT_LIMIT)?;
            self.world.history.add(What::FaultEnded { name })?;
        }
        Ok(())
    }

    /// Starts the second build, which is killed at a place, or where it is after a while.
    fn end_at(&mut self, index: usize, place: &Place, limit: Duration) -> Outcome {
        let Some(points) = self.points else { return Ok(()) };
        points.note_try(place);
        let name = place.text();
        self.start_to(index, points, place)?;
        match self.instances[index].ends_within(limit)? {
            // Signals have no code.
            Some(None) => points.note_kill(place),
            Some(code) if !self.is_shut_out(index, code) => {
                self.note(index, ProcessEvent::Ended { code })?;
                return Err(format!("it ended with {code:?} on its way to `{name}`").into());
            }
            Some(_) => {}
            None => self.instances[index].kill()?,
        }
        self.look()?;
        self.note(index, ProcessEvent::Killed)
    }

    /// For some seconds, and now and then for longer than any time-out.
    fn freeze(&mut self, index: usize) -> Outcome {
        self.check()?;
        self.instances[index].signal("STOP")?;
        let most = if self.chance.u8(..) < 25 { 35_000 } else { 5_000 };
        pause(&mut self.chance, 200, most);
        self.instances[index].signal("CONT")
    }

    /// A stop that nothing disturbs is exact, unless what went wrong before still does.
    fn stop_quietly(&mut self, index: usize, _quiet: MutexGuard<'_, ()>) -> Outcome {
        let Ending { code, is_disturbed } = self.instances[index].terminate(STOP_LIMIT)?;
        self.look()?;
        let is_alone = self.instances.iter().all(|instance| !instance.is_running());
        let is_exact = !is_disturbed && is_alone && self.pipeline.is_exact();
        let fate = if is_exact { Fate::Exact } else { Fate::Disturbed };
        self.note_stop(index, code, fate)
    }

    /// One that is asked to stop may have been shut out before it heard of that.
    fn note_stop(&mut self, index: usize, code: Option<i32>, fate: Fate) -> Outcome {
        let event = match self.is_shut_out(index, code) {
            true => ProcessEvent::Refused { code },
            false => ProcessEvent::Stopped { code, fate },
        };
        self.note(index, event)
    }

    /// Stops all of them when nothing is wrong any more.
    pub(crate) fn stop_all(&mut self) -> Outcome {
        for index in 0..self.instances.len() {
            if self.instances[index].is_running() {
                let world = self.world;
                self.stop_quietly(index, world.quiet())?;
            }
        }
        Ok(())
    }

    /// The source is older than what was delivered: to go on would skip changes.
    pub(crate) fn refuse_the_past(&mut self) -> Outcome {
        let name = "backup restored".to_owned();
        self.world.history.add(What::FaultBegan { name })?;
        self.start(0)?;
        // It is noticed when the source is read, once it says that it runs.
        match self.instances[0].ends_within(PATIENCE)? {
            Some(Some(3)) => Ok(()),
            other => Err(format!("a restored backup is not noticed: {other:?}").into()),
        }
    }

    /// A second process beside the first: one of them has to go, and spoils nothing.
    fn start_a_second(&mut self) -> Outcome {
        if self.pipeline.upstream.instances() > 1 {
            return Ok(());
        }
        self.check()?;
        let is_zombie = self.pipeline.store.is_remote() && self.chance.bool();
        if is_zombie {
            self.instances[0].signal("STOP")?;
        }
        let second = self.instances.len();
        let instance = self.instances[0].beside(second);
        self.instances.push(instance);
        self.start(second)?;
        if is_zombie {
            pause(&mut self.chance, 500, 4_000);
            self.instances[0].signal("CONT")?;
        }
        let gone = self.await_the_end_of_one(second)?;
        self.look()?;
        // What is left goes on under the first number.
        if gone == 0 {
            self.instances.swap(0, second);
        }
        self.instances.truncate(second);
        Ok(())
    }

    /// Which of the two is shut out. Where one only waits, one of the two is killed after a while.
    fn await_the_end_of_one(&mut self, second: usize) -> Outcome<usize> {
        let limit = match self.pipeline.downstream.makes_wait() {
            true => Duration::from_millis(self.chance.u64(1_000..12_000)),
            false => PATIENCE,
        };
        let begin = Instant::now();
        while begin.elapsed() < limit {
            for index in [second, 0] {
                if let Some(code) = self.instances[index].ended()? {
                    self.note(index, ProcessEvent::Refused { code })?;
                    return Ok(index);
                }
            }
            // Who was shut out learns of it with a new position, which must be to be had.
            if begin.elapsed() > CALM_AFTER {
                self.pipeline.upstream.calm();
            }
            thread::sleep(Duration::from_millis(10));
        }
        if !self.pipeline.downstream.makes_wait() {
            return Err(format!("two instances run beside each other for {limit:?}").into());
        }
        let index = [second, 0][self.chance.usize(..2)];
        self.had_rival = true;
        self.instances[index].kill()?;
        self.note(index, ProcessEvent::Killed)?;
        Ok(index)
    }

    /// The schema changes while no process runs, and what is written meanwhile is of both.
    fn migrate(&mut self) -> Outcome {
        self.kill_all()?;
        let world = self.world;
        {
            let _quiet = world.quiet();
            for _ in 0..self.chance.u8(1..4) {
                world.suffer(SCHEMA_CHANGED, &mut self.chance)?;
                pause(&mut self.chance, 0, 300);
            }
        }
        self.start_all()
    }

    /// Damages the checkpoint while nothing runs: it is noticed, or does no harm.
    fn damage(&mut self, index: usize) -> Outcome {
        let files = self.pipeline.store.files();
        if files.is_empty() {
            return Ok(());
        }
        let all: Vec<_> = (0..self.instances.len()).collect();
        all.iter().try_for_each(|index| self.kill(*index))?;
        let copy = checkpoint::Copy::take(&files)?;
        let what = checkpoint::damage(&files, &mut self.chance)?;
        self.start(index)?;
        match self.instances[index].opens_within(PATIENCE)? {
            Opening::Ended(Some(1 | 3)) => {
                self.note(index, ProcessEvent::Refused { code: Some(1) })?;
                copy.put_back()?;
            }
            Opening::Ended(code) => {
                self.note(index, ProcessEvent::Ended { code })?;
                return Err(format!("it ended with {code:?} after {what}").into());
            }
            // It did no harm, which all other rules look after.
            Opening::Running => {}
            Opening::Neither => return Err(format!("it did not start after {what}").into()),
        }
        self.start_all()
    }
}
