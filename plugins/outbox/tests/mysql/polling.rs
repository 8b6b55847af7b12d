//! What a poll costs, and what it holds.

use std::{
    env,
    time::{Duration, Instant},
};

use serde_json::json;
use sqlx::{AssertSqlSafe, Executor};

use crate::{
    relay::{Outcome, run},
    world::World,
};

/// A snapshot that nobody reads from would keep the server from cleaning up, and whoever alters the
/// table waiting.
pub(crate) fn a_suspended_stream_holds_no_snapshot() -> Outcome {
    run(async {
        let world = World::new().await?;
        let mut writer = world.writer().await?;
        for _ in 0..100 {
            writer.insert("x").await?;
        }
        writer.commit().await?;
        // More pages than are read ahead.
        let mut relay = world.relay(json!({ "page_rows": 1 })).await?;
        relay.advance().await?;
        let mut connection = world.connect().await?;
        let begun = Instant::now();
        connection.execute("ALTER TABLE outbox ADD COLUMN another int").await?;
        if begun.elapsed() > Duration::from_secs(20) {
            return Err(format!("the table was held for {:?}", begun.elapsed()).into());
        }
        Ok(())
    })
}

/// Rows that were delivered and deleted, and that the server cannot clean up yet, since a transaction
/// is open that might still look at them. `ROWTIDE_DEAD_ROWS` sets how many; a million by hand.
pub(crate) fn an_empty_poll_behind_dead_rows_is_as_slow_as_the_docs_say() -> Outcome {
    run(async {
        let dead: u64 = env::var("ROWTIDE_DEAD_ROWS").map_or(Ok(50_000), |text| text.parse())?;
        let world = World::new().await?;
        let mut connection = world.connect().await?;
        let insert = format!(
            "INSERT INTO outbox (type, payload) SELECT 'x', repeat('x', 200) FROM seq_1_to_{dead}"
        );
        connection.execute(AssertSqlSafe(insert)).await?;
        let mut foreign = world.connect().await?;
        foreign.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT").await?;
        connection.execute("DELETE FROM outbox").await?;
        let poll = "SELECT CAST(`seq` AS SIGNED) FROM outbox FORCE INDEX (`PRIMARY`) WHERE TRUE \
                    ORDER BY `seq` LIMIT 10000";
        let mut took = Vec::new();
        for _ in 0..20 {
            let begun = Instant::now();
            let rows = connection.fetch_all(poll).await?;
            took.push(begun.elapsed());
            assert!(rows.is_empty());
        }
        took.sort();
        println!("an empty poll behind {dead} dead rows: {:?}, at most {:?}", took[10], took[19]);
        // What is new is found behind them.
        let mut relay = world.relay(json!({})).await?;
        let mut writer = world.writer().await?;
        writer.insert("new").await?;
        writer.commit().await?;
        while relay.advance().await? != ["new"] {}
        foreign.execute("COMMIT").await?;
        if took[10] > Duration::from_secs(5) {
            return Err(format!("{:?}", took[10]).into());
        }
        Ok(())
    })
}
