//! How soon a commit is a line on stdout, and what a pipeline costs while nothing is written.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use rusqlite::Connection;

use crate::{
    Result,
    measure::part,
    report::{Bar, Report},
    rowtide::{Rowtide, processor_time},
};

const WRITES: u32 = 2_000;
const WRITE_EVERY: Duration = Duration::from_millis(10);
const IDLE: Duration = Duration::from_secs(10);
/// How long a line may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures a pipeline to stdout, and adds what it finds to `report`.
pub(crate) fn measure(rowtide: &Rowtide, report: &mut Report) -> Result {
    let folder = tempfile::tempdir()?;
    let application = prepare(folder.path())?;
    let mut pipeline = Running::start(rowtide, &folder.path().join("pipeline.toml"))?;
    // The first line shows that the pipeline has started.
    write(&application)?;
    pipeline.next_line()?;
    eprintln!("latency, {WRITES} writes");
    let mut latencies = pipeline.follow(&application)?;
    eprintln!("idle, {} s", IDLE.as_secs());
    let share = pipeline.idle_share()?;
    report.add("commit to stdout line, 100 writes/s: p50", part(&mut latencies, 0.5), "ms");
    report.add("  p99", part(&mut latencies, 0.99), "ms");
    report.bar(Bar::AtMost(50.0));
    report.add("idle pipeline, of one processor", share * 100.0, "%");
    report.bar(Bar::AtMost(1.0));
    Ok(())
}

fn prepare(folder: &Path) -> Result<Connection> {
    let path = folder.join("app.db");
    let text = format!(
        "name = \"bench\"\n\
         [source]\ntype = \"sqlite\"\npath = {path:?}\ntables = [\"items\"]\n\
         snapshot = \"never\"\n\
         [sink]\ntype = \"stdout\"\n\
         [checkpoint]\ntype = \"sqlite\"\npath = {:?}\n",
        folder.join("checkpoint.db"),
    );
    fs::write(folder.join("pipeline.toml"), text)?;
    let application = Connection::open(path)?;
    application.busy_timeout(PATIENCE)?;
    application.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; \
         CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT)",
    )?;
    Ok(application)
}

fn write(application: &Connection) -> Result {
    application.prepare_cached("INSERT INTO items (name) VALUES ('a short text')")?.execute([])?;
    Ok(())
}

/// A pipeline, and when each of its lines arrived; it ends with this.
struct Running {
    child: Child,
    lines: Receiver<Instant>,
}

impl Running {
    fn start(rowtide: &Rowtide, pipeline: &Path) -> Result<Self> {
        rowtide.check(&["setup"], pipeline)?;
        // The first run takes the position that what is written next comes after.
        rowtide.check(&["run", "--drain"], pipeline)?;
        let (child, stdout) = rowtide.run(pipeline)?;
        Ok(Self { child, lines: watch(stdout) })
    }

    fn next_line(&self) -> Result<Instant> {
        self.lines.recv_timeout(PATIENCE).map_err(|_| "the pipeline delivers nothing".into())
    }

    /// Milliseconds from the end of each commit to its line.
    fn follow(&self, application: &Connection) -> Result<Vec<f64>> {
        let begin = Instant::now();
        let mut committed = Vec::new();
        for number in 1..=WRITES {
            write(application)?;
            committed.push(Instant::now());
            thread::sleep((begin + WRITE_EVERY * number).saturating_duration_since(Instant::now()));
        }
        let latency = |commit: Instant| {
            Ok(self.next_line()?.saturating_duration_since(commit).as_secs_f64() * 1e3)
        };
        committed.into_iter().map(latency).collect()
    }

    /// The part of one processor that it uses while nobody writes.
    fn idle_share(&mut self) -> Result<f64> {
        let (begin, used) = (Instant::now(), processor_time(&self.child)?);
        thread::sleep(IDLE);
        let used = processor_time(&self.child)? - used;
        let share = used.as_secs_f64() / begin.elapsed().as_secs_f64();
        match self.child.try_wait()? {
            None => Ok(share),
            Some(status) => Err(format!("the pipeline ended: {status}").into()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn watch(stdout: ChildStdout) -> Receiver<Instant> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            if line.is_err() || sender.send(Instant::now()).is_err() {
                return;
            }
        }
    });
    receiver
}
