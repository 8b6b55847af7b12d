use rowtide_core::{Change, ErrorKind, Sink};

use super::{
    SinkCase,
    case::{World, ids, inserts},
    delivery::must_hold,
};
use crate::{
    Capability, Verdict,
    scenario::{Scenario, ask_again, ensure, scenario},
};

pub(crate) fn scenarios() -> Vec<Scenario<SinkCase>> {
    vec![
        scenario!(
            a_poison_change_is_rejected_by_index,
            Some(Capability::Poison),
            "what the downstream refuses is named by its place in the span, and its neighbours are \
             durable, once and in order"
        ),
        scenario!(
            a_downstream_restart_is_transient,
            Some(Capability::Restart),
            "a restart between write and flush costs a transient error at most, and no change"
        ),
        scenario!(
            a_lost_response_is_survived,
            Some(Capability::LostResponse),
            "a write whose answer is lost is not taken for refused, and its changes arrive"
        ),
        scenario!(
            a_lost_request_is_survived,
            Some(Capability::LostRequest),
            "a write that is lost on its way is not taken for delivered, nor for refused"
        ),
    ]
}

async fn a_poison_change_is_rejected_by_index(case: SinkCase) -> Verdict {
    let world = case.world().await?;
    let mut sink = world.open().await?;
    let mut good = Vec::new();
    // The second span shows that a rejection begins a new one, the third that success does.
    let spans: [(u64, &[usize]); 4] = [(0, &[0, 4, 9]), (10, &[3]), (20, &[]), (30, &[1])];
    for (first, poisoned) in spans {
        let mut span = inserts(first..first + 10);
        for index in poisoned {
            span[*index] = world.downstream.poison(span[*index].clone());
        }
        for batch in span.chunks(4) {
            world.write(&mut *sink, batch).await?;
        }
        let flushed = world.within("a flush", sink.flush()).await?;
        let rejected = match flushed.as_ref().map_err(|error| error.kind()) {
            Ok(()) => &[][..],
            Err(ErrorKind::Rejected { indexes }) => indexes,
            Err(_) => return Ok(flushed?),
        };
        ensure!(rejected == poisoned, "{rejected:?} were rejected instead of {poisoned:?}");
        let neighbours = (0..10).filter(|index| !poisoned.contains(index));
        good.extend(neighbours.map(|index| span[index].clone()));
        let found: Vec<_> = world.delivered().await?.into_iter().map(|found| found.id).collect();
        let wanted = ids(&good);
        ensure!(found == wanted, "{found:?} are durable instead of {wanted:?}");
    }
    Ok(())
}

/// Writes and flushes, and whether that succeeded; a transient error is no success.
pub(super) async fn attempt(
    world: &World,
    sink: &mut dyn Sink,
    changes: &[Change],
) -> Verdict<bool> {
    if let Err(error) = world.within("a write", sink.write(changes)).await? {
        return must_be_transient(error);
    }
    match world.within("a flush", sink.flush()).await? {
        Ok(()) => Ok(true),
        Err(error) => must_be_transient(error),
    }
}

pub(super) fn must_be_transient(error: rowtide_core::Error) -> Verdict<bool> {
    ensure!(error.is_transient(), "{:?} instead of `Transient`: {error}", error.kind());
    Ok(false)
}

/// Delivers `changes` as the engine does after a transient error: again, through a new sink.
pub(super) async fn deliver_again(world: &World, changes: &[Change]) -> Verdict {
    let again = async {
        loop {
            let mut sink = world.open().await?;
            if attempt(world, &mut *sink, changes).await? {
                return Ok(());
            }
            ask_again().await;
        }
    };
    world.within("the changes to be delivered again", again).await?
}

async fn a_downstream_restart_is_transient(case: SinkCase) -> Verdict {
    let world = case.world().await?;
    let mut sink = world.open().await?;
    world.write(&mut *sink, &inserts(0..5)).await?;
    world.flush(&mut *sink).await?;
    world.write(&mut *sink, &inserts(5..10)).await?;
    world.within("a restart", world.downstream.restart()).await??;
    let flushed = match world.within("a flush", sink.flush()).await? {
        Ok(()) => true,
        Err(error) => must_be_transient(error)?,
    };
    drop(sink);
    if flushed {
        must_hold(&world.delivered().await?, &inserts(5..10))?;
    }
    deliver_again(&world, &inserts(5..15)).await?;
    must_hold(&world.delivered().await?, &inserts(0..15))
}

async fn a_lost_response_is_survived(case: SinkCase) -> Verdict {
    let world = case.world().await?;
    let mut sink = world.open().await?;
    deliver(&world, &mut *sink, &inserts(0..5)).await?;
    world.within("a loss to be arranged", world.downstream.lose_response()).await??;
    must_survive(&world, sink).await
}

async fn a_lost_request_is_survived(case: SinkCase) -> Verdict {
    let world = case.world().await?;
    let mut sink = world.open().await?;
    deliver(&world, &mut *sink, &inserts(0..5)).await?;
    world.within("a loss to be arranged", world.downstream.lose_request()).await??;
    must_survive(&world, sink).await
}

/// Delivers what a part of gets lost, and fails if it is taken for delivered and is not there.
async fn must_survive(world: &World, mut sink: Box<dyn Sink>) -> Verdict {
    let delivered = attempt(world, &mut *sink, &inserts(5..10)).await?;
    drop(sink);
    let lost = world.within("word of the loss", world.downstream.has_lost()).await??;
    ensure!(lost, "nothing was lost, so nothing was shown");
    if !delivered {
        deliver_again(world, &inserts(5..10)).await?;
    }
    must_hold(&world.delivered().await?, &inserts(0..10))
}

async fn deliver(world: &World, sink: &mut dyn Sink, changes: &[Change]) -> Verdict {
    world.write(sink, changes).await?;
    world.flush(sink).await
}
