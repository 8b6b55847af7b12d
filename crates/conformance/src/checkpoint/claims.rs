use rowtide_core::{CheckpointUpdate, Error, ErrorKind, PartitionState};

use super::{
    CheckpointCase,
    case::{owner, update},
};
use crate::{
    Failure, Verdict,
    opening::PIPELINE,
    scenario::{Scenario, ensure, scenario},
};

pub(crate) fn scenarios() -> Vec<Scenario<CheckpointCase>> {
    vec![
        scenario!(
            refuses_an_older_claim,
            None,
            "once a pipeline is claimed again, nothing is saved under the older claim"
        ),
        scenario!(
            an_empty_save_proves_a_claim,
            None,
            "an empty save changes nothing and fails once the claim is lost"
        ),
        scenario!(
            a_second_owner_is_told_of_the_first,
            None,
            "a claim beside a running one takes over, or is refused and names who runs"
        ),
    ]
}

fn must_be_lost(saved: Result<(), Error>, what: &str) -> Verdict {
    match saved {
        Ok(()) => Err(Failure::broken(format!("{what} was accepted under an older claim"))),
        Err(error) if error.is_claim_lost() && error.message().contains("second") => Ok(()),
        Err(error) => Err(Failure::broken(format!(
            "{what} under an older claim must be refused as a lost claim that names the new \
             owner, not as: {error}"
        ))),
    }
}

fn must_be(found: &[PartitionState], expected: &[PartitionState]) -> Verdict {
    ensure!(found == expected, "{found:?} is saved instead of {expected:?}");
    Ok(())
}

async fn refuses_an_older_claim(case: CheckpointCase) -> Verdict {
    let world = case.world().await?;
    let old = world.open(PIPELINE).await?.keep(PIPELINE, &[world.delivered("a", 1)]).await?;
    let store = world.open(PIPELINE).await?;
    let new = store.claim(PIPELINE, &owner("second")).await??;
    ensure!(new.epoch > old.epoch, "the epoch went from {} to {}", old.epoch, new.epoch);
    must_be_lost(store.save(&old, &update(&[world.delivered("a", 9)])).await?, "a save")?;
    must_be(&store.load(PIPELINE).await??, &[world.delivered("a", 1)])?;
    store.save(&new, &update(&[world.delivered("a", 2)])).await??;
    must_be_lost(store.save(&old, &update(&[world.delivered("a", 9)])).await?, "a later save")?;
    must_be(&store.load(PIPELINE).await??, &[world.delivered("a", 2)])
}

async fn an_empty_save_proves_a_claim(case: CheckpointCase) -> Verdict {
    let world = case.world().await?;
    let empty = CheckpointUpdate::default();
    let store = world.open(PIPELINE).await?;
    let old = store.keep(PIPELINE, &[world.delivered("a", 1)]).await?;
    store.save(&old, &empty).await??;
    must_be(&store.load(PIPELINE).await??, &[world.delivered("a", 1)])?;
    drop(store);
    let store = world.open(PIPELINE).await?;
    let new = store.claim(PIPELINE, &owner("second")).await??;
    must_be_lost(store.save(&old, &empty).await?, "an empty save")?;
    store.save(&new, &empty).await??;
    must_be(&store.load(PIPELINE).await??, &[world.delivered("a", 1)])
}

async fn a_second_owner_is_told_of_the_first(case: CheckpointCase) -> Verdict {
    let world = case.world().await?;
    let first = world.open(PIPELINE).await?;
    let claim = first.claim(PIPELINE, &owner("first")).await??;
    let second = world.open(PIPELINE).await?;
    match second.claim(PIPELINE, &owner("second")).await? {
        Ok(_) => {
            must_be_lost(first.save(&claim, &update(&[world.delivered("a", 1)])).await?, "a save")
        }
        Err(error) => {
            let named = error.to_string().contains("first");
            ensure!(*error.kind() == ErrorKind::Fatal, "refused as {:?}: {error}", error.kind());
            ensure!(named, "the refusal does not name the owner: {error}");
            first.save(&claim, &update(&[world.delivered("a", 1)])).await??;
            drop(first);
            second.claim(PIPELINE, &owner("second")).await??;
            Ok(())
        }
    }
}
