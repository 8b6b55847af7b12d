//! What goes on beside the reading.

use rowtide_core::Position;
use serde_json::json;
use sqlx::Executor;

use crate::{
    disk::Copy,
    log::Log,
    relay::{Outcome, Relay, context, labels, run},
    world::World,
};

pub(crate) fn marked_rows_are_removed_after_their_time() -> Outcome {
    run(async {
        let world = World::empty().await?;
        let settings = json!({
            "done": "mark", "keep_marked_for": "1h", "stall_warning": "1s", "delete_rows": 1
        });
        world.setup(settings.clone()).await?;
        let source = world.open(settings, &context()).await?;
        let mut relay = Relay::new(&*source, None);
        for age in ["2 HOUR", "3 HOUR", "1 MINUTE", "NULL"] {
            world
                .execute(&format!(
                    "INSERT INTO outbox (id, aggregatetype, aggregateid, done_at)
                     VALUES (uuid(), 'a', '1', {})",
                    match age {
                        "NULL" => age.to_owned(),
                        age => format!("utc_timestamp(6) - INTERVAL {age}"),
                    }
                ))
                .await?;
        }
        // What is marked is not delivered, and what is delivered is marked.
        assert_eq!(relay.read(1).await?.len(), 1);
        relay.acknowledge().await?;
        assert_eq!(world.count("SELECT count(*) FROM outbox WHERE done_at IS NULL").await?, 0);
        while world.count("SELECT count(*) FROM outbox").await? > 2 {
            tokio::task::yield_now().await;
        }
        let kept = "SELECT count(*) FROM outbox WHERE done_at < utc_timestamp() - INTERVAL 1 HOUR";
        assert_eq!(world.count(kept).await?, 0);
        Ok(())
    })
}

/// Nothing else waits for it. It is seen by a user who may not see other people's transactions.
pub(crate) fn a_writer_that_stays_open_is_told_of_and_holds_nobody_up() -> Outcome {
    let log = Log::listen()?;
    run(async {
        let world = World::new().await?;
        world
            .execute(
                "CREATE OR REPLACE USER relay IDENTIFIED BY 'secret'; \
                 GRANT SELECT, DELETE ON rowtide.outbox TO relay",
            )
            .await?;
        let url = world.url.replace("root", "relay:secret");
        let settings = json!({ "stall_warning": "1s", "database": url });
        let source = world.open(settings, &context()).await?;
        let mut relay = Relay::new(&*source, None);
        let mut late = world.writer().await?;
        late.insert("late").await?;
        let mut connection = world.connect().await?;
        while !log.has("outbox_oldest_writer_seconds") {
            connection.execute("INSERT INTO outbox (type) VALUES ('soon')").await?;
            while relay.advance().await? != ["soon"] {}
            relay.acknowledge().await?;
        }
        late.commit().await?;
        while relay.advance().await? != ["late"] {}
        while !log.has("no transaction holds back messages for long any more") {
            tokio::task::yield_now().await;
        }
        Ok(())
    })
}

/// A volume that is put back to an earlier state, while the service goes on to write.
pub(crate) fn a_disk_that_is_put_back_costs_no_new_message() -> Outcome {
    run(async {
        let world = World::new().await?;
        world.execute("CREATE TABLE elsewhere (n int)").await?;
        let backup = world.while_stopped(Copy::take).await?;
        for _ in 0..3 {
            world.execute("INSERT INTO outbox (type) VALUES ('old')").await?;
        }
        world.execute("INSERT INTO elsewhere SELECT seq FROM seq_1_to_10000").await?;
        let saved = {
            let source = world.open(json!({}), &context()).await?;
            let mut relay = Relay::new(&*source, None);
            relay.read(3).await?;
            relay.position.clone().ok_or("no position")?
        };
        world.while_stopped(|_| backup.put_back()).await?;
        // It has the number of one that was delivered.
        world.execute("INSERT INTO outbox (type) VALUES ('new')").await?;
        let source = world.open(json!({}), &context()).await?;
        let mut relay = Relay::new(&*source, None);
        relay.read(1).await?;
        let now = relay.position.clone().ok_or("no position")?;
        drop(relay);
        drop(source);
        // A copied file is a younger one; a volume that is put back has the same.
        let saved = serde_json::to_string(&saved)?.replace(&server(&saved)?, &server(&now)?);
        let source = world.open(json!({}), &context()).await?;
        let mut relay = Relay::new(&*source, Some(serde_json::from_str(&saved)?));
        // What the engine does at a start.
        relay.acknowledge().await?;
        relay.acknowledge().await?;
        assert_eq!(labels(&relay.read(1).await?), ["new"]);
        Ok(())
    })
}

/// As which server a position has it.
fn server(position: &Position) -> Outcome<String> {
    let text = serde_json::to_string(position)?;
    Ok(text.split("\\\"").nth(3).ok_or("no server")?.to_owned())
}
