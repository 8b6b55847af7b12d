//! The plugin, and what looks as if it did the same.

use rowtide_core::{Position, async_trait};
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};

use crate::{
    relay::{self, Outcome, context},
    world::World,
};

/// Reads what is there, and clears what was read.
#[async_trait]
pub(crate) trait Relay: Send {
    /// The labels of the messages that are new, in order.
    async fn poll(&mut self) -> Outcome<Vec<String>>;

    /// Clears away what was read.
    async fn acknowledge(&mut self) -> Outcome;
}

/// The plugin, through the registry.
pub(crate) struct Plugin {
    relay: relay::Relay<'static>,
    connection: PgConnection,
    marks: usize,
}

impl Plugin {
    /// It lives as long as its server.
    pub(crate) async fn open(world: &World, done: &str, from: Option<Position>) -> Outcome<Self> {
        let source = world.open(json!({ "done": done }), &context()).await?;
        let relay = relay::Relay::new(Box::leak(source), from);
        Ok(Self { relay, connection: world.connect().await?, marks: 0 })
    }

    /// The next event's labels.
    pub(crate) async fn advance(&mut self) -> Outcome<Vec<String>> {
        Ok(self.relay.advance().await?)
    }

    pub(crate) fn position(&self) -> Option<Position> {
        self.relay.position.clone()
    }
}

#[async_trait]
impl Relay for Plugin {
    /// A mark that is committed now comes no earlier than all that was committed before.
    async fn poll(&mut self) -> Outcome<Vec<String>> {
        self.marks += 1;
        let mark = format!("mark {}", self.marks);
        sqlx::query("INSERT INTO outbox (aggregateid, type) VALUES ('mark', $1)")
            .bind(&mark)
            .execute(&mut self.connection)
            .await?;
        let mut labels = Vec::new();
        while !labels.contains(&mark) {
            labels.extend(self.advance().await?);
        }
        labels.retain(|label| !label.starts_with("mark"));
        Ok(labels)
    }

    async fn acknowledge(&mut self) -> Outcome {
        Ok(self.relay.acknowledge().await?)
    }
}

/// A scheme that others use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// `seq > last`.
    SeqAfterLast,
    /// All below the oldest open transaction, by transaction and number.
    BelowTheHorizon,
    /// Between two such horizons, by number.
    BetweenHorizons,
    /// Differences, and what was read is deleted as a range.
    RangeDelete,
    /// Differences, by the row's own `xmin`.
    RowXmin,
    /// Differences, in the order of the messages' own ids.
    ById,
    /// Differences, in the order in which the rows lie in the table.
    ByPlace,
    /// Differences as they should be, which are wrong on a standby alone.
    Differences,
}

impl Scheme {
    /// Those that are wrong anywhere.
    pub(crate) const ALL: [Scheme; 7] = [
        Scheme::SeqAfterLast,
        Scheme::BelowTheHorizon,
        Scheme::BetweenHorizons,
        Scheme::RangeDelete,
        Scheme::RowXmin,
        Scheme::ById,
        Scheme::ByPlace,
    ];
}

pub(crate) struct Poller {
    scheme: Scheme,
    connection: PgConnection,
    last: i64,
    snapshot: String,
}

impl Poller {
    pub(crate) async fn open(mut connection: PgConnection, scheme: Scheme) -> Outcome<Self> {
        let row = connection.fetch_one("SELECT pg_current_snapshot()::text").await?;
        Ok(Self { scheme, connection, last: 0, snapshot: row.try_get(0)? })
    }

    fn query(&self, now: &str) -> String {
        let Self { last, snapshot, .. } = self;
        let difference = |xid: &str| {
            format!(
                "({xid} >= pg_snapshot_xmax('{snapshot}') OR \
                 {xid} = ANY(ARRAY(SELECT pg_snapshot_xip('{snapshot}'))))"
            )
        };
        let before = |snapshot: &str| format!("pg_snapshot_xmin('{snapshot}')");
        let condition = match self.scheme {
            Scheme::SeqAfterLast => format!("seq > {last} ORDER BY seq"),
            Scheme::BelowTheHorizon => {
                format!("xid >= {} AND xid < {} ORDER BY xid, seq", before(snapshot), before(now))
            }
            Scheme::BetweenHorizons => {
                format!("xid >= {} AND xid < {} ORDER BY seq", before(snapshot), before(now))
            }
            Scheme::RangeDelete | Scheme::Differences => difference("xid") + " ORDER BY seq",
            Scheme::RowXmin => difference("xmin::text::xid8") + " ORDER BY seq",
            Scheme::ById => difference("xid") + " ORDER BY id",
            Scheme::ByPlace => difference("xid") + " ORDER BY ctid",
        };
        format!("SELECT type, seq FROM outbox WHERE {condition}")
    }
}

#[async_trait]
impl Relay for Poller {
    async fn poll(&mut self) -> Outcome<Vec<String>> {
        self.connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
        let row = self.connection.fetch_one("SELECT pg_current_snapshot()::text").await?;
        let now: String = row.try_get(0)?;
        let rows = self.connection.fetch_all(AssertSqlSafe(self.query(&now))).await?;
        self.connection.execute("COMMIT").await?;
        self.snapshot = now;
        let mut labels = Vec::new();
        for row in rows {
            labels.push(row.try_get(0)?);
            self.last = self.last.max(row.try_get(1)?);
        }
        Ok(labels)
    }

    async fn acknowledge(&mut self) -> Outcome {
        if self.scheme == Scheme::RangeDelete {
            let delete = format!("DELETE FROM outbox WHERE seq <= {}", self.last);
            self.connection.execute(AssertSqlSafe(delete)).await?;
        }
        Ok(())
    }
}
