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
    /// The processor time, in user and system.
    pub(crate) processor: Duration,
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

    /// Drains `pipeline`; `look` is called all the time with the time since the start.
    pub(crate) fn drain(&self, pipeline: &Path, mut look: impl FnMut(Duration)) -> Result<Run> {
        let start = Instant::now();
        let mut child = self.command(&["run", "--drain"], pipeline).spawn()?;
        let mut run = Run { time: Duration::ZERO, processor: Duration::ZERO, memory: 0.0 };
        let status = loop {
            look(start.elapsed());
            run.memory = run.memory.max(peak_memory(&child));
            run.processor = processor_time(&child).unwrap_or(run.processor);
            if let Some(status) = child.try_wait()? {
                break status;
            }
            thread::sleep(Duration::from_millis(1));
        };
        run.time = start.elapsed();
        match status.success() {
            true => Ok(run),
            false => Err(format!("the drain failed: {status}").into()),
        }
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

/// What Linux counts the time of a process in.
const TICK: Duration = Duration::from_millis(10);

/// What a process has used, in user and system, threads that have ended included.
pub(crate) fn processor_time(child: &Child) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
    let (_, fields) = text.rsplit_once(") ").ok_or("/proc/…/stat has another form")?;
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse);
    let ticks: Vec<u64> = ticks.collect::<Result<_, _>>()?;
    Ok(TICK * u32::try_from(ticks.iter().sum::<u64>())?)
}
