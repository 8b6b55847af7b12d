use std::{
    collections::HashMap,
    env,
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::{
    relays::{Plugin, Relay},
    world::{Outcome, World, run},
};

const WRITERS: usize = 8;
const AGGREGATES: u64 = 5;
const WRITTEN_FOR: Duration = Duration::from_secs(4);

pub(crate) fn every_committed_message_comes_in_the_order_of_its_aggregate() -> Outcome {
    run(async {
        let world = World::new(&[]).await?;
        let mut connection = world.connect().await?;
        connection
            .execute("INSERT INTO aggregates SELECT n, 0 FROM generate_series(0, 4) n")
            .await?;
        let mut relay = Plugin::open(&world, "delete", None).await?;
        let mut writers = Vec::new();
        for seed in 0..WRITERS {
            let connection = world.connect().await?;
            writers.push(tokio::spawn(write(connection, seed as u64 + 1)));
        }
        let mut found = Vec::new();
        while !writers.iter().all(|writer| writer.is_finished()) {
            found.extend(relay.poll().await?);
            relay.acknowledge().await?;
        }
        for writer in writers {
            writer.await??;
        }
        found.extend(relay.poll().await?);
        in_order(&mut connection, &found).await
    })
}

/// Each aggregate's messages are its versions from 1 to the last, each once.
async fn in_order(connection: &mut PgConnection, found: &[String]) -> Outcome {
    let mut versions: HashMap<&str, i32> = HashMap::new();
    for label in found {
        let (aggregate, version) = label.split_once(':').ok_or("a message that nobody wrote")?;
        let last = versions.entry(aggregate).or_default();
        *last += 1;
        if version.parse::<i32>()? != *last {
            return Err(format!("{label} came where version {last} was due").into());
        }
    }
    let rows: Vec<(i32, i32)> =
        sqlx::query_as("SELECT id, version FROM aggregates").fetch_all(connection).await?;
    for (id, version) in rows {
        let came = versions.get(id.to_string().as_str()).copied().unwrap_or_default();
        if came != version || version == 0 {
            return Err(format!("{came} of {version} messages of aggregate {id} came").into());
        }
    }
    Ok(())
}

/// Transactions that touch one to three aggregates, some in savepoints, some rolled back, some open
/// for long.
async fn write(mut connection: PgConnection, seed: u64) -> Outcome {
    let mut random = Random(seed);
    let until = Instant::now() + WRITTEN_FOR;
    while Instant::now() < until {
        let mut transaction = connection.begin().await?;
        let mut aggregates: Vec<u64> =
            (0..=random.below(3)).map(|_| random.below(AGGREGATES)).collect();
        aggregates.sort_unstable();
        if random.below(4) == 0 {
            transaction.execute("INSERT INTO elsewhere VALUES (1)").await?;
        }
        for aggregate in aggregates {
            let is_nested = random.below(3) == 0;
            if is_nested {
                transaction.execute("SAVEPOINT s").await?;
            }
            transaction.execute(AssertSqlSafe(touch(aggregate))).await?;
            if is_nested && random.below(3) == 0 {
                transaction.execute("ROLLBACK TO s").await?;
            }
        }
        if random.below(20) == 0 {
            tokio::time::sleep(Duration::from_millis(random.below(50))).await;
        }
        match random.below(6) {
            0 => transaction.rollback().await?,
            _ => transaction.commit().await?,
        }
    }
    Ok(())
}

fn touch(aggregate: u64) -> String {
    format!(
        "WITH touched AS (
             UPDATE aggregates SET version = version + 1 WHERE id = {aggregate}
             RETURNING id, version)
         INSERT INTO outbox (aggregateid, type)
         SELECT id::text, id || ':' || version FROM touched"
    )
}

/// Numbers that look random, the same for a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// `ROWTIDE_DEAD_ROWS` sets how many; a million by hand, fewer in every run.
pub(crate) fn polling_stays_fast_behind_dead_rows_and_a_foreign_transaction() -> Outcome {
    run(async {
        let dead: u64 = env::var("ROWTIDE_DEAD_ROWS").map_or(Ok(50_000), |text| text.parse())?;
        let world = World::new(&["-c", "autovacuum=off"]).await?;
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
