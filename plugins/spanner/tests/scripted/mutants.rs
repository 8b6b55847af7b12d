//! The verdict finds what is wrong: each of these traces is of a source that breaks one promise.

#![expect(clippy::ptr_arg, reason = "all mutants have one type")]

use libtest_mimic::{Failed, Trial};
use rowtide_core::{Error, Result};
use rowtide_fake_spanner::{Datum, Dialect, Faults, Server};

use crate::{
    pipeline::{Pipeline, Reading},
    scene,
    trace::Step,
    verdict::{Truth, verdict},
};

type Mutate = fn(&mut Vec<Step>);

const MUTANTS: [(&str, Mutate); 11] = [
    ("a_change_that_is_left_out", leave_one_out),
    ("changes_of_a_row_that_change_places", swap_two),
    ("a_change_that_comes_twice", repeat_one),
    ("a_change_that_comes_again_behind_its_position", repeat_behind_a_position),
    ("a_change_with_other_values", change_a_value),
    ("a_change_of_another_partition", move_one),
    ("a_change_that_is_another_when_it_comes_again", change_when_repeated),
    ("a_child_before_its_parents", begin_early),
    ("a_time_that_is_attested_too_early", attest_too_much),
    ("an_end_before_all_has_come", end_early),
    ("a_position_that_skips_a_change", skip_at_a_position),
];

pub(crate) fn trials() -> Vec<Trial> {
    let caught = |(name, mutate): (&'static str, Mutate)| {
        Trial::test(format!("the_verdict_catches_{name}"), move || {
            scene::block_on(caught(mutate)).map_err(|error| Failed::from(error.to_string()))
        })
    };
    MUTANTS.into_iter().map(caught).collect()
}

async fn caught(mutate: Mutate) -> Result<()> {
    let server = scene::start(scene::options(Dialect::GoogleSql, Faults::none()))?;
    let start = server.lineages().iter().map(|lineage| lineage.start).min().unwrap_or_default();
    let mut pipeline = Pipeline::new(scene::settings(&server));
    tell(&server, &mut pipeline).await?;
    let truth = Truth::of(&server, start);
    verdict(&pipeline.trace, &truth).map_err(Error::fatal)?;
    let mut trace = pipeline.trace.clone();
    mutate(&mut trace);
    assert!(trace != pipeline.trace, "the mutant changes nothing");
    match verdict(&trace, &truth) {
        Err(_) => Ok(()),
        Ok(()) => Err(Error::fatal("nothing is found to be wrong")),
    }
}

/// Writes to few rows while partitions split and merge, and reads it all, killed in between.
async fn tell(server: &Server, pipeline: &mut Pipeline) -> Result<()> {
    for round in 0..4_i64 {
        for id in 0..6 {
            let note = ("note", Datum::text(format!("{round} {id}")));
            server.commit(vec![scene::put(id, &[note])]).map_err(scene::failed)?;
        }
        let live = server.live();
        let (parents, children) = if round % 2 == 0 { (&live[..1], 2) } else { (&live[..], 1) };
        let source = pipeline.open().await?;
        let end = server.now();
        let mut reading = Reading::new(&*source, pipeline);
        while !reading.pipeline.is_saved_up_to(end) {
            reading.glance(scene::HEARTBEAT).await?;
            reading.save();
        }
        server.reshape(parents, children).map_err(scene::failed)?;
    }
    // What was not saved is told again.
    for _ in 0..2 {
        let source = pipeline.open().await?;
        let note = ("note", Datum::text("last"));
        server.commit(vec![scene::put(1, &[note])]).map_err(scene::failed)?;
        let mut reading = Reading::new(&*source, pipeline);
        let before = changed(&reading.pipeline.trace).len();
        while changed(&reading.pipeline.trace).len() == before {
            reading.save();
            reading.glance(scene::HEARTBEAT).await?;
        }
    }
    let source = pipeline.open().await?;
    let end = server.now();
    let mut reading = Reading::new(&*source, pipeline);
    while !reading.pipeline.is_saved_up_to(end) {
        reading.glance(scene::HEARTBEAT).await?;
        reading.save();
    }
    Ok(())
}

