use std::collections::BTreeSet;

use rowtide_core::{ErrorKind, Operation};
use serde_json::json;

use crate::cluster::{Read, key, open, read, released, server, until};

const TABLE: &str = "CREATE TABLE t (id INT8 PRIMARY KEY, s STRING);
    INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'), (5, 'e')";

fn is_idle(read: &Read) -> bool {
    read.idle > 0
}

#[tokio::test]
async fn a_scan_stands_between_its_marks() {
    let server = server(TABLE);
    let source = open(&server, json!({"tables": ["t"]})).await.unwrap();
    let (_, found) = read(&*source, None, is_idle).await.unwrap();
    let operations: Vec<_> = found.changes.iter().map(|change| change.operation).collect();
    assert_eq!(operations[0], Operation::SnapshotBegin);
    assert_eq!(operations[1..6], [Operation::Read; 5]);
    assert_eq!(operations[6..], [Operation::SnapshotEnd]);
}

#[tokio::test]
async fn a_scan_that_was_killed_after_its_first_row_misses_nothing() {
    let server = server(TABLE);
    let source = open(&server, json!({"tables": ["t"]})).await.unwrap();
    let partition = source.partitions().await.unwrap().remove(0);
    let mut first = Read::default();
    let mut stream = source.read(&partition, None);
    until(&partition.id, &mut stream, &mut first, |read| !read.said().is_empty()).await.unwrap();
    assert!(first.positions.is_empty(), "a position stands in a scan");
    drop(stream);
    // What is removed meanwhile is still told: the scan is of the time of the first one.
    server.execute("DELETE FROM t WHERE id = 3").unwrap();
    let mut second = Read::default();
    let mut stream = source.read(&partition, None);
    until(&partition.id, &mut stream, &mut second, is_idle).await.unwrap();
    let read: BTreeSet<_> = second
        .said()
        .into_iter()
        .filter(|(operation, _)| *operation == Operation::Read)
        .collect::<Vec<_>>()
        .into_iter()
        .map(|(_, key)| key)
        .collect();
    assert_eq!(read, BTreeSet::from([1, 2, 3, 4, 5]));
    assert_eq!(second.said().last(), Some(&(Operation::Delete, 3)));
}

#[tokio::test]
async fn no_position_stands_between_two_rows_of_a_transaction() {
    let server = server(TABLE);
    let source = open(&server, json!({"tables": ["t"], "snapshot": "never"})).await.unwrap();
    let partition = source.partitions().await.unwrap().remove(0);
    server
        .execute("BEGIN; UPSERT INTO t VALUES (6, 'x'); UPSERT INTO t VALUES (7, 'y'); COMMIT")
        .unwrap();
    let mut first = Read::default();
    let mut stream = source.read(&partition, None);
    until(&partition.id, &mut stream, &mut first, |read| !read.said().is_empty()).await.unwrap();
    assert!(first.positions.is_empty(), "a row has a position");
    drop(stream);
    let mut second = Read::default();
    let mut stream = source.read(&partition, None);
    until(&partition.id, &mut stream, &mut second, is_idle).await.unwrap();
    assert_eq!(second.sorted(), [(Operation::Insert, 6), (Operation::Insert, 7)]);
}

#[tokio::test]
async fn a_snapshot_alone_ends_by_itself() {
    let server = server(TABLE);
    let source = open(&server, json!({"tables": ["t"], "snapshot": "only"})).await.unwrap();
    let ended = |read: &Read| !read.finished.is_empty();
    let (_, found) = read(&*source, None, ended).await.unwrap();
    assert_eq!(found.said().len(), 5);
    assert_eq!(found.positions.len(), 1);
    released(&server).await;
}

#[tokio::test]
async fn an_end_time_ends_it() {
    let server = server(TABLE);
    let source = open(&server, json!({"tables": ["t"], "snapshot": "never"})).await.unwrap();
    let partition = source.partitions().await.unwrap().remove(0);
    server.execute("UPSERT INTO t VALUES (6, 'x')").unwrap();
    let answer = server.execute("SELECT cluster_logical_timestamp()").unwrap();
    let end = answer.rows[0][0].clone().unwrap();
    server.execute("UPSERT INTO t VALUES (7, 'y')").unwrap();
    let settings = json!({"tables": ["t"], "snapshot": "never", "end_time": end});
    let source = open(&server, settings).await.unwrap();
    let mut found = Read::default();
    let mut stream = source.read(&partition, None);
    let ended = |read: &Read| !read.finished.is_empty();
    until(&partition.id, &mut stream, &mut found, ended).await.unwrap();
    assert_eq!(found.said(), [(Operation::Insert, 6)]);
}

