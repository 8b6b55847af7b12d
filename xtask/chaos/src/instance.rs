//! The shipped program as a child, with a pipeline file in the folder of a round.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::Outcome;

/// What the names of the instances' logs begin with.
const LOG: &str = "instance-";

/// What the log says when a pipeline, or a partition of it, begins again by itself.
const RECOVERIES: [&str; 2] = ["resumes from its checkpoint", "is read again after a pause"];

/// What it says when a stop could not save all.
const DISTURBED: &str = "delivered again by the next start";

/// What it says once both ends are open.
const RUNNING: &str = "pipeline is running";

const STEP: Duration = Duration::from_millis(10);

/// The program, and the pipeline file that it is given.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) environment: Vec<(String, String)>,
}

impl Program {
    fn command(&self, arguments: &[&str], log: &str) -> Outcome<Command> {
        let log = OpenOptions::new().create(true).append(true).open(self.folder.join(log))?;
        let mut command = Command::new(&self.path);
        command.current_dir(&self.folder).args(arguments).arg("pipeline.toml");
        command.stdin(Stdio::null()).stderr(log).env_remove("RUST_LOG");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// # Errors
    /// The command fails.
    pub(crate) fn check(&self, arguments: &[&str]) -> Outcome {
        let status = self.command(arguments, "commands.log")?.stdout(Stdio::null()).status()?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("`rowtide {}` ended with {status}", arguments.join(" ")).into()),
        }
    }

    /// How many lines of the logs of all instances say this.
    pub(crate) fn count(&self, said: &str) -> Outcome<usize> {
        let mut count = 0;
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(LOG) {
                let text = String::from_utf8_lossy(&fs::read(entry.path())?).into_owned();
                count += text.lines().filter(|line| line.contains(said)).count();
            }
        }
        Ok(count)
    }

    /// What is in the checkpoint store; `None` if that cannot be looked into at the moment.
    pub(crate) fn states(&self) -> Outcome<Option<Vec<Value>>> {
        let output = self.command(&["checkpoint", "show", "--json"], "commands.log")?.output()?;
        if !output.status.success() {
            return Ok(None);
        }
        let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        Ok(Some(lines.map(serde_json::from_slice).collect::<Result<_, _>>()?))
    }
}

/// One process after another.
#[derive(Debug)]
pub(crate) struct Instance {
    program: Program,
    pub(crate) number: usize,
    child: Option<Child>,
    pub(crate) is_frozen: bool,
    memory: u64,
    /// Where the log of this process begins.
    begin: u64,
    /// How much of the log was looked at.
    looked: u64,
}

/// What became of a process that was started.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Opening {
    Running,
    Ended(Option<i32>),
    Neither,
}

/// How a process that was asked to stop did so.
pub(crate) struct Ending {
    pub(crate) code: Option<i32>,
    pub(crate) is_disturbed: bool,
}

impl Instance {
    pub(crate) fn new(program: &Program, number: usize) -> Self {
        let program = program.clone();
        Self { program, number, child: None, is_frozen: false, memory: 0, begin: 0, looked: 0 }
    }

    /// Another one of the same program.
    pub(crate) fn beside(&self, number: usize) -> Self {
        Self::new(&self.program, number)
    }

    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    fn log_name(&self) -> String {
        format!("{LOG}{}.log", self.number)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.program.folder.join(self.log_name())
    }

    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Starts it with variables in its environment.
    pub(crate) fn start(&mut self, variables: &[(&str, String)]) -> Outcome {
        self.start_as(&self.program.clone(), variables)
    }

    /// Starts the program of another build.
    pub(crate) fn start_other(&mut self, path: &Path, variables: &[(&str, String)]) -> Outcome {
        let program = Program { path: path.to_owned(), ..self.program.clone() };
        self.start_as(&program, variables)
    }

    fn start_as(&mut self, program: &Program, variables: &[(&str, String)]) -> Outcome {
        let mut command = program.command(&["run"], &self.log_name())?;
        command.stdout(Stdio::null());
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        self.begin = self.log_length();
        self.child = Some(command.spawn()?);
        self.memory = 0;
        Ok(())
    }

    /// The most memory that the process had, in bytes.
    pub(crate) fn memory(&mut self) -> u64 {
        let status = self.child.as_ref().map(|child| format!("/proc/{}/status", child.id()));
        let status = status.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes: Option<u64> =
            line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        self.memory = self.memory.max(kilobytes.unwrap_or_default() * 1024);
        self.memory
    }

    /// The exit code, if it has ended by itself.
    pub(crate) fn ended(&mut self) -> Outcome<Option<Option<i32>>> {
        self.memory();
        let Some(child) = &mut self.child else { return Ok(None) };
        let Some(status) = child.try_wait()? else { return Ok(None) };
        self.child = None;
        Ok(Some(status.code()))
    }

    /// The exit code, if it ends by itself until then.
    pub(crate) fn ends_within(&mut self, limit: Duration) -> Outcome<Option<Option<i32>>> {
        let begin = Instant::now();
        loop {
            if let Some(code) = self.ended()? {
                return Ok(Some(code));
            }
            if begin.elapsed() > limit || self.child.is_none() {
                return Ok(None);
            }
            thread::sleep(STEP);
        }
    }

    /// Whether it runs, or ends before.
    pub(crate) fn opens_within(&mut self, limit: Duration) -> Outcome<Opening> {
        let begin = Instant::now();
        while begin.elapsed() < limit {
            if let Some(code) = self.ended()? {
                return Ok(Opening::Ended(code));
            }
            if self.log_since(self.begin)?.contains(RUNNING) {
                return Ok(Opening::Running);
            }
            thread::sleep(STEP);
        }
        Ok(Opening::Neither)
    }

    pub(crate) fn kill(&mut self) -> Outcome {
        self.memory();
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        self.is_frozen = false;
        Ok(())
    }

    pub(crate) fn signal(&mut self, name: &str) -> Outcome {
        let child = self.child.as_ref().ok_or("it does not run")?;
        let status = Command::new("kill").args(["-s", name, &child.id().to_string()]).status()?;
        self.is_frozen = name == "STOP";
        if status.success() { Ok(()) } else { Err(format!("kill -s {name}: {status}").into()) }
    }

    /// Asks it to stop. It is killed after `limit`, and has no code then.
    pub(crate) fn terminate(&mut self, limit: Duration) -> Outcome<Ending> {
        let begin = self.log_length();
        self.signal("TERM")?;
        let code = match self.ends_within(limit)? {
            Some(code) => code,
            None => {
                self.kill()?;
                None
            }
        };
        let is_disturbed = self.log_since(begin)?.contains(DISTURBED);
        Ok(Ending { code, is_disturbed })
    }

    fn log_length(&self) -> u64 {
        fs::metadata(self.log()).map_or(0, |file| file.len())
    }

    fn log_since(&self, begin: u64) -> Outcome<String> {
        let mut text = Vec::new();
        if let Ok(mut file) = File::open(self.log()) {
            file.seek(SeekFrom::Start(begin))?;
            file.read_to_end(&mut text)?;
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// How often it began again since the last look.
    pub(crate) fn recoveries(&mut self) -> Outcome<usize> {
        let text = self.log_since(self.looked)?;
        // A line that is half written is looked at next time.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        self.looked += whole as u64;
        let lines = text[..whole].lines();
        Ok(lines.filter(|line| RECOVERIES.iter().any(|said| line.contains(said))).count())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = self.kill();
    }
}

/// The end of a log, for a report.
pub(crate) fn end_of_log(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
