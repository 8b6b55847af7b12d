//! Through a pooler that gives each transaction another session, as PgBouncer does in its mode
//! `transaction`: the relay works, the lock holds, and notifications are known not to arrive.

mod transactions;

use std::time::Duration;

use rowtide_core::{Context, Error, ErrorKind, Source};
use serde_json::{Value as Json, json};

use self::transactions::Pooler;
use crate::{
    relay::{Outcome, Relay, context, factory, run, setup},
    world::World,
};

async fn open(settings: Json, context: &Context) -> Result<Box<dyn Source>, Error> {
    let database = settings["database"].as_str().unwrap_or_default();
    setup(database, &settings).await?;
    factory(database, &settings)?.open(context).await
}

pub(crate) fn a_transaction_pooler_loses_notifications_and_nothing_else() -> Outcome {
    run(async {
        let world = World::empty().await?;
        let pooler = Pooler::start(&world.url).await?;
        let settings = json!({ "database": pooler.url, "delete_rows": 3 });
        let first = open(settings.clone(), &context()).await?;
        relays(&*first, &world).await?;

        let waiting = context();
        let second = open(settings.clone(), &waiting);
        tokio::pin!(second);
        let early = tokio::time::timeout(Duration::from_secs(2), &mut second).await;
        assert!(early.is_err() && waiting.waited_for_lock(), "the lock holds nobody off");
        drop(first);
        drop(second.await?);

        let mut notified = settings;
        notified["notify"] = "new".into();
        let error = open(notified.clone(), &context()).await.err().ok_or("it is notified")?;
        assert_eq!((error.kind(), error.setting()), (&ErrorKind::Config, Some("notify")));
        notified["database"] = world.url.clone().into();
        drop(open(notified, &context()).await?);
        Ok(())
    })
}

/// Reads and clears away ten messages.
async fn relays(source: &dyn Source, world: &World) -> Outcome {
    for _ in 0..10 {
        let insert = "INSERT INTO outbox (id, aggregatetype, aggregateid)
                      VALUES (gen_random_uuid(), 'a', '1')";
        world.execute(insert).await?;
    }
    let mut relay = Relay::new(source, None);
    let mut read = 0;
    while read < 10 || world.count("SELECT count(*) FROM outbox").await? > 0 {
        read += relay.next().await?.len();
        relay.acknowledge().await?;
    }
    assert_eq!(read, 10);
    Ok(())
}
