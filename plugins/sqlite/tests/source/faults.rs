//! What is lost is said, and what only has to be waited for is waited for.

use std::{fs, time::Duration};

use crate::support::{Replica, Upstream, changes, kind, next, operations, position, until_idle};
use rowtide_core::{
    ErrorKind, Event, Operation, Partition, Position,
    plugin::{Execution, InstallOptions, UninstallOptions, UninstallScope},
};
use rusqlite::Connection;

const TABLE: &str = "CREATE TABLE t (a INTEGER PRIMARY KEY, b); INSERT INTO t VALUES (1, 1);";

async fn delivered(upstream: &Upstream) -> (Partition, Position) {
    let partition = upstream.first().await;
    let events = upstream.read(&partition, None).await.unwrap();
    let position = position(events.last().unwrap()).unwrap().clone();
    (partition, position)
}

#[tokio::test]
async fn a_restored_backup_is_noticed_also_when_it_was_written_to_since() {
    for write_since in ["", "INSERT INTO t VALUES (12, 'other'); INSERT INTO t VALUES (13, 1)"] {
        let upstream = Upstream::new(TABLE);
        upstream.first().await;
        let backup = upstream.folder.path().join("backup");
        upstream.execute(&format!("VACUUM INTO '{}'", backup.display()));
        upstream.execute("INSERT INTO t VALUES (2, 'lost'); INSERT INTO t VALUES (3, 1)");
        let (partition, position) = delivered(&upstream).await;
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", upstream.path.display()));
        }
        fs::copy(&backup, &upstream.path).unwrap();
        upstream.execute(write_since);
        let result = upstream.read(&partition, Some(position)).await;
        let error = result.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::PositionLost);
        assert!(error.remedy().is_some());
    }
}

#[tokio::test]
async fn a_hole_in_the_log_is_never_passed_over() {
    // The position stands at row 4, the second image of an update; rows 5 and 6 follow.
    for (from_start, damage) in [
        (false, "DELETE FROM _rowtide_log"),
        (false, "DELETE FROM _rowtide_log WHERE id = 4"),
        (false, "DELETE FROM _rowtide_log WHERE id = 5"),
        (true, "DELETE FROM _rowtide_log WHERE id = 3"),
        (false, "DELETE FROM _rowtide_log WHERE id > 3"),
        (false, "DROP TABLE _rowtide_log"),
        (false, "DROP TABLE _rowtide_meta"),
        (false, "UPDATE _rowtide_log SET v1 = 'forged' WHERE id = 4"),
        (false, "UPDATE _rowtide_meta SET value = 'another' WHERE key = 'incarnation'"),
    ] {
        let upstream = Upstream::new(TABLE);
        let partition = upstream.first().await;
        upstream.execute("UPDATE t SET b = 'x'");
        let events = upstream.read(&partition, None).await.unwrap();
        let last = position(events.last().unwrap()).unwrap().clone();
        assert_eq!(id(&last), 4);
        upstream.execute("UPDATE t SET b = 'y'");
        let from = if from_start { partition.start.clone().unwrap() } else { last };
        upstream.execute(damage);
        let result = upstream.read(&partition, Some(from)).await;
        assert_eq!(kind(result), ErrorKind::PositionLost, "{damage}");
    }
}

#[tokio::test]
async fn a_hole_is_noticed_while_reading() {
    let upstream = Upstream::new(TABLE);
    let partition = upstream.first().await;
    let source = upstream.open().await;
    let mut stream = source.read(&partition, None);
    let events = until_idle(&mut stream).await.unwrap();
    let last = position(events.last().unwrap()).unwrap().clone();
    source.acknowledge(&[(partition.id.clone(), last)]).await.unwrap();
    upstream.execute("BEGIN; DELETE FROM _rowtide_log; INSERT INTO t VALUES (5, 5); COMMIT");
    assert_eq!(kind(until_idle(&mut stream).await), ErrorKind::PositionLost);
}

#[tokio::test]
async fn another_file_in_the_place_of_ours_is_noticed_while_reading() {
    let upstream = Upstream::new(TABLE);
    let partition = upstream.first().await;
    let source = upstream.open().await;
    let mut stream = source.read(&partition, None);
    until_idle(&mut stream).await.unwrap();
    let copy = upstream.folder.path().join("copy");
    fs::copy(&upstream.path, &copy).unwrap();
    fs::rename(&copy, &upstream.path).unwrap();
    assert_eq!(kind(until_idle(&mut stream).await), ErrorKind::Transient);
}