#[tokio::test]
async fn a_table_that_is_added_later_joins_at_the_position() {
    let server = server(TABLE);
    server
        .execute("CREATE TABLE u (id INT8 PRIMARY KEY); INSERT INTO u VALUES (10), (11)")
        .unwrap();
    let source = open(&server, json!({"tables": ["t"]})).await.unwrap();
    let (partition, found) = read(&*source, None, is_idle).await.unwrap();
    let position = found.positions[&partition.id].clone();
    // Made after the position, so that a changefeed cannot begin there.
    server
        .execute("CREATE TABLE v (id INT8 PRIMARY KEY); INSERT INTO v VALUES (20); INSERT INTO u VALUES (12); INSERT INTO t VALUES (6, 'x')")
        .unwrap();
    for (tables, expected) in [
        (json!(["t", "u"]), vec![(6, "insert"), (10, "read"), (11, "read"), (12, "insert")]),
        (json!(["t", "v"]), vec![(6, "insert"), (20, "read")]),
    ] {
        let source = open(&server, json!({"tables": tables})).await.unwrap();
        let mut found = Read::default();
        let mut stream = source.read(&partition, Some(position.clone()));
        let enough = |read: &Read| read.said().len() >= expected.len() && is_idle(read);
        until(&partition.id, &mut stream, &mut found, enough).await.unwrap();
        let mut said: Vec<_> =
            found.said().iter().map(|(operation, key)| (*key, operation.name())).collect();
        said.sort_unstable();
        assert_eq!(said, expected, "{tables}");
    }
}

#[tokio::test]
async fn a_table_that_was_left_out_for_a_while_is_scanned_when_it_comes_back() {
    let server = server(TABLE);
    server.execute("CREATE TABLE u (id INT8 PRIMARY KEY); INSERT INTO u VALUES (10)").unwrap();
    let both = open(&server, json!({"tables": ["t", "u"]})).await.unwrap();
    let (partition, found) = read(&*both, None, is_idle).await.unwrap();
    let position = found.positions[&partition.id].clone();
    server.execute("INSERT INTO u VALUES (11); INSERT INTO t VALUES (6, 'x')").unwrap();

    let one = open(&server, json!({"tables": ["t"]})).await.unwrap();
    let mut found = Read::default();
    let mut stream = one.read(&partition, Some(position));
    until(&partition.id, &mut stream, &mut found, is_idle).await.unwrap();
    assert_eq!(found.said(), [(Operation::Insert, 6)]);
    let position = found.positions[&partition.id].clone();

    let mut found = Read::default();
    let mut stream = both.read(&partition, Some(position));
    until(&partition.id, &mut stream, &mut found, is_idle).await.unwrap();
    assert_eq!(found.sorted(), [(Operation::Read, 10), (Operation::Read, 11)]);
}

#[tokio::test]
async fn a_lost_position_is_scanned_anew_if_the_user_wants_that() {
    let server = server(TABLE);
    let source = open(&server, json!({"tables": ["t"]})).await.unwrap();
    let (partition, found) = read(&*source, None, is_idle).await.unwrap();
    let position = found.positions[&partition.id].clone();
    server.execute("DELETE FROM t WHERE id = 1").unwrap();
    server.collect_garbage();
    let mut stream = source.read(&partition, Some(position.clone()));
    let error = until(&partition.id, &mut stream, &mut Read::default(), is_idle).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::PositionLost);
    assert!(error.remedy().unwrap().contains("rescan"), "{error:?}");

    let settings = json!({"tables": ["t"], "on_lost": "rescan"});
    let source = open(&server, settings).await.unwrap();
    let mut found = Read::default();
    let mut stream = source.read(&partition, Some(position));
    until(&partition.id, &mut stream, &mut found, is_idle).await.unwrap();
    let read: Vec<_> =
        found.changes.iter().filter(|change| change.operation == Operation::Read).collect();
    assert_eq!(read.iter().map(|change| key(change)).collect::<Vec<_>>(), [2, 3, 4, 5]);
}

#[tokio::test]
async fn a_table_that_is_gone_is_not_scanned_anew_for_ever() {
    let server = server(TABLE);
    let settings = json!({"tables": ["t"], "on_lost": "rescan"});
    let source = open(&server, settings).await.unwrap();
    let partition = source.partitions().await.unwrap().remove(0);
    server.execute("DROP TABLE t").unwrap();
    let mut stream = source.read(&partition, None);
    let error = until(&partition.id, &mut stream, &mut Read::default(), is_idle).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::PositionLost, "{error}");
}

#[tokio::test]
async fn another_program_s_cursor_is_taken_over() {
    let server = server(TABLE);
    server.execute("CREATE TABLE cursor_store (key STRING PRIMARY KEY, cursor STRING)").unwrap();
    let settings = json!({"tables": ["t"], "import": "cursor_store"});
    let source = open(&server, settings).await.unwrap();
    let error = source.partitions().await.unwrap_err();
    assert_eq!(error.setting(), Some("import"));

    let now =
        server.execute("SELECT cluster_logical_timestamp()").unwrap().rows[0][0].clone().unwrap();
    server.execute(&format!("UPSERT INTO cursor_store VALUES ('key', '{now}')")).unwrap();
    server.execute("UPDATE t SET s = 'later' WHERE id = 2").unwrap();
    let (_, found) = read(&*source, None, is_idle).await.unwrap();
    assert_eq!(found.said(), [(Operation::Update, 2)]);
}

#[tokio::test]
async fn a_dropped_stream_is_cancelled_on_the_server() {
    let server = server(TABLE);
    let source = open(&server, json!({"tables": ["t"]})).await.unwrap();
    read(&*source, None, is_idle).await.unwrap();
    released(&server).await;
    assert!(server.cancels() > 0, "the connection was closed without a cancel request");
}
