//! The shipped binary, with a pipeline file in a folder of its own.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::Outcome;

/// How long a run may take that is to end by itself.
const END_LIMIT: Duration = Duration::from_secs(90);

pub(crate) struct Pipeline {
    folder: PathBuf,
    name: String,
    host: String,
    process: Option<Child>,
}

impl Pipeline {
    /// Writes the pipeline file, which delivers to `<name>.jsonl`.
    pub(crate) fn new(folder: &Path, name: &str, host: &str, settings: &str) -> Outcome<Self> {
        let settings = format!(
            "name = '{name}'\n{settings}\n[sink]\ntype = 'file'\npath = '{name}.jsonl'\n\
             format = 'spream'\n"
        );
        fs::write(folder.join(format!("{name}.toml")), settings)?;
        let (name, host) = (name.to_owned(), host.to_owned());
        Ok(Self { folder: folder.to_owned(), name, host, process: None })
    }

    fn command(&self, arguments: &[&str]) -> Outcome<Command> {
        let log = OpenOptions::new().create(true).append(true).open(self.log_file())?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowtide"));
        command.current_dir(&self.folder).args(arguments).arg(format!("{}.toml", self.name));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.env("SPANNER_EMULATOR_HOST", &self.host).env_remove("RUST_LOG");
        Ok(command)
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    fn failure<T>(&self, what: &str) -> Outcome<T> {
        let log = fs::read_to_string(self.log_file()).unwrap_or_default();
        Err(format!("{what}; {}:\n{log}", self.log_file().display()).into())
    }

    pub(crate) fn set_up(&self) -> Outcome<()> {
        match self.command(&["setup"])?.status()?.success() {
            true => Ok(()),
            false => self.failure("the setup failed"),
        }
    }

    pub(crate) fn start(&mut self) -> Outcome<()> {
        self.process = Some(self.command(&["run"])?.spawn()?);
        Ok(())
    }

    /// Ends the process without a warning. It must not have ended by itself.
    pub(crate) fn kill(&mut self) -> Outcome<()> {
        let mut process = self.process.take().ok_or("it was never started")?;
        if let Some(status) = process.try_wait()? {
            return self.failure(&format!("rowtide ended by itself with {status}"));
        }
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    /// Runs until it ends by itself, which must end well.
    pub(crate) fn end(&self, arguments: &[&str]) -> Outcome<()> {
        let mut process = self.command(&[&["run"], arguments].concat())?.spawn()?;
        let begin = Instant::now();
        loop {
            match process.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return self.failure(&format!("rowtide ended with {status}")),
                None if begin.elapsed() < END_LIMIT => thread::sleep(Duration::from_millis(20)),
                None => {
                    process.kill()?;
                    process.wait()?;
                    return self.failure("rowtide did not end");
                }
            }
        }
    }

    /// The lines that were delivered.
    pub(crate) fn lines(&self) -> Outcome<Vec<String>> {
        let text = fs::read_to_string(self.folder.join(format!("{}.jsonl", self.name)))?;
        Ok(text.lines().map(str::to_owned).collect())
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
