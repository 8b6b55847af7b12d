//! Transactions in an order that somebody's scheme does not bear.

use std::time::{Duration, Instant};

use rowtide_core::async_trait;
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor, MySqlConnection, Row};

use crate::{
    relay::{Outcome, Relay, run},
    world::World,
};

/// Reads what is there, a page of one row at a time, and clears what was read.
#[async_trait]
trait Poller: Send {
    /// The labels of the next page; none once there is no more.
    async fn page(&mut self) -> Outcome<Vec<String>>;

    async fn clear(&mut self) -> Outcome;
}

/// The plugin, which is asked until a mark has come that is put behind all that was committed.
struct Plugin {
    relay: Relay<'static>,
    connection: MySqlConnection,
    marks: usize,
}

#[async_trait]
impl Poller for Plugin {
    async fn page(&mut self) -> Outcome<Vec<String>> {
        self.marks += 1;
        let mark = format!("mark {}", self.marks);
        let insert = format!("INSERT INTO outbox (type) VALUES ('{mark}')");
        self.connection.execute(AssertSqlSafe(insert)).await?;
        let mut labels = Vec::new();
        while !labels.contains(&mark) {
            labels.extend(self.relay.advance().await?);
        }
        labels.retain(|label| !label.starts_with("mark"));
        Ok(labels)
    }

    async fn clear(&mut self) -> Outcome {
        Ok(self.relay.acknowledge().await?)
    }
}

/// A scheme that others use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    /// `seq > last`, for ever.
    SeqAfterLast,
    /// `seq > last` to the end, each page as it is by then, and from the front again.
    PagesOfReadCommitted,
    /// What was read is deleted as a range.
    RangeDelete,
}

struct Wrong {
    scheme: Scheme,
    connection: MySqlConnection,
    last: i64,
    read: Vec<i64>,
}

#[async_trait]
impl Poller for Wrong {
    async fn page(&mut self) -> Outcome<Vec<String>> {
        let limit = if self.scheme == Scheme::PagesOfReadCommitted { "LIMIT 1" } else { "" };
        let behind = if self.scheme == Scheme::RangeDelete { 0 } else { self.last };
        let select =
            format!("SELECT type, seq FROM outbox WHERE seq > {behind} ORDER BY seq {limit}");
        let rows = self.connection.fetch_all(AssertSqlSafe(select)).await?;
        if rows.is_empty() && self.scheme == Scheme::PagesOfReadCommitted {
            self.last = 0;
        }
        let mut labels = Vec::new();
        for row in rows {
            let seq = row.try_get(1)?;
            self.last = self.last.max(seq);
            if !self.read.contains(&seq) {
                self.read.push(seq);
                labels.push(row.try_get(0)?);
            }
        }
        Ok(labels)
    }

    async fn clear(&mut self) -> Outcome {
        if self.scheme == Scheme::RangeDelete {
            let delete = format!("DELETE FROM outbox WHERE seq <= {}", self.last);
            self.connection
                .execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
                .await?;
            self.connection.execute(AssertSqlSafe(delete)).await?;
        }
        Ok(())
    }
}

pub(crate) fn no_interleaving_skips_or_reorders() -> Outcome {
    run(async {
        let world = World::new().await?;
        let relay = world.relay(json!({ "page_rows": 1 })).await?;
        let connection = world.connect().await?;
        let mut plugin = Plugin { relay, connection, marks: 0 };
        judge_late(&late_committer(&world, &mut plugin).await?)?;
        judge_order(&overtaking(&world, &mut plugin).await?)
    })
}

pub(crate) fn each_wrong_scheme_is_caught() -> Outcome {
    run(async {
        let world = World::new().await?;
        for scheme in [Scheme::SeqAfterLast, Scheme::PagesOfReadCommitted, Scheme::RangeDelete] {
            world.connect().await?.execute("DELETE FROM outbox").await?;
            let connection = world.connect().await?;
            let mut wrong = Wrong { scheme, connection, last: 0, read: Vec::new() };
            let judged = match scheme {
                Scheme::PagesOfReadCommitted => judge_order(&overtaking(&world, &mut wrong).await?),
                _ => judge_late(&late_committer(&world, &mut wrong).await?),
            };
            if judged.is_ok() {
                return Err(format!("{scheme:?} is not caught").into());
            }
        }
        Ok(())
    })
}

/// `x` has the lower number and is committed later, after `y` was read, and before it is cleared.
async fn late_committer(world: &World, poller: &mut dyn Poller) -> Outcome<Vec<String>> {
    let (mut one, mut two) = (world.writer().await?, world.writer().await?);
    let mut never = world.writer().await?;
    one.insert("x").await?;
    never.insert("never").await?;
    two.insert("y").await?;
    two.commit().await?;
    let mut found = poller.page().await?;
    one.commit().await?;
    never.roll_back().await?;
    poller.clear().await?;
    for _ in 0..3 {
        found.extend(poller.page().await?);
    }
    Ok(found)
}

/// `first` is committed after its place was read over, and `second`, which waited for it, at once.
async fn overtaking(world: &World, poller: &mut dyn Poller) -> Outcome<Vec<String>> {
    let mut one = world.writer().await?;
    one.insert("first").await?;
    let mut other = world.writer().await?;
    other.insert("other").await?;
    other.commit().await?;
    let mut found = poller.page().await?;
    one.commit().await?;
    let mut two = world.writer().await?;
    two.insert("second").await?;
    two.commit().await?;
    for _ in 0..5 {
        found.extend(poller.page().await?);
    }
    Ok(found)
}

fn judge_late(found: &[String]) -> Outcome {
    let mut sorted = found.to_vec();
    sorted.sort();
    if sorted == ["x", "y"] { Ok(()) } else { Err(format!("{found:?} came").into()) }
}

fn judge_order(found: &[String]) -> Outcome {
    let of_one: Vec<_> = found.iter().filter(|label| *label != "other").collect();
    if of_one == ["first", "second"] { Ok(()) } else { Err(format!("{found:?} came").into()) }
}

/// A delete that looked at rows which nobody has committed would wait for those who may.
pub(crate) fn deleting_waits_for_no_writer() -> Outcome {
    run(async {
        let world = World::new().await?;
        let mut relay = world.relay(json!({})).await?;
        let (mut before, mut behind) = (world.writer().await?, world.writer().await?);
        before.insert("before").await?;
        let mut writer = world.writer().await?;
        for _ in 0..100 {
            writer.insert("here").await?;
        }
        behind.insert("behind").await?;
        writer.commit().await?;
        let mut found = Vec::new();
        while found.len() < 100 || relay.position.is_none() {
            found.extend(relay.advance().await?);
        }
        let begun = Instant::now();
        relay.acknowledge().await?;
        if begun.elapsed() > Duration::from_secs(5) {
            return Err(format!("it took {:?}", begun.elapsed()).into());
        }
        // Nor do they wait for it.
        before.insert("before").await?;
        before.commit().await?;
        behind.commit().await?;
        let left = world.count("SELECT count(*) FROM outbox").await?;
        if left == 3 { Ok(()) } else { Err(format!("{left} rows are left").into()) }
    })
}
