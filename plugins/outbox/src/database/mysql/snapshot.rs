//! One moment of the database, from which all pages of a pass are read.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{Timestamp, civil, tz::TimeZone};
use rowtide_core::{Error, Result};
use rowtide_sql::{TableName, failure};
use sqlx::{AssertSqlSafe, Executor, MySqlConnection, mysql::MySqlRow};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// A snapshot keeps the server from cleaning up, and a change of the table waiting. So none is kept
/// for long, and none at all while nobody reads on.
const AGE_MAX: Duration = Duration::from_secs(10);
const IDLE_MAX: Duration = Duration::from_secs(1);

const SESSION: &str = "SET SESSION time_zone = '+00:00'; \
                       SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ";
const BEGIN: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
const NOW: &str = "SELECT CAST(utc_timestamp(6) AS CHAR)";
const LOG: &str = "SHOW GLOBAL STATUS WHERE variable_name IN \
    ('Innodb_lsn_current', 'Innodb_lsn_flushed', \
     'Innodb_redo_log_current_lsn', 'Innodb_redo_log_flushed_to_disk_lsn')";

/// A connection and the snapshot that it may have.
#[derive(Clone)]
pub(super) struct Snapshot(Arc<Mutex<Held>>);

pub(super) struct Held {
    connection: MySqlConnection,
    doing: String,
    open: Option<Moment>,
    uses: u64,
}

/// Where the log of InnoDB ends, and how much of it is on the disk. Servers that do not tell are
/// taken at their word that what is committed is durable.
pub(super) async fn log(connection: &mut MySqlConnection) -> sqlx::Result<(u64, u64)> {
    let rows: Vec<(String, String)> =
        sqlx::query_as(LOG).persistent(false).fetch_all(connection).await?;
    let (mut end, mut durable) = (0, 0);
    for (name, value) in rows {
        let place = if name.contains("current") { &mut end } else { &mut durable };
        *place = value.parse().unwrap_or_default();
    }
    Ok(if durable == 0 { (0, 0) } else { (end, durable) })
}

/// When a snapshot was taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// By the server's clock, before it.
    pub(super) time: Timestamp,
    since: Instant,
}

impl Snapshot {
    pub(super) async fn new(mut connection: MySqlConnection, table: &TableName) -> Result<Self> {
        let doing = format!("failed to read the outbox `{table}`");
        let prepared = connection.execute(SESSION).await;
        prepared.map_err(|error| failure(doing.as_str(), error))?;
        let held = Held { connection, doing, open: None, uses: 0 };
        Ok(Self(Arc::new(Mutex::new(held))))
    }

    /// The connection, until the next page at most.
    pub(super) async fn take(&self) -> OwnedMutexGuard<Held> {
        let mut held = Arc::clone(&self.0).lock_owned().await;
        held.uses += 1;
        held
    }

    /// Ends the snapshot unless somebody has read on until then.
    pub(super) fn end_when_idle(&self, held: &Held) {
        let (snapshot, uses) = (Arc::downgrade(&self.0), held.uses);
        tokio::spawn(async move {
            tokio::time::sleep(IDLE_MAX).await;
            let Some(snapshot) = snapshot.upgrade() else { return };
            let mut held = snapshot.lock().await;
            if held.uses == uses
                && let Err(error) = held.end().await
            {
                // Whoever reads on meets the same.
                tracing::debug!("{error}");
            }
        });
    }
}

impl Held {
    /// The moment to read on from, if there is one that is not too old.
    pub(super) fn moment(&self) -> Option<Moment> {
        self.open.filter(|moment| moment.since.elapsed() < AGE_MAX)
    }

    pub(super) async fn begin(&mut self) -> Result<Moment> {
        self.end().await?;
        let now = sqlx::query_scalar(NOW).fetch_one(&mut self.connection).await;
        let now: String = self.asked(now)?;
        let now = now.parse::<civil::DateTime>().and_then(|now| TimeZone::UTC.to_timestamp(now));
        let time = now.map_err(|error| Error::fatal(self.doing.as_str()).because(error))?;
        let begun = self.connection.execute(BEGIN).await;
        self.asked(begun)?;
        let moment = Moment { time, since: Instant::now() };
        self.open = Some(moment);
        Ok(moment)
    }

    pub(super) async fn end(&mut self) -> Result<()> {
        if self.open.take().is_some() {
            let ended = self.connection.execute("COMMIT").await;
            self.asked(ended)?;
        }
        Ok(())
    }

    pub(super) async fn fetch(&mut self, statement: String) -> Result<Vec<MySqlRow>> {
        let rows = self.connection.fetch_all(AssertSqlSafe(statement)).await;
        self.asked(rows)
    }

    pub(super) fn connection(&mut self) -> &mut MySqlConnection {
        &mut self.connection
    }

    /// See [`log`].
    pub(super) async fn log(&mut self) -> Result<(u64, u64)> {
        let answer = log(&mut self.connection).await;
        self.asked(answer)
    }

    pub(super) fn asked<T>(&self, answer: sqlx::Result<T>) -> Result<T> {
        answer.map_err(|error| failure(self.doing.as_str(), error))
    }
}
