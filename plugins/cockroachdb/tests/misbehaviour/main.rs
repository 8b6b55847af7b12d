//! A pipeline on a server that misbehaves by a seed, with writers and kills by the same seed.

mod mutants;
mod nemesis;
mod pipeline;
mod validators;
mod writer;

use std::{env, process::ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use rowtide_cockroachdb as _;

/// How many seeds run where the suite runs for every commit, and how many elsewhere.
const SEEDS_IN_CI: u64 = 200;
const SEEDS: u64 = 40;

fn main() -> ExitCode {
    let seeds = if env::var_os("CI").is_some() { SEEDS_IN_CI } else { SEEDS };
    // `ROWTIDE_SEED=17` runs one alone.
    let one: Option<u64> = env::var("ROWTIDE_SEED").ok().and_then(|seed| seed.parse().ok());
    let range = one.map_or(0..seeds, |seed| seed..seed + 1);
    let trial = |seed: u64| {
        Trial::test(format!("nothing_is_missing_with_seed_{seed:03}"), move || {
            nemesis::run(seed).map_err(Failed::from)
        })
    };
    let mut arguments = Arguments::from_args();
    // They mostly wait.
    arguments.test_threads.get_or_insert(8);
    let mut trials = vec![Trial::test("the_validators_refuse_what_is_wrong", || {
        mutants::are_refused().map_err(Failed::from)
    })];
    trials.extend(range.map(trial));
    libtest_mimic::run(&arguments, trials).exit_code()
}
