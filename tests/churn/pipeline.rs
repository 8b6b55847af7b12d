//! The shipped binary, in a folder of its own.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::{Outcome, upstream::Upstream};

pub(crate) struct Pipeline {
    folder: PathBuf,
    process: Option<Child>,
    memory: u64,
}

impl Pipeline {
    /// One that keeps its positions where `checkpoint` says.
    pub(crate) fn new(folder: &Path, upstream: &Upstream, checkpoint: &str) -> Outcome<Self> {
        let settings = format!(
            "name = 'churn'\n\
             [source]\ntype = 'spanner'\ndatabase = '{}'\nendpoint = '{}'\n\
             change_stream = 'changes'\nstart = '{}'\nheartbeat_every = '1s'\n\
             [sink]\ntype = 'file'\npath = 'churn.jsonl'\n\
             {checkpoint}",
            upstream.server.database(),
            upstream.server.endpoint(),
            upstream.start
        );
        fs::write(folder.join("churn.toml"), settings)?;
        Ok(Self { folder: folder.to_owned(), process: None, memory: 0 })
    }

    pub(crate) fn start(&mut self) -> Outcome<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowtide"));
        command.current_dir(&self.folder).args(["run", "churn.toml"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).env("RUST_LOG", "warn");
        self.process = Some(command.spawn()?);
        Ok(())
    }

    /// Ends the process without a warning.
    pub(crate) fn kill(&mut self) -> Outcome<()> {
        self.look()?;
        let mut process = self.process.take().ok_or("it was never started")?;
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    /// Notes how much memory it takes. It must not have ended by itself.
    pub(crate) fn look(&mut self) -> Outcome<()> {
        let log = self.log();
        let process = self.process.as_mut().ok_or("it was never started")?;
        if let Some(status) = process.try_wait()? {
            let log = fs::read_to_string(log).unwrap_or_default();
            return Err(format!("rowtide ended by itself with {status}:\n{log}").into());
        }
        let status = fs::read_to_string(format!("/proc/{}/status", process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes: Option<u64> =
            line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        self.memory = self.memory.max(kilobytes.unwrap_or_default() * 1024);
        Ok(())
    }

    /// The most memory that any of its processes had, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.memory
    }

    pub(crate) fn output(&self) -> PathBuf {
        self.folder.join("churn.jsonl")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("churn.log")
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
