//! The shipped binary reads a change stream of the emulator whose partitions split and merge all the
//! time, while it is killed and the emulator frozen. The official Python client writes, and says in
//! the end what the stream had.
//!
//! `SPANNER_SECONDS=60 SPANNER_SEED=7 cargo test --test spanner -- googlesql` runs longer, or a run
//! again.

mod dialect;
mod mock;
mod pipeline;
mod python;
mod scene;
mod verdict;

use std::{
    env,
    error::Error,
    process::ExitCode,
    sync::{LazyLock, OnceLock},
    time::Duration,
};

use dialect::Dialect;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use rowtide_servers::{Kind, absence, is_strict};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Where the positions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checkpoint {
    Sqlite,
    /// In a metadata table of another database.
    Spanner,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each of them keeps all processors busy.
    arguments.test_threads.get_or_insert(1);
    let trials = vec![
        Trial::test("the_verdict_refuses_what_is_wrong", || {
            verdict::refuses_what_is_wrong().map_err(|error| Failed::from(error.to_string()))
        }),
        trial("googlesql_loses_nothing_when_all_are_killed", || {
            scene::kill_and_freeze(Dialect::GoogleSql, Checkpoint::Spanner, seed(), duration())
        }),
        trial("postgresql_loses_nothing_when_all_are_killed", || {
            scene::kill_and_freeze(Dialect::Postgres, Checkpoint::Sqlite, seed(), duration())
        }),
        trial("googles_own_mock_takes_the_requests", mock::takes_the_requests),
        trial("a_busy_partition_is_saved_once_a_second_at_most", || {
            scene::count_saves(seed(), duration())
        }),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A test that needs the emulator and Python: ignored where these cannot be had, but for CI.
fn trial(name: &str, test: impl FnOnce() -> Outcome<()> + Send + 'static) -> Trial {
    Trial::ignorable_test(name, move || {
        if let Some(reason) = absence(&[Kind::Spanner]) {
            return Ok(Completion::ignored_with(reason));
        }
        static PYTHON: OnceLock<Result<(), String>> = OnceLock::new();
        let python = PYTHON.get_or_init(|| python::install().map_err(|error| error.to_string()));
        if let Err(reason) = python
            && !is_strict()
        {
            return Ok(Completion::ignored_with(format!("no Python client: {reason}")));
        }
        let failed = |error: Box<dyn Error>| format!("SPANNER_SEED={}: {error}", seed()).into();
        test().map(|()| Completion::Completed).map_err(failed)
    })
}

/// One for all of a run, drawn unless it is given.
fn seed() -> u64 {
    static SEED: LazyLock<u64> = LazyLock::new(|| {
        let given = env::var("SPANNER_SEED").ok().and_then(|seed| seed.parse().ok());
        given.unwrap_or_else(|| fastrand::u64(..))
    });
    *SEED
}

/// How long the writers write.
fn duration() -> Duration {
    let given = env::var("SPANNER_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(given.unwrap_or(9))
}
