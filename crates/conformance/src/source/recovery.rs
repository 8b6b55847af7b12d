use rowtide_core::{Change, Event, PartitionId, PartitionState};

use super::{
    SourceCase, Write,
    case::{World, insert, update},
    delivery::{difference, logged, replay, said},
    reading::{Reading, changes},
};
use crate::{
    Capability, Failure, Verdict,
    scenario::{Scenario, ask_again, ensure, scenario},
};

pub(crate) fn scenarios() -> Vec<Scenario<SourceCase>> {
    vec![
        scenario!(
            resumes_after_every_position,
            None,
            "a source opened anew goes on right after whichever position was saved"
        ),
        scenario!(
            redelivery_is_identical,
            None,
            "a change that is delivered again has the same id and the same content"
        ),
        scenario!(
            acknowledging_prunes_nothing_unacknowledged,
            None,
            "everything after the acknowledged position can still be read"
        ),
        scenario!(
            acknowledging_needs_no_polling,
            None,
            "an acknowledgement returns while the stream is suspended"
        ),
        scenario!(
            dropping_the_stream_releases_everything,
            None,
            "a stream dropped at any moment holds nothing, and another can be opened"
        ),
    ]
}

/// How many changes of a source that makes its own up are enough.
const MADE_UP: usize = 6;

/// Reads something of everything: a few rows of a snapshot, then changes; or what is made up.
async fn tell<'a>(world: &World, reading: &mut Reading<'a>) -> Verdict {
    if !world.has(Capability::Writes) {
        let enough = |reading: &Reading<'a>| logged(reading).len() >= MADE_UP;
        return reading.until("changes that the source makes up", enough).await;
    }
    reading.catch_up().await?;
    let transactions = [
        vec![insert(11, "a"), insert(12, "b"), insert(13, "c")],
        vec![update(11, "A"), update(2, "B")],
        vec![Write::Delete { key: 12 }, update(11, "AA")],
        vec![insert(14, "d")],
    ];
    let mut expected = logged(reading).len();
    for writes in transactions {
        expected += writes.iter().filter(|write| world.can(write.operation())).count();
        world.commit(&writes).await?;
    }
    let enough = |reading: &Reading<'a>| logged(reading).len() >= expected;
    reading.until("a change for each write", enough).await
}

async fn begun(world: &World) -> Verdict {
    if world.has(Capability::Writes) && world.has(Capability::Snapshot) {
        world.commit(&[insert(1, "one"), insert(2, "two"), insert(3, "three")]).await?;
    }
    Ok(())
}

async fn resumes_after_every_position(case: SourceCase) -> Verdict {
    let world = case.world().await?;
    begun(&world).await?;
    let source = world.open().await?;
    let mut whole = world.begin(&*source).await?;
    tell(&world, &mut whole).await?;
    let (events, checkpoints) = (whole.events.clone(), whole.checkpoints.clone());
    drop(whole);
    drop(source);
    ensure!(!checkpoints.is_empty(), "no position was yielded at all");
    for (index, (count, states)) in checkpoints.iter().enumerate() {
        let rest = Rest { events: &events, count: *count };
        let place = format!("after position {} of {}", index + 1, checkpoints.len());
        resumed(&world, &rest, states, &place).await?;
    }
    Ok(())
}

/// What came before a position, and what after it.
struct Rest<'e> {
    events: &'e [(PartitionId, Event)],
    count: usize,
}

impl<'e> Rest<'e> {
    fn before(&self) -> Vec<&'e Change> {
        changes(self.events[..self.count].iter().map(|(_, event)| event))
    }

    fn after(&self) -> Vec<&'e Change> {
        changes(self.events[self.count..].iter().map(|(_, event)| event))
    }

    /// Whether a snapshot was over, so that what follows is exact.
    fn is_streaming(&self) -> bool {
        self.events[..self.count].iter().any(|(_, event)| matches!(event, Event::Idle { .. }))
    }
}

async fn resumed(
    world: &World,
    rest: &Rest<'_>,
    states: &[PartitionState],
    place: &str,
) -> Verdict {
    let (before, after) = (rest.before(), rest.after());
    let source = world.open().await?;
    let mut reading = Reading::resume(&*source, states.to_vec(), world.patience);
    let what = format!("the rest, {place}");
    if world.has(Capability::Writes) {
        reading.until(&what, Reading::is_caught_up).await?;
    } else {
        let enough = |reading: &Reading<'_>| reading.changes().len() > after.len();
        reading.until(&what, enough).await?;
    }
    let again = reading.changes();
    if rest.is_streaming() {
        let say = |changes: &[&Change]| -> Vec<String> {
            changes.iter().map(|change| format!("{:?}", said(world, change))).collect()
        };
        let (found, wanted) = (say(&again), say(&after));
        let same = found.get(..wanted.len()) == Some(&wanted[..]);
        ensure!(same, "{place} came {found:#?} instead of {wanted:#?}");
        let extra = world.has(Capability::Writes) && found.len() != wanted.len();
        ensure!(!extra, "{place} came more than had been written: {found:#?}");
    }
    if world.has(Capability::Writes) {
        // A row of the snapshot that is read again may be newer, so only the outcome is the same.
        let found = replay(world, before.iter().chain(&again).copied());
        let wanted = replay(world, before.iter().chain(&after).copied());
        ensure!(found == wanted, "{place}, {}", difference(&found, &wanted));
    }
    Ok(())
}

