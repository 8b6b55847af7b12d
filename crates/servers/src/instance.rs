//! One server on this machine, from its first start to its end.

use std::{
    fs::File,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{
    Kind, Result,
    kind::Service,
    machine::{
        place::{self, Place},
        process::{Condition, PAUSE, Process},
    },
};

const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// What a killed server left, a busy child say, may keep the next one from its data for so long.
const LEFTOVER_LIMIT: Duration = Duration::from_secs(15);

/// A server and where it is. While this lives, nobody else starts or stops that server.
pub(crate) struct Instance {
    pub(crate) place: Place,
    service: &'static dyn Service,
    _lock: File,
}

impl Instance {
    pub(crate) fn open(kind: Kind, root: &Path) -> Result<Self> {
        let service = kind.service();
        let lock = place::lock(service, root)?;
        Ok(Self { place: Place::of(service, root)?, service, _lock: lock })
    }

    /// Starts the server unless it runs, and returns once it answers. Says whether it was started.
    pub(crate) fn start(&mut self) -> Result<bool> {
        if let Some(server) = self.running() {
            server.signal("CONT")?;
            self.await_answer()?;
            self.note_serving()?;
            return Ok(false);
        }
        let was_killed = self.place.server().is_some();
        // What ran beside a server that was killed.
        self.stop()?;
        self.place.choose_ports(self.service)?;
        self.place.prepare_once(self.service)?;
        let patience = if was_killed { LEFTOVER_LIMIT } else { Duration::ZERO };
        let ports = self.place.ports.clone();
        if let Err(error) = self.launch_within(patience) {
            // Another server may have been given the same one in the same moment.
            self.place.choose_ports(self.service)?;
            if self.place.ports == ports {
                return Err(error);
            }
            self.launch_within(patience)?;
        }
        Ok(true)
    }

    /// Stops what runs of the server, and starts it with the same data and ports.
    pub(crate) fn restart(&mut self) -> Result {
        self.stop()?;
        self.launch_within(LEFTOVER_LIMIT)
    }

    /// The process that serves, unless it has ended.
    pub(crate) fn running(&self) -> Option<Process> {
        self.place.server().filter(|server| server.condition() != Condition::Ended)
    }

    /// Ends the processes, the server first, and says how many there were.
    pub(crate) fn stop(&mut self) -> Result<usize> {
        self.end(self.service.stop_signal())
    }

    /// Ends the processes without a warning.
    pub(crate) fn kill(&mut self) -> Result<usize> {
        self.end("KILL")
    }

    fn end(&mut self, signal: &str) -> Result<usize> {
        let mut ended = 0;
        for process in self.place.processes.iter().rev() {
            if process.condition() == Condition::Ended {
                continue;
            }
            ended += 1;
            let children = process.children();
            process.signal(signal)?;
            // One that is frozen hears nothing else, nor do its children of its end.
            children.iter().chain([process]).try_for_each(|frozen| frozen.signal("CONT"))?;
            if !process.ends_within(STOP_LIMIT) {
                eprintln!("{}: process {} is killed", self.service.name(), process.pid);
                process.signal("KILL")?;
                process.ends_within(STOP_LIMIT);
            }
        }
        self.place.forget_processes()?;
        Ok(ended)
    }

    /// Tries again for as long as `patience` lasts.
    fn launch_within(&mut self, patience: Duration) -> Result {
        let begin = Instant::now();
        self.service.configure(&self.place)?;
        while let Err(error) = self.launch() {
            let log = self.place.end_of_log();
            self.kill()?;
            if begin.elapsed() >= patience {
                let file = self.place.log();
                return Err(format!("{error}; the end of {}:\n{log}", file.display()).into());
            }
            thread::sleep(PAUSE);
        }
        self.note_serving()
    }

    /// Starts the processes, and returns once the server answers. Each is written down at once, so
    /// that none is left behind unknown.
    fn launch(&mut self) -> Result {
        if let Some((mut companion, port)) = self.service.companion(&self.place)? {
            self.place.launch(&mut companion)?;
            self.await_condition(|_| Ok(place::is_taken(port)))?;
        }
        let mut server = self.service.server(&self.place)?;
        self.place.launch(server.args(&self.place.arguments))?;
        self.await_answer()
    }

    /// Writes down which process serves, once it does.
    fn note_serving(&mut self) -> Result {
        let started = self.place.server().map(|server| server.pid);
        let serving = self.service.serving(&self.place)?.or(started);
        if started != serving {
            self.place.processes.extend(serving.and_then(Process::of));
            self.place.save()?;
        }
        Ok(())
    }

    pub(crate) fn await_answer(&self) -> Result {
        self.await_condition(|place| self.service.answers(place))
    }

    /// Returns once `condition` holds; an error if a process ends before, or time does.
    fn await_condition(&self, condition: impl Fn(&Place) -> Result<bool>) -> Result {
        let begin = Instant::now();
        while !condition(&self.place)? {
            let mut processes = self.place.processes.iter();
            if processes.any(|process| process.condition() == Condition::Ended) {
                return Err("it ended before it answered".into());
            }
            if begin.elapsed() > START_LIMIT {
                return Err(format!("no answer within {} s", START_LIMIT.as_secs()).into());
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }
}
