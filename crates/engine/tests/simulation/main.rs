//! The engine against a world that fails in every way, in virtual time.
//!
//! A seed decides everything. To repeat one: `SEED=17 cargo test -p rowtide-engine --test simulation`.

#![expect(unreachable_pub, reason = "the modules of a test are reached from here only")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod durable;
mod harness;
mod mutants;
mod plan;
mod plugins;
mod rivals;
mod world;

use harness::{Report, crash_at_every_step, simulate};

/// The seeds to go through: the first `count`, or the one that the user names.
fn seeds(count: u64) -> Vec<u64> {
    named_seed().map_or_else(|| (0..count).collect(), |seed| vec![seed])
}

fn named_seed() -> Option<u64> {
    let seed = std::env::var("SEED").ok()?;
    Some(seed.parse().unwrap_or_else(|_| panic!("SEED={seed} is not a number")))
}

/// The panics that the simulation injects are no news.
pub fn silence_injected_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref() != Some(&"injected") {
                hook(info);
            }
        }));
    });
}

#[test]
fn nothing_is_lost_whatever_happens() {
    silence_injected_panics();
    let mut total = Report::default();
    for seed in seeds(80) {
        let report = simulate(seed, None).unwrap_or_else(|error| panic!("SEED={seed}: {error}"));
        total.crashes += report.crashes;
        total.stops += report.stops;
        total.errors += report.errors;
        total.rejections += report.rejections;
        total.clean_stops += report.clean_stops;
        total.rows += report.rows;
        total.duplicates += report.duplicates;
        total.saves += report.saves;
    }
    println!("{total:?}");
    if named_seed().is_none() {
        let least = total.crashes.min(total.stops).min(total.errors).min(total.rejections);
        assert!(least > 5 && total.clean_stops > 5, "too little has happened: {total:?}");
    }
}

#[test]
fn a_crash_at_any_step_loses_nothing() {
    silence_injected_panics();
    let mut crashes = 0;
    for seed in seeds(3) {
        crashes += crash_at_every_step(seed).unwrap_or_else(|error| panic!("SEED={seed}: {error}"));
    }
    println!("{crashes} crashes");
    assert!(crashes > 10 || named_seed().is_some(), "only {crashes} crashes");
}
