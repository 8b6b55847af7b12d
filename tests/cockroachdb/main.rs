//! The shipped binary reads changefeeds of a server that misbehaves by a seed, and is killed.
//!
//! `COCKROACHDB_SECONDS=300 COCKROACHDB_SEED=7 cargo test --test cockroachdb -- survives` runs longer,
//! or a run again.

mod bank;
mod delivered;
mod killing;
mod mishaps;
mod moments;
mod pipeline;
mod publisher;
#[path = "../../plugins/cockroachdb/tests/misbehaviour/validators.rs"]
mod validators;
#[path = "../../plugins/cockroachdb/tests/misbehaviour/writer.rs"]
mod writer;

use std::{env, error::Error, process::ExitCode, time::Duration};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use rowtide_servers::{Kind, absence, is_strict};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They mostly wait.
    arguments.test_threads.get_or_insert(8);
    let trials = vec![
        trial("survives_kills_without_a_gap", survive),
        trial("a_kill_after_the_first_row_of_a_scan_loses_nothing", moments::in_a_scan),
        trial("a_kill_between_two_rows_of_a_transaction_loses_nothing", moments::in_a_transaction),
        trial("two_pipelines_in_one_store_have_positions_of_their_own", mishaps::share_a_store),
        trial("what_is_wrong_ends_with_its_exit_code_and_says_what_helps", mishaps::be_wrong),
        trial("a_server_that_is_away_for_long_is_waited_for", || mishaps::be_away(away())),
        trial("a_server_that_falls_silent_is_given_up_and_asked_again", mishaps::fall_silent),
        trial("a_position_that_grows_old_is_warned_of_and_then_lost", mishaps::grow_old),
        trial("the_example_reads_the_bank_of_the_fake", bank::is_read_by_the_example),
        publisher(),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(name: &str, test: fn() -> Outcome<()>) -> Trial {
    Trial::test(name, move || test().map_err(|error| Failed::from(error.to_string())))
}

fn publisher() -> Trial {
    let name = "rabbitmq_gets_the_message_of_crdb_changefeed_publisher_to_the_byte";
    let absence = absence(&[Kind::RabbitMq]);
    Trial::ignorable_test(name, move || match absence {
        Some(reason) => Ok(Completion::ignored_with(reason)),
        None => publisher::publish()
            .map(|()| Completion::Completed)
            .map_err(|error| Failed::from(error.to_string())),
    })
}

fn survive() -> Outcome<()> {
    let given = |name: &str| env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = given("COCKROACHDB_SEED").unwrap_or_else(|| fastrand::u64(..));
    let seconds = given("COCKROACHDB_SECONDS").unwrap_or(if is_strict() { 60 } else { 15 });
    killing::survive(seed, Duration::from_secs(seconds))
        .map_err(|error| format!("COCKROACHDB_SEED={seed}: {error}").into())
}

/// Longer than any time-out, where the suite runs for every commit.
fn away() -> Duration {
    Duration::from_secs(if is_strict() { 61 } else { 10 })
}
