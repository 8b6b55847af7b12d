//! The source against a server that misbehaves: by a seed, with writers, churn and kills by the
//! same seed; and each misbehaviour alone.

mod bounded;
mod cases;
mod golden;
mod metadata;
mod mutants;
mod nemesis;
mod pipeline;
mod scene;
mod trace;
mod verdict;

use std::{env, process::ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use rowtide_spanner as _;

/// How many seeds run where the suite runs for every commit, and how many elsewhere.
const SEEDS_IN_CI: u64 = 200;
const SEEDS: u64 = 40;

/// Trials that run at once: they wait more than they work.
const THREADS: usize = 12;

fn main() -> ExitCode {
    let seeds = if env::var_os("CI").is_some() { SEEDS_IN_CI } else { SEEDS };
    // `ROWTIDE_SEED=17` runs one alone, `ROWTIDE_SEEDS=5000` more of them.
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = number("ROWTIDE_SEEDS").unwrap_or(seeds);
    let range = number("ROWTIDE_SEED").map_or(0..seeds, |seed| seed..seed + 1);
    let of_seed = |seed: u64| {
        Trial::test(format!("nothing_is_missing_with_seed_{seed:03}"), move || {
            nemesis::run(seed).map_err(Failed::from)
        })
    };
    let mut trials = cases::trials();
    trials.extend(mutants::trials());
    trials.extend(range.map(of_seed));
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(THREADS));
    libtest_mimic::run(&arguments, trials).exit_code()
}
