use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use tempfile::TempDir;

/// A directory in which `rowtide` is run.
pub(crate) struct Sandbox(TempDir);

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// One that has a file `p.toml`.
    pub(crate) fn with(pipeline: &str) -> Self {
        let sandbox = Self::new();
        sandbox.write("p.toml", pipeline);
        sandbox
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    pub(crate) fn rowtide(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowtide"));
        command
            .args(arguments)
            .current_dir(self.path())
            .stdin(Stdio::null())
            .env_remove("RUST_LOG");
        command
    }

    /// Runs it to its end.
    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        self.rowtide(arguments).output().unwrap()
    }

    /// Runs it to an end without an error, and returns what it printed.
    pub(crate) fn printed(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A pipeline that makes changes up as fast as the engine takes them.
pub(crate) fn ticker(name: &str) -> String {
    format!(
        "name = \"{name}\"\n[source]\ntype = \"ticker\"\nevery = \"1ms\"\n\
         [sink]\ntype = \"stdout\"\n[checkpoint]\ntype = \"file\"\npath = \"checkpoints\"\n"
    )
}

/// A running `rowtide` whose stdout is read line by line. Ended when dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: Option<BufReader<ChildStdout>>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = child.stdout.take().map(BufReader::new);
        Self { child, lines }
    }

    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.lines.as_mut().unwrap().read_line(&mut line).unwrap();
        (read > 0).then_some(line)
    }

    /// Reads no more, as `head` does.
    pub(crate) fn close(&mut self) {
        self.lines = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// The number in a line of the ticker.
pub(crate) fn number(line: &str) -> i64 {
    let change: serde_json::Value = serde_json::from_str(line).unwrap();
    change["after"]["number"].as_i64().unwrap()
}
