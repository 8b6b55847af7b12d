//! What a poll costs, and what wakes it.

use std::{
    env,
    time::{Duration, Instant},
};

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::{
    order::relays::{Plugin, Relay as _},
    relay::{Outcome, Relay, context, run},
    setup::MESSAGE,
    world::World,
};

/// `ROWTIDE_DEAD_ROWS` sets how many; a million by hand, fewer in every run.
pub(crate) fn polling_stays_fast_behind_dead_rows_and_a_foreign_transaction() -> Outcome {
    run(async {
        let dead: u64 = env::var("ROWTIDE_DEAD_ROWS").map_or(Ok(50_000), |text| text.parse())?;
        let world = World::new().await?;
        world.execute("ALTER TABLE outbox SET (autovacuum_enabled = off)").await?;
        let mut foreign = world.writer().await?;
        foreign.write_elsewhere().await?;
        // It keeps all that dies from being removed.
        foreign.run("DECLARE held CURSOR FOR SELECT * FROM elsewhere").await?;
        let mut connection = world.connect().await?;
        let mut relay = Plugin::open(&world, "delete", None).await?;
        relay.poll().await?;
        let insert = format!(
            "INSERT INTO outbox (aggregateid, payload) \
             SELECT n, '{{}}' FROM generate_series(1, {dead}) n; DELETE FROM outbox"
        );
        connection.execute(AssertSqlSafe(insert)).await?;
        let mut times = Vec::new();
        for _ in 0..200 {
            let begun = Instant::now();
            relay.poll().await?;
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        let (median, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        println!(
            "{dead} dead rows: from before an insert to its event, p50 {median:?}, p99 {p99:?}"
        );
        let touched = touched_by_a_poll(&mut connection).await?;
        foreign.roll_back().await?;
        // The dead are on hundreds of pages.
        if touched > 30.0 {
            return Err(
                format!("an empty poll behind {dead} dead rows reads {touched} pages").into()
            );
        }
        Ok(())
    })
}

/// How many pages of the table and its indexes a poll reads, while nothing else commits.
async fn touched_by_a_poll(connection: &mut PgConnection) -> Outcome<f64> {
    let counted =
        "SELECT (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()),
        (SELECT heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit
         FROM pg_statio_user_tables WHERE relname = 'outbox')";
    let mut transaction = connection.begin().await?;
    let connection = &mut *transaction;
    let first: (i64, i64) = sqlx::query_as(counted).fetch_one(&mut *connection).await?;
    loop {
        connection.execute("SELECT pg_stat_clear_snapshot()").await?;
        let now: (i64, i64) = sqlx::query_as(counted).fetch_one(&mut *connection).await?;
        let (polls, pages) = (now.0 - first.0, now.1 - first.1);
        if polls > 500 {
            #[expect(clippy::cast_precision_loss, reason = "a few digits are enough")]
            return Ok(pages as f64 / polls as f64);
        }
    }
}

pub(crate) fn a_notification_wakes_the_relay() -> Outcome {
    run(async {
        let world = World::empty().await?;
        let settings = json!({ "notify": "new messages", "poll_every": "1h" });
        world.setup(settings.clone()).await?;
        let source = world.open(settings, &context()).await?;
        let mut relay = Relay::new(&*source, None);
        assert!(relay.next().await?.is_empty());
        for _ in 0..3 {
            world.execute(MESSAGE).await?;
            let woken = tokio::time::timeout(Duration::from_secs(60), relay.read(1)).await;
            woken.map_err(|_| "no notification woke it")??;
        }
        Ok(())
    })
}

/// A trigger may be missing, and a notification get lost.
pub(crate) fn without_a_notification_polling_finds_the_messages() -> Outcome {
    run(async {
        let world = World::empty().await?;
        let settings = json!({ "notify": "new messages" });
        world.setup(settings.clone()).await?;
        let source = world.open(settings, &context()).await?;
        world.execute("ALTER TABLE outbox DISABLE TRIGGER ALL").await?;
        let mut relay = Relay::new(&*source, None);
        assert!(relay.next().await?.is_empty());
        for _ in 0..3 {
            world.execute(MESSAGE).await?;
            assert_eq!(relay.read(1).await?.len(), 1);
        }
        Ok(())
    })
}
