//! A process that was started earlier, by another run of this program.

use std::{
    fmt, fs,
    path::Path,
    process::Command,
    str::SplitWhitespace,
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::command::check;
use crate::Result;

/// How long a condition is left alone before it is looked at again.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

const FREEZE_LIMIT: Duration = Duration::from_secs(30);

/// A process, told from a later one of the same number by when it was started.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// In ticks of the kernel since the machine was started.
    pub(crate) started: u64,
}

/// As the watchdog is told of it.
impl fmt::Display for Process {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.pid, self.started)
    }
}

#[derive(Debug, PartialEq)]
pub(crate) enum Condition {
    Running,
    /// Stopped by a signal, until another one.
    Frozen,
    Ended,
}

impl Process {
    /// The process of this number; `None` if there is none.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        look(pid).map(|(_, process)| process)
    }

    pub(crate) fn condition(&self) -> Condition {
        match look(self.pid).filter(|(_, process)| process == self) {
            // It has ended; only nobody has asked how.
            Some(('Z' | 'X', _)) | None => Condition::Ended,
            Some(('T' | 't', _)) => Condition::Frozen,
            Some(_) => Condition::Running,
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.condition() == Condition::Running
    }

    /// Sends a signal, unless the process has ended.
    pub(crate) fn signal(&self, name: &str) -> Result {
        if self.condition() == Condition::Ended {
            return Ok(());
        }
        let sent = check(Command::new("kill").args(["-s", name, &self.pid.to_string()]));
        // It may end between the look and the signal.
        if self.condition() == Condition::Ended { Ok(()) } else { sent }
    }

    /// Sends a signal to it and to the processes that it has started, as PostgreSQL does for each
    /// connection.
    pub(crate) fn signal_family(&self, name: &str) -> Result {
        self.signal(name)?;
        self.children().iter().try_for_each(|child| child.signal(name))
    }

    /// Stops it and the processes that it has started. Nothing of them moves when this returns: the
    /// signal wakes one thread, and until that one is given a processor the others go on.
    pub(crate) fn freeze_family(&self) -> Result {
        self.freeze()?;
        self.children().iter().try_for_each(Self::freeze)
    }

    fn freeze(&self) -> Result {
        self.signal("STOP")?;
        let begin = Instant::now();
        while !self.is_still() {
            if begin.elapsed() > FREEZE_LIMIT {
                return Err(format!("process {} does not stop", self.pid).into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether no thread of it runs, or will before it goes on. One that waits for the disk stops
    /// once it has waited.
    fn is_still(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid)).into_iter().flatten();
        let states = threads.flatten().filter_map(|thread| state(&thread.path().join("stat")));
        self.condition() != Condition::Running
            && states.into_iter().all(|state| "TtDZX".contains(state))
    }

    /// The processes that it has started.
    pub(crate) fn children(&self) -> Vec<Self> {
        let path = format!("/proc/{0}/task/{0}/children", self.pid);
        let children = fs::read_to_string(path).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        children.filter_map(Self::of).collect()
    }

    /// Waits for its end, and says whether that came within `limit`.
    pub(crate) fn ends_within(&self, limit: Duration) -> bool {
        let begin = Instant::now();
        while self.condition() != Condition::Ended {
            if begin.elapsed() > limit {
                return false;
            }
            thread::sleep(PAUSE);
        }
        true
    }
}

/// The state of the process of this number.
fn look(pid: u32) -> Option<(char, Process)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = fields(&text)?;
    let state = fields.next()?.chars().next()?;
    let threads: u32 = fields.nth(16)?.parse().ok()?;
    let process = Process { pid, started: fields.nth(1)?.parse().ok()? };
    // While other threads end, files and ports are still held.
    Some((if state == 'Z' && threads > 1 { 'R' } else { state }, process))
}

/// The state of a thread.
fn state(file: &Path) -> Option<char> {
    let text = fs::read_to_string(file).ok()?;
    fields(&text)?.next()?.chars().next()
}

/// What follows the second field, which is a name in brackets and may hold blanks and brackets
/// itself.
fn fields(text: &str) -> Option<SplitWhitespace<'_>> {
    text.rsplit_once(')').map(|(_, fields)| fields.split_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_frozen_woken_and_ended() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        assert_eq!(process.condition(), Condition::Running);
        process.freeze_family().unwrap();
        assert_eq!(process.condition(), Condition::Frozen);
        process.signal("CONT").unwrap();
        process.signal("KILL").unwrap();
        // Not waited for yet: what is left of it counts as ended.
        assert!(process.ends_within(Duration::from_secs(60)));
        child.wait().unwrap();
        assert_eq!(process.condition(), Condition::Ended);
        process.signal("TERM").unwrap();
    }

    #[test]
    fn another_process_of_the_same_number_is_left_alone() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        let earlier = Process { started: process.started - 1, ..process };
        assert_eq!(earlier.condition(), Condition::Ended);
        earlier.signal("KILL").unwrap();
        assert_eq!(process.condition(), Condition::Running);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
