//! The shipped binary relays an outbox through everything that can happen to it, to its database
//! and to its broker; a reader of its own holds what arrived against what was committed.
//!
//! `RELAY_SECONDS=300 RELAY_SEED=7 cargo test --test relay -- postgres_to_kafka` runs longer, or a
//! run again.

mod consumer;
mod mishaps;
mod relay;
mod scene;
mod session;
mod verdict;
mod writer;

use std::{env, error::Error, process::ExitCode, sync::LazyLock, thread, time::Duration};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use rowtide_servers::{Kind, absence};

use mishaps::Absence;
use scene::{Broker, Scene};
use session::Database;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each of them keeps all processors busy.
    arguments.test_threads.get_or_insert(1);
    let mut trials = vec![Trial::test("the_verdict_refuses_what_is_wrong", || {
        verdict::refuses_what_is_wrong().map_err(|error| Failed::from(error.to_string()))
    })];
    for (database, broker) in [
        (Database::Postgres, Broker::Kafka),
        (Database::Postgres, Broker::RabbitMq),
        (Database::MariaDb, Broker::Kafka),
        (Database::MariaDb, Broker::RabbitMq),
    ] {
        let name = format!("{database}_to_{broker}_loses_nothing_when_all_are_killed");
        trials.push(trial(name, &[database.kind(), broker.kind()], move || {
            mishaps::kill_everything(Scene::start(database, broker)?, seed(), duration())
        }));
    }
    let kinds = [Kind::Postgres, Kind::Kafka, Kind::RabbitMq];
    trials.push(trial("a_broker_that_is_away_for_long_is_waited_for".to_owned(), &kinds, || {
        thread::scope(|scope| {
            let threads: Vec<_> = [Broker::Kafka, Broker::RabbitMq]
                .into_iter()
                .flat_map(|broker| [(broker, Absence::Stopped), (broker, Absence::Frozen)])
                .map(|(broker, absence)| scope.spawn(move || keep_away(broker, absence)))
                .collect();
            threads
                .into_iter()
                .try_for_each(|thread| Ok(thread.join().map_err(|_| "a panic")??))
        })
    }));
    for broker in [Broker::Kafka, Broker::RabbitMq] {
        let kinds = [Kind::Postgres, broker.kind()];
        let name = format!("a_message_that_{broker}_does_not_take_is_skipped_or_stops_the_relay");
        trials.push(trial(name, &kinds, move || {
            mishaps::send_what_nobody_takes(Scene::start(Database::Postgres, broker)?)
        }));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn keep_away(broker: Broker, absence: Absence) -> Result<(), String> {
    let away = || {
        let scene = Scene::start(Database::Postgres, broker)?;
        mishaps::keep_the_broker_away(scene, absence, seed())
    };
    away().map_err(|error: Box<dyn Error>| error.to_string())
}

/// A test that needs servers: ignored where these cannot be had.
fn trial(
    name: String,
    kinds: &[Kind],
    test: impl FnOnce() -> Outcome<()> + Send + 'static,
) -> Trial {
    let absence = absence(kinds);
    Trial::ignorable_test(name, move || match absence {
        Some(reason) => Ok(Completion::ignored_with(reason)),
        None => test()
            .map(|()| Completion::Completed)
            .map_err(|error| Failed::from(format!("RELAY_SEED={}: {error}", seed()))),
    })
}

/// One for all of a run, drawn unless it is given.
fn seed() -> u64 {
    static SEED: LazyLock<u64> = LazyLock::new(|| {
        let given = env::var("RELAY_SEED").ok().and_then(|seed| seed.parse().ok());
        given.unwrap_or_else(|| fastrand::u64(..))
    });
    *SEED
}

/// How long the writers write.
fn duration() -> Duration {
    let given = env::var("RELAY_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(given.unwrap_or(20))
}
