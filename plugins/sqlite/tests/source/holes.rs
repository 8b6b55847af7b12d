//! What stands before a hole is delivered, and what is behind one can be had without the hole.

use crate::support::{Upstream, changes, kind, next, operations, position, until_idle};
use rowtide_core::{
    ErrorKind, Event, Partition, Position,
    plugin::{Execution, UninstallOptions, UninstallScope},
};
use serde_json::json;

const TABLES: &str = "CREATE TABLE t (a INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)";

async fn caught_up(upstream: &Upstream) -> (Partition, Position) {
    let partition = upstream.first().await;
    let events = upstream.read(&partition, None).await.unwrap();
    (partition, position(events.last().unwrap()).unwrap().clone())
}

/// Reads up to the hole: what is before it, with a position, and then the error.
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
    assert_eq!(kind(next(&mut stream).await.map(|event| vec![event])), ErrorKind::PositionLost);
    (events, last)
}

#[tokio::test]
async fn what_is_before_an_uncaptured_stretch_is_told_with_its_position() {
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
async fn what_is_before_a_gap_in_the_log_is_told_with_its_position() {
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

#[tokio::test]
async fn a_table_emptied_while_it_was_not_captured_is_a_hole() {
    let upstream = Upstream::new(TABLES).with("snapshot", "never");
    let (partition, at) = caught_up(&upstream).await;
    let options = UninstallOptions { execution: Execution::Apply, scope: UninstallScope::Triggers };
    upstream.factory().uninstall(&upstream.context(), options).await.unwrap();
    upstream.execute("DELETE FROM t");
    assert_eq!(kind(upstream.read(&partition, Some(at)).await), ErrorKind::PositionLost);
}

#[tokio::test]
async fn a_checkpoint_that_was_rolled_back_keeps_the_log_that_it_needs() {
    let mut upstream = Upstream::new(TABLES).with("prune_every", "5ms").with("batch_rows", 1);
    let (other_partition, other) = caught_up(&upstream).await;
    upstream.pipeline = "rolled_back";
    let (partition, old) = caught_up(&upstream).await;
    upstream.execute(
        "WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 50) \
         INSERT INTO t SELECT i FROM n",
    );
    let events = upstream.read(&partition, Some(old.clone())).await.unwrap();
    let last = position(events.last().unwrap()).unwrap().clone();
    let source = upstream.open().await;
    source.acknowledge(&[(partition.id.clone(), last.clone())]).await.unwrap();
    drop(source);

    let source = upstream.open().await;
    source.acknowledge(&[(partition.id.clone(), old.clone())]).await.unwrap();
    let mut stream = source.read(&partition, Some(old));
    let mut events = vec![next(&mut stream).await.unwrap()];
    upstream.pipeline = "p";
    let others = upstream.open().await;
    upstream.read(&other_partition, Some(other)).await.unwrap();
    others.acknowledge(&[(other_partition.id.clone(), last)]).await.unwrap();
    drop(others);
    events.extend(until_idle(&mut stream).await.unwrap());
    assert_eq!(operations(&events), ["insert"; 41]);
}

#[tokio::test]
async fn a_file_that_is_away_for_a_moment_is_waited_for() {
    let upstream = Upstream::new(TABLES);
    let (partition, at) = caught_up(&upstream).await;
    let source = upstream.open().await;
    let aside = upstream.folder.path().join("aside");
    std::fs::rename(&upstream.path, &aside).unwrap();
    let result = until_idle(&mut source.read(&partition, Some(at.clone()))).await;
    assert_eq!(kind(result), ErrorKind::Transient);
    std::fs::rename(&aside, &upstream.path).unwrap();
    until_idle(&mut source.read(&partition, Some(at))).await.unwrap();
}