fn changed(trace: &[Step]) -> Vec<usize> {
    let is_change = |index: &usize| matches!(trace[*index], Step::Changed { .. });
    (0..trace.len()).filter(is_change).collect()
}

fn leave_one_out(trace: &mut Vec<Step>) {
    let last = changed(trace)[3];
    trace.remove(last);
}

fn swap_two(trace: &mut Vec<Step>) {
    let row = |step: &Step| match step {
        Step::Changed { change, .. } => Some(change.row.clone()),
        _ => None,
    };
    let first = changed(trace)[0];
    let of_row = |index: &usize| row(&trace[*index]) == row(&trace[first]);
    let second = changed(trace).into_iter().skip(1).find(of_row).expect("another version");
    trace.swap(first, second);
}

fn repeat_one(trace: &mut Vec<Step>) {
    let first = changed(trace)[0];
    trace.insert(first, trace[first].clone());
}

fn repeat_behind_a_position(trace: &mut Vec<Step>) {
    let first = changed(trace)[0];
    let Step::Changed { partition, .. } = trace[first].clone() else { return };
    let is_reopened = |step: &Step| match step {
        Step::Opened { partition: own, from: Some(_) } => *own == partition,
        _ => false,
    };
    let reopened = trace.iter().position(is_reopened).expect("the partition is opened again");
    trace.insert(reopened + 1, trace[first].clone());
}

fn change_a_value(trace: &mut Vec<Step>) {
    let first = changed(trace)[0];
    let Step::Changed { change, .. } = &mut trace[first] else { return };
    change.said = change.said.replace("\"note\"", "\"nota\"");
}

fn move_one(trace: &mut Vec<Step>) {
    let changes = changed(trace);
    let Step::Changed { partition: last, .. } = trace[changes[changes.len() - 1]].clone() else {
        return;
    };
    let Step::Changed { partition, .. } = &mut trace[changes[0]] else { return };
    *partition = last;
}

fn change_when_repeated(trace: &mut Vec<Step>) {
    let name = |step: &Step| match step {
        Step::Changed { change, .. } => Some(change.name.clone()),
        _ => None,
    };
    let changes = changed(trace);
    let again = changes.iter().enumerate().find(|(place, index)| {
        changes[..*place].iter().any(|before| name(&trace[*before]) == name(&trace[**index]))
    });
    let (_, again) = again.expect("something comes again");
    let Step::Changed { change, .. } = &mut trace[*again] else { return };
    change.whole.push('?');
}

fn begin_early(trace: &mut Vec<Step>) {
    let is_parent = |step: &Step| match step {
        Step::Saved { finished } => finished.len() == 1 && finished[0] != "Parent0",
        _ => false,
    };
    let is_opened = |step: &Step| matches!(step, Step::Opened { .. });
    let saved = trace.iter().position(is_parent).expect("a parent is saved");
    let opened = trace[saved..].iter().position(is_opened).expect("a child is opened");
    let opened = trace.remove(saved + opened);
    trace.insert(saved, opened);
}

fn attest_too_much(trace: &mut Vec<Step>) {
    let changes = changed(trace);
    let Step::Changed { partition, change } = trace[changes[2]].clone() else { return };
    let placed = Step::Placed {
        partition,
        position: "too early".to_owned(),
        attested: Some(change.name.at),
    };
    trace.insert(changes[2], placed);
}

fn end_early(trace: &mut Vec<Step>) {
    let first = changed(trace)[0];
    let Step::Changed { partition, .. } = trace[first].clone() else { return };
    trace.insert(first, Step::Finished { partition });
}

fn skip_at_a_position(trace: &mut Vec<Step>) {
    let first = changed(trace)[0];
    let Step::Changed { partition, .. } = trace[first].clone() else { return };
    let is_reopened = |step: &Step| match step {
        Step::Opened { partition: own, from: Some(_) } => *own == partition,
        _ => false,
    };
    let is_changed = |step: &Step| match step {
        Step::Changed { partition: own, .. } => *own == partition,
        _ => false,
    };
    let reopened = trace.iter().rposition(is_reopened).expect("the partition is opened again");
    let skipped = trace[reopened..].iter().position(is_changed).map(|place| reopened + place);
    trace.remove(skipped.unwrap_or(first));
}
