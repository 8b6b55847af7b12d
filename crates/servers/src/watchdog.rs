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
/// ends that.
const SCRIPT: &str = r#"
while read -r line; do processes=$line; done
for process in $processes; do
    kill -s KILL -- "-$process" "$process" $(cat "/proc/$process/task/$process/children")
done
rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }
"#;

/// A process that outlives ours for as long as it takes to clean up after it.
#[derive(Debug)]
pub(crate) struct Watchdog {
    child: Child,
}

impl Watchdog {
    /// Watches over the servers that have their data in `folder`.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let mut command = detached("sh");
        command.args(["-c", SCRIPT, "watchdog"]).arg(folder).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { child: command.spawn()? })
    }

    /// These are the processes to end, and no others.
    pub(crate) fn tell(&mut self, processes: &[Process]) -> Result {
        let Some(input) = &mut self.child.stdin else { return Ok(()) };
        let pids: Vec<_> = processes.iter().map(|process| process.pid.to_string()).collect();
        Ok(writeln!(input, "{}", pids.join(" "))?)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It cannot be told from here whether it succeeded, nor is there anybody to tell.
        let _ = self.child.wait();
    }
}