#[tokio::test]
async fn a_source_that_has_acknowledged_refuses_to_start_from_nothing() {
    let upstream = Upstream::new(TABLE);
    let (partition, position) = delivered(&upstream).await;
    // Nothing was acknowledged: the first start may be repeated.
    upstream.first().await;
    let source = upstream.open().await;
    source.acknowledge(&[(partition.id.clone(), position)]).await.unwrap();
    drop(source);
    let error = upstream.open().await.partitions().await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::PositionLost);
    assert!(error.remedy().unwrap().contains("checkpoint reset"));
    upstream.factory().forget(&upstream.context()).await.unwrap();
    upstream.first().await;
}

#[tokio::test]
async fn manual_installation_waits_for_setup() {
    let upstream = Upstream::new(TABLE).with("install", "manual");
    let error = upstream.open().await.partitions().await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Config, "{error}");
    assert!(error.remedy().unwrap().contains("rowtide setup"));
    let options = InstallOptions { execution: Execution::Apply, confirmed: true };
    let statements = upstream.factory().install(&upstream.context(), options).await.unwrap();
    assert!(!statements.is_empty());
    let (partition, position) = delivered(&upstream).await;
    upstream.execute("CREATE TABLE more (a)");
    let error = upstream.read(&partition, Some(position)).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Config, "{error}");
}

fn log_ids(upstream: &Upstream) -> (i64, i64) {
    let select = "SELECT min(id), max(id) FROM _rowtide_log";
    upstream.connect().query_row(select, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}

fn id(position: &Position) -> i64 {
    let json: serde_json::Value = serde_json::from_str(position.text()).unwrap();
    json["id"].as_i64().unwrap()
}

#[tokio::test]
async fn pruning_keeps_what_the_slowest_pipeline_has_not_acknowledged_and_its_own_row() {
    let mut upstream = Upstream::new(TABLE).with("prune_every", "5ms");
    let (slow_partition, slow) = delivered(&upstream).await;
    upstream.pipeline = "fast";
    let partition = upstream.first().await;
    upstream.execute(
        "WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 9000) \
         INSERT INTO t SELECT i, i FROM n",
    );
    let events = upstream.read(&partition, None).await.unwrap();
    let fast = position(events.last().unwrap()).unwrap().clone();
    let source = upstream.open().await;
    source.acknowledge(&[(partition.id.clone(), fast.clone())]).await.unwrap();
    drop(source);
    assert_eq!(log_ids(&upstream).0, id(slow_partition.start.as_ref().unwrap()));

    upstream.pipeline = "p";
    let source = upstream.open().await;
    source.acknowledge(&[(slow_partition.id.clone(), slow.clone())]).await.unwrap();
    wait_for(|| log_ids(&upstream).0 == id(&slow)).await;
    let events = upstream.read(&slow_partition, Some(slow)).await.unwrap();
    let last = position(events.last().unwrap()).unwrap().clone();
    source.acknowledge(&[(slow_partition.id.clone(), last.clone())]).await.unwrap();
    // More than one batch, down to the one row at which both stand.
    wait_for(|| log_ids(&upstream) == (id(&last), id(&last))).await;
    upstream.execute("UPDATE t SET b = 0 WHERE a = 10");
    let events = upstream.read(&slow_partition, Some(last)).await.unwrap();
    assert_eq!(operations(&events), ["update"]);
}

async fn wait_for(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("it never holds");
}

#[tokio::test]
async fn acknowledging_does_not_disturb_a_transaction_of_the_application() {
    let upstream = Upstream::new(TABLE).with("prune_every", "10s");
    let partition = upstream.first().await;
    let source = upstream.open().await;
    let mut stream = source.read(&partition, None);
    let events = until_idle(&mut stream).await.unwrap();
    let position = position(events.last().unwrap()).unwrap().clone();
    let mut application = upstream.connect();
    for round in 0..20 {
        let transaction = application.transaction().unwrap();
        transaction.query_row("SELECT b FROM t", [], |_| Ok(())).unwrap();
        source.acknowledge(&[(partition.id.clone(), position.clone())]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        transaction.execute("UPDATE t SET b = ?", [round]).unwrap();
        transaction.commit().unwrap();
        until_idle(&mut stream).await.unwrap();
    }
}

#[tokio::test]
async fn a_lock_held_for_seconds_is_waited_for() {
    for mode in ["wal", "delete"] {
        let upstream = Upstream::new(TABLE);
        upstream.connect().pragma_update(None, "journal_mode", mode).unwrap();
        let (partition, position) = delivered(&upstream).await;
        let holder = Connection::open(&upstream.path).unwrap();
        holder.execute_batch("BEGIN EXCLUSIVE; INSERT INTO t VALUES (7, 7)").unwrap();
        let held = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(2));
            holder.execute_batch("COMMIT").unwrap();
        });
        let source = upstream.open().await;
        let mut stream = source.read(&partition, Some(position));
        let mut events = Vec::new();
        while changes(&events).is_empty() {
            events.push(next(&mut stream).await.unwrap());
        }
        assert_eq!(operations(&events), ["insert"]);
        held.join().unwrap();
    }
}

