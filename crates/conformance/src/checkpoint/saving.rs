use rowtide_core::{CheckpointUpdate, PartitionId, PartitionState, Progress};

use super::{
    CheckpointCase,
    case::{World, sorted, update},
};
use crate::{
    Capability, Verdict,
    opening::PIPELINE,
    scenario::{Scenario, ensure, scenario},
};

pub(crate) fn scenarios() -> Vec<Scenario<CheckpointCase>> {
    vec![
        scenario!(
            is_empty_for_an_unknown_pipeline,
            None,
            "loading a pipeline never seen gives nothing, and changes nothing"
        ),
        scenario!(
            what_is_saved_is_loaded_elsewhere,
            Some(Capability::Durable),
            "another store in the same storage loads exactly what was saved"
        ),
        scenario!(
            pipelines_are_separate,
            Some(Capability::Pipelines),
            "pipelines in one storage do not see each other, however alike their names are"
        ),
        scenario!(
            replaces_only_what_is_given,
            None,
            "a save leaves the partitions that it does not name as they are"
        ),
        scenario!(
            forgets_what_it_is_told_to,
            None,
            "a forgotten partition is gone, even if the same update saves it"
        ),
    ]
}

/// States of every kind, with everything that a state can carry.
fn states_of_every_kind(world: &World) -> Vec<PartitionState> {
    let position = world.harness.hard_position();
    let mut waiting = world.harness.partition("waiting: a/b\\c 'd' \"e\" ü");
    waiting.parents = vec![PartitionId::new("finished"), PartitionId::new("finished at once")];
    waiting.start = Some(position.clone());
    let progress = |id: &str, progress| {
        let partition = world.harness.partition(id);
        PartitionState { partition, progress }
    };
    vec![
        PartitionState::waiting(waiting),
        progress("delivered", Progress::Delivered(position.clone())),
        progress("finished", Progress::Finished(Some(position))),
        progress("finished at once", Progress::Finished(None)),
    ]
}

async fn is_empty_for_an_unknown_pipeline(case: CheckpointCase) -> Verdict {
    let world = case.world().await?;
    let store = world.open(PIPELINE).await?;
    for _ in 0..2 {
        let states = store.load(PIPELINE).await??;
        ensure!(states.is_empty(), "an unknown pipeline has {states:?}");
    }
    store.keep(PIPELINE, &[world.delivered("a", 1)]).await?;
    let states = store.load("another").await??;
    ensure!(states.is_empty(), "an unknown pipeline beside a known one has {states:?}");
    Ok(())
}

async fn what_is_saved_is_loaded_elsewhere(case: CheckpointCase) -> Verdict {
    let world = case.world().await?;
    let states = states_of_every_kind(&world);
    let store = world.open(PIPELINE).await?;
    store.keep(PIPELINE, &states).await?;
    let beside = world.open(PIPELINE).await?.load(PIPELINE).await??;
    let expected = sorted(states);
    ensure!(beside == expected, "beside the running one:\n{beside:?}\ninstead of\n{expected:?}");
    drop(store);
    let later = world.open(PIPELINE).await?.load(PIPELINE).await??;
    ensure!(later == expected, "after it:\n{later:?}\ninstead of\n{expected:?}");
    Ok(())
}

async fn pipelines_are_separate(case: CheckpointCase) -> Verdict {
    let world = case.world().await?;
    let names = ["orders", "Orders", "orders_eu", "orders-eu", "orders.eu", "orders eu", "örders"];
    let mut stores = Vec::new();
    for (number, name) in (1..).zip(names) {
        let store = world.open(name).await?;
        let claim = store
            .keep(name, &[world.delivered("a", number), world.delivered(name, number)])
            .await?;
        stores.push((store, claim));
    }
    // A save under one claim must not have cost any other.
    for (store, claim) in &stores {
        store.save(claim, &CheckpointUpdate::default()).await??;
    }
    for (number, name) in (1..).zip(names) {
        let states = world.open(name).await?.load(name).await??;
        let expected = sorted(vec![world.delivered("a", number), world.delivered(name, number)]);
        ensure!(states == expected, "`{name}` has {states:?} instead of {expected:?}");
    }
    Ok(())
}

async fn replaces_only_what_is_given(case: CheckpointCase) -> Verdict {
    let world = case.world().await?;
    let store = world.open(PIPELINE).await?;
    let claim = store.keep(PIPELINE, &[world.delivered("a", 1), world.delivered("b", 1)]).await?;
    store.save(&claim, &update(&[world.delivered("b", 2), world.delivered("c", 2)])).await??;
    let states = store.load(PIPELINE).await??;
    let expected = [world.delivered("a", 1), world.delivered("b", 2), world.delivered("c", 2)];
    ensure!(states == expected, "{states:?} instead of {expected:?}");
    Ok(())
}

async fn forgets_what_it_is_told_to(case: CheckpointCase) -> Verdict {
    let world = case.world().await?;
    let store = world.open(PIPELINE).await?;
    let claim = store.keep(PIPELINE, &[world.delivered("a", 1), world.delivered("b", 1)]).await?;
    let forgotten = vec![PartitionId::new("a"), PartitionId::new("c"), PartitionId::new("none")];
    let states = vec![world.delivered("b", 2), world.delivered("c", 2), world.delivered("d", 2)];
    store.save(&claim, &CheckpointUpdate { states, forgotten }).await??;
    let states = store.load(PIPELINE).await??;
    let expected = [world.delivered("b", 2), world.delivered("d", 2)];
    ensure!(states == expected, "{states:?} instead of {expected:?}");
    Ok(())
}
