//! What goes on beside the reading.

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor};

use crate::{
    disk::Copy,
    log::Log,
    relay::{Outcome, Relay, context, labels, run, text},
    setup::MESSAGE,
    world::World,
};

pub(crate) fn a_message_is_guarded_against_its_own_transaction() -> Outcome {
    run(async {
        let world = World::empty().await?;
        world.setup(json!({})).await?;
        let at_once = format!("BEGIN; {MESSAGE}; DELETE FROM outbox; COMMIT");
        let error = world.execute(&at_once).await.err().ok_or("it was deleted")?;
        assert!(error.to_string().contains("no relay would ever see it"), "{error}");
        world.execute(MESSAGE).await?;
        world.execute("DELETE FROM outbox").await?;
        Ok(())
    })
}

pub(crate) fn marked_rows_are_removed_after_their_time() -> Outcome {
    run(async {
        let world = World::empty().await?;
        let settings = json!({
            "done": "mark", "keep_marked_for": "1h", "stall_warning": "1s", "delete_rows": 1
        });
        world.setup(settings.clone()).await?;
        for age in ["2 hours", "3 hours", "1 minute"] {
            world.execute(MESSAGE).await?;
            let mark = "UPDATE outbox SET done_at = now() - interval";
            world.execute(&format!("{mark} '{age}' WHERE done_at IS NULL")).await?;
        }
        world.execute(MESSAGE).await?;
        let _source = world.open(settings, &context()).await?;
        while world.count("SELECT count(*) FROM outbox").await? > 2 {
            tokio::task::yield_now().await;
        }
        let kept = "SELECT count(*) FROM outbox WHERE done_at < now() - interval '1 hour'";
        assert_eq!(world.count(kept).await?, 0);
        Ok(())
    })
}

/// Nothing else waits for it.
pub(crate) fn a_writer_that_stays_open_is_told_of_and_holds_nobody_up() -> Outcome {
    let log = Log::listen()?;
    run(async {
        let world = World::empty().await?;
        let settings = json!({ "stall_warning": "1s" });
        world.setup(settings.clone()).await?;
        let source = world.open(settings, &context()).await?;
        let mut relay = Relay::new(&*source, None);
        let mut writer = world.connect().await?;
        let mut transaction = writer.begin().await?;
        transaction.execute(AssertSqlSafe(MESSAGE.replace("made", "late"))).await?;
        while !log.has("outbox_oldest_writer_seconds") {
            world.execute(MESSAGE).await?;
            let came = relay.read(1).await?;
            assert!(came.iter().all(|change| text(change, "type") == "made"), "{came:?}");
            relay.acknowledge().await?;
        }
        transaction.commit().await?;
        assert_eq!(text(&relay.read(1).await?[0], "type"), "late");
        while !log.has("no transaction holds back messages for long any more") {
            tokio::task::yield_now().await;
        }
        Ok(())
    })
}

/// The position of a clean stop names what was cleared away last.
pub(crate) fn messages_that_reuse_the_numbers_of_delivered_ones_are_delivered() -> Outcome {
    run(async {
        for done in ["delete", "mark"] {
            let world = World::empty().await?;
            let settings = json!({ "done": done });
            world.setup(settings.clone()).await?;
            for _ in 0..3 {
                world.execute(MESSAGE).await?;
            }
            let (saved, kept) = {
                let source = world.open(settings.clone(), &context()).await?;
                let mut relay = Relay::new(&*source, None);
                relay.read(3).await?;
                relay.acknowledge().await?;
                let saved = relay.position.clone().ok_or("no position")?;
                // As it was before the file was part of it.
                let text = serde_json::to_string(&saved)?;
                let server = text.split("\\\"").nth(3).ok_or("no server")?.to_owned();
                let (shorter, _) = server.rsplit_once('/').ok_or("no file")?;
                (saved, serde_json::from_str(&text.replace(&server, shorter))?)
            };
            world.execute("TRUNCATE outbox RESTART IDENTITY").await?;
            for position in [saved, kept] {
                world.execute(&MESSAGE.replace("made", "new")).await?;
                let source = world.open(settings.clone(), &context()).await?;
                let mut relay = Relay::new(&*source, Some(position));
                // What the engine does at a start.
                relay.acknowledge().await?;
                relay.acknowledge().await?;
                assert_eq!(labels(&relay.read(1).await?), ["new"]);
                relay.acknowledge().await?;
            }
        }
        Ok(())
    })
}

/// A volume that is put back to an earlier state, while the service goes on to write.
pub(crate) fn a_disk_that_is_put_back_costs_no_new_message() -> Outcome {
    run(async {
        let world = World::empty().await?;
        world.setup(json!({})).await?;
        world.execute("CREATE TABLE elsewhere (n int)").await?;
        let backup = world.while_stopped(Copy::take).await?;
        for _ in 0..3 {
            world.execute(MESSAGE).await?;
        }
        world.execute("INSERT INTO elsewhere SELECT generate_series(1, 10000)").await?;
        let saved = {
            let source = world.open(json!({}), &context()).await?;
            let mut relay = Relay::new(&*source, None);
            relay.read(3).await?;
            relay.position.clone().ok_or("no position")?
        };
        world.while_stopped(|_| backup.put_back()).await?;
        // It has the number of one that was delivered.
        world.execute(&MESSAGE.replace("made", "new")).await?;
        let source = world.open(json!({}), &context()).await?;
        let mut relay = Relay::new(&*source, Some(saved));
        // What the engine does at a start.
        relay.acknowledge().await?;
        relay.acknowledge().await?;
        assert_eq!(labels(&relay.read(1).await?), ["new"]);
        Ok(())
    })
}

/// A crash between the save and the deletion.
pub(crate) fn what_was_saved_and_is_still_there_is_deleted_and_not_read_again() -> Outcome {
    run(async {
        let world = World::empty().await?;
        world.setup(json!({})).await?;
        for _ in 0..3 {
            world.execute(MESSAGE).await?;
        }
        let saved = {
            let source = world.open(json!({}), &context()).await?;
            let mut relay = Relay::new(&*source, None);
            relay.read(3).await?;
            relay.position.clone()
        };
        world.execute(&MESSAGE.replace("made", "new")).await?;
        let source = world.open(json!({}), &context()).await?;
        // Reading alone deletes nothing: what is read from need not have been saved.
        let mut relay = Relay::new(&*source, saved.clone());
        let came = relay.read(1).await?;
        assert_eq!(labels(&came), ["new"]);
        assert_eq!(world.count("SELECT count(*) FROM outbox").await?, 4);
        drop(relay);
        let mut relay = Relay::new(&*source, saved);
        // The second one waits for the first.
        relay.acknowledge().await?;
        relay.acknowledge().await?;
        assert_eq!(world.count("SELECT count(*) FROM outbox").await?, 1);
        assert_eq!(labels(&relay.read(1).await?), ["new"]);
        Ok(())
    })
}
