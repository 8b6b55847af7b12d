//! One relay a table.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::Executor;

use crate::{
    relay::{
        Outcome, Relay, context,
        exclusion::{self, TAKE_OVER},
        run, text,
    },
    world::World,
};

pub(crate) fn a_second_relay_waits_and_takes_over() -> Outcome {
    run(async {
        let world = World::new().await?;
        exclusion::a_second_relay_waits_and_takes_over(&world.url).await
    })
}

/// The server would end an idle transaction long before.
pub(crate) fn a_frozen_relay_keeps_its_lock_and_a_killed_one_does_not() -> Outcome {
    run(async {
        let world = World::new().await?;
        for statement in [
            "ALTER SYSTEM SET idle_in_transaction_session_timeout = '1s'",
            "SELECT pg_reload_conf()",
        ] {
            world.execute(statement).await?;
        }
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
        world
            .execute("INSERT INTO outbox (aggregateid, type) SELECT n, 'x' FROM generate_series(1, 50) n")
            .await?;
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
        let end = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'";
        world.connect().await?.execute(end).await?;
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

/// What was true before a standby waited need not be so any more.
pub(crate) fn a_standby_looks_at_the_table_again_once_it_has_waited() -> Outcome {
    run(async {
        let world = World::new().await?;
        let first = world.open(json!({}), &context()).await?;
        let waiting = context();
        let second = world.open(json!({}), &waiting);
        tokio::pin!(second);
        while !waiting.waited_for_lock() {
            let _ = tokio::time::timeout(Duration::from_millis(10), &mut second).await;
        }
        world.execute("ALTER TABLE outbox ADD COLUMN tenant text").await?;
        world
            .execute("INSERT INTO outbox (aggregateid, type, tenant) VALUES ('1', 'x', 'ours')")
            .await?;
        drop(first);
        let second = second.await?;
        let came = Relay::new(&*second, None).read(1).await?;
        assert_eq!(text(&came[0], "tenant"), "ours");

        let third = world.open(json!({}), &waiting);
        tokio::pin!(third);
        let early = tokio::time::timeout(Duration::from_secs(1), &mut third).await;
        assert!(early.is_err(), "two relays have one table");
        world.execute("ALTER TABLE outbox RENAME TO before").await?;
        world.execute("CREATE TABLE outbox (LIKE before INCLUDING ALL)").await?;
        drop(second);
        let error = third.await.err().ok_or("it has the lock of another table")?;
        assert!(error.is_transient() && error.message().contains("made anew"), "{error}");
        Ok(())
    })
}

/// Neither a transaction's id nor a snapshot, nor does who waits for it.
pub(crate) fn the_lock_holds_back_no_vacuum() -> Outcome {
    run(async {
        let world = World::new().await?;
        let _first = world.open(json!({}), &context()).await?;
        let waiting = context();
        let second = world.open(json!({}), &waiting);
        tokio::pin!(second);
        while !waiting.waited_for_lock() {
            let _ = tokio::time::timeout(Duration::from_millis(10), &mut second).await;
        }
        let holding = "SELECT count(*) FROM pg_stat_activity a JOIN pg_locks l USING (pid)
            WHERE l.locktype = 'advisory'
              AND (a.backend_xid IS NOT NULL OR a.backend_xmin IS NOT NULL)";
        let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        for _ in 0..20 {
            let _ = tokio::time::timeout(Duration::from_millis(100), &mut second).await;
            assert_eq!(world.count(holding).await?, 0);
            assert_eq!(world.count(waiting).await?, 0);
        }
        Ok(())
    })
}
