//! What goes on beside the reading.

use serde_json::json;
use sqlx::Executor;

use crate::{
    log::Log,
    relay::{Outcome, Relay, context, run},
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
