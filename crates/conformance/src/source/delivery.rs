use std::collections::BTreeMap;

use rowtide_core::{Change, Event, Operation, Value};

use super::{
    SourceCase, Write,
    case::{World, insert, update},
    reading::Reading,
};
use crate::{
    Capability, Failure, Verdict,
    scenario::{Scenario, ensure, scenario},
};

pub(crate) fn scenarios() -> Vec<Scenario<SourceCase>> {
    vec![
        scenario!(
            delivers_every_operation,
            Some(Capability::Writes),
            "each operation arrives as what it is, with the key and the value it left"
        ),
        scenario!(
            keeps_the_order_of_each_key,
            Some(Capability::Writes),
            "the changes of a key arrive in the order in which they were made, each once"
        ),
        scenario!(
            keeps_transactions_together,
            Some(Capability::Transactions),
            "the changes of a transaction come together, and no position stands between them"
        ),
        scenario!(
            tells_when_it_has_caught_up,
            None,
            "`Idle` comes on passing the end noted at opening: not before, though more follows, \
             and again though nothing is new"
        ),
        scenario!(
            snapshot_then_stream_has_no_gap,
            Some(Capability::Snapshot),
            "rows that are written while the snapshot is taken end up as they are upstream"
        ),
    ]
}

/// What a change says, in the words of the suite.
pub(crate) fn said(world: &World, change: &Change) -> (Operation, Option<(i64, Value)>) {
    let row = world.upstream.row(change);
    let value = |(key, value)| (key, if change.after.is_some() { value } else { Value::Null });
    (change.operation, row.map(value))
}

/// What a source should say of a write.
fn expected(write: &Write) -> (Operation, Option<(i64, Value)>) {
    let row = match write {
        Write::Insert { key, value } | Write::Update { key, value } => Some((*key, value.clone())),
        Write::Delete { key } => Some((*key, Value::Null)),
        Write::Truncate => None,
    };
    (write.operation(), row)
}

/// The changes that came of writes, without the rows and marks of a snapshot.
pub(crate) fn logged<'r>(reading: &'r Reading<'_>) -> Vec<&'r Change> {
    let is_logged =
        |change: &&Change| !change.operation.is_mark() && change.operation != Operation::Read;
    reading.changes().into_iter().filter(is_logged).collect()
}

async fn delivers_every_operation(case: SourceCase) -> Verdict {
    let world = case.world().await?;
    let source = world.open().await?;
    let mut reading = world.begin(&*source).await?;
    reading.catch_up().await?;
    let writes = [
        insert(1, "one"),
        insert(2, "two"),
        Write::Insert { key: 3, value: Value::Null },
        update(1, "uno"),
        Write::Update { key: 2, value: Value::Null },
        Write::Delete { key: 1 },
        insert(1, "one again"),
        Write::Truncate,
    ];
    let writes: Vec<_> = writes.into_iter().filter(|write| world.can(write.operation())).collect();
    for write in &writes {
        world.commit(std::slice::from_ref(write)).await?;
    }
    reading
        .until("a change for each write", |reading| logged(reading).len() >= writes.len())
        .await?;
    let mut found: Vec<_> =
        logged(&reading).into_iter().map(|change| format!("{:?}", said(&world, change))).collect();
    let mut wanted: Vec<_> = writes.iter().map(|write| format!("{:?}", expected(write))).collect();
    // Their order is the promise of another scenario.
    found.sort();
    wanted.sort();
    ensure!(found == wanted, "delivered {found:#?} instead of {wanted:#?}");
    Ok(())
}

async fn keeps_the_order_of_each_key(case: SourceCase) -> Verdict {
    let world = case.world().await?;
    if !world.can(Operation::Update) {
        return Err(Failure::NotApplicable("a key has one change, its insert".to_owned()));
    }
    let source = world.open().await?;
    let mut reading = world.begin(&*source).await?;
    reading.catch_up().await?;
    let keys = [1, 2, 3];
    let first: Vec<_> = keys.iter().map(|key| insert(*key, "0")).collect();
    world.commit(&first).await?;
    for round in 1..8 {
        let text = round.to_string();
        world.commit(&[update(1, &text), update(2, &text), update(3, &text)]).await?;
    }
    reading.until("24 changes", |reading| logged(reading).len() >= 24).await?;
    let mut found: BTreeMap<i64, Vec<Value>> = BTreeMap::new();
    for (key, value) in logged(&reading).into_iter().filter_map(|change| world.upstream.row(change))
    {
        found.entry(key).or_default().push(value);
    }
    let wanted: Vec<_> = (0..8).map(|round: i32| Value::from(round.to_string())).collect();
    for key in keys {
        let found = found.remove(&key).unwrap_or_default();
        ensure!(found == wanted, "key {key} went through {found:?} instead of {wanted:?}");
    }
    Ok(())
}

async fn keeps_transactions_together(case: SourceCase) -> Verdict {
    let world = case.world().await?;
    let source = world.open().await?;
    let mut reading = world.begin(&*source).await?;
    reading.catch_up().await?;
    for first in [10, 20, 30] {
        let writes: Vec<_> = (first..first + 5).map(|key| insert(key, "x")).collect();
        world.commit(&writes).await?;
    }
    reading.until("15 changes", |reading| logged(reading).len() >= 15).await?;
    let found = logged(&reading);
    let transactions: Vec<_> = found.chunks(5).map(|chunk| chunk[0].transaction.clone()).collect();
    for (chunk, transaction) in found.chunks(5).zip(&transactions) {
        ensure!(transaction.is_some(), "a change tells of no transaction");
        let together = chunk.iter().all(|change| change.transaction == *transaction);
        ensure!(together, "the changes of {transaction:?} are mixed with others");
    }
    let distinct = transactions[0] != transactions[1] && transactions[1] != transactions[2];
    ensure!(distinct, "different transactions are told as one");
    for (events, _) in &reading.checkpoints {
        let changes =
            super::reading::changes(reading.events[..*events].iter().map(|(_, event)| event));
        let before = changes.iter().filter(|change| change.transaction.is_some()).count();
        ensure!(before % 5 == 0, "a position stands after {before} changes, in a transaction");
    }
    Ok(())
}

