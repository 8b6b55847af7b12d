//! The official Python client, in a folder of the build, and the scripts that use it.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::Value;

use super::{Dialect, Outcome};

/// In the folder of the build that the program is of, or where it was taken to.
fn folder() -> PathBuf {
    let program = env::current_exe().unwrap_or_default();
    let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    let place = target.map_or_else(env::temp_dir, |target| target.join("tmp"));
    place.join("google-cloud-spanner")
}

fn interpreter() -> PathBuf {
    folder().join("bin/python")
}

/// Makes it once.
pub(crate) fn install() -> Outcome<()> {
    let has_it = || {
        let import = ["-c", "from google.cloud import spanner"];
        output(Command::new(interpreter()).args(import)).map(drop)
    };
    if has_it().is_err() {
        output(Command::new("python3").args(["-m", "venv"]).arg(folder()))?;
        let install = ["-m", "pip", "install", "--quiet", "google-cloud-spanner"];
        output(Command::new(interpreter()).args(install))?;
    }
    has_it()
}

fn script(host: &str, name: &str, arguments: &[&str]) -> Command {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/spanner/python");
    let mut command = Command::new(interpreter());
    command.arg(scripts.join(name)).args(arguments).env("SPANNER_EMULATOR_HOST", host);
    // The folder is the project's.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Runs a script to its end, and returns what it wrote.
pub(crate) fn run(host: &str, name: &str, arguments: &[&str]) -> Outcome<String> {
    output(&mut script(host, name, arguments))
}

fn output(command: &mut Command) -> Outcome<String> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let tail: Vec<_> = errors.lines().rev().take(5).collect();
        return Err(format!("{:?}: {tail:?}", command.get_args()).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Commits transactions until it is told to stop.
pub(crate) struct Writer(Child);

impl Writer {
    pub(crate) fn start(host: &str, dialect: Dialect, seed: u64) -> Outcome<Self> {
        let mut command = script(host, "writer.py", &[&dialect.to_string(), &seed.to_string()]);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(Self(command.spawn()?))
    }

    /// How many transactions it has committed.
    pub(crate) fn stop(mut self) -> Outcome<usize> {
        drop(self.0.stdin.take());
        let mut told = String::new();
        if let Some(output) = &mut self.0.stdout {
            output.read_to_string(&mut told)?;
        }
        match self.0.wait()?.success() {
            true => Ok(told.trim().parse()?),
            false => Err("the writer failed".into()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // It has ended already unless the test fails.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Google's own mock server, on a port that it was given.
pub(crate) struct Mock {
    process: Child,
    output: BufReader<ChildStdout>,
    host: String,
}

impl Mock {
    pub(crate) fn start(arguments: &[&str]) -> Outcome<Self> {
        let mut command = script("", "mock.py", arguments);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = process.stdout.take().ok_or("the mock has no output")?;
        let mut mock = Self { process, output: BufReader::new(output), host: String::new() };
        let mut port = String::new();
        mock.output.read_line(&mut port)?;
        mock.host = format!("127.0.0.1:{}", port.trim().parse::<u16>()?);
        Ok(mock)
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The requests that it took: of each its kind, and itself.
    pub(crate) fn stop(mut self) -> Outcome<Vec<(String, Value)>> {
        drop(self.process.stdin.take());
        let mut told = String::new();
        self.output.read_to_string(&mut told)?;
        told.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
