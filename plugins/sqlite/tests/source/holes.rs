//! What stands before a hole is delivered, and what is behind one can be had without the hole.

use std::time::Duration;

use crate::support::{Upstream, changes, kind, next, operations, position};
use futures_util::StreamExt;
use rowtide_core::{ErrorKind, Event, Partition, Position};
use serde_json::json;

const TABLES: &str = "CREATE TABLE t (a INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)";

async fn caught_up(upstream: &Upstream) -> (Partition, Position) {
    let partition = upstream.first().await;
    let events = upstream.read(&partition, None).await.unwrap();
    (partition, position(events.last().unwrap()).unwrap().clone())
}

/// Whether nothing comes for a while; something would, at once, if it were not for a reason.
async fn is_silent(stream: &mut rowtide_core::EventStream<'_>) -> bool {
    tokio::time::timeout(Duration::from_millis(300), stream.next()).await.is_err()
}

/// Reads up to the hole, and saves what is before it only once nothing else comes.
async fn read_up_to_the_hole(
    upstream: &Upstream,
    partition: &Partition,
    from: Position,
) -> (Vec<Event>, Position) {
    let source = upstream.open().await;
    let mut stream = source.read(partition, Some(from));
    let mut events = vec![next(&mut stream).await.unwrap()];
    while changes(&events).is_empty() {
        events.push(next(&mut stream).await.unwrap());
    }
    let last = position(events.last().unwrap()).expect("nothing can be saved").clone();
    assert!(is_silent(&mut stream).await, "the hole is told before what is before it is saved");
    source.acknowledge(&[(partition.id.clone(), last.clone())]).await.unwrap();
    assert_eq!(kind(next(&mut stream).await.map(|event| vec![event])), ErrorKind::PositionLost);
    (events, last)
}

#[tokio::test]
async fn what_is_before_an_uncaptured_stretch_is_saved_before_the_stop() {
    let mut upstream = Upstream::new(TABLES).with("snapshot", "never");
    let (partition, at) = caught_up(&upstream).await;
    upstream.execute("INSERT INTO t VALUES (2); UPDATE t SET a = 3 WHERE a = 2");
    upstream.execute("CREATE TABLE w (a PRIMARY KEY); INSERT INTO w VALUES (1)");
    let (events, at) = read_up_to_the_hole(&upstream, &partition, at).await;
    assert_eq!(operations(&events), ["insert", "delete", "insert"]);
    upstream.execute("INSERT INTO t VALUES (4); INSERT INTO w VALUES (2)");
    let error = upstream.read(&partition, Some(at.clone())).await.unwrap_err();
    assert!(error.remedy().unwrap().contains("exclude"), "{error:?}");

    // Left out and included again, the table costs the others nothing.
    upstream.set("tables", json!({"include": ["*"], "exclude": ["w"]}));
    let events = upstream.read(&partition, Some(at.clone())).await.unwrap();
    assert_eq!(operations(&events), ["insert"]);
    let without = position(events.last().unwrap()).unwrap().clone();
    upstream.set("tables", json!(["*"]));
    upstream.execute("INSERT INTO w VALUES (3); INSERT INTO t VALUES (5)");
    let events = upstream.read(&partition, Some(without)).await.unwrap();
    assert_eq!(operations(&events), ["insert", "insert"]);

    // Or the table is read again.
    upstream.set("snapshot", "initial");
    let events = upstream.read(&partition, Some(at)).await.unwrap();
    let of_t = changes(&events).into_iter().filter(|change| &*change.table.name == "t");
    assert_eq!(of_t.map(|change| change.operation.name()).collect::<Vec<_>>(), ["insert"; 2]);
    let reads = operations(&events).into_iter().filter(|name| *name == "read");
    assert_eq!(reads.count(), 3);
}

#[tokio::test]
async fn what_is_before_a_gap_in_the_log_is_saved_before_the_stop() {
    for (damage, before) in [
        ("DELETE FROM _rowtide_log WHERE id = 5", vec!["insert", "insert"]),
        // The second image of an update, without which the first says nothing.
        ("DELETE FROM _rowtide_log WHERE id = 6", vec!["insert", "insert"]),
        ("UPDATE _rowtide_log SET operation = 99 WHERE id = 4", vec!["insert"]),
        ("UPDATE _rowtide_log SET layout = 99 WHERE id = 4", vec!["insert"]),
    ] {
        let upstream = Upstream::new(TABLES).with("snapshot", "never");
        let (partition, at) = caught_up(&upstream).await;
        upstream.execute("INSERT INTO t VALUES (2), (3); UPDATE t SET a = 3 WHERE a = 3");
        upstream.execute(&format!("INSERT INTO t VALUES (4); {damage}"));
        let (events, at) = read_up_to_the_hole(&upstream, &partition, at).await;
        assert_eq!(operations(&events), before, "{damage}");
        assert_eq!(kind(upstream.read(&partition, Some(at)).await), ErrorKind::PositionLost);
    }
}
