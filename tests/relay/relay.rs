//! The shipped binary, with a pipeline file in a folder of its own.

use std::{
    error::Error,
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

type Outcome<T> = Result<T, Box<dyn Error>>;

const STOP_LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Relay {
    folder: PathBuf,
    process: Option<Child>,
    starts: usize,
}

impl Relay {
    /// Writes the pipeline file and sets the source up.
    pub(crate) fn new(folder: &Path, pipeline: &str) -> Outcome<Self> {
        fs::write(folder.join("relay.toml"), pipeline)?;
        let relay = Self { folder: folder.to_owned(), process: None, starts: 0 };
        let status = relay.command("setup")?.arg("--yes").status()?;
        if !status.success() {
            return Err(relay.failure("the setup", status));
        }
        Ok(relay)
    }

    fn command(&self, subcommand: &str) -> Outcome<Command> {
        let log = OpenOptions::new().create(true).append(true).open(self.log_file())?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowtide"));
        command.current_dir(&self.folder).args([subcommand, "relay.toml"]);
        command.stdin(Stdio::null()).stdout(File::create("/dev/null")?).stderr(log);
        command.env_remove("RUST_LOG");
        Ok(command)
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("relay.log")
    }

    pub(crate) fn log(&self) -> Outcome<String> {
        Ok(fs::read_to_string(self.log_file())?)
    }

    fn failure(&self, what: &str, status: ExitStatus) -> Box<dyn Error> {
        let log = self.log().unwrap_or_default();
        format!("{what} ended with {status}; {}:\n{log}", self.log_file().display()).into()
    }

    pub(crate) fn start(&mut self) -> Outcome<()> {
        self.process = Some(self.command("run")?.spawn()?);
        self.starts += 1;
        Ok(())
    }

    /// Ends the process without a warning, and starts the next one.
    pub(crate) fn kill_and_start(&mut self) -> Outcome<()> {
        self.check()?;
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        self.start()
    }

    /// That the process has not ended by itself.
    pub(crate) fn check(&mut self) -> Outcome<()> {
        let process = self.process.as_mut().ok_or("it was never started")?;
        match process.try_wait()? {
            Some(status) => Err(self.failure("the relay", status)),
            None => Ok(()),
        }
    }

    /// Asks it to stop, which must end well.
    pub(crate) fn stop(&mut self) -> Outcome<()> {
        let mut process = self.process.take().ok_or("it was never started")?;
        let pid = process.id().to_string();
        Command::new("kill").args(["-s", "TERM", &pid]).status()?;
        let status = self.ended(&mut process)?;
        if status.success() { Ok(()) } else { Err(self.failure("the relay", status)) }
    }

    /// The exit code of a relay that is to end by itself.
    pub(crate) fn ends_by_itself(&mut self) -> Outcome<Option<i32>> {
        let mut process = self.process.take().ok_or("it was never started")?;
        Ok(self.ended(&mut process)?.code())
    }

    fn ended(&self, process: &mut Child) -> Outcome<ExitStatus> {
        let begin = Instant::now();
        loop {
            if let Some(status) = process.try_wait()? {
                return Ok(status);
            }
            if begin.elapsed() > STOP_LIMIT {
                process.kill()?;
                let status = process.wait()?;
                return Err(self.failure("the relay did not end, and", status));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// How often the relay may have begun again at its checkpoint.
    pub(crate) fn resumptions(&self) -> Outcome<usize> {
        Ok(self.starts + self.log()?.matches("resumes from its checkpoint").count())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
