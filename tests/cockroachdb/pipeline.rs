//! The shipped binary, with a pipeline file in a folder of its own.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rowtide_fake_cockroachdb::{Hlc, Server};
use serde_json::Value as Json;

use crate::Outcome;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Pipeline {
    folder: PathBuf,
    name: String,
    process: Option<Child>,
}

/// What is saved of a feed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Saved {
    pub(crate) at: Hlc,
    pub(crate) tables: BTreeSet<String>,
}

impl Pipeline {
    /// Writes the file of a pipeline from `server` into the file `NAME.jsonl`, with `source` among
    /// its settings.
    pub(crate) fn new(folder: &Path, name: &str, server: &Server, source: &str) -> Outcome<Self> {
        let sink = format!("type = \"file\"\npath = \"{name}.jsonl\"\nformat = \"json\"");
        Self::with_sink(folder, name, &format!("database = \"{}\"\n{source}", server.url()), &sink)
    }

    pub(crate) fn with_sink(folder: &Path, name: &str, source: &str, sink: &str) -> Outcome<Self> {
        let text = format!(
            "name = \"{name}\"\n[source]\ntype = \"cockroachdb\"\nheartbeat_every = \"20ms\"\n\
             {source}\n[sink]\n{sink}\n[checkpoint]\ntype = \"sqlite\"\npath = \"checkpoint.db\"\n"
        );
        fs::write(folder.join(format!("{name}.toml")), text)?;
        Ok(Self { folder: folder.to_owned(), name: name.to_owned(), process: None })
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", self.name))
    }

    fn command(&self, arguments: &[&str]) -> Outcome<Command> {
        let log = OpenOptions::new().create(true).append(true).open(self.file("log"))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowtide"));
        command.current_dir(&self.folder).args(arguments).arg(format!("{}.toml", self.name));
        command.stdin(Stdio::null()).stderr(log).env_remove("RUST_LOG");
        Ok(command)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    pub(crate) fn start(&mut self) -> Outcome<()> {
        self.process = Some(self.command(&["run"])?.spawn()?);
        Ok(())
    }

    /// That it has not ended by itself.
    pub(crate) fn check(&mut self) -> Outcome<()> {
        let process = self.process.as_mut().ok_or("it was never started")?;
        match process.try_wait()? {
            Some(status) => Err(self.failure("the pipeline", status).into()),
            None => Ok(()),
        }
    }

    /// Ends it without a warning.
    pub(crate) fn kill(&mut self) -> Outcome<()> {
        self.check()?;
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// Asks it to stop, which must end well.
    pub(crate) fn stop(&mut self) -> Outcome<()> {
        self.check()?;
        let mut process = self.process.take().ok_or("it was never started")?;
        Command::new("kill").args(["-s", "TERM", &process.id().to_string()]).status()?;
        let status = self.ended(&mut process)?;
        if status.success() { Ok(()) } else { Err(self.failure("the stop", status).into()) }
    }

    /// Runs until all that is there has been delivered.
    pub(crate) fn drain(&self) -> Outcome<()> {
        match self.run(&["run", "--drain"])? {
            Some(0) => Ok(()),
            code => Err(format!("the drain ended with {code:?}:\n{}", self.log()).into()),
        }
    }

    /// The exit code of a run that ends by itself.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome<Option<i32>> {
        let mut process = self.command(arguments)?.spawn()?;
        Ok(self.ended(&mut process)?.code())
    }

    fn ended(&self, process: &mut Child) -> Outcome<ExitStatus> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if let Some(status) = process.try_wait()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(10));
        }
        process.kill()?;
        let status = process.wait()?;
        Err(self.failure("it did not end, and", status).into())
    }

    fn failure(&self, what: &str, status: ExitStatus) -> String {
        format!("{what} ended with {status}:\n{}", self.log())
    }

    /// What was saved; nothing of a pipeline that never came so far.
    pub(crate) fn saved(&self) -> Outcome<Option<Saved>> {
        let output = self.command(&["checkpoint", "show", "--json"])?.output()?;
        if !output.status.success() {
            return Err(self.failure("the look at the checkpoint", output.status).into());
        }
        let Some(line) = output.stdout.split(|&byte| byte == b'\n').find(|line| !line.is_empty())
        else {
            return Ok(None);
        };
        let state: Json = serde_json::from_slice(line)?;
        let Some(position) = state["progress"]["delivered"]["data"].as_str() else {
            return Ok(None);
        };
        let position: Json = serde_json::from_str(position)?;
        let at = position["at"].as_str().and_then(|text| text.parse().ok());
        let tables = position["tables"].as_array().into_iter().flatten();
        Ok(Some(Saved {
            at: at.ok_or_else(|| format!("{position} has no time"))?,
            tables: tables.filter_map(Json::as_str).map(str::to_owned).collect(),
        }))
    }

    /// The lines that are whole.
    pub(crate) fn lines(&self) -> Outcome<Vec<Json>> {
        let text = match fs::read(self.file("jsonl")) {
            Ok(text) => text,
            Err(_) => return Ok(Vec::new()),
        };
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let lines = text[..whole].split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        Ok(lines.map(serde_json::from_slice).collect::<Result<_, _>>()?)
    }

    /// How many lines are whole.
    pub(crate) fn length(&self) -> Outcome<usize> {
        let text = fs::read(self.file("jsonl")).unwrap_or_default();
        Ok(text.iter().filter(|&&byte| byte == b'\n').count())
    }

    /// Operations and keys of the rows, in the order of arrival, without marks.
    pub(crate) fn rows(&self) -> Outcome<Vec<(String, i64)>> {
        let lines = self.lines()?;
        let row =
            |line: &Json| Some((line["op"].as_str()?.to_owned(), line["key"]["id"].as_i64()?));
        Ok(lines.iter().filter_map(row).collect())
    }

    /// Waits until what was delivered is `enough`.
    pub(crate) fn await_rows(
        &mut self,
        what: &str,
        enough: impl Fn(&[(String, i64)]) -> bool,
    ) -> Outcome<()> {
        self.wait(what, |own| Ok(enough(&own.rows()?)))
    }

    /// Waits until something holds, while it runs.
    pub(crate) fn wait(
        &mut self,
        what: &str,
        holds: impl Fn(&Self) -> Outcome<bool>,
    ) -> Outcome<()> {
        let begin = Instant::now();
        while !holds(self)? {
            self.check()?;
            if begin.elapsed() > PATIENCE {
                return Err(
                    format!("{what}: not within {PATIENCE:?}; the log:\n{}", self.log()).into()
                );
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
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
