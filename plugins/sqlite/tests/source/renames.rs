//! A name that is known may stand for another table tomorrow.

use crate::support::{Replica, Upstream, changes, kind, next, operations, position};
use rowtide_core::{ErrorKind, Partition, Position};

/// What a schema change outside one transaction does in the end.
fn switch(name: &str) -> String {
    format!(
        "INSERT INTO new_t SELECT a, b FROM t; DROP TABLE t;
         ALTER TABLE new_t RENAME TO {name}; INSERT INTO {name} VALUES (8, 'behind')"
    )
}

async fn delivered(upstream: &Upstream) -> (Partition, Position, Replica) {
    let partition = upstream.first().await;
    let events = upstream.read(&partition, None).await.unwrap();
    let mut replica = Replica::default();
    replica.apply(&events);
    (partition, position(events.last().unwrap()).unwrap().clone(), replica)
}

#[tokio::test]
async fn a_table_renamed_onto_a_known_name_is_read_again() {
    let upstream =
        Upstream::new("CREATE TABLE t (a INTEGER PRIMARY KEY, b); INSERT INTO t VALUES (1, 1)");
    let (partition, at, mut replica) = delivered(&upstream).await;
    upstream.execute("CREATE TABLE new_t (a INTEGER PRIMARY KEY, b)");
    let events = upstream.read(&partition, Some(at)).await.unwrap();
    replica.apply(&events);
    let at = position(events.last().unwrap()).unwrap().clone();
    upstream.execute(&format!("UPDATE t SET b = 2; {}", switch("t")));
    replica.apply(&upstream.read(&partition, Some(at)).await.unwrap());
    replica.check(&upstream, &["t"]);
}

#[tokio::test]
async fn tables_that_swap_their_names_are_read_again() {
    let upstream = Upstream::new(
        "CREATE TABLE t (a INTEGER PRIMARY KEY, b); INSERT INTO t VALUES (1, 1);
         CREATE TABLE u (a INTEGER PRIMARY KEY, b); INSERT INTO u VALUES (2, 2)",
    );
    let (partition, at, mut replica) = delivered(&upstream).await;
    upstream.execute(
        "ALTER TABLE t RENAME TO x; ALTER TABLE u RENAME TO t; ALTER TABLE x RENAME TO u;
         INSERT INTO t VALUES (3, 3); INSERT INTO u VALUES (4, 4)",
    );
    replica.apply(&upstream.read(&partition, Some(at)).await.unwrap());
    replica.check(&upstream, &["t", "u"]);
}

#[tokio::test]
async fn a_renamed_table_that_another_pipeline_captured_is_read_again() {
    for (tables, name) in [("t", "t"), ("later_*", "later_1")] {
        let mut upstream =
            Upstream::new("CREATE TABLE t (a INTEGER PRIMARY KEY, b); CREATE TABLE u (x)");
        upstream.set("tables", vec![tables]);
        let (partition, at, mut replica) = delivered(&upstream).await;
        upstream.pipeline = "other";
        upstream.set("tables", vec!["*"]);
        upstream.first().await;
        upstream.execute("CREATE TABLE new_t (a INTEGER PRIMARY KEY, b)");
        upstream.first().await;
        upstream.execute(&switch(name));
        upstream.pipeline = "p";
        upstream.set("tables", vec![tables]);
        for snapshot in ["never", "initial"] {
            upstream.set("snapshot", snapshot);
            let result = upstream.read(&partition, Some(at.clone())).await;
            if snapshot == "never" {
                assert_eq!(kind(result), ErrorKind::PositionLost, "{name}");
            } else {
                replica.apply(&result.unwrap());
            }
        }
        replica.check(&upstream, &[name]);
    }
}

#[tokio::test]
async fn a_place_in_the_key_of_another_table_is_not_gone_on_from() {
    let rebuilds = [
        ("a, b, c, PRIMARY KEY (a, b, c)", "a INTEGER PRIMARY KEY, b, c"),
        ("a INTEGER PRIMARY KEY, b, c", "a, b, c, PRIMARY KEY (a, b, c)"),
    ];
    for (before, after) in rebuilds {
        let upstream = Upstream::new(&format!("CREATE TABLE t ({before}) WITHOUT ROWID"))
            .with("batch_rows", 2);
        upstream.execute("INSERT INTO t VALUES (1, 1, 1), (2, 1, 1), (3, 1, 1)");
        let partition = upstream.first().await;
        let mut replica = Replica::default();
        let source = upstream.open().await;
        let event = next(&mut source.read(&partition, None)).await.unwrap();
        let at = position(&event).unwrap().clone();
        assert!(at.text().contains("reading"), "{at}");
        replica.apply(&[event]);
        upstream.execute(&format!(
            "BEGIN; CREATE TABLE new_t ({after}) WITHOUT ROWID; INSERT INTO new_t SELECT * FROM t;
             DROP TABLE t; ALTER TABLE new_t RENAME TO t; COMMIT;
             INSERT INTO t VALUES (0, 1, 1)"
        ));
        replica.apply(&upstream.read(&partition, Some(at)).await.unwrap());
        replica.check(&upstream, &["t"]);
    }
}

#[tokio::test]
async fn a_renamed_table_without_rows_goes_on_without_a_snapshot() {
    let upstream = Upstream::new("CREATE TABLE t (a INTEGER PRIMARY KEY)");
    let upstream = upstream.with("snapshot", "never");
    let (partition, at, _) = delivered(&upstream).await;
    upstream.execute("ALTER TABLE t RENAME TO u");
    let events = upstream.read(&partition, Some(at)).await.unwrap();
    assert!(changes(&events).is_empty());
    let at = position(events.last().unwrap()).unwrap().clone();
    upstream.execute("INSERT INTO u VALUES (1)");
    let events = upstream.read(&partition, Some(at)).await.unwrap();
    assert_eq!(operations(&events), ["insert"]);
}
