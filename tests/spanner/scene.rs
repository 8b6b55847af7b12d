//! What happens to the binary and to the emulator.

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rowtide_servers::{Kind, Server};

use crate::{
    Checkpoint, Dialect, Outcome,
    pipeline::Pipeline,
    python::{self, Writer},
    verdict::{self, Found, Partition},
};

/// Partitions live for one to two seconds.
const CHURN: &str = "--override_change_stream_partition_token_alive_seconds=1";

const KILLS: u32 = 10;
const FREEZES: u32 = 2;

/// How long the emulator is frozen.
const FREEZE: Duration = Duration::from_secs(2);

/// An emulator with a database, and a folder for pipelines, which is kept if the test fails.
struct Scene {
    server: Server,
    dialect: Dialect,
    folder: PathBuf,
    start: Timestamp,
}

impl Scene {
    fn new(dialect: Dialect) -> Outcome<Self> {
        let server = Server::start_with(Kind::Spanner, &[CHURN])?;
        let folder = tempfile::tempdir()?.keep();
        let scene = Self { server, dialect, folder, start: Timestamp::now() };
        python::run(scene.host()?, "world.py", &["create", &dialect.to_string()])?;
        Ok(Self { start: Timestamp::now(), ..scene })
    }

    fn host(&self) -> Outcome<&str> {
        Ok(self.server.variable("SPANNER_EMULATOR_HOST")?)
    }

    fn settings(&self, checkpoint: &str, more: &str) -> String {
        let (dialect, start) = (self.dialect, self.start);
        format!(
            "[source]\ntype = 'spanner'\nchange_stream = 'changes'\nstart = '{start}'\n\
             database = 'projects/test/instances/test/databases/{dialect}'\n\
             heartbeat_every = '100ms'\n{more}\n{checkpoint}"
        )
    }

    fn metadata(&self) -> String {
        format!(
            "[checkpoint]\ntype = 'spanner'\ntable = 'PartitionMetadata'\ncreate = true\n\
             database = 'projects/test/instances/test/databases/{}-metadata'\n",
            self.dialect
        )
    }

    fn pipeline(&self, name: &str, settings: &str) -> Outcome<Pipeline> {
        Pipeline::new(&self.folder, name, self.host()?, settings)
    }

    /// What the stream had until now, as the official client reads it.
    fn truth(&self, database: &str, window: [Timestamp; 2]) -> Outcome<Vec<Partition>> {
        let [start, end] = window.map(|at| at.to_string());
        let lines = python::run(self.host()?, "reader.py", &[database, &start, &end])?;
        Partition::read_all(&lines)
    }
}

fn sqlite(name: &str) -> String {
    format!("[checkpoint]\ntype = 'sqlite'\npath = '{name}.db'\n")
}

/// Kills the binary ten times and freezes the emulator twice while a writer writes.
pub(crate) fn kill_and_freeze(
    dialect: Dialect,
    checkpoint: Checkpoint,
    seed: u64,
    duration: Duration,
) -> Outcome<()> {
    let scene = Scene::new(dialect)?;
    let store = match checkpoint {
        Checkpoint::Sqlite => sqlite("killed"),
        Checkpoint::Spanner => scene.metadata(),
    };
    let mut pipeline = scene.pipeline("killed", &scene.settings(&store, ""))?;
    let writer = Writer::start(scene.host()?, dialect, seed)?;
    pipeline.start()?;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut mishaps = vec![Mishap::Kill; KILLS as usize];
    mishaps.extend(vec![Mishap::Freeze; FREEZES as usize]);
    random.shuffle(&mut mishaps);
    let step = duration / (KILLS + FREEZES);
    for mishap in mishaps {
        // Early and late in the life of a process, and of the partitions that it reads.
        let at = Instant::now() + step.mul_f64(0.2 + 1.6 * random.f64());
        thread::sleep(at.saturating_duration_since(Instant::now()));
        match mishap {
            Mishap::Kill => {
                pipeline.kill()?;
                pipeline.start()?;
            }
            Mishap::Freeze => {
                scene.server.freeze()?;
                thread::sleep(FREEZE);
                scene.server.thaw()?;
            }
        }
    }
    let commits = writer.stop()?;
    pipeline.kill()?;
    pipeline.end(&["--drain"])?;
    let end = Timestamp::now();
    let truth = scene.truth(&dialect.to_string(), [scene.start, end])?;
    let found = verdict::judge(&pipeline.lines()?, &truth)?;
    println!("{dialect}: {commits} commits, {found}");
    is_enough(&found, commits)?;

    // A window that ends by itself, read by another pipeline from the beginning.
    let window = format!("end = '{end}'\n");
    let bounded = scene.pipeline("bounded", &scene.settings(&sqlite("bounded"), &window))?;
    bounded.end(&[])?;
    let again = verdict::judge(&bounded.lines()?, &truth)?;
    if again.repeated > 0 {
        return Err(format!("a run that nothing happened to: {again}").into());
    }
    fs::remove_dir_all(&scene.folder)?;
    Ok(())
}

#[derive(Clone, Copy)]
enum Mishap {
    Kill,
    Freeze,
}

/// A test in which nothing happened proves nothing.
fn is_enough(found: &Found, commits: usize) -> Outcome<()> {
    let has_merges = found.merges > 0 && found.partitions > 4;
    match commits > 100 && found.records > commits && has_merges {
        true => Ok(()),
        false => Err(format!("too little: {commits} commits, {found}").into()),
    }
}

/// A change stream on the metadata table itself tells of each write to it.
pub(crate) fn count_saves(seed: u64, duration: Duration) -> Outcome<()> {
    let dialect = Dialect::GoogleSql;
    let scene = Scene::new(dialect)?;
    let store = format!("{}[delivery]\nsave_every = '1s'\n", scene.metadata());
    let mut pipeline = scene.pipeline("counted", &scene.settings(&store, ""))?;
    pipeline.set_up()?;
    python::run(scene.host()?, "world.py", &["watch", &dialect.to_string()])?;
    let begin = Timestamp::now();
    let writer = Writer::start(scene.host()?, dialect, seed)?;
    pipeline.start()?;
    thread::sleep(duration);
    let commits = writer.stop()?;
    pipeline.kill()?;
    let writes = scene.truth(&format!("{dialect}-metadata"), [begin, Timestamp::now()])?;
    let saves = verdict::saves(&writes)?;
    println!("{} partitions saved, {commits} commits", saves.len());
    if saves.len() < 4 || commits < 100 {
        return Err("too little was saved to prove anything".into());
    }
    for (token, times) in &saves {
        let lived = times.iter().max().zip(times.iter().min());
        let lived = lived.map_or(0.0, |(last, first)| last.duration_since(*first).as_secs_f64());
        // Beside one a second: that it is there, that it is read, and that it has ended.
        if times.len() as f64 > lived.ceil() + 3.0 {
            let count = times.len();
            return Err(format!("{token} was written {count} times in {lived:.1} s").into());
        }
    }
    Ok(fs::remove_dir_all(&scene.folder)?)
}