async fn redelivery_is_identical(case: SourceCase) -> Verdict {
    let world = case.world().await?;
    begun(&world).await?;
    let source = world.open().await?;
    let mut first = world.begin(&*source).await?;
    first.catch_up().await?;
    if world.has(Capability::Writes) {
        world.commit(&[insert(21, "before it is resumed")]).await?;
    }
    first.until("a first change", |reading| !logged(reading).is_empty()).await?;
    let Some((events, states)) = first.checkpoints.last().cloned() else {
        return Err(Failure::broken("no position was yielded at all"));
    };
    let known = changes(first.events[..events].iter().map(|(_, event)| event)).len();
    tell(&world, &mut first).await?;
    let wanted: Vec<Change> = first.changes()[known..].iter().copied().cloned().collect();
    drop(first);
    drop(source);
    let source = world.open().await?;
    let mut second = Reading::resume(&*source, states, world.patience);
    second.until("it all to come again", |again| again.changes().len() >= wanted.len()).await?;
    let by_id = |id| second.changes().into_iter().find(|change| change.id() == id).cloned();
    for change in &wanted {
        let again = by_id(change.id());
        let same =
            again.as_ref().is_some_and(|again| format!("{again:?}") == format!("{change:?}"));
        ensure!(same, "{change:?}\ncame again as\n{again:?}");
    }
    let mut ids: Vec<_> = wanted.iter().map(Change::id).collect();
    ids.sort();
    ids.dedup();
    ensure!(ids.len() == wanted.len(), "{} changes share an id", wanted.len() - ids.len());
    Ok(())
}

async fn acknowledging_prunes_nothing_unacknowledged(case: SourceCase) -> Verdict {
    let world = case.world().await?;
    begun(&world).await?;
    let source = world.open().await?;
    let mut whole = world.begin(&*source).await?;
    tell(&world, &mut whole).await?;
    let (events, checkpoints) = (whole.events.clone(), whole.checkpoints.clone());
    let (middle, states) = &checkpoints[checkpoints.len() / 2];
    let acknowledged: Vec<_> = states
        .iter()
        .filter_map(|state| Some((state.partition.id.clone(), state.progress.position()?.clone())))
        .collect();
    drop(whole);
    world.within("an acknowledgement", source.acknowledge(&acknowledged)).await??;
    world.within("its effect", world.upstream.settle()).await??;
    drop(source);
    let rest = Rest { events: &events, count: *middle };
    resumed(&world, &rest, states, "after the acknowledged position").await
}

async fn acknowledging_needs_no_polling(case: SourceCase) -> Verdict {
    let world = case.world().await?;
    begun(&world).await?;
    let source = world.open().await?;
    let mut reading = world.begin(&*source).await?;
    for _ in 0..64 {
        let states = &reading.states;
        let acknowledged: Vec<_> = states
            .iter()
            .filter_map(|state| {
                Some((state.partition.id.clone(), state.progress.position()?.clone()))
            })
            .collect();
        let acknowledge = source.acknowledge(&acknowledged);
        world.within("an acknowledgement beside a suspended stream", acknowledge).await??;
        if reading.is_caught_up() {
            return Ok(());
        }
        world.within("the next event", reading.advance()).await??;
    }
    Ok(())
}

async fn dropping_the_stream_releases_everything(case: SourceCase) -> Verdict {
    let world = case.world().await?;
    begun(&world).await?;
    let source = world.open().await?;
    let partitions = world.within("the partitions", source.partitions()).await??;
    let counts = world.has(Capability::Held);
    let held = if counts { world.upstream.held().await? } else { 0 };
    for events in 0..5 {
        let mut reading = Reading::new(&*source, partitions.clone(), world.patience);
        while reading.events.len() < events && !reading.is_caught_up() {
            world.within("the next event", reading.advance()).await??;
        }
        drop(reading);
        if !counts {
            continue;
        }
        let released = async {
            while world.upstream.held().await? > held {
                ask_again().await;
            }
            Ok::<_, rowtide_core::Error>(())
        };
        let what = format!("what a stream held that was dropped after {events} events");
        world.within(&what, released).await??;
    }
    match counts {
        true => Ok(()),
        false => Err(Failure::NotApplicable(
            "another stream can be opened; what the dropped ones hold cannot be counted".to_owned(),
        )),
    }
}
