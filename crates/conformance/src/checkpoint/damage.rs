use rowtide_core::{Error, ErrorKind, PartitionState};

use super::{
    CheckpointCase,
    case::{Store, World, owner, sorted},
};
use crate::{
    Capability, Failure, Verdict,
    opening::PIPELINE,
    scenario::{Scenario, ensure, scenario},
};

pub(crate) fn scenarios() -> Vec<Scenario<CheckpointCase>> {
    vec![scenario!(
        notices_the_damage_of_any_byte,
        Some(Capability::Damage),
        "whatever byte is flipped and wherever the end is cut off, it is a fatal error"
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
    let store = match world.try_open(PIPELINE).await? {
        Ok(store) => store,
        Err(error) => return must_be_fatal(&error, "opening it", damage),
    };
    must_not_load(&store, expected, damage).await?;
    match store.claim(PIPELINE, &owner("second")).await? {
        // A claim must not mend the damage by forgetting what was there.
        Ok(_) => must_not_load(&store, expected, &format!("{damage}, then claimed")).await,
        Err(error) => must_be_fatal(&error, "claiming it", damage),
    }
}

async fn must_not_load(store: &Store, expected: &[PartitionState], damage: &str) -> Verdict {
    match store.load(PIPELINE).await? {
        Ok(states) => {
            let verdict = if states == expected { "not noticed" } else { "believed" };
            Err(Failure::broken(format!("{damage} is {verdict}: {states:?} is loaded")))
        }
        Err(error) => must_be_fatal(&error, "loading it", damage),
    }
}

/// What is transient is tried again for ever.
fn must_be_fatal(error: &Error, what: &str, damage: &str) -> Verdict {
    let kind = error.kind();
    ensure!(*kind == ErrorKind::Fatal, "{damage}: {what} is {kind:?}, not fatal: {error}");
    Ok(())
}
