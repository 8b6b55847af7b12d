//! What a recovery keeps, and what must not be waited for.

use std::{future::pending, time::Duration};

use rowtide_core::{
    Error, ErrorKind, Event, Partition, PartitionId,
    settings::{ByteSize, Period},
};
use rowtide_engine::{
    Delivery, Outcome, Until,
    simulation::{Mutant, activate},
};
use tokio::time::Instant;

use crate::{
    script::{Lines, Script, change, changes, idle, place, seconds},
    whole,
};

fn child(id: &str, parent: &str) -> Partition {
    Partition { parents: vec![PartitionId::new(parent)], ..Partition::new(id) }
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_the_lock_counts_though_the_sink_did_not_open_then() {
    for mutant in [None, Some(Mutant::ForgetsTheWaitForALock)] {
        activate(mutant);
        let script = whole(vec![changes(1, 2)]);
        script.lines().flushes.push_back(Err(Error::transient("gone")));
        script.lines().events.push_back(vec![changes(1, 2), idle(2)]);
        script.lines().sink_openings = [Ok(()), Err(Error::transient("not there yet"))].into();
        let other = script.clone();
        tokio::spawn(async move {
            while other.count("flush") == 0 {
                tokio::task::yield_now().await;
            }
            let mut lines = other.lines();
            (lines.waits_for_lock, lines.is_taken_over_meanwhile) = (true, true);
        });
        let result = script.run(Delivery::default(), seconds(10_000)).await;
        assert_eq!(script.count("open sink"), 3);
        assert_eq!(result.is_ok(), mutant.is_none(), "{mutant:?}: {result:?}");
        assert_eq!(script.count("claim"), if mutant.is_none() { 2 } else { 1 });
    }
    activate(None);
}

#[tokio::test(start_paused = true)]
async fn a_lost_lock_drops_what_is_in_flight_though_the_flush_hangs() {
    for mutant in [None, Some(Mutant::ForgetsALostLock)] {
        activate(mutant);
        let script = whole(vec![changes(1, 2)]);
        script.lines().flush_hangs = true;
        script.lines().events.push_back(vec![changes(1, 2), idle(2)]);
        let other = script.clone();
        tokio::spawn(async move {
            while other.count("flush") == 0 {
                tokio::task::yield_now().await;
            }
            let mut lines = other.lines();
            lines.flush_hangs = false;
            lines.context.take().unwrap().note_lock_lost();
        });
        let outcome = script.run(Delivery::default(), seconds(10_000)).await.unwrap();
        let is_noticed = outcome == Outcome::CaughtUp && script.count("open sink") == 2;
        assert_eq!(is_noticed, mutant.is_none(), "{mutant:?}: {outcome:?} {:?}", script.calls());
    }
    activate(None);
}

#[tokio::test(start_paused = true)]
async fn the_pause_of_a_reader_outlives_a_recovery() {
    let mut lines = Lines { partitions: vec![Partition::new("a")], ..Lines::default() };
    lines.flushes = (0..4).map(|_| Err(Error::transient("gone"))).collect();
    for session in 0..4 {
        // Each session fails to read at once, and then fails to flush.
        lines.events.push_back(vec![Err(Error::transient("first"))]);
        lines.events.push_back(vec![Ok(unplaced(session))]);
    }
    lines.events.push_back(vec![Err(Error::transient("fifth"))]);
    lines.events.push_back(vec![idle(1)]);
    let script = Script::new(lines);
    let started = Instant::now();
    script.run(Delivery::default(), seconds(10_000)).await.unwrap();
    // Five pauses of the reader that double, beside four of the pipeline that do as well.
    let least = Duration::from_millis(50 * (31 + 15));
    let most = 2 * least + Duration::from_millis(100);
    let elapsed = started.elapsed();
    assert!(elapsed >= least && elapsed <= most, "{elapsed:?} is not in {least:?}..{most:?}");
}

/// Changes without a position.
fn unplaced(number: u64) -> Event {
    Event::Changes { changes: vec![change(number)], position: None }
}

#[tokio::test(start_paused = true)]
async fn a_partition_named_twice_is_a_defect_and_not_merged() {
    let partitions = vec![Partition::new("a"), Partition::new("b"), Partition::new("a")];
    let script = Script::new(Lines { partitions, ..Lines::default() });
    let error = script.run(Delivery::default(), seconds(10_000)).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Fatal);
    assert!(error.message().contains("`a` twice"), "{error}");
    assert_eq!((script.count("save"), script.count("read")), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_parent_that_nobody_reads_is_an_error() {
    let partitions = vec![Partition::new("a"), child("b", "nowhere")];
    let finished = vec![changes(1, 1), Ok(Event::Finished)];
    let script = Script::new(Lines { partitions, events: [finished].into(), ..Lines::default() });
    for _ in 0..2 {
        let run = script.run_until(Until::Stopped, Delivery::default(), seconds(60));
        let error = run.await.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Fatal);
        assert!(error.message().contains("`b` waits for the end of nowhere"), "{error}");
    }
    assert_eq!(script.calls().iter().filter(|call| *call == "acknowledge a 1").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_has_ended_is_not_read_again_whatever_its_reader_does() {
    let mut lines =
        Lines { partitions: vec![Partition::new("a"), Partition::new("b")], ..Lines::default() };
    lines.events = [vec![changes(1, 1), Ok(Event::Finished)], vec![]].into();
    lines.panics_when_dropped = true;
    let script = Script::new(lines);
    let run = script.run_until(Until::Stopped, Delivery::default(), seconds(60));
    assert_eq!(run.await.unwrap(), Outcome::Stopped);
    assert_eq!(script.count("read a"), 1);
    let ended = script.lines().states.iter().any(|state| state.progress.is_finished());
    assert!(ended, "{:?}", script.lines().states);
}

#[tokio::test(start_paused = true)]
async fn a_position_behind_flushed_changes_is_not_alone() {
    let covers = Ok(Event::Changes { changes: vec![], position: Some(place(1)) });
    let script = whole(vec![Ok(unplaced(1)), covers]);
    // So little room that the position is read after the flush.
    let delivery = Delivery {
        bytes_max: ByteSize(1),
        flush_every: Period::from_secs(7),
        ..Delivery::default()
    };
    script.run_until(Until::Stopped, delivery, seconds(60)).await.unwrap();
    let saved_at = script.lines().saved_at.clone();
    assert_eq!(saved_at.len(), 2);
    assert_eq!(saved_at[1] - saved_at[0], Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_came_before_a_permanent_error_of_a_reader_is_delivered() {
    for flushes in [vec![], vec![Err(Error::transient("gone"))]] {
        let lost = || Err(Error::position_lost("a hole"));
        let script = whole(vec![changes(1, 2), lost()]);
        script.lines().events.push_back(vec![changes(1, 2), lost()]);
        script.lines().flushes = flushes.into();
        let error = script.run(Delivery::default(), pending()).await.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::PositionLost);
        assert_eq!(script.count("acknowledge whole 2"), 1, "{:?}", script.calls());
    }
}
