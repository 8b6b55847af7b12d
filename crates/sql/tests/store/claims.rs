use std::collections::BTreeSet;

use rowtide_core::{CheckpointStore, Claim, Result};
use rowtide_servers::Server;
use tokio::task::JoinSet;

use super::{
    Database, Outcome,
    world::{PIPELINE, World, owner, run, states, update},
};

const CLAIMANTS: u32 = 8;

pub(crate) fn of_all_that_claim_at_once_only_the_last_saves<D: Database>() -> Outcome {
    run(async {
        let world = World::<D>::new(Server::shared(D::KIND)?).await?;
        for level in ["read committed", "repeatable read", "serializable"] {
            for round in 0..5 {
                race(&world, level).await.map_err(|error| format!("{level}, {round}: {error}"))?;
            }
        }
        Ok(())
    })
}

/// Each claims and saves at once with all others; then the highest epoch is the last.
async fn race<D: Database>(world: &World<D>, level: &str) -> Outcome {
    let mut claimants = JoinSet::new();
    for process in 1..=CLAIMANTS {
        let url = format!("{}{}", world.url, D::isolated(level));
        let store = world.open_at(&url, 30).await?;
        claimants.spawn(async move {
            let claim = claim_at_last(store.as_ref(), process).await?;
            let saved = store.save(&claim, &update(process.into())).await;
            Ok::<_, rowtide_core::Error>((store, claim, saved))
        });
    }
    let mut ended = Vec::new();
    while let Some(claimant) = claimants.join_next().await {
        ended.push(claimant??);
    }
    let epochs: BTreeSet<u64> = ended.iter().map(|(_, claim, _)| claim.epoch).collect();
    if epochs.len() != CLAIMANTS as usize {
        return Err(format!("two claims have one epoch: {epochs:?}").into());
    }
    for (store, claim, saved) in &ended {
        if saved.as_ref().is_err_and(|error| !error.is_claim_lost() && !error.is_transient()) {
            return Err(format!("{saved:?}").into());
        }
        let is_last = Some(&claim.epoch) == epochs.last();
        match save(store.as_ref(), claim).await {
            Ok(()) if is_last => {}
            Err(error) if !is_last && error.is_claim_lost() => {}
            other => return Err(format!("epoch {} of {epochs:?}: {other:?}", claim.epoch).into()),
        }
    }
    let last = ended.iter().max_by_key(|(_, claim, _)| claim.epoch).ok_or("nobody claimed")?;
    let expected = states(last.1.owner.process.into());
    let found = last.0.load(PIPELINE).await?;
    if found == expected { Ok(()) } else { Err(format!("{found:?} is not the last's").into()) }
}

async fn claim_at_last(store: &dyn CheckpointStore, process: u32) -> Result<Claim> {
    loop {
        match store.claim(PIPELINE, &owner(process)).await {
            // Stricter levels refuse what others have changed meanwhile.
            Err(error) if error.is_transient() => {}
            claimed => return claimed,
        }
    }
}

async fn save(store: &dyn CheckpointStore, claim: &Claim) -> Result<()> {
    super::world::save_at_last(store, claim, &update(claim.owner.process.into())).await
}