/// How many events a source may yield before it must have noticed that it passed the end.
const EVENTS_UNTIL_IDLE: usize = 300;

async fn tells_when_it_has_caught_up(case: SourceCase) -> Verdict {
    let world = case.world().await?;
    let source = world.open().await?;
    let partitions = world.within("the partitions", source.partitions()).await??;
    let writes = world.has(Capability::Writes);
    if writes {
        world.commit(&[insert(1, "one"), insert(2, "two"), insert(3, "three")]).await?;
    }
    let mut reading = Reading::new(&*source, partitions, world.patience);
    let mut number = 100;
    while !reading.is_caught_up() {
        if writes {
            let more = if world.can(Operation::Update) { update } else { insert };
            let key = if world.can(Operation::Update) { 1 } else { number };
            world.commit(&[more(key, &number.to_string())]).await?;
            number += 1;
        }
        world.within("the next event", reading.advance()).await??;
        let events = reading.events.len();
        ensure!(events < EVENTS_UNTIL_IDLE, "no `Idle` among {events} events");
    }
    if writes {
        let rows: Vec<_> =
            reading.changes().iter().filter_map(|change| world.upstream.row(change)).collect();
        let there = (1..=3).all(|key| rows.iter().any(|(found, _)| *found == key));
        ensure!(there, "`Idle` came before the rows that were there at opening: {rows:?}");
    }
    let states = reading.states.clone();
    drop(reading);
    for _ in 0..2 {
        let mut again = Reading::resume(&*source, states.clone(), world.patience);
        again.catch_up().await?;
    }
    Ok(())
}

async fn snapshot_then_stream_has_no_gap(case: SourceCase) -> Verdict {
    let world = case.world().await?;
    let mut table: BTreeMap<i64, Value> = BTreeMap::new();
    for first in [1, 31, 61] {
        let writes: Vec<_> = (first..first + 30).map(|key| insert(key, "before")).collect();
        world.commit(&writes).await?;
        table.extend((first..first + 30).map(|key| (key, Value::from("before"))));
    }
    let source = world.open().await?;
    let mut reading = world.begin(&*source).await?;
    for round in 0..30 {
        let writes = writes_of_round(round);
        world.commit(&writes).await?;
        writes
            .iter()
            .filter(|write| world.can(write.operation()))
            .for_each(|write| apply(&mut table, write));
        world.within("the next event", reading.advance()).await??;
    }
    let equal = |reading: &Reading<'_>| replay(&world, reading.changes()) == table;
    let waited = reading.until("the replayed table to equal the one upstream", equal).await;
    let found = replay(&world, reading.changes());
    if let Err(failure) = waited {
        return Err(Failure::broken(format!("{failure}: {}", difference(&found, &table))));
    }
    let snapshot = reading.changes().iter().any(|change| change.operation == Operation::Read);
    ensure!(snapshot, "no row was delivered as `Read`, so there was no snapshot");
    // Whatever still comes must not be older than what came.
    world.commit(&[insert(1000, "last")]).await?;
    table.insert(1000, Value::from("last"));
    let last = |reading: &Reading<'_>| replay(&world, reading.changes()).contains_key(&1000);
    reading.until("the last row", last).await?;
    let found = replay(&world, reading.changes());
    ensure!(found == table, "in the end, {}", difference(&found, &table));
    Ok(())
}

fn writes_of_round(round: i64) -> Vec<Write> {
    let text = format!("round {round}");
    // From both ends, so that the snapshot meets rows that it has read and rows that it has not.
    vec![
        update(1 + round, &text),
        update(90 - round, &text),
        Write::Delete { key: 45 - round % 15 },
        insert(200 + round, &text),
    ]
}

fn apply(table: &mut BTreeMap<i64, Value>, write: &Write) {
    match write {
        Write::Insert { key, value } => drop(table.insert(*key, value.clone())),
        Write::Update { key, value } => {
            table.entry(*key).and_modify(|old| *old = value.clone());
        }
        Write::Delete { key } => drop(table.remove(key)),
        Write::Truncate => table.clear(),
    }
}

/// The table that a consumer has who applies `changes`.
pub(crate) fn replay<'c>(
    world: &World,
    changes: impl IntoIterator<Item = &'c Change>,
) -> BTreeMap<i64, Value> {
    let mut table = BTreeMap::new();
    for change in changes {
        match (change.operation, world.upstream.row(change)) {
            (Operation::Truncate, _) => table.clear(),
            (Operation::Delete, Some((key, _))) => drop(table.remove(&key)),
            (_, Some((key, value))) => drop(table.insert(key, value)),
            (_, None) => {}
        }
    }
    table
}

pub(crate) fn difference(found: &BTreeMap<i64, Value>, wanted: &BTreeMap<i64, Value>) -> String {
    let keys: std::collections::BTreeSet<_> = found.keys().chain(wanted.keys()).collect();
    let lines = keys.into_iter().filter(|key| found.get(key) != wanted.get(key));
    let line = |key| format!("row {key} is {:?} instead of {:?}", found.get(key), wanted.get(key));
    lines.map(line).collect::<Vec<_>>().join(", ")
}

/// Whether an event ends a partition or tells of others.
pub(crate) fn is_structural(event: &Event) -> bool {
    matches!(event, Event::Children { .. } | Event::Finished)
}
