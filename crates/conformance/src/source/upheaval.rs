use rowtide_core::{Error, ErrorKind, Event, PartitionState, Position, Progress};

use super::{
    SourceCase,
    case::{World, insert, update},
    delivery::{is_structural, replay},
    reading::Reading,
};
use crate::{
    Capability, Failure, Verdict,
    scenario::{Scenario, ensure, scenario},
};

pub(crate) fn scenarios() -> Vec<Scenario<SourceCase>> {
    vec![
        scenario!(
            children_follow_parents,
            Some(Capability::Children),
            "a partition that ends names its children, which go on where it ended"
        ),
        scenario!(
            a_quiet_partition_makes_progress,
            Some(Capability::Elsewhere),
            "where nothing is captured, the position still moves on"
        ),
        scenario!(
            refuses_a_position_it_cannot_read,
            None,
            "a position of another plugin or version is lost, not a fresh start"
        ),
        scenario!(
            fails_loudly_when_the_position_is_lost,
            Some(Capability::Loss),
            "when the upstream no longer has what a position needs, the source says so"
        ),
        scenario!(
            an_upstream_restart_is_transient,
            Some(Capability::Restart),
            "a restart of the upstream costs a transient error at most, and no change"
        ),
    ]
}

async fn children_follow_parents(case: SourceCase) -> Verdict {
    let world = case.world().await?;
    let source = world.open().await?;
    let mut reading = world.begin(&*source).await?;
    reading.catch_up().await?;
    let keys = 1..=8;
    for round in 0..3 {
        if round > 0 {
            world.within("a split", world.upstream.split()).await??;
        }
        let text = format!("round {round}");
        for key in keys.clone() {
            let write = if round == 0 { insert(key, &text) } else { update(key, &text) };
            world.commit(&[write]).await?;
        }
    }
    let last = |reading: &Reading<'_>| {
        let table = replay(&world, reading.changes());
        keys.clone().all(|key| table.get(&key).is_some_and(|value| *value == "round 2".into()))
    };
    reading.until("the last value of every key, through two splits", last).await?;
    let structural = reading.events.iter().filter(|(_, event)| is_structural(event));
    let mut finished = Vec::new();
    let mut children = 0;
    for (id, event) in structural {
        ensure!(!finished.contains(id), "partition `{id}` goes on after it has finished");
        let Event::Children { partitions } = event else {
            finished.push(id.clone());
            continue;
        };
        for child in partitions {
            children += 1;
            ensure!(child.parents.contains(id), "`{id}` is no parent of its child `{}`", child.id);
        }
    }
    ensure!(children >= 2 && !finished.is_empty(), "no partition ended in children");
    Ok(())
}

async fn a_quiet_partition_makes_progress(case: SourceCase) -> Verdict {
    let world = case.world().await?;
    let source = world.open().await?;
    let mut reading = world.begin(&*source).await?;
    reading.catch_up().await?;
    world.commit(&[insert(1, "one")]).await?;
    reading.until("the one change", |reading| !reading.changes().is_empty()).await?;
    let quiet = reading.events.last().map(|(id, _)| id.clone());
    let Some(quiet) = quiet else { return Err(Failure::broken("no event came")) };
    for _ in 0..3 {
        let old = reading.state(&quiet).and_then(|state| state.progress.position().cloned());
        world.within("a commit elsewhere", world.upstream.commit_elsewhere()).await??;
        let moved = |reading: &Reading<'_>| {
            let new = reading.state(&quiet).and_then(|state| state.progress.position());
            match (&old, new) {
                (Some(old), Some(new)) => new != old,
                (None, new) => new.is_some(),
                (Some(_), None) => false,
            }
        };
        reading.until("the position of the quiet partition to move", moved).await?;
    }
    Ok(())
}

/// Reads from `states` until the source fails or has caught up.
async fn failure(world: &World, states: Vec<PartitionState>) -> Verdict<Option<Error>> {
    let source = match world.try_open().await? {
        Ok(source) => source,
        Err(error) => return Ok(Some(error)),
    };
    let mut reading = Reading::resume(&*source, states, world.patience);
    while !reading.is_caught_up() {
        if let Err(error) = world.within("an error", reading.advance()).await? {
            return Ok(Some(error));
        }
    }
    Ok(None)
}

fn must_be_lost(error: Option<Error>, why: &str) -> Verdict {
    let Some(error) = error else {
        return Err(Failure::broken(format!("{why}: the source went on as if nothing was wrong")));
    };
    let kind = error.kind();
    ensure!(*kind == ErrorKind::PositionLost, "{why}: {kind:?} instead of `PositionLost`: {error}");
    Ok(())
}

async fn refuses_a_position_it_cannot_read(case: SourceCase) -> Verdict {
    let world = case.world().await?;
    let source = world.open().await?;
    let partitions = world.within("the partitions", source.partitions()).await??;
    drop(source);
    let position = Position::from_text("no position of this plugin");
    let strange =
        |partition| PartitionState { partition, progress: Progress::Delivered(position.clone()) };
    let states = partitions.into_iter().map(strange).collect();
    must_be_lost(failure(&world, states).await?, "with a position of another plugin")
}

async fn fails_loudly_when_the_position_is_lost(case: SourceCase) -> Verdict {
    let losses = case.world().await?.upstream.losses();
    ensure!(!losses.is_empty(), "the harness names no way to lose a position");
    for loss in losses {
        let world = case.world().await?;
        let source = world.open().await?;
        let mut reading = world.begin(&*source).await?;
        reading.catch_up().await?;
        world.commit(&[insert(1, "one"), insert(2, "two")]).await?;
        let rows = |reading: &Reading<'_>| {
            reading.changes().iter().filter(|change| !change.operation.is_mark()).count()
        };
        reading.until("the changes", |reading| rows(reading) >= 2).await?;
        let states = reading.states.clone();
        drop(reading);
        drop(source);
        world.commit(&[insert(3, "three"), insert(4, "four")]).await?;
        world.within(loss, world.upstream.lose(loss)).await??;
        must_be_lost(failure(&world, states).await?, loss)?;
    }
    Ok(())
}

async fn an_upstream_restart_is_transient(case: SourceCase) -> Verdict {
    let world = case.world().await?;
    let source = world.open().await?;
    let mut reading = world.begin(&*source).await?;
    reading.catch_up().await?;
    world.commit(&[insert(1, "one")]).await?;
    reading.until("the first change", |reading| !reading.changes().is_empty()).await?;
    world.within("a restart", world.upstream.restart()).await??;
    world.commit(&[insert(2, "two")]).await?;
    let mut table = replay(&world, reading.changes());
    let mut states = reading.states.clone();
    while table.len() < 2 {
        match world.within("the second change or an error", reading.advance()).await? {
            Ok(()) => {
                table = replay(&world, reading.changes());
                states = reading.states.clone();
            }
            Err(error) => {
                ensure!(error.is_transient(), "a restart is {:?}: {error}", error.kind());
                break;
            }
        }
    }
    drop(reading);
    drop(source);
    let source = world.open().await?;
    let mut reading = Reading::resume(&*source, states, world.patience);
    reading.catch_up().await?;
    table.extend(replay(&world, reading.changes()));
    ensure!(table.len() == 2, "after a restart there is {table:?}");
    Ok(())
}
