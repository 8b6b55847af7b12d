//! How the engine reacts to one thing at a time, in virtual time.
#![expect(unreachable_pub, reason = "the modules of a test are reached from here only")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod logs;
mod recoveries;
mod script;
mod stops;

use std::{future::pending, time::Duration};

use rowtide_core::{
    Error, ErrorKind, Event, Partition, PartitionState, Progress,
    settings::{ByteSize, Period},
};
use rowtide_engine::{
    Delivery, OnRejected, Outcome, Until,
    simulation::{Mutant, activate},
};
use script::{Lines, Script, changes, idle, place, seconds};
use tokio::time::Instant;

fn whole(events: Vec<rowtide_core::Result<Event>>) -> Script {
    Script::new(Lines {
        partitions: vec![Partition::whole()],
        events: [events].into(),
        ..Lines::default()
    })
}

fn skip() -> Delivery {
    Delivery { on_rejected: OnRejected::Skip, ..Delivery::default() }
}

#[tokio::test(start_paused = true)]
async fn a_start_and_a_delivery_take_their_steps_in_order() {
    let script = whole(vec![changes(1, 2), idle(2)]);
    let outcome = script.run(Delivery::default(), pending()).await.unwrap();
    assert_eq!(outcome, Outcome::CaughtUp);
    let expected = [
        "open store",
        "open source",
        "open sink",
        "claim",
        "partitions",
        "save",
        "read whole from the beginning",
        "write 2",
        "flush",
        "save",
        "acknowledge whole 2",
    ];
    assert_eq!(script.calls(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_restart_acknowledges_and_resumes_what_is_saved() {
    let script = whole(vec![idle(7)]);
    let progress = Progress::Delivered(place(7));
    script.lines().states = vec![PartitionState { partition: Partition::whole(), progress }];
    script.run(Delivery::default(), pending()).await.unwrap();
    let expected = [
        "open store",
        "open source",
        "open sink",
        "claim",
        "acknowledge whole 7",
        "read whole from 7",
    ];
    assert_eq!(script.calls(), expected);
}

#[tokio::test(start_paused = true)]
async fn recovery_proves_the_old_claim_before_anything_else() {
    let script = whole(vec![changes(1, 2)]);
    script.lines().flushes.push_back(Err(Error::transient("gone")));
    script.lines().events.push_back(vec![changes(1, 2), idle(2)]);
    script.run(Delivery::default(), pending()).await.unwrap();
    let calls = script.calls();
    let flush = calls.iter().position(|call| call == "flush").unwrap();
    let expected = [
        "open source",
        "open sink",
        "prove",
        "read whole from the beginning",
        "write 2",
        "flush",
        "save",
        "acknowledge whole 2",
    ];
    assert_eq!(calls[flush + 1..], expected);
    assert_eq!(script.count("claim"), 1);
}

#[tokio::test(start_paused = true)]
async fn recovery_claims_anew_where_the_source_waited_for_its_lock() {
    let script = whole(vec![changes(1, 2)]);
    script.lines().flushes.push_back(Err(Error::transient("gone")));
    script.lines().events.push_back(vec![changes(1, 2), idle(2)]);
    script.lines().waits_for_lock = true;
    script.run(Delivery::default(), pending()).await.unwrap();
    assert_eq!((script.count("claim"), script.count("prove")), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn that_the_source_waited_for_its_lock_outlives_a_failure_to_open_it() {
    let script = whole(vec![changes(1, 2)]);
    script.lines().flushes.push_back(Err(Error::transient("gone")));
    script.lines().events.push_back(vec![changes(1, 2), idle(2)]);
    script.lines().waits_for_lock = true;
    script.lines().source_openings.extend([Ok(()), Err(Error::transient("down"))]);
    script.run(Delivery::default(), pending()).await.unwrap();
    assert_eq!((script.count("claim"), script.count("prove")), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn who_was_shut_out_saves_and_acknowledges_nothing() {
    let script = whole(vec![changes(1, 2), idle(2)]);
    script.lines().is_taken_over = true;
    let error = script.run(Delivery::default(), pending()).await.unwrap_err();
    assert!(error.is_claim_lost(), "{error}");
    assert_eq!(script.count("acknowledge"), 0);
    assert_eq!(script.lines().states, [PartitionState::waiting(Partition::whole())]);
}

#[tokio::test(start_paused = true)]
async fn who_was_shut_out_a_while_ago_does_not_even_flush() {
    let script = whole(vec![Err(Error::transient("1"))]);
    for _ in 0..6 {
        script.lines().events.push_back(vec![Err(Error::transient("again"))]);
    }
    script.lines().events.push_back(vec![changes(1, 2), idle(2)]);
    script.lines().is_taken_over = true;
    let error = script.run(Delivery::default(), pending()).await.unwrap_err();
    assert!(error.is_claim_lost(), "{error}");
    assert_eq!((script.count("write"), script.count("flush")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_lost_position_is_reported_only_under_a_proven_claim() {
    for is_taken_over in [false, true] {
        let script = whole(vec![Err(Error::position_lost("gone"))]);
        script.lines().is_taken_over = is_taken_over;
        let error = script.run(Delivery::default(), pending()).await.unwrap_err();
        assert_eq!(error.is_claim_lost(), is_taken_over, "{error}");
        assert_eq!(*error.kind() == ErrorKind::PositionLost, !is_taken_over, "{error}");
        assert_eq!(script.calls().last().unwrap(), "prove");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejected_change_stops_the_pipeline_and_nothing_of_its_span_is_saved() {
    let script = whole(vec![changes(1, 2), changes(3, 4), idle(4)]);
    script.lines().flushes.push_back(Err(Error::rejected(vec![3], "poison")));
    let error = script.run(Delivery::default(), pending()).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Rejected { indexes: vec![3] });
    assert!(error.remedy().is_some());
    assert_eq!(script.count("save"), 1, "the one of the start");
}

#[tokio::test(start_paused = true)]
async fn a_rejected_change_is_skipped_where_the_user_says_so() {
    let script = whole(vec![changes(1, 2), changes(3, 4), idle(4)]);
    script.lines().flushes.push_back(Err(Error::rejected(vec![0, 3], "poison")));
    assert_eq!(script.run(skip(), pending()).await.unwrap(), Outcome::CaughtUp);
    assert_eq!(script.calls().last().unwrap(), "acknowledge whole 4");
}

#[tokio::test(start_paused = true)]
async fn a_rejection_that_cannot_be_meant_is_fatal() {
    for indexes in [vec![], vec![2], vec![1, 0], vec![1, 1]] {
        let script = whole(vec![changes(1, 2), idle(2)]);
        script.lines().flushes.push_back(Err(Error::rejected(indexes.clone(), "poison")));
        let error = script.run(skip(), pending()).await.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Fatal, "{indexes:?}");
    }
    let script = whole(vec![changes(1, 2), idle(2)]);
    script.lines().writes.push_back(Err(Error::rejected(vec![0], "poison")));
    let error = script.run(skip(), pending()).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Fatal);
}

#[tokio::test(start_paused = true)]
async fn errors_that_do_not_pass_stop_the_pipeline() {
    for (make, kind) in [
        (Error::fatal as fn(&'static str) -> Error, ErrorKind::Fatal),
        (Error::config, ErrorKind::Config),
        (Error::position_lost, ErrorKind::PositionLost),
    ] {
        let reader = whole(vec![Err(make("injected"))]);
        let error = reader.run(Delivery::default(), pending()).await.unwrap_err();
        assert_eq!(error.kind(), &kind);
        let sink = whole(vec![changes(1, 1)]);
        sink.lines().writes.push_back(Err(make("injected")));
        let error = sink.run(Delivery::default(), pending()).await.unwrap_err();
        assert_eq!(error.kind(), &kind);
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_without_partitions_is_a_config_error() {
    let script = Script::new(Lines::default());
    let error = script.run(Delivery::default(), pending()).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Config);
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_whose_partitions_have_ended_ends_at_each_start() {
    let script = whole(vec![changes(1, 1), Ok(Event::Finished)]);
    for _ in 0..2 {
        let outcome = script.run_until(Until::Stopped, Delivery::default(), pending()).await;
        assert_eq!(outcome.unwrap(), Outcome::Finished);
    }
    assert_eq!(script.count("read"), 1);
    assert_eq!(script.calls().last().unwrap(), "acknowledge whole 1");
}

#[tokio::test(start_paused = true)]
async fn a_reader_pauses_longer_until_a_new_position_is_accepted() {
    let script = whole(vec![Err(Error::transient("1"))]);
    for _ in 0..7 {
        script.lines().events.push_back(vec![Err(Error::transient("again"))]);
    }
    script.lines().events.push_back(vec![idle(1)]);
    let started = Instant::now();
    script.run(Delivery::default(), pending()).await.unwrap();
    let grown = Duration::from_millis(50 * 255);
    assert!(
        started.elapsed() >= grown && started.elapsed() <= 3 * grown,
        "{:?}",
        started.elapsed()
    );
    assert_eq!(script.count("read"), 9);
    assert_eq!(script.count("open source"), 1, "only the partition is read again");
}

#[tokio::test(start_paused = true)]
async fn a_reader_resumes_from_the_last_accepted_position() {
    let script = whole(vec![changes(1, 2), changes(3, 4), Err(Error::transient("gone"))]);
    script.lines().events.push_back(vec![idle(4)]);
    script.run(Delivery::default(), pending()).await.unwrap();
    assert_eq!(script.count("read whole from 4"), 1);
    assert_eq!(script.count("write"), 2);
}

#[tokio::test(start_paused = true)]
async fn children_start_behind_the_save_of_their_parents_end() {
    let mut child = Partition::new("child");
    child.parents = vec![Partition::whole().id];
    let announced = Ok(Event::Children { partitions: vec![child] });
    let script = whole(vec![announced, changes(1, 1), Ok(Event::Finished)]);
    script.lines().events.push_back(vec![changes(2, 2), idle(2)]);
    script.run(Delivery::default(), pending()).await.unwrap();
    let calls = script.calls();
    let read = calls.iter().position(|call| call.starts_with("read child")).unwrap();
    assert_eq!(calls[read - 2..read], ["save", "acknowledge whole 1"]);
    let states = script.lines().states.clone();
    assert_eq!(states.len(), 1, "the parent is forgotten: {states:?}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_pipeline_does_no_work() {
    let script = whole(vec![changes(1, 1), idle(1), idle(1), idle(1)]);
    let outcome = script.run_until(Until::Stopped, Delivery::default(), seconds(3_600)).await;
    assert_eq!(outcome.unwrap(), Outcome::Stopped);
    assert_eq!((script.count("flush"), script.count("save"), script.count("prove")), (1, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn positions_alone_are_saved_at_most_every_flush_every() {
    let alone = |number| Ok(Event::Changes { changes: vec![], position: Some(place(number)) });
    let script = whole((1..100).map(alone).collect());
    let delivery = Delivery { flush_every: Period::from_secs(7), ..Delivery::default() };
    script.run_until(Until::Stopped, delivery, seconds(60)).await.unwrap();
    let saved_at = script.lines().saved_at.clone();
    assert_eq!(saved_at.len(), 2);
    assert_eq!(saved_at[1] - saved_at[0], Duration::from_secs(7));
    assert_eq!(script.count("flush"), 0);
}

#[tokio::test(start_paused = true)]
async fn save_every_spares_saves_and_a_stop_saves_all() {
    let script = whole(vec![changes(1, 1), changes(2, 2), changes(3, 3)]);
    let delivery =
        Delivery { flush_after: 1, save_every: Period::from_secs(3_600), ..Delivery::default() };
    script.run_until(Until::Stopped, delivery, seconds(60)).await.unwrap();
    assert_eq!((script.count("flush"), script.count("save")), (3, 3));
    assert_eq!(script.calls().last().unwrap(), "acknowledge whole 3");
}

#[tokio::test(start_paused = true)]
async fn an_end_does_not_wait_for_save_every_and_what_has_not_ended_does() {
    let ends = vec![changes(1, 1), changes(2, 2), Ok(Event::Finished)];
    let lives = (1..=9).map(|number| changes(number, number)).collect();
    let script = Script::new(Lines {
        partitions: vec![Partition::new("ends"), Partition::new("lives")],
        events: [ends, lives].into(),
        ..Lines::default()
    });
    let save_every = Period::from_secs(3_600);
    let delivery = Delivery { bytes_max: ByteSize(1), save_every, ..Delivery::default() };
    script.run_until(Until::Stopped, delivery, seconds(60)).await.unwrap();
    assert_eq!(script.count("acknowledge ends 2"), 1);
    let calls = script.calls();
    assert!(calls.contains(&"acknowledge ends 2".to_owned()), "by itself: {calls:?}");
    assert_eq!(calls.last().unwrap(), "acknowledge lives 9");
}

#[tokio::test(start_paused = true)]
async fn ends_that_wait_together_are_one_save() {
    let parents: Vec<_> = (0..50).map(|number| Partition::new(format!("p{number:02}"))).collect();
    let events = (0..50).map(|number| {
        let mut child = Partition::new(format!("c{number:02}"));
        child.parents = vec![parents[number].id.clone()];
        let announced = Ok(Event::Children { partitions: vec![child] });
        vec![changes(1, 1), announced, Ok(Event::Finished)]
    });
    let events = events.collect();
    let script = Script::new(Lines { partitions: parents.clone(), events, ..Lines::default() });
    script.run_until(Until::Stopped, Delivery::default(), seconds(60)).await.unwrap();
    assert_eq!(script.count("read c"), 50);
    // One says which partitions there are.
    let saves = script.count("save");
    assert!(saves <= 4, "{saves}");
}

#[tokio::test(start_paused = true)]
async fn an_end_waits_for_others_a_moment_at_most() {
    let busy = (1..=1_000).map(|number| changes(number, number)).collect();
    let script = Script::new(Lines {
        partitions: vec![Partition::new("ends"), Partition::new("lives")],
        events: [vec![changes(1, 1), Ok(Event::Finished)], busy].into(),
        write_takes: Duration::from_millis(1),
        ..Lines::default()
    });
    let begun = Instant::now();
    script.run_until(Until::Stopped, Delivery::default(), seconds(60)).await.unwrap();
    let calls = script.calls();
    let ended = calls.iter().position(|call| call.contains("ends 1")).unwrap();
    let writes = calls[ended..].iter().filter(|call| call.starts_with("write")).count();
    assert!(writes > 900, "{writes} of 1000 were still to come");
    assert!(script.lines().saved_at[1] - begun < Duration::from_millis(30));
}

#[tokio::test(start_paused = true)]
async fn what_is_read_meanwhile_is_flushed_together() {
    let script = whole((1..=50).map(|number| changes(number, number)).chain([idle(50)]).collect());
    script.run(Delivery::default(), pending()).await.unwrap();
    assert!(script.count("flush") < 10, "{} flushes", script.count("flush"));
    let script = whole((1..=50).map(|number| changes(number, number)).chain([idle(50)]).collect());
    let delivery = Delivery { bytes_max: ByteSize(1), ..Delivery::default() };
    script.run(delivery, pending()).await.unwrap();
    assert_eq!(script.count("flush"), 50, "each event is larger than the bound, and enters alone");
}

#[tokio::test(start_paused = true)]
async fn a_child_that_does_not_name_its_parent_is_fatal_and_the_mutant_takes_it() {
    for mutant in [None, Some(Mutant::AcceptsForeignChildren)] {
        activate(mutant);
        let partitions = vec![Partition::new("foreign")];
        let script = whole(vec![Ok(Event::Children { partitions }), changes(1, 1)]);
        let result = script.run_until(Until::Stopped, Delivery::default(), seconds(5)).await;
        let is_fatal = result.is_err_and(|error| *error.kind() == ErrorKind::Fatal);
        assert_eq!(is_fatal, mutant.is_none());
    }
    activate(None);
}
