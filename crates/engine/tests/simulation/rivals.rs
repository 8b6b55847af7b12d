//! Two processes that run one pipeline: the younger claim wins, and nothing is lost.

use std::time::Duration;

use rowtide_core::{Result, Shutdown};
use rowtide_engine::{
    Outcome, Until,
    simulation::{Environment, run_in},
};

use crate::{
    durable::is_injected,
    harness::pipeline,
    named_seed,
    plan::{Dice, Plan},
    seeds, silence_injected_panics,
    world::{Life, World},
};

/// How a race of two has ended.
struct Race {
    first: Result<Outcome>,
    second: Result<Outcome>,
    world: World,
}

async fn start(world: World, process: usize, seed: u64) -> Result<Outcome> {
    let pipeline = pipeline(&world, process);
    let environment = Environment::new(move || world.now(), seed);
    let stop = tokio::time::sleep(Duration::from_secs(10_000));
    run_in(environment, pipeline, Until::CaughtUp, Shutdown::new(stop)).await
}

/// The second process starts some time after the first.
fn race(seed: u64) -> Race {
    let mut dice = Dice(seed);
    // A rejection that stops is for one process to see; here it would end the race.
    let plan = Plan { stops_on_rejected: false, ..Plan::new(seed) };
    let mut world = World::new(seed, plan);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let (first, second) = runtime.unwrap().block_on(async {
        world.begin(Life { faults: Some(60), slow: dice.one_in(2), ..Life::default() });
        let head_start = Duration::from_millis(dice.below(1_500));
        let later = async {
            tokio::time::sleep(head_start).await;
            start(world.clone(), 1, seed).await
        };
        tokio::join!(start(world.clone(), 0, seed), later)
    });
    world.end();
    Race { first, second, world }
}

#[test]
fn of_two_rivals_the_younger_claim_wins_and_nothing_is_lost() {
    silence_injected_panics();
    let mut take_overs = 0;
    for seed in seeds(50) {
        let Race { first, second, world } = race(seed);
        let state = world.state();
        // The upstream rightly has forgotten what only the loser remembers, and its order is that
        // of an older reader: the sink does not shut it out. What counts is what is saved.
        let saved = |violation: &&String| {
            let counts = ["invariant 1:", "invariant 5:", "invariant 6:", "invariant 10:"];
            counts.iter().any(|prefix| violation.starts_with(prefix))
                || violation.contains("is acknowledged and not saved")
        };
        let violation = state.violations.iter().find(saved);
        assert!(violation.is_none(), "SEED={seed}: {violation:?}");
        let is_lost =
            |result: &Result<Outcome>| result.as_ref().is_err_and(|error| error.is_claim_lost());
        let is_over = |result: &Result<Outcome>| result.is_ok();
        let gave_up = |result: &Result<Outcome>| result.as_ref().is_err_and(is_injected);
        take_overs += u32::from(is_lost(&first) || is_lost(&second));
        assert!(!(is_lost(&first) && is_lost(&second)), "SEED={seed}: both have lost");
        for (result, name) in [(&first, "first"), (&second, "second")] {
            let explained = is_lost(result) || is_over(result) || gave_up(result);
            assert!(explained, "SEED={seed}: the {name} ended with {result:?}");
        }
        if is_over(&first) || is_over(&second) {
            for (id, planned) in &state.plan.partitions {
                assert_eq!(state.durable.rows[id], planned.rows_before(usize::MAX), "SEED={seed}");
            }
        }
    }
    assert!(
        take_overs > 10 || named_seed().is_some(),
        "only {take_overs} of 50 races had a take-over"
    );
    println!("{take_overs} take-overs");
}
