use std::collections::BTreeMap;

use rowtide_core::{Change, Operation};
use serde_json::Value as Json;

use super::{
    Delivered, SinkCase,
    case::{ids, inserts, item},
    values::{every_operation, must_agree},
};
use crate::{
    Verdict,
    scenario::{Scenario, ensure, scenario},
};

pub(crate) fn scenarios() -> Vec<Scenario<SinkCase>> {
    vec![
        scenario!(
            what_is_flushed_is_durable,
            None,
            "once a flush returns, an independent reader finds every change"
        ),
        scenario!(
            keeps_the_order_of_each_key,
            None,
            "the changes of a key arrive in the order in which they were written"
        ),
        scenario!(
            tolerates_redelivery,
            None,
            "what is written again, as after a crash, does no harm"
        ),
        scenario!(
            empty_writes_and_flushes_are_fine,
            None,
            "writing nothing and flushing nothing do nothing"
        ),
        scenario!(
            carries_every_operation_and_value,
            None,
            "every operation and every kind of value arrives, extremes included"
        ),
    ]
}

/// Fails unless each of `changes` is among `found`.
pub(super) fn must_hold(found: &[Delivered], changes: &[Change]) -> Verdict {
    for id in ids(changes) {
        ensure!(found.iter().any(|delivered| delivered.id == id), "change {id} did not arrive");
    }
    Ok(())
}

async fn what_is_flushed_is_durable(case: SinkCase) -> Verdict {
    let world = case.world().await?;
    let mut sink = world.open().await?;
    for round in 0..6 {
        let changes = inserts(round * 10..round * 10 + 10);
        world.write(&mut *sink, &changes).await?;
        world.flush(&mut *sink).await?;
        must_hold(&world.delivered().await?, &changes)?;
    }
    drop(sink);
    must_hold(&world.delivered().await?, &inserts(0..60))
}

async fn keeps_the_order_of_each_key(case: SinkCase) -> Verdict {
    let world = case.world().await?;
    let mut sink = world.open().await?;
    let changes: Vec<_> = (0..60)
        .map(|number: u64| {
            let operation = if number < 3 { Operation::Insert } else { Operation::Update };
            item(number, (number % 3).cast_signed(), operation)
        })
        .collect();
    for (index, batch) in changes.chunks(7).enumerate() {
        world.write(&mut *sink, batch).await?;
        if index % 4 == 3 {
            world.flush(&mut *sink).await?;
        }
    }
    world.flush(&mut *sink).await?;
    let found = by_key(&world.delivered().await?);
    for key in 0..3 {
        let of_key = changes.iter().skip(key).step_by(3);
        let (wanted, found) = (ids(of_key), found.get(&key.to_string()).cloned());
        let found = found.unwrap_or_default();
        ensure!(found == wanted, "key {key} arrived as {found:?} instead of {wanted:?}");
    }
    Ok(())
}

/// The ids of the changes of each key, in the order of arrival.
fn by_key(found: &[Delivered]) -> BTreeMap<String, Vec<String>> {
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for delivered in found {
        let key = delivered.row.get("key").map(Json::to_string).unwrap_or_default();
        keys.entry(key.trim_matches('"').to_owned()).or_default().push(delivered.id.clone());
    }
    keys
}

async fn tolerates_redelivery(case: SinkCase) -> Verdict {
    let world = case.world().await?;
    let mut sink = world.open().await?;
    let changes = inserts(0..20);
    // Dropped without a flush, then without a save, then for good.
    world.write(&mut *sink, &changes[..5]).await?;
    drop(sink);
    for end in [10, 20] {
        let mut sink = world.open().await?;
        world.write(&mut *sink, &changes[..end]).await?;
        world.flush(&mut *sink).await?;
    }
    let mut sink = world.open().await?;
    world.write(&mut *sink, &changes[10..]).await?;
    world.write(&mut *sink, &changes[10..]).await?;
    world.flush(&mut *sink).await?;
    let found = world.delivered().await?;
    must_hold(&found, &changes)?;
    let known = ids(&changes);
    let strange = found.iter().find(|delivered| !known.contains(&delivered.id));
    ensure!(strange.is_none(), "{strange:?} was never written");
    Ok(())
}

async fn empty_writes_and_flushes_are_fine(case: SinkCase) -> Verdict {
    let world = case.world().await?;
    let mut sink = world.open().await?;
    world.flush(&mut *sink).await?;
    world.write(&mut *sink, &[]).await?;
    world.flush(&mut *sink).await?;
    world.flush(&mut *sink).await?;
    let found = world.delivered().await?;
    ensure!(found.is_empty(), "nothing was written, and {found:?} arrived");
    let changes = inserts(0..3);
    world.write(&mut *sink, &changes).await?;
    world.write(&mut *sink, &[]).await?;
    world.flush(&mut *sink).await?;
    world.write(&mut *sink, &[]).await?;
    world.flush(&mut *sink).await?;
    let found: Vec<_> = world.delivered().await?.into_iter().map(|found| found.id).collect();
    ensure!(found == ids(&changes), "{found:?} arrived instead of {:?}", ids(&changes));
    Ok(())
}

async fn carries_every_operation_and_value(case: SinkCase) -> Verdict {
    let world = case.world().await?;
    let mut sink = world.open().await?;
    let changes = every_operation();
    world.write(&mut *sink, &changes).await?;
    world.flush(&mut *sink).await?;
    let found = world.delivered().await?;
    let left_out = world.downstream.leaves_out();
    for change in changes.iter().filter(|change| !left_out.contains(&change.operation)) {
        let id = change.id().to_string();
        let arrived = found.iter().find(|delivered| delivered.id == id);
        ensure!(arrived.is_some(), "{} {id} did not arrive", change.operation.name());
        if let Some(arrived) = arrived {
            must_agree(change, arrived)?;
        }
    }
    Ok(())
}
