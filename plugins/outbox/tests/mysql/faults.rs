use std::time::Duration;

use futures_util::future::BoxFuture;
use rowtide_core::async_trait;
use serde_json::json;
use sqlx::{Connection, Executor, MySqlConnection};

use crate::{
    endurance::{Inserts, every_message_comes_whatever_happens},
    relay::{Outcome, run},
    world::World,
};

pub(crate) fn every_message_comes_whatever_happens_to_the_server() -> Outcome {
    run(async {
        let world = World::new().await?;
        every_message_comes_whatever_happens(&world.server, &world.url, connects).await
    })
}

/// As of a server that is lost without a word.
pub(crate) fn an_acknowledgement_that_is_not_answered_ends_and_is_made_again() -> Outcome {
    run(async {
        let world = World::new().await?;
        let mut writer = world.writer().await?;
        writer.insert("message").await?;
        writer.commit().await?;
        let mut relay = world.relay(json!({})).await?;
        relay.read(1).await?;
        let mut blocking = world.connect().await?;
        blocking.execute("SET SESSION wait_timeout = 600; LOCK TABLES outbox WRITE").await?;
        let error = tokio::time::timeout(Duration::from_secs(90), relay.acknowledge()).await?;
        let error = error.err().ok_or("it was acknowledged")?;
        assert!(error.is_transient() && error.message().contains("does not answer"), "{error}");
        blocking.execute("UNLOCK TABLES").await?;
        relay.acknowledge().await?;
        assert_eq!(world.count("SELECT count(*) FROM outbox").await?, 0);
        Ok(())
    })
}

fn connects(url: String) -> BoxFuture<'static, Outcome<Box<dyn Inserts>>> {
    Box::pin(async move { Ok(Box::new(Session(MySqlConnection::connect(&url).await?)) as _) })
}

struct Session(MySqlConnection);

#[async_trait]
impl Inserts for Session {
    async fn insert(&mut self, id: &str, label: &str) -> Outcome {
        let insert = "INSERT IGNORE INTO outbox (id, type) VALUES (?, ?)";
        sqlx::query(insert).bind(id).bind(label).execute(&mut self.0).await?;
        Ok(())
    }
}
