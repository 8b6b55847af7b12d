//! A downstream that takes nothing for a while.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use rowtide_core::{Change, Operation, Row, Sink, Value};
use tokio::time::timeout;

use super::{
    Delivered, SinkCase,
    case::{World, ids, inserts, item},
    delivery::must_hold,
    trouble::{attempt, deliver_again, must_be_transient},
};
use crate::{
    Capability, Failure, Verdict,
    scenario::{Scenario, ask_again, ensure, scenario},
};

pub(crate) fn scenarios() -> Vec<Scenario<SinkCase>> {
    vec![
        scenario!(
            back_pressure_is_bounded,
            Some(Capability::Stall),
            "while the downstream takes nothing, a sink does not go on to take what is written, \
             many times its bound"
        ),
        scenario!(
            a_dropped_sink_leaves_nothing_behind,
            Some(Capability::Stall),
            "no flush succeeds while the downstream takes nothing, and a dropped sink leaves \
             nothing behind that could arrive later"
        ),
    ]
}

/// How many times its bound a sink is given.
const TIMES: usize = 32;

/// The text in each change that it is given.
const TEXT: usize = 1_000;

/// A sink that took nothing for so long waits for its downstream.
const PAUSE: Duration = Duration::from_secs(3);

async fn back_pressure_is_bounded(case: SinkCase) -> Verdict {
    let world = case.world().await?;
    let bound = world.downstream.bytes_max()?;
    let count = (bound * TIMES).div_ceil(TEXT) as u64;
    let mut sink = world.open().await?;
    // What a sink has to learn of such changes it has learned before the stall.
    world.write(&mut *sink, &large(0..4)).await?;
    world.flush(&mut *sink).await?;
    world.within("a stall", world.downstream.stall()).await??;
    fill(&world, &mut *sink, &large(4..4 + count)).await?;
    drop(sink);
    world.within("the end of the stall", world.downstream.resume()).await??;
    let later = large(4 + count..8 + count);
    deliver_again(&world, &later).await?;
    must_hold(&world.delivered().await?, &later)
}

fn large(numbers: std::ops::Range<u64>) -> Vec<Change> {
    let large = |number: u64| {
        let mut change = item(number, number.cast_signed(), Operation::Insert);
        let text = Value::from("x".repeat(TEXT));
        change.after = Some(Row::new([Value::Int(number.cast_signed()), text]));
        change
    };
    numbers.map(large).collect()
}

/// Writes until the sink takes no more, and fails if it takes everything.
async fn fill(world: &World, sink: &mut dyn Sink, changes: &[Change]) -> Verdict {
    let taken = AtomicUsize::new(0);
    let stalled = world.downstream.stalled();
    let write = async {
        for some in changes.chunks(8) {
            sink.write(some).await?;
            taken.fetch_add(some.len() * TEXT, Ordering::SeqCst);
        }
        Ok::<_, rowtide_core::Error>(())
    };
    tokio::pin!(write);
    let mut written = tokio::select! {
        written = &mut write => Some(written),
        stalled = world.within("the downstream to stall", stalled) => {
            stalled??;
            None
        }
    };
    while written.is_none() {
        let before = taken.load(Ordering::SeqCst);
        written = timeout(PAUSE, &mut write).await.ok();
        if written.is_none() && taken.load(Ordering::SeqCst) == before {
            return Ok(());
        }
    }
    match written {
        // To say that it cannot go on is as good as to wait.
        Some(Err(error)) => must_be_transient(error).map(drop),
        _ => Err(Failure::broken(format!(
            "the sink took {} bytes while the downstream took nothing",
            taken.load(Ordering::SeqCst)
        ))),
    }
}

async fn a_dropped_sink_leaves_nothing_behind(case: SinkCase) -> Verdict {
    let world = case.world().await?;
    let held = world.downstream.held().await?;
    world.within("a stall", world.downstream.stall()).await??;
    for round in 0..5 {
        let changes = inserts(round * 10..round * 10 + 10);
        let mut sink = world.open().await?;
        let stalled = world.downstream.stalled();
        tokio::select! {
            flushed = attempt(&world, &mut *sink, &changes) => {
                ensure!(!flushed?, "a flush succeeded while the downstream took nothing");
            }
            stalled = world.within("the downstream to stall", stalled) => stalled??,
        }
        drop(sink);
        let released = async {
            while world.downstream.held().await? > held {
                ask_again().await;
            }
            Ok::<_, rowtide_core::Error>(())
        };
        world.within("what a dropped sink held", released).await??;
    }
    world.within("the end of the stall", world.downstream.resume()).await??;
    for first in [50, 60] {
        let later = inserts(first..first + 10);
        deliver_again(&world, &later).await?;
        let found = world.delivered().await?;
        must_hold(&found, &later)?;
        must_be_over(&found, &inserts(0..50), &inserts(50..first + 10))?;
    }
    Ok(())
}

/// Fails if one of the `dropped` changes arrived behind one of the `later` ones.
fn must_be_over(found: &[Delivered], dropped: &[Change], later: &[Change]) -> Verdict {
    let (dropped, later) = (ids(dropped), ids(later));
    let mut behind = found.iter().skip_while(|delivered| !later.contains(&delivered.id));
    match behind.find(|delivered| dropped.contains(&delivered.id)) {
        None => Ok(()),
        Some(Delivered { id, .. }) => Err(Failure::broken(format!(
            "change {id} of a dropped sink arrived behind those of a later one"
        ))),
    }
}
