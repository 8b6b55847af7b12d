//! The shipped binary reads a change stream of many partitions, each of which lives for two
//! seconds, while rows are written to all of them and it is killed: nothing is missing, each row's
//! changes are in order, memory stays small, and the metadata table is written seldom.
//!
//! `CHURN_PARTITIONS=2000 CHURN_SECONDS=60 CHURN_KILLS=5 cargo test --test churn` is the whole.

mod pipeline;
mod upstream;
mod verdict;

use std::{
    env,
    error::Error,
    fmt,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use libtest_mimic::{Arguments, Failed, Trial};

use pipeline::Pipeline;
use upstream::{Churn, METADATA, Upstream};
use verdict::Reader;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What all its readers together may take, in bytes.
const MEMORY_MAX: u64 = 300_000_000;

/// How long the rest may take once nothing more is written.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long it may take in the middle from the end of a partition's last parent to its first
/// query. An idle machine takes less than a tenth of a second, and this has to hold on a busy one.
const HANDOVER_MAX: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each of them keeps all processors busy.
    arguments.test_threads.get_or_insert(1);
    let trial = |name: &str, test: fn() -> Outcome<()>| {
        Trial::test(name, move || test().map_err(|error| Failed::from(error.to_string())))
    };
    let trials = vec![
        trial("nothing_is_missing_of_many_partitions_that_come_and_go", killed_under_churn),
        trial("a_child_is_read_as_soon_as_its_parents_have_ended", handed_over),
        trial("the_verdict_refuses_what_is_wrong", verdict::refuses_what_is_wrong),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Positions in the server itself, and of what is busy once a second.
fn metadata(upstream: &Upstream) -> String {
    let (database, endpoint) = (upstream.server.database(), upstream.server.endpoint());
    format!(
        "[checkpoint]\ntype = 'spanner'\ndatabase = '{database}'\nendpoint = '{endpoint}'\n\
         table = '{METADATA}'\n[delivery]\nsave_every = '1s'\n"
    )
}

fn killed_under_churn() -> Outcome<()> {
    let partitions = usize::try_from(number("CHURN_PARTITIONS", 200))?;
    let run_time = Duration::from_secs(number("CHURN_SECONDS", 6));
    let kills = u32::try_from(number("CHURN_KILLS", 2))?;
    let upstream = Upstream::start(partitions)?;
    let folder = tempfile::tempdir()?;
    let mut pipeline = Pipeline::new(folder.path(), &upstream, &metadata(&upstream))?;
    pipeline.start()?;
    let begun = Instant::now();
    let mut churn = Churn::new(&upstream, number("CHURN_SEED", 1));
    let mut killed = Vec::new();
    while begun.elapsed() < run_time {
        churn.step()?;
        let count = u32::try_from(killed.len())?;
        if count < kills && begun.elapsed() * (kills + 1) > run_time * (count + 1) {
            killed.push(Timestamp::now());
            pipeline.kill()?;
            pipeline.start()?;
        }
        pipeline.look()?;
        // What is to come next follows the clock.
        thread::sleep(Duration::from_millis(5));
    }
    let (lines, behind) = finish(&upstream, &mut pipeline)?;
    let saves = verdict::saves(&upstream.saves()?, &killed)?;
    println!(
        "{} changes of {} partitions, {} killed, {lines} lines, {} MB at most, the last {behind:?} \
         behind; {saves}; {}",
        upstream.told().len(),
        upstream.partitions(),
        killed.len(),
        pipeline.memory() / 1_000_000,
        Handovers::of(&upstream),
    );
    match pipeline.memory() <= MEMORY_MAX {
        true => Ok(()),
        false => Err(format!("it took {} bytes", pipeline.memory()).into()),
    }
}

/// Waits until all has come; returns how many lines, and how long it took.
fn finish(upstream: &Upstream, pipeline: &mut Pipeline) -> Outcome<(usize, Duration)> {
    let written = Instant::now();
    let truth = upstream.told();
    let mut reader = Reader::new(pipeline.output(), &truth);
    while !reader.has_all()? {
        if written.elapsed() > PATIENCE {
            return Err(format!("{} of {} have not come", reader.missing(), truth.len()).into());
        }
        pipeline.look()?;
        thread::sleep(Duration::from_millis(50));
    }
    Ok((reader.lines(), written.elapsed()))
}

/// How fast partitions were handed over.
struct Handovers(Vec<Duration>);

impl Handovers {
    fn of(upstream: &Upstream) -> Self {
        let mut took = upstream.server.handovers();
        took.sort_unstable();
        Self(took)
    }

    /// What so many of a hundred took at most.
    fn percentile(&self, percent: usize) -> Duration {
        let index = (self.0.len() * percent / 100).min(self.0.len().saturating_sub(1));
        self.0.get(index).copied().unwrap_or_default()
    }
}

impl fmt::Display for Handovers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, most] = [50, 95].map(|percent| self.percentile(percent));
        let count = self.0.len();
        write!(formatter, "{count} handed over, half of them in {half:.1?}, 95 % in {most:.1?}")
    }
}

fn handed_over() -> Outcome<()> {
    type Settings = fn(&Upstream) -> String;
    let stores: [(&str, Settings); 2] = [
        ("sqlite", |_| "[checkpoint]\ntype = 'sqlite'\npath = 'churn.db'\n".to_owned()),
        ("spanner", metadata),
    ];
    for (store, settings) in stores {
        let upstream = Upstream::start(20)?;
        let folder = tempfile::tempdir()?;
        let mut pipeline = Pipeline::new(folder.path(), &upstream, &settings(&upstream))?;
        pipeline.start()?;
        let begun = Instant::now();
        let mut churn = Churn::new(&upstream, 1);
        while begun.elapsed() < Duration::from_secs(4) {
            churn.step()?;
            thread::sleep(Duration::from_millis(5));
        }
        finish(&upstream, &mut pipeline)?;
        let handovers = Handovers::of(&upstream);
        println!("{store}: {handovers}");
        if handovers.0.len() < 10 || handovers.percentile(50) > HANDOVER_MAX {
            return Err(format!("{store}: {handovers}").into());
        }
    }
    Ok(())
}