#[tokio::test]
async fn a_table_added_later_is_read_and_replaces_what_came_before() {
    let mut upstream = Upstream::new(TABLE).with("tables", vec!["t"]);
    upstream.execute("CREATE TABLE u (a INTEGER PRIMARY KEY); INSERT INTO u VALUES (1)");
    let (partition, position) = delivered(&upstream).await;
    upstream.pipeline = "other";
    upstream.set("tables", vec!["t", "u"]);
    upstream.first().await;
    upstream.execute("INSERT INTO u VALUES (2)");
    upstream.pipeline = "p";
    let events = upstream.read(&partition, Some(position)).await.unwrap();
    let begin = changes(&events)
        .into_iter()
        .find(|it| it.operation == Operation::SnapshotBegin)
        .expect("no snapshot");
    assert!(begin.metadata.as_ref().unwrap().get("replaces").is_some());
    let mut replica = Replica::default();
    replica.apply(&events);
    replica.check(&upstream, &["u"]);
}

#[tokio::test]
async fn without_a_snapshot_what_was_missed_is_lost() {
    let mut upstream = Upstream::new(TABLE).with("snapshot", "never").with("tables", vec!["t"]);
    upstream.execute("CREATE TABLE u (a PRIMARY KEY); INSERT INTO u VALUES (1)");
    let (partition, start) = delivered(&upstream).await;
    // The user added it.
    upstream.set("tables", vec!["*"]);
    let events = upstream.read(&partition, Some(start)).await.unwrap();
    let at = position(events.last().unwrap()).unwrap().clone();
    // It is empty.
    upstream.execute("CREATE TABLE v (a PRIMARY KEY)");
    let events = upstream.read(&partition, Some(at)).await.unwrap();
    assert!(changes(&events).is_empty());
    let at = position(events.last().unwrap()).unwrap().clone();
    upstream.execute("INSERT INTO v VALUES (1)");
    let events = upstream.read(&partition, Some(at.clone())).await.unwrap();
    assert_eq!(operations(&events), ["insert"]);
    upstream.execute("CREATE TABLE w (a PRIMARY KEY); INSERT INTO w VALUES (1)");
    assert_eq!(upstream.end(&partition, &at).await, ErrorKind::PositionLost);
}

#[tokio::test]
async fn what_was_missed_of_a_table_added_before_is_lost_also_where_nothing_was_read_since() {
    let tables = "CREATE TABLE a (x PRIMARY KEY); CREATE TABLE b (x PRIMARY KEY)";
    let mut upstream = Upstream::new(tables).with("snapshot", "never");
    upstream.pipeline = "other";
    upstream.first().await;
    upstream.pipeline = "p";
    upstream.set("tables", vec!["a"]);
    let (partition, at) = delivered(&upstream).await;
    upstream.set("tables", vec!["a", "b"]);
    // The log has ended: b was captured already.
    let events = upstream.read(&partition, Some(at)).await.unwrap();
    let at = position(events.last().unwrap()).unwrap().clone();
    let options = UninstallOptions { execution: Execution::Apply, scope: UninstallScope::Triggers };
    upstream.factory().uninstall(&upstream.context(), options).await.unwrap();
    upstream.execute("INSERT INTO b VALUES (1)");
    assert_eq!(kind(upstream.read(&partition, Some(at)).await), ErrorKind::PositionLost);
}

#[tokio::test]
async fn a_trigger_that_was_dropped_means_a_new_snapshot() {
    let upstream = Upstream::new(TABLE);
    let (partition, at) = delivered(&upstream).await;
    let options = UninstallOptions { execution: Execution::Apply, scope: UninstallScope::Triggers };
    upstream.factory().uninstall(&upstream.context(), options).await.unwrap();
    upstream.execute("INSERT INTO t VALUES (2, 2); DELETE FROM t WHERE a = 1");
    let events = upstream.read(&partition, Some(at)).await.unwrap();
    assert_eq!(operations(&events), ["snapshot_begin", "read", "snapshot_end"]);
    let begin = changes(&events)[0].metadata.clone().unwrap();
    assert!(begin.get("replaces").is_some());
}

#[tokio::test]
async fn dropping_the_stream_releases_the_file() {
    let upstream = Upstream::new(TABLE);
    let partition = upstream.first().await;
    let source = upstream.open().await;
    let mut stream = source.read(&partition, None);
    assert!(matches!(next(&mut stream).await, Ok(Event::Changes { .. })));
    drop(stream);
    drop(source);
    let name = upstream.path.canonicalize().unwrap();
    let is_open = || {
        let links = fs::read_dir("/proc/self/fd").unwrap();
        links.flatten().any(|link| fs::read_link(link.path()).is_ok_and(|file| file == name))
    };
    wait_for(|| !is_open()).await;
}
