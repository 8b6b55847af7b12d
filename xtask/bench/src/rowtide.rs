use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::Result;

/// The program that is measured.
pub(crate) struct Rowtide {
    program: PathBuf,
}

/// What a run of it cost.
pub(crate) struct Run {
    pub(crate) time: Duration,
    /// From the start of the process to the first bytes in the output.
    pub(crate) first_output: Duration,
    /// The most memory that was resident, in MB.
    pub(crate) memory: f64,
}

impl Rowtide {
    pub(crate) fn new(program: &Path) -> Self {
        Self { program: program.to_owned() }
    }

    /// Runs a command to its end.
    pub(crate) fn check(&self, arguments: &[&str], pipeline: &Path) -> Result {
        let status = self.command(arguments, pipeline).status()?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("rowtide {} failed: {status}", arguments.join(" ")).into()),
        }
    }

    /// Drains `pipeline` and watches its output file and its memory.
    pub(crate) fn drain(&self, pipeline: &Path, output: &Path) -> Result<Run> {
        let start = Instant::now();
        let mut child = self.command(&["run", "--drain"], pipeline).spawn()?;
        let mut run = Run { time: Duration::ZERO, first_output: Duration::ZERO, memory: 0.0 };
        let status = loop {
            let has_output = || fs::metadata(output).is_ok_and(|file| file.len() > 0);
            if run.first_output.is_zero() && has_output() {
                run.first_output = start.elapsed();
            }
            run.memory = run.memory.max(peak_memory(&child));
            if let Some(status) = child.try_wait()? {
                break status;
            }
            thread::sleep(Duration::from_millis(1));
        };
        run.time = start.elapsed();
        if !status.success() || run.first_output.is_zero() {
            return Err(format!("the drain failed or wrote nothing: {status}").into());
        }
        Ok(run)
    }

    /// Starts a pipeline that writes to stdout.
    pub(crate) fn run(&self, pipeline: &Path) -> Result<(Child, ChildStdout)> {
        let mut child = self.command(&["run"], pipeline).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or("the pipeline has no stdout")?;
        Ok((child, stdout))
    }

    fn command(&self, arguments: &[&str], pipeline: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg(pipeline);
        command.env("RUST_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::null());
        command
    }
}

/// The kernel's own high-water mark, in MB; it only grows, so the last look has it.
fn peak_memory(child: &Child) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kilobytes.map_or(0.0, |kilobytes: f64| kilobytes * 1024.0 / 1e6)
}
