//! What a stop waits for, and for how long.

use std::time::Duration;

use rowtide_core::{Error, Event, Partition, Result, settings::Period};
use rowtide_engine::{
    Delivery, Outcome, Until,
    simulation::{Mutant, activate},
};
use tokio::time::{Instant, timeout};

use crate::{
    script::{Lines, Script, change, changes, idle, seconds},
    whole,
};

/// A change whose position is still to come.
fn open(number: u64) -> Result<Event> {
    Ok(Event::Changes { changes: vec![change(number)], position: None })
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_within_its_timeout_and_the_mutant_does_not() {
    for (mutant, ends) in [(None, true), (Some(Mutant::WaitsForeverOnStop), false)] {
        activate(mutant);
        let script = whole(vec![changes(1, 1)]);
        script.lines().flush_hangs = true;
        let run = script.run_until(Until::Stopped, Delivery::default(), seconds(5));
        let started = Instant::now();
        let result = timeout(Duration::from_secs(1_000), run).await;
        assert_eq!(result.is_ok(), ends, "{mutant:?}");
        if let Ok(outcome) = result {
            assert_eq!(outcome.unwrap(), Outcome::Stopped);
            assert_eq!(started.elapsed(), Duration::from_secs(35));
        }
    }
    activate(None);
}

#[tokio::test(start_paused = true)]
async fn a_stop_whose_flush_fails_is_a_stop() {
    let script = whole(vec![changes(1, 1)]);
    script.lines().flushes.extend((0..9).map(|_| Err(Error::transient("gone"))));
    let outcome = script.run_until(Until::Stopped, Delivery::default(), seconds(1)).await;
    assert_eq!(outcome.unwrap(), Outcome::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_the_position_of_what_is_written_and_reads_no_further() {
    // The stop comes while the first change is written.
    let busy = (10..20).map(|number| changes(number, number)).collect();
    let script = Script::new(Lines {
        partitions: vec![Partition::new("late"), Partition::new("other")],
        events: [vec![open(1), open(2), idle(2), open(3), idle(3)], busy].into(),
        write_takes: Duration::from_millis(10),
        ..Lines::default()
    });
    let stop = tokio::time::sleep(Duration::from_millis(5));
    script.run_until(Until::Stopped, Delivery::default(), stop).await.unwrap();
    assert_eq!(script.count("write"), 2, "{:?}", script.calls());
    assert_eq!(script.calls().last().unwrap(), "acknowledge late 2");
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_a_position_for_a_moment_at_most() {
    for (stop_timeout, waits) in [(30, 2_000), (4, 1_000)] {
        let delivery =
            Delivery { stop_timeout: Period::from_secs(stop_timeout), ..Delivery::default() };
        let (script, begun) = (whole(vec![changes(1, 1), open(2)]), Instant::now());
        script.run_until(Until::Stopped, delivery, seconds(5)).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::from_millis(5_000 + waits));
        assert_eq!(script.count("acknowledge whole 1"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_no_reader_that_has_failed() {
    let errors: [fn() -> Error; 2] = [|| Error::config("bad"), || Error::transient("gone")];
    for error in errors {
        let (script, begun) = (whole(vec![open(1), Err(error())]), Instant::now());
        script.lines().write_takes = Duration::from_millis(10);
        let stop = tokio::time::sleep(Duration::from_millis(5));
        let outcome = script.run_until(Until::Stopped, Delivery::default(), stop).await.unwrap();
        assert_eq!((outcome, begun.elapsed()), (Outcome::Stopped, Duration::from_millis(10)));
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_its_position_is_saved_before_a_stop_waits_for_others() {
    // The first position is saved at once, the second is due in an hour.
    let save_every = Period::from_secs(3_600);
    let delivery = Delivery { save_every, flush_after: 1, ..Delivery::default() };
    let (script, begun) = (whole(vec![changes(1, 1), changes(2, 2), open(3)]), Instant::now());
    script.lines().write_takes = Duration::from_secs(1);
    script.run_until(Until::Stopped, delivery, seconds(9)).await.unwrap();
    let saved_at = script.lines().saved_at.last().map(|at| *at - begun);
    assert_eq!(saved_at, Some(Duration::from_secs(9)));
    assert_eq!(begun.elapsed(), Duration::from_secs(11));
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_with_the_position_of_what_is_written() {
    // With the second change it has caught up, and the position of that is still to come.
    let script = whole(vec![changes(1, 1), idle(1), open(2), idle(2)]);
    let delivery = Delivery { flush_after: 2, ..Delivery::default() };
    let outcome = script.run(delivery, std::future::pending()).await.unwrap();
    assert_eq!(outcome, Outcome::CaughtUp);
    assert_eq!(script.calls().last().unwrap(), "acknowledge whole 2");
}
