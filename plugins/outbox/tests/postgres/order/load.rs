use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::relays::{Plugin, Relay};
use crate::{
    relay::{Outcome, run},
    world::World,
};

const WRITERS: usize = 8;
const AGGREGATES: u64 = 5;
const WRITTEN_FOR: Duration = Duration::from_secs(4);

pub(crate) fn every_committed_message_comes_in_the_order_of_its_aggregate() -> Outcome {
    run(async {
        let world = World::new().await?;
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
