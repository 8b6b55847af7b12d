use rowtide_core::{ErrorKind, PartitionState};

use super::{
    CheckpointCase,
    case::{World, owner, sorted},
};
use crate::{
    Capability, Verdict,
    opening::PIPELINE,
    scenario::{Scenario, ensure, scenario},
};

pub(crate) fn scenarios() -> Vec<Scenario<CheckpointCase>> {
    vec![scenario!(
        notices_the_damage_of_any_byte,
        Some(Capability::Damage),
        "whatever byte is flipped and wherever the end is cut off, loading is a fatal error"
    )]
}

async fn notices_the_damage_of_any_byte(case: CheckpointCase) -> Verdict {
    let world = case.world().await?;
    let states = vec![world.delivered("a", 1), world.delivered("b", 22)];
    world.open(PIPELINE).await?.keep(PIPELINE, &states).await?;
    let expected = sorted(states);
    let pieces = world.storage.stored().await?;
    let bytes: usize = pieces.iter().map(Vec::len).sum();
    ensure!(bytes > 0, "nothing is stored, so nothing can be damaged");
    for (piece, whole) in pieces.iter().enumerate() {
        for damage in damages(whole) {
            world.storage.overwrite(piece, &damage.bytes).await?;
            must_notice(&world, &expected, &format!("piece {piece}, {}", damage.what)).await?;
            world.storage.overwrite(piece, whole).await?;
        }
    }
    let states = world.open(PIPELINE).await?.load(PIPELINE).await??;
    ensure!(states == expected, "once repaired, {states:?} is loaded instead of {expected:?}");
    Ok(())
}

struct Damage {
    what: String,
    bytes: Vec<u8>,
}

fn damages(whole: &[u8]) -> Vec<Damage> {
    let flipped = |index: usize| {
        let mut bytes = whole.to_vec();
        // The lowest bit turns a digit into another digit.
        bytes[index] ^= 1;
        Damage { what: format!("byte {index} flipped"), bytes }
    };
    let cut = |length: usize| Damage {
        what: format!("cut off at {length}"),
        bytes: whole[..length].to_vec(),
    };
    (0..whole.len()).map(flipped).chain((0..whole.len()).map(cut)).collect()
}

async fn must_notice(world: &World, expected: &[PartitionState], damage: &str) -> Verdict {
    let store = match world.open(PIPELINE).await {
        Ok(store) => store,
        Err(_) => return Ok(()),
    };
    must_be_fatal(store.load(PIPELINE).await?, expected, damage)?;
    // A claim must not mend the damage by forgetting what was there.
    if store.claim(PIPELINE, &owner("second")).await?.is_ok() {
        must_be_fatal(store.load(PIPELINE).await?, expected, &format!("{damage}, then claimed"))?;
    }
    Ok(())
}

fn must_be_fatal(
    loaded: rowtide_core::Result<Vec<PartitionState>>,
    expected: &[PartitionState],
    damage: &str,
) -> Verdict {
    match loaded {
        Ok(states) => {
            let verdict = if states == expected { "not noticed" } else { "believed" };
            ensure!(false, "{damage} is {verdict}: {states:?} is loaded");
        }
        Err(error) => {
            let kind = error.kind();
            ensure!(*kind == ErrorKind::Fatal, "{damage} is {kind:?}, not fatal: {error}");
        }
    }
    Ok(())
}
