use futures_util::future::BoxFuture;
use rowtide_core::async_trait;
use sqlx::{Connection, MySqlConnection};

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
