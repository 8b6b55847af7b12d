use std::collections::BTreeSet;

use futures_util::{StreamExt, stream::select_all};
use rowtide_core::Partition;
use serde_json::json;

use crate::cluster::{Read, key, open, server};

const TABLES: &str = "
    CREATE TABLE a (id INT8 PRIMARY KEY); CREATE TABLE b (id INT8 PRIMARY KEY);
    CREATE TABLE c (id INT8 PRIMARY KEY); CREATE TABLE d (id INT8 PRIMARY KEY);
    INSERT INTO a VALUES (1); INSERT INTO b VALUES (2); INSERT INTO c VALUES (3);
    INSERT INTO d VALUES (4)";

/// Reads all partitions at once until `enough` holds.
async fn read_all(
    source: &dyn rowtide_core::Source,
    partitions: &[Partition],
    positions: &Read,
    enough: impl Fn(&Read) -> bool,
) -> Read {
    let mut found = Read::default();
    let streams = partitions.iter().map(|partition| {
        let from = positions.positions.get(&partition.id).cloned();
        let id = partition.id.clone();
        source.read(partition, from).map(move |event| (id.clone(), event)).boxed()
    });
    let mut events = select_all(streams);
    while !enough(&found) {
        let (id, event) = events.next().await.expect("an event");
        found.note(&id, event.expect("no error"));
    }
    found
}

fn keys(read: &Read) -> BTreeSet<i64> {
    read.changes.iter().filter(|change| change.image().is_some()).map(key).collect()
}

#[tokio::test]
async fn tables_are_spread_and_each_feed_has_its_position() {
    let server = server(TABLES);
    let source = open(&server, json!({"tables": ["*"], "feeds": 3})).await.unwrap();
    let partitions = source.partitions().await.unwrap();
    assert_eq!(partitions.len(), 3);
    let all = |read: &Read| keys(read).len() == 4 && read.positions.len() == 3;
    let found = read_all(&*source, &partitions, &Read::default(), all).await;
    assert_eq!(keys(&found), BTreeSet::from([1, 2, 3, 4]));
}

#[tokio::test]
async fn another_number_of_feeds_goes_on_at_the_lowest_position() {
    let server = server(TABLES);
    let source = open(&server, json!({"tables": ["*"], "feeds": 3})).await.unwrap();
    let old = source.partitions().await.unwrap();
    let all = |read: &Read| keys(read).len() == 4 && read.positions.len() == 3 && read.idle > 6;
    let positions = read_all(&*source, &old, &Read::default(), all).await;
    drop(source);
    server.execute("INSERT INTO a VALUES (5); INSERT INTO d VALUES (6)").unwrap();

    let source = open(&server, json!({"tables": ["*"], "feeds": 2})).await.unwrap();
    let ended = |read: &Read| read.finished.len() == 3;
    let regrouped = read_all(&*source, &old, &positions, ended).await;
    assert!(regrouped.changes.is_empty());
    let new = regrouped.children;
    assert_eq!(new.len(), 2);
    let ids: BTreeSet<_> = old.iter().chain(&new).map(|partition| partition.id.clone()).collect();
    assert_eq!(ids.len(), 5, "an id is used again");
    assert!(new.iter().all(|partition| partition.parents.len() == 3));

    let all = |read: &Read| keys(read).is_superset(&BTreeSet::from([5, 6]));
    let found = read_all(&*source, &new, &Read::default(), all).await;
    assert!(
        found.changes.iter().all(|change| change.operation.name() == "insert"),
        "scanned again"
    );
}

#[tokio::test]
async fn a_feed_that_was_regrouped_already_is_known_by_its_acknowledgement() {
    let server = server(TABLES);
    let source = open(&server, json!({"tables": ["*"], "feeds": 2})).await.unwrap();
    let old = source.partitions().await.unwrap();
    let all = |read: &Read| read.positions.len() == 2;
    let positions = read_all(&*source, &old, &Read::default(), all).await;
    let source = open(&server, json!({"tables": ["*"], "feeds": 1})).await.unwrap();
    let saved: Vec<_> =
        positions.positions.iter().map(|(id, position)| (id.clone(), position.clone())).collect();
    source.acknowledge(&saved).await.unwrap();
    let ended = |read: &Read| read.finished.len() == 1;
    let regrouped = read_all(&*source, &old[..1], &positions, ended).await;
    assert_eq!(regrouped.children.len(), 1);
}

#[tokio::test]
async fn a_feed_without_tables_begins_at_the_present_once_it_has_one() {
    let server = server("CREATE TABLE a (id INT8 PRIMARY KEY); INSERT INTO a VALUES (1)");
    let settings = json!({"tables": ["*"], "feeds": 8});
    let source = open(&server, settings.clone()).await.unwrap();
    let mut partitions = source.partitions().await.unwrap();
    let all = |read: &Read| keys(read).len() == 1 && read.positions.len() == 8;
    let positions = read_all(&*source, &partitions, &Read::default(), all).await;
    // Of where they stand nothing is left, and nothing is missed either.
    server.collect_garbage();
    server
        .execute(
            "CREATE TABLE b (id INT8 PRIMARY KEY); CREATE TABLE c (id INT8 PRIMARY KEY);
             CREATE TABLE d (id INT8 PRIMARY KEY); INSERT INTO b VALUES (2);
             INSERT INTO c VALUES (3); INSERT INTO d VALUES (4)",
        )
        .unwrap();
    partitions.retain(|partition| !positions.positions[&partition.id].text().contains("public.a"));
    let source = open(&server, settings).await.unwrap();
    let found = read_all(&*source, &partitions, &positions, |read| keys(read).len() == 3).await;
    assert!(found.said().iter().all(|(operation, _)| operation.name() == "read"));
}
