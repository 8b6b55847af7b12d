//! The layout of a row a message.

use std::path::Path;

use rowtide_core::{ErrorKind, Position};
use rowtide_outbox_writer::{Message, Outbox, Router};
use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};

use crate::{
    relay::{Outcome, Relay, context, labels, run, text},
    world::{NUMBERED, World},
};

pub(crate) const UNNUMBERED: &str = "CREATE TABLE outbox (id TEXT PRIMARY KEY, aggregatetype TEXT,
    aggregateid TEXT, type TEXT, payload TEXT)";

pub(crate) fn rows_without_numbers_come_once_each() -> Outcome {
    run(async {
        let world = World::new(UNNUMBERED)?;
        let source = world.open(json!({ "order": "none", "page_rows": 2 }), &context()).await?;
        let mut relay = Relay::new(&*source, None);
        for id in ["c", "a", "b"] {
            world.insert(id)?;
        }
        let mut changes = relay.read(3).await?;
        relay.acknowledge().await?;
        // Before, between and behind what was read; one that was there is there anew.
        for id in ["0", "ab", "z", "a"] {
            world.insert(id)?;
        }
        changes.extend(relay.read(4).await?);
        let mut ids: Vec<_> = changes.iter().map(|change| text(change, "id")).collect();
        ids.sort();
        assert_eq!(ids, ["0", "a", "a", "ab", "b", "c", "z"]);
        Ok(())
    })
}

/// It could neither be deleted nor marked, and would come again at each look.
pub(crate) fn a_row_that_its_id_does_not_find_is_told_of() -> Outcome {
    run(async {
        for id in ["NULL", "1.5", "CAST(X'ff' AS TEXT)"] {
            let world = World::new(&UNNUMBERED.replace("id TEXT", "id"))?;
            let insert = format!("INSERT INTO outbox VALUES ({id}, 'a', '1', 'x', '{{}}')");
            world.application.execute_batch(&insert)?;
            let source = world.open(json!({ "order": "none" }), &context()).await?;
            let error = Relay::new(&*source, None).read(1).await.err().ok_or("it came")?;
            assert_eq!(error.kind(), &ErrorKind::Fatal, "{error}");
            assert!(error.to_string().contains("the id of a row"), "{error}");
        }
        Ok(())
    })
}

/// There is one writer at a time, and what it has not committed is not there.
pub(crate) fn what_is_rolled_back_never_comes_and_its_number_is_no_gap() -> Outcome {
    run(async {
        let world = World::new(NUMBERED)?;
        let source = world.open(json!({}), &context()).await?;
        let mut relay = Relay::new(&*source, None);
        for round in 0..20 {
            world.application.execute_batch("BEGIN IMMEDIATE")?;
            world.insert("never")?;
            world.application.execute_batch("ROLLBACK; BEGIN IMMEDIATE; SAVEPOINT s")?;
            world.insert("never")?;
            world.application.execute_batch("ROLLBACK TO s")?;
            world.insert(&format!("{round} first"))?;
            world.insert(&format!("{round} second"))?;
            // It looks meanwhile, and finds nothing.
            if round == 0 {
                assert!(relay.advance().await?.is_empty());
            }
            world.application.execute_batch("COMMIT")?;
            let came = relay.read(2).await?;
            assert_eq!(labels(&came), [format!("{round} first"), format!("{round} second")]);
            if round % 2 == 0 {
                relay.acknowledge().await?;
            }
        }
        Ok(())
    })
}

pub(crate) fn the_applications_log_is_neither_checkpointed_nor_held() -> Outcome {
    run(async {
        let world = World::new(NUMBERED)?;
        let mut connection = SqliteConnection::connect(&world.url()).await?;
        let mut transaction = connection.begin().await?;
        let messages: Vec<_> = (0..50).map(|_| Message::new("a", "1", "x", "{}")).collect();
        Outbox::new("outbox", Router::default()).publish(&mut transaction, &messages).await?;
        transaction.commit().await?;
        connection.close().await?;

        let log = world.directory.path().join("shop.db-wal");
        let length = |path: &Path| std::fs::metadata(path).map(|file| file.len());
        let before = length(&log)?;
        assert!(before > 0);
        // It stands still with more pages to read.
        let source = world.open(json!({ "page_rows": 1 }), &context()).await?;
        let mut relay = Relay::new(&*source, None);
        relay.read(1).await?;
        relay.acknowledge().await?;
        assert!(length(&log)? >= before, "the log was checkpointed");
        // A page may be read ahead at this moment.
        let mut is_busy = 1;
        for _ in 0..100 {
            is_busy = world.count("PRAGMA wal_checkpoint(TRUNCATE)")?;
            if is_busy == 0 {
                break;
            }
        }
        assert_eq!(is_busy, 0, "a read goes on");
        assert_eq!(length(&log)?, 0);
        Ok(())
    })
}

pub(crate) fn marked_rows_are_removed_after_their_time() -> Outcome {
    run(async {
        let world = World::new("SELECT 1")?;
        let settings = json!({
            "done": "mark", "keep_marked_for": "1h", "stall_warning": "1s", "delete_rows": 1
        });
        world.setup(settings.clone()).await?;
        let source = world.open(settings, &context()).await?;
        let mut relay = Relay::new(&*source, None);
        for age in ["-2 hours", "-3 hours", "-1 minute"] {
            world.insert(age)?;
            let mark = "UPDATE outbox SET done_at = strftime('%Y-%m-%d %H:%M:%f', 'now', ?1)
                        WHERE type = ?1";
            world.application.execute(mark, [age])?;
        }
        world.insert("new")?;
        // One may have been seen before it was marked.
        while world.count("SELECT count(*) FROM outbox WHERE done_at IS NULL")? > 0 {
            relay.next().await?;
            relay.acknowledge().await?;
        }
        while world.count("SELECT count(*) FROM outbox")? > 2 {
            tokio::task::yield_now().await;
        }
        let kept = "SELECT count(*) FROM outbox WHERE type IN ('-1 minute', 'new')";
        assert_eq!(world.count(kept)?, 2);
        Ok(())
    })
}

/// The number may have been given to another row.
pub(crate) fn a_kept_position_is_of_the_row_that_is_there() -> Outcome {
    run(async {
        let world = World::new(NUMBERED)?;
        for label in ["one", "two"] {
            world.insert(label)?;
        }
        let kept = json!({ "done": "keep" });
        let position = {
            let source = world.open(kept.clone(), &context()).await?;
            let mut relay = Relay::new(&*source, None);
            relay.read(2).await?;
            relay.acknowledge().await?;
            relay.position.clone()
        };
        assert_eq!(world.count("SELECT count(*) FROM outbox")?, 2);
        world.insert("three")?;
        let resumed = async |position: Option<Position>| {
            let source = world.open(kept.clone(), &context()).await?;
            let mut relay = Relay::new(&*source, position);
            let came = relay.read(1).await;
            came.map(|came| labels(&came))
        };
        assert_eq!(resumed(position.clone()).await?, ["three"]);
        for change in [
            "UPDATE outbox SET payload = 'another' WHERE seq = 2",
            "DELETE FROM outbox WHERE seq = 2",
        ] {
            world.application.execute_batch(change)?;
            let error = resumed(position.clone()).await.err().ok_or("it was resumed")?;
            assert_eq!(error.kind(), &ErrorKind::PositionLost, "{change}");
        }
        Ok(())
    })
}
