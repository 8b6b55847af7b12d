//! What ends the servers of a test whose process was killed.

use std::{
    io::Write,
    path::Path,
    process::{Child, Stdio},
};

use crate::{
    Result,
    machine::{place::detached, process::Process},
};

/// Reads on each line the processes there are, and ends the last ones that it heard of, with their
/// groups and children, when its input ends, as it does with the process that writes it, whatever
/// ends that. Then it removes the folders that it is given.
///
/// The name of a process, the second field of its state, may hold blanks and brackets itself.
const SCRIPT: &str = r#"
started() {
    state=$(cat "/proc/$1/stat")
    set -- ${state##*\)}
    echo "${20}"
}
while read -r line; do processes=$line; done
for process in $processes; do
    pid=${process%:*}
    [ "$(started "$pid")" = "${process#*:}" ] || continue
    kill -s KILL -- "-$pid" "$pid" $(cat "/proc/$pid/task/$pid/children")
done
tries=0
until rm -rf -- "$@"; do
    [ "$((tries += 1))" -lt 15 ] || exit
    sleep 1
done
"#;

/// A process that outlives ours for as long as it takes to clean up after it.
#[derive(Debug)]
pub(crate) struct Watchdog {
    child: Child,
}

impl Watchdog {
    /// Watches over the servers that have their data in `folders`.
    pub(crate) fn start(folders: &[&Path]) -> Result<Self> {
        let mut command = detached("sh");
        command.args(["-c", SCRIPT, "watchdog"]).args(folders).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { child: command.spawn()? })
    }

    /// These are the processes to end, and no others.
    pub(crate) fn tell(&self, processes: &[Process]) -> Result {
        let Some(mut input) = self.child.stdin.as_ref() else { return Ok(()) };
        let processes: Vec<_> = processes.iter().map(Process::to_string).collect();
        // In one piece: half a line is not read.
        Ok(input.write_all(format!("{}\n", processes.join(" ")).as_bytes())?)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It cannot be told from here whether it succeeded, nor is there anybody to tell.
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Duration};

    use super::*;
    use crate::machine::process::Condition;

    /// A process, once a watchdog that was told what `tell` makes of it has ended.
    fn watched(tell: impl FnOnce(Process) -> Process) -> (Child, Process) {
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        let watchdog = Watchdog::start(&[folder.path()]).unwrap();
        watchdog.tell(&[tell(process)]).unwrap();
        drop(watchdog);
        assert!(!folder.path().exists());
        (child, process)
    }

    #[test]
    fn a_later_process_of_the_same_number_is_left_alone() {
        let (mut child, process) = watched(|process| process);
        assert!(process.ends_within(Duration::from_secs(60)));
        child.wait().unwrap();
        let earlier = |process: Process| Process { started: process.started - 1, ..process };
        let (mut child, process) = watched(earlier);
        // What is killed is ended soon, if not at once.
        assert!(!process.ends_within(Duration::from_millis(200)));
        assert_eq!(process.condition(), Condition::Running);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
