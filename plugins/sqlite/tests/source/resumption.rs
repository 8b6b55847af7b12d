//! Nothing is lost and nothing is out of order, wherever reading stops.

use crate::support::{Random, Replica, SCHEMA, TABLES, Upstream, changes, next, position, write};
use rowtide_core::{
    CheckpointUpdate, Event, Operation, PartitionState, Position, Progress, registry,
    settings::Settings,
};
use rusqlite::Connection;

fn fill(connection: &Connection, random: &mut Random, count: usize) {
    for _ in 0..count {
        write(connection, random);
    }
}

#[tokio::test]
async fn a_snapshot_comes_first_and_then_the_changes() {
    let upstream = Upstream::new(
        "CREATE TABLE t (a INTEGER PRIMARY KEY, b); CREATE TABLE e (a);
         INSERT INTO t VALUES (1, 'x'), (2, NULL)",
    );
    let partition = upstream.first().await;
    upstream.execute("UPDATE t SET b = 'y' WHERE a = 1; DELETE FROM t WHERE a = 2");
    let events = upstream.read(&partition, None).await.unwrap();
    let found =
        changes(&events).iter().map(|it| (&*it.table.name, it.operation)).collect::<Vec<_>>();
    use Operation::{Delete, Read, SnapshotBegin, SnapshotEnd, Update};
    // The log up to the moment of a chunk is yielded before the chunk.
    let expected = [
        ("t", Update),
        ("t", Delete),
        ("e", SnapshotBegin),
        ("e", SnapshotEnd),
        ("t", SnapshotBegin),
        ("t", Read),
        ("t", SnapshotEnd),
    ];
    assert_eq!(found, expected);
    let read = changes(&events)[5];
    assert!(read.id().to_string().ends_with(":6:1"), "{}", read.id());
}

#[tokio::test]
async fn resumes_after_every_position_of_the_log() {
    let upstream = Upstream::new(SCHEMA).with("batch_rows", 13);
    let mut random = Random(7);
    let partition = upstream.first().await;
    fill(&upstream.connect(), &mut random, 400);
    let all = upstream.read(&partition, None).await.unwrap();
    let ids = |events: &[Event]| {
        changes(events).iter().map(|it| (it.id().clone(), (*it).clone())).collect::<Vec<_>>()
    };
    let mut before = Replica::default();
    let mut positions = 0;
    for (index, event) in all.iter().enumerate() {
        before.apply(std::slice::from_ref(event));
        let Some(position) = position(event) else { continue };
        positions += 1;
        let rest = upstream.read(&partition, Some(position.clone())).await.unwrap();
        assert_eq!(ids(&rest), ids(&all[index + 1..]), "after {position}");
        let mut replica = before.clone();
        replica.apply(&rest);
        replica.check(&upstream, &TABLES);
    }
    assert!(positions > 30, "{positions}");
}

#[tokio::test]
async fn a_snapshot_that_is_killed_at_every_chunk_ends_as_the_tables_are() {
    for seed in 1..9 {
        let upstream = Upstream::new(SCHEMA).with("batch_rows", 5);
        let mut random = Random(seed);
        let application = upstream.connect();
        fill(&application, &mut random, 300);
        let partition = upstream.first().await;
        let mut replica = Replica::default();
        let mut at = None;
        let mut begun = 0;
        for round in 0.. {
            let source = upstream.open().await;
            let mut stream = source.read(&partition, at.clone());
            let event = next(&mut stream).await.unwrap();
            replica.apply(std::slice::from_ref(&event));
            at = position(&event).cloned().or(at);
            begun += changes(std::slice::from_ref(&event))
                .iter()
                .filter(|it| it.operation == Operation::SnapshotBegin)
                .count();
            if matches!(event, Event::Idle { .. }) && round > 20 {
                break;
            }
            if round < 40 {
                fill(&application, &mut random, 3);
            }
            if round == 10 && seed % 2 == 0 {
                application.execute_batch("VACUUM").unwrap();
            }
        }
        replica.check(&upstream, &TABLES);
        assert!(begun >= TABLES.len(), "{begun}");
        if seed % 2 == 1 {
            assert_eq!(begun, TABLES.len(), "a snapshot began anew");
        }
    }
}

