//! Kills the shipped binary with -9 at random moments, while another process writes, and holds what
//! was delivered against the database.
//!
//! `cargo test --test survives_kill -- --rounds 500 --seed 7` runs longer, or a run again.

mod image;
mod replay;
mod schema;
mod values;
mod writer;

use std::{
    collections::HashSet,
    env,
    error::Error,
    fmt, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use replay::Replay;

/// What may be in flight: `bytes_max` of the example's defaults, as lines, which are longer.
const IN_FLIGHT_BYTES: usize = 2 * (16 << 20);

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let option = |name: &str| {
        let index = arguments.iter().position(|argument| argument == name)?;
        arguments.get(index + 1).map(String::as_str)
    };
    if arguments.iter().any(|argument| argument == "--list") {
        println!("survives_kill: test");
        return ExitCode::SUCCESS;
    }
    let seed = match option("--seed").map(str::parse) {
        Some(Ok(seed)) => seed,
        Some(Err(_)) => return usage(),
        None => fastrand::u64(..),
    };
    if let Some(path) = option("--write") {
        return report(writer::run(Path::new(path), seed));
    }
    let Ok(rounds) = option("--rounds").unwrap_or("50").parse() else { return usage() };
    let kind = Kind::of(seed);
    println!("survives_kill: {rounds} rounds, --seed {seed}, {kind}");
    let outcome = survive(rounds, seed);
    let passed = u8::from(outcome.is_ok());
    let code = report(outcome);
    let verdict = if passed == 1 { "ok" } else { "FAILED" };
    // As other tests say it: `cargo xtask test` counts them.
    println!("test result: {verdict}. {passed} passed; {} failed; 0 ignored", 1 - passed);
    code
}

fn usage() -> ExitCode {
    eprintln!("usage: survives_kill [--rounds N] [--seed N]");
    ExitCode::from(2)
}

fn report(outcome: Outcome<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn survive(rounds: u32, seed: u64) -> Outcome<()> {
    let scene = Scene::new(Kind::of(seed))?;
    writer::create(&scene.database(), scene.kind.journal_mode)?;
    let writer = Application::start(&scene, seed)?;
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 1..=rounds {
        // The first lives are short, so that the snapshot is cut as well.
        let longest = if round <= 8 { 120 } else { 700 };
        scene.run_and_kill(Duration::from_millis(random.u64(20..longest)))?;
        if round % 10 == 0 {
            println!("round {round}: {} bytes delivered", scene.delivered()?.len());
        }
    }
    let versions = writer.stop()?;
    scene.drain()?;
    let replay = Replay::read(&scene.delivered()?)?;
    println!(
        "{} versions committed, {} lines repeated, {} bytes in the longest repeat",
        versions.len(),
        replay.repeats,
        replay.longest_repeat
    );
    check(&scene, &replay, &versions)?;
    fs::remove_dir_all(&scene.folder)?;
    Ok(())
}

fn check(scene: &Scene, replay: &Replay, versions: &HashSet<i64>) -> Outcome<()> {
    let first = *replay.versions.first().ok_or("no change arrived, so nothing is proven")?;
    let lost: Vec<_> = versions
        .iter()
        .filter(|&version| *version >= first && !replay.versions.contains(version))
        .collect();
    if !lost.is_empty() {
        return Err(format!("{} versions never arrived: {lost:?}", lost.len()).into());
    }
    if replay.longest_repeat > IN_FLIGHT_BYTES {
        return Err(format!("{} bytes were repeated at once", replay.longest_repeat).into());
    }
    for (name, key) in [("orders", ["id"].as_slice()), ("customers", &["region", "name"])] {
        let table = image::table(&scene.database(), name, key)?;
        if replay.tables.get(name) != Some(&table) {
            let replayed = &replay.tables[name];
            let different = |key: &&String| replayed.get(*key) != table.get(*key);
            let keys: Vec<_> =
                table.keys().chain(replayed.keys()).filter(different).take(5).collect();
            return Err(format!("{name} differs from its replay at {keys:?}").into());
        }
    }
    Ok(())
}

/// What of the pipeline the seed decides.
#[derive(Clone, Copy)]
struct Kind {
    journal_mode: &'static str,
    checkpoint: &'static str,
}

impl Kind {
    fn of(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut choose = |from: [&'static str; 2]| from[random.usize(0..2)];
        Self { journal_mode: choose(["wal", "delete"]), checkpoint: choose(["sqlite", "file"]) }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "journal mode {}, checkpoint in {}", self.journal_mode, self.checkpoint)
    }
}

/// A folder with the database, the delivered file and the checkpoint, kept if the test fails.
struct Scene {
    folder: PathBuf,
    kind: Kind,
}

impl Scene {
    fn new(kind: Kind) -> Outcome<Self> {
        Ok(Self { folder: tempfile::tempdir()?.keep(), kind })
    }

    fn database(&self) -> PathBuf {
        self.folder.join("shop.db")
    }

    fn delivered(&self) -> Outcome<String> {
        Ok(fs::read_to_string(self.folder.join("changes.jsonl"))?)
    }

    fn rowtide(&self, arguments: &[&str]) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowtide"));
        command
            .current_dir(&self.folder)
            .arg("run")
            .args(arguments)
            .arg(root.join("config-examples/sqlite-to-file.toml"))
            .env("ROWTIDE__SOURCE__PRUNE_EVERY", "300ms")
            .env("ROWTIDE__SOURCE__BATCH_ROWS", "200")
            .env("ROWTIDE__CHECKPOINT__TYPE", self.kind.checkpoint)
            .env("ROWTIDE__CHECKPOINT__PATH", "checkpoint");
        command
    }

    /// Runs for `life` from the start of the process, which may be before it is ready.
    fn run_and_kill(&self, life: Duration) -> Outcome<()> {
        let mut process = self.rowtide(&[]).stderr(Stdio::piped()).spawn()?;
        let end = Instant::now() + life;
        while Instant::now() < end {
            if let Some(status) = process.try_wait()? {
                let output = process.wait_with_output()?;
                let log = String::from_utf8_lossy(&output.stderr).into_owned();
                return Err(format!("rowtide ended by itself with {status}:\n{log}").into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    fn drain(&self) -> Outcome<()> {
        let output = self.rowtide(&["--drain"]).stderr(Stdio::piped()).output()?;
        if output.status.success() {
            return Ok(());
        }
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("the drain ended with {}:\n{log}", output.status).into())
    }
}

/// The writing process, and the versions it says it committed.
struct Application {
    process: Child,
    versions: JoinHandle<HashSet<i64>>,
}

impl Application {
    fn start(scene: &Scene, seed: u64) -> Outcome<Self> {
        let mut process = Command::new(env::current_exe()?)
            .arg("--write")
            .arg(scene.database())
            .args(["--seed", &seed.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().ok_or("no standard output")?;
        let versions = thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.filter_map(|line| line.parse().ok()).collect()
        });
        Ok(Self { process, versions })
    }

    /// Ends the writer; an error of it is an error of the test, since capture must not cause one.
    fn stop(mut self) -> Outcome<HashSet<i64>> {
        drop(self.process.stdin.take());
        let status = self.process.wait()?;
        if !status.success() {
            return Err(format!("the application failed: {status}").into());
        }
        self.versions.join().map_err(|_| "the versions could not be read".into())
    }
}
