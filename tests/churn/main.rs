//! The shipped binary reads a change stream of many partitions, each of which lives for two
//! seconds, while rows are written to all of them and it is killed: nothing is missing, each row's
//! changes are in order, and memory stays small.
//!
//! `CHURN_PARTITIONS=2000 CHURN_SECONDS=60 CHURN_KILLS=5 cargo test --test churn` is the whole.

mod pipeline;
mod upstream;
mod verdict;

use std::{
    env,
    error::Error,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use libtest_mimic::{Arguments, Failed, Trial};

use pipeline::Pipeline;
use upstream::{Churn, Upstream};
use verdict::Reader;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What all its readers together may take, in bytes.
const MEMORY_MAX: u64 = 300_000_000;

/// How long the rest may take once nothing more is written.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let trials = vec![
        Trial::test("nothing_is_missing_of_many_partitions_that_come_and_go", || {
            killed_under_churn().map_err(|error| Failed::from(error.to_string()))
        }),
        Trial::test("the_verdict_refuses_what_is_wrong", || {
            verdict::refuses_what_is_wrong().map_err(|error| Failed::from(error.to_string()))
        }),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn killed_under_churn() -> Outcome<()> {
    let partitions = usize::try_from(number("CHURN_PARTITIONS", 200))?;
    let seconds = number("CHURN_SECONDS", 6);
    let kills = number("CHURN_KILLS", 2);
    let upstream = Upstream::start(partitions)?;
    let folder = tempfile::tempdir()?;
    let mut pipeline = Pipeline::new(folder.path(), &upstream)?;
    pipeline.start()?;
    let begun = Instant::now();
    let mut churn = Churn::new(&upstream, number("CHURN_SEED", 1));
    let run_time = Duration::from_secs(seconds);
    let mut killed = 0;
    while begun.elapsed() < run_time {
        churn.step()?;
        let is_due = begun.elapsed() * u32::try_from(kills + 1)? > run_time * (killed + 1);
        if is_due && u64::from(killed) < kills {
            pipeline.kill()?;
            pipeline.start()?;
            killed += 1;
        }
        pipeline.look()?;
        // What is to come next follows the clock.
        thread::sleep(Duration::from_millis(5));
    }
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
    println!(
        "{} changes of {} partitions, {} killed, {} lines, {} MB at most, the last {:?} behind",
        truth.len(),
        upstream.partitions(),
        killed,
        reader.lines(),
        pipeline.memory() / 1_000_000,
        written.elapsed()
    );
    if pipeline.memory() > MEMORY_MAX {
        return Err(format!("it took {} bytes", pipeline.memory()).into());
    }
    Ok(())
}
