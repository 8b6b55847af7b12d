//! One relay a table.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::{AssertSqlSafe, Executor};

use crate::{
    relay::{
        Outcome, Relay, context,
        exclusion::{self, TAKE_OVER},
        run,
    },
    world::World,
};

pub(crate) fn a_second_relay_waits_and_takes_over() -> Outcome {
    run(async {
        let world = World::new().await?;
        exclusion::a_second_relay_waits_and_takes_over(&world.url).await
    })
}

pub(crate) fn a_frozen_relay_keeps_its_lock_and_a_killed_one_does_not() -> Outcome {
    run(async {
        let world = World::new().await?;
        exclusion::a_frozen_relay_keeps_its_lock_and_a_killed_one_does_not(&world.url).await
    })
}

pub(crate) fn a_standby_gives_up_when_it_is_asked_to_stop() -> Outcome {
    run(async {
        let world = World::new().await?;
        exclusion::a_standby_gives_up_when_it_is_asked_to_stop(&world.url).await
    })
}

/// What has been read ahead is dropped.
pub(crate) fn a_cut_lock_connection_stops_the_relay_before_another_takes_over() -> Outcome {
    run(async {
        let world = World::new().await?;
        world.execute("INSERT INTO outbox (type) SELECT 'x' FROM seq_1_to_50").await?;
        let losing = context();
        let first = world.open(json!({ "page_rows": 1 }), &losing).await?;
        let mut relay = Relay::new(&*first, None);
        relay.read(1).await?;
        let waiting = context();
        let second = world.open(json!({}), &waiting);
        tokio::pin!(second);
        let early = tokio::time::timeout(Duration::from_secs(1), &mut second).await;
        assert!(early.is_err(), "two relays have one table");
        let cut = Instant::now();
        let mut connection = world.connect().await?;
        let holder = "SELECT concat('KILL ', is_used_lock(concat('rowtide-outbox-', \
                      md5(concat_ws('.', database(), 'outbox')))))";
        let kill: String = sqlx::query_scalar(holder).fetch_one(&mut connection).await?;
        connection.execute(AssertSqlSafe(kill)).await?;
        let noticed = async {
            losing.lock_lost().await;
            (relay.next().await, Instant::now())
        };
        let taken = async { (second.await, Instant::now()) };
        let ((next, noticed), (second, taken)) = tokio::join!(noticed, taken);
        drop(second?);
        let error = next.err().ok_or("it reads on")?;
        assert!(error.is_transient(), "{error}");
        // With more under way the first one is carried out meanwhile, and the next one tells.
        drop(relay.acknowledge().await);
        let error = relay.acknowledge().await.err().ok_or("it settles")?;
        assert!(error.is_transient(), "{error}");
        assert_eq!(world.count("SELECT count(*) FROM outbox").await?, 50);
        if noticed >= taken || taken - cut > TAKE_OVER {
            let (noticed, taken) = (noticed - cut, taken - cut);
            return Err(format!("noticed after {noticed:?}, taken over after {taken:?}").into());
        }
        Ok(())
    })
}