#[tokio::test]
async fn a_vacuum_and_checkpoints_of_the_log_do_not_disturb() {
    let upstream = Upstream::new(SCHEMA).with("batch_rows", 20);
    let mut random = Random(3);
    let application = upstream.connect();
    fill(&application, &mut random, 100);
    let partition = upstream.first().await;
    let source = upstream.open().await;
    let mut stream = source.read(&partition, None);
    let mut replica = Replica::default();
    for round in 0..60 {
        fill(&application, &mut random, 10);
        match round % 3 {
            0 => application.execute_batch("VACUUM").unwrap(),
            1 => {
                let busy: i64 = application
                    .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
                    .unwrap();
                assert_eq!(busy, 0, "a read transaction is held open");
            }
            _ => {}
        }
        let event = next(&mut stream).await.unwrap();
        replica.apply(&[event]);
    }
    // By name the last, so that it is read once all others are.
    application.execute_batch("CREATE TABLE the_last (x INTEGER PRIMARY KEY)").unwrap();
    loop {
        let event = next(&mut stream).await.unwrap();
        let is_last = changes(std::slice::from_ref(&event))
            .iter()
            .any(|it| it.operation == Operation::SnapshotEnd && &*it.table.name == "the_last");
        replica.apply(&[event]);
        if is_last {
            break;
        }
    }
    replica.check(&upstream, &TABLES);
}

#[tokio::test]
async fn every_journal_mode_is_read_and_kept() {
    for mode in ["delete", "truncate", "persist", "wal"] {
        let upstream = Upstream::new(SCHEMA);
        let mut random = Random(5);
        let application = upstream.connect();
        application.pragma_update(None, "journal_mode", mode).unwrap();
        fill(&application, &mut random, 50);
        let partition = upstream.first().await;
        let source = upstream.open().await;
        let mut stream = source.read(&partition, None);
        let mut replica = Replica::default();
        replica.apply(&crate::support::until_idle(&mut stream).await.unwrap());
        for _ in 0..20 {
            application.execute_batch("INSERT INTO keyless VALUES (1, 2)").unwrap();
            replica.apply(&crate::support::until_idle(&mut stream).await.unwrap());
        }
        replica.check(&upstream, &TABLES);
        let now: String =
            upstream.connect().query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        // Only these two are kept in the file.
        assert_eq!(now, if mode == "wal" { "wal" } else { "delete" });
    }
}

#[tokio::test]
async fn a_checkpoint_in_the_file_that_is_read_is_not_a_change() {
    let upstream = Upstream::new("CREATE TABLE t (a INTEGER PRIMARY KEY)");
    let partition = upstream.first().await;
    let settings = Settings::from(serde_json::json!({"path": upstream.path}));
    let factory = registry::checkpoint("sqlite", &settings).unwrap();
    let store = factory.open(&upstream.context()).await.unwrap();
    let owner = rowtide_lockfile::this_process();
    let claim = store.claim("p", &owner).await.unwrap();
    let mut at = None;
    for round in 1..4 {
        upstream.execute(&format!("INSERT INTO t VALUES ({round})"));
        let events = upstream.read(&partition, at.take()).await.unwrap();
        let tables = changes(&events).into_iter().map(|it| it.table.name.to_string());
        assert!(tables.clone().all(|name| name == "t"), "{:?}", tables.collect::<Vec<_>>());
        at = events.last().and_then(position).cloned();
        let progress = Progress::Delivered(at.clone().unwrap());
        let states = vec![PartitionState { partition: partition.clone(), progress }];
        store.save(&claim, &CheckpointUpdate { states, forgotten: vec![] }).await.unwrap();
    }
}

#[tokio::test]
async fn a_time_of_a_clock_that_was_ahead_does_not_stay() {
    let table = "CREATE TABLE t (a INTEGER PRIMARY KEY)";
    let upstream = Upstream::new(table).with("snapshot", "never");
    let partition = upstream.first().await;
    let events = upstream.read(&partition, None).await.unwrap();
    let at = position(events.last().unwrap()).unwrap().clone();
    let ahead = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(8_000);
    // Log rows without a change, with one, and with one that was written at a wrong time.
    for (sql, count) in [
        ("CREATE TABLE u (a INTEGER PRIMARY KEY)", 0),
        ("INSERT INTO t VALUES (1)", 1),
        ("UPDATE _rowtide_log SET at = at + 365 WHERE id > 2", 1),
    ] {
        upstream.execute(sql);
        let events = upstream.read(&partition, Some(at.clone().as_of(ahead))).await.unwrap();
        assert_eq!(changes(&events).len(), count);
        let positions: Vec<_> = events.iter().filter_map(position).collect();
        let is_past = |at: &&Position| at.attested().is_none_or(|time| time < ahead);
        assert!(positions.iter().all(is_past), "{positions:?}");
        assert!(positions.last().unwrap().attested().is_some());
    }
}

#[tokio::test]
async fn only_the_rows_and_then_the_end() {
    let upstream = Upstream::new(SCHEMA).with("snapshot", "only").with("batch_rows", 3);
    fill(&upstream.connect(), &mut Random(11), 100);
    let partition = upstream.first().await;
    let events = upstream.read(&partition, None).await.unwrap();
    assert_eq!(events.last(), Some(&Event::Finished));
    let mut replica = Replica::default();
    replica.apply(&events);
    replica.check(&upstream, &TABLES);
    assert!(
        changes(&events).iter().all(|it| it.operation == Operation::Read || it.operation.is_mark())
    );
}
