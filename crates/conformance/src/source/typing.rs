use rowtide_core::{Operation, Value};

use super::{SourceCase, Write, case::World, reading::Reading};
use crate::{
    Capability, Failure, Verdict,
    scenario::{Scenario, ensure, scenario},
};

pub(crate) fn scenarios() -> Vec<Scenario<SourceCase>> {
    vec![scenario!(
        every_type_round_trips,
        Some(Capability::Writes),
        "a value arrives as it was written, the same from the snapshot and from the stream"
    )]
}

/// Where the keys of the rows begin that are written after the snapshot.
const STREAMED: i64 = 10_000;

async fn every_type_round_trips(case: SourceCase) -> Verdict {
    let world = case.world().await?;
    let values = world.upstream.values();
    ensure!(!values.is_empty(), "the harness names no values");
    let numbered = |first: i64| (first..).zip(values.clone());
    let write = |(key, value)| Write::Insert { key, value };
    let both = world.has(Capability::Snapshot);
    if both {
        world.commit(&numbered(1).map(write).collect::<Vec<_>>()).await?;
    }
    let source = world.open().await?;
    let mut reading = world.begin(&*source).await?;
    reading.catch_up().await?;
    world.commit(&numbered(STREAMED).map(write).collect::<Vec<_>>()).await?;
    let streamed = |reading: &Reading<'_>| {
        rows(&world, reading, Operation::Insert).iter().filter(|(key, _)| *key >= STREAMED).count()
    };
    reading.until("a row for each value", |reading| streamed(reading) >= values.len()).await?;
    if both {
        let read = rows(&world, &reading, Operation::Read);
        arrived(&read, numbered(1), "from the snapshot")?;
    }
    let inserted = rows(&world, &reading, Operation::Insert);
    arrived(&inserted, numbered(STREAMED), "from the stream")
}

fn rows(world: &World, reading: &Reading<'_>, operation: Operation) -> Vec<(i64, Value)> {
    let changes = reading.changes().into_iter();
    let of_operation = changes.filter(|change| change.operation == operation);
    of_operation.filter_map(|change| world.upstream.row(change)).collect()
}

fn arrived(
    rows: &[(i64, Value)],
    wanted: impl Iterator<Item = (i64, Value)>,
    from: &str,
) -> Verdict {
    for (key, value) in wanted {
        let found = rows.iter().find(|(row, _)| *row == key).map(|(_, value)| value);
        let Some(found) = found else {
            return Err(Failure::broken(format!("{value:?} did not arrive {from}")));
        };
        ensure!(is_same(found, &value), "{value:?} arrived {from} as {found:?}");
    }
    Ok(())
}

/// Equality by bits, since a NaN must arrive as that NaN, and zero has a sign.
fn is_same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Float(left), Value::Float(right)) => left.to_bits() == right.to_bits(),
        (Value::Float32(left), Value::Float32(right)) => left.to_bits() == right.to_bits(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left.iter().zip(right.iter()).all(|(left, right)| is_same(left, right))
        }
        _ => left == right,
    }
}
