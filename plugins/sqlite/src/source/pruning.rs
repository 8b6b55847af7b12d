//! Removing what every pipeline has read, beside the reading and seldom.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rowtide_core::{Result, settings::ByteSize};
use rowtide_failpoint::reach;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};

use crate::{
    capture,
    capture::{log, names::Names},
    connection::{Database, failure},
    source::registration::{self, Acknowledged},
};

/// What a [`Pruner`] works on.
#[derive(Clone)]
pub(crate) struct Pruning {
    pub(crate) database: Database,
    pub(crate) names: Names,
    pub(crate) pipeline: String,
    /// The least time between two transactions; `None` prunes never.
    pub(crate) every: Option<Duration>,
    pub(crate) log_bytes_warn: ByteSize,
}

/// Writes down what was acknowledged, and prunes, on a thread of its own.
///
/// A write of ours between an application's read and its write makes the latter fail at once, so
/// there are few of them: one short transaction each time, and a last one when this is dropped.
pub(crate) struct Pruner {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    noted: Mutex<Noted>,
    changed: Condvar,
}

#[derive(Default)]
struct Noted {
    acknowledged: Option<Acknowledged>,
    /// What of it is written down.
    registered: Option<Acknowledged>,
    is_stopped: bool,
}

/// How many rows one transaction deletes; a few milliseconds' worth.
const ROWS_PER_BATCH: i64 = 2_000;
/// Even where nothing is pruned, a pipeline that has acknowledged must be known as such.
const WITHOUT_PRUNING: Duration = Duration::from_secs(10);
/// How often a log is measured that nobody acknowledges.
const BETWEEN_MEASURES: Duration = Duration::from_secs(60);
/// How long the last transaction of all may wait for a lock.
const LAST_WAIT: Duration = Duration::from_millis(250);

impl Pruner {
    pub(crate) fn start(pruning: Pruning) -> Self {
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("sqlite-prune".to_owned())
            .spawn(move || run(&theirs, &pruning))
            .inspect_err(|error| tracing::warn!("the log is not pruned: {error}"))
            .ok();
        Self { shared, thread }
    }

    /// Takes note; returns at once.
    pub(crate) fn note(&self, acknowledged: Acknowledged) {
        self.shared.noted().acknowledged = Some(acknowledged);
        self.shared.changed.notify_all();
    }
}

impl Drop for Pruner {
    fn drop(&mut self) {
        self.shared.noted().is_stopped = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It has panicked, which its own message says.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for `pause`, or until the stop.
    fn is_stopped_within(&self, pause: Duration) -> bool {
        let running = |noted: &mut Noted| !noted.is_stopped;
        let waited = self.changed.wait_timeout_while(self.noted(), pause, running);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_stopped
    }

    /// Waits for something to write down, and until `next`; a stop ends both, and so does a long
    /// time without news.
    fn wait(&self, next: Instant) -> (Option<Acknowledged>, bool) {
        let mut noted = self.noted();
        loop {
            let news = noted.acknowledged.filter(|_| noted.acknowledged != noted.registered);
            let left = next.saturating_duration_since(Instant::now());
            if noted.is_stopped || (news.is_some() && left.is_zero()) {
                return (news, noted.is_stopped);
            }
            let left = if news.is_some() { left } else { BETWEEN_MEASURES };
            let waited = self.changed.wait_timeout(noted, left);
            let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            if news.is_none() && timeout.timed_out() {
                return (None, false);
            }
            noted = guard;
        }
    }
}

fn run(shared: &Shared, pruning: &Pruning) {
    let every = pruning.every.unwrap_or(WITHOUT_PRUNING);
    let mut next = Instant::now() + every;
    let mut warned = None;
    loop {
        let (news, is_last) = shared.wait(next);
        if let Some(acknowledged) = news {
            match pruning.prune(acknowledged, shared) {
                Ok(()) => shared.noted().registered = Some(acknowledged),
                Err(error) => tracing::warn!(pipeline = pruning.pipeline, "not pruned: {error}"),
            }
            next = Instant::now() + every;
        }
        if is_last {
            return;
        }
        pruning.warn_of_growth(&mut warned);
    }
}

impl Pruning {
    fn prune(&self, acknowledged: Acknowledged, shared: &Shared) -> Result<()> {
        let mut database = self.database.clone();
        if shared.noted().is_stopped {
            database.busy_timeout = database.busy_timeout.min(LAST_WAIT);
        }
        let connection = database.connect()?;
        loop {
            let transaction = self.begin(&connection, shared)?;
            let Some(held) = self.batch(transaction, acknowledged)? else { return Ok(()) };
            // Nine tenths of the time are the application's.
            if shared.is_stopped_within(held * 9) {
                return Ok(());
            }
        }
    }

    /// Waits for the lock a little at a time, since a stop waits for this thread.
    fn begin<'a>(&self, connection: &'a Connection, shared: &Shared) -> Result<Transaction<'a>> {
        let doing = |error| failure(format!("failed to prune {}", self.names.log()), error);
        let patience = self.database.busy_timeout;
        connection.busy_timeout(patience.min(LAST_WAIT)).map_err(doing)?;
        let begun = Instant::now();
        loop {
            let is_last = shared.noted().is_stopped || begun.elapsed() >= patience;
            match Transaction::new_unchecked(connection, TransactionBehavior::Immediate) {
                Ok(transaction) => {
                    let rest = if is_last { patience.min(LAST_WAIT) } else { patience };
                    connection.busy_timeout(rest).map_err(doing)?;
                    return Ok(transaction);
                }
                Err(error)
                    if is_last || error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) =>
                {
                    return Err(doing(error));
                }
                Err(_) => {}
            }
        }
    }

    /// One short write transaction; how long it held the lock, if something is left to prune.
    fn batch(
        &self,
        transaction: Transaction<'_>,
        acknowledged: Acknowledged,
    ) -> Result<Option<Duration>> {
        let doing = |error| failure(format!("failed to prune {}", self.names.log()), error);
        let begun = Instant::now();
        registration::acknowledge(&transaction, &self.names, &self.pipeline, acknowledged)?;
        let is_done = match self.every {
            Some(_) => self.delete(&transaction)?,
            None => true,
        };
        reach!("sqlite: pruned, not committed");
        transaction.commit().map_err(doing)?;
        reach!("sqlite: pruned");
        Ok((!is_done).then(|| begun.elapsed()))
    }

    /// Deletes rows below the slowest pipeline's own, which stays: it proves the position. So does
    /// the newest, from which the next id is counted.
    fn delete(&self, connection: &Connection) -> Result<bool> {
        let log = self.names.log();
        let doing = |error| failure(format!("failed to prune {log}"), error);
        let (Some(first), Some(last)) =
            (self.first(connection)?, log::last(connection, &self.names)?)
        else {
            return Ok(true);
        };
        let slowest = registration::slowest(connection, &self.names)?;
        let floor = slowest.map_or(last, |slowest| slowest.id.min(last));
        let end = floor.min(first + ROWS_PER_BATCH);
        let deleted = connection
            .execute(&format!("DELETE FROM {log} WHERE id < ?"), params![end])
            .map_err(doing)?;
        if deleted > 0 && end == floor {
            capture::prune(connection, &self.names)?;
        }
        Ok(end == floor)
    }

    fn first(&self, connection: &Connection) -> Result<Option<i64>> {
        let select = format!("SELECT min(id) FROM {}", self.names.log());
        connection
            .query_row(&select, [], |row| row.get(0))
            .map_err(|error| failure("failed to read the log", error))
    }

    /// Warns each time the log has doubled beyond the bound.
    fn warn_of_growth(&self, warned: &mut Option<u64>) {
        let Ok((bytes, slowest)) = self.growth() else { return };
        let bound = warned.map_or(self.log_bytes_warn.0, |warned: u64| warned.saturating_mul(2));
        if bytes < self.log_bytes_warn.0 {
            *warned = None;
        } else if bytes >= bound {
            *warned = Some(bytes);
            let size = ByteSize(bytes);
            tracing::warn!(
                "the log {} has grown to about {size}; the slowest pipeline is `{slowest}`",
                self.names.log()
            );
        }
    }

    /// About how large the log is, and who keeps it so large.
    fn growth(&self) -> Result<(u64, String)> {
        let connection = self.database.connect()?;
        let slowest = registration::slowest(&connection, &self.names)?;
        let slowest = slowest.map_or_else(String::new, |slowest| slowest.pipeline);
        let (Some(first), Some(last)) =
            (self.first(&connection)?, log::last(&connection, &self.names)?)
        else {
            return Ok((0, slowest));
        };
        let rows = u64::try_from(last - first).unwrap_or(0) + 1;
        let bytes = self.sample(&connection, first, last);
        let bytes = bytes.map_err(|error| failure("failed to measure the log", error))?;
        Ok((rows.saturating_mul(bytes), slowest))
    }

    /// The mean size of some rows across the log: reading all of them would take too long.
    fn sample(&self, connection: &Connection, first: i64, last: i64) -> rusqlite::Result<u64> {
        const SAMPLES: i64 = 32;
        let select = format!("SELECT * FROM {} WHERE id = ?", self.names.log());
        let mut statement = connection.prepare(&select)?;
        let columns = statement.column_count();
        let (mut count, mut bytes) = (0, 0);
        for id in (0..SAMPLES).map(|part| first + (last - first) / SAMPLES * part) {
            let mut rows = statement.query([id])?;
            let Some(row) = rows.next()? else { continue };
            count += 1;
            for index in 0..columns {
                bytes += row.get_ref(index)?.as_bytes().map_or(2, <[u8]>::len);
            }
        }
        Ok(bytes as u64 / count.max(1))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A log of `rows` rows that nobody needs.
    fn pruning(path: PathBuf, rows: i64) -> Pruning {
        let names = Names::new("_r");
        let connection = Connection::open(&path).unwrap();
        let make = format!(
            "CREATE TABLE {log} (id INTEGER PRIMARY KEY, v0); {}; \
             CREATE TABLE {} (id INTEGER PRIMARY KEY, table_name, until); \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {rows}) \
             INSERT INTO {log} SELECT i, 1 FROM n",
            registration::create_statement(&names),
            names.layout(),
            log = names.log(),
        );
        connection.execute_batch(&make).unwrap();
        Pruning {
            database: Database { path, busy_timeout: Duration::from_secs(60) },
            names,
            pipeline: "p".to_owned(),
            every: Some(Duration::from_millis(1)),
            log_bytes_warn: ByteSize::from_mib(1024),
        }
    }

    #[test]
    fn a_stop_does_not_wait_for_the_pause_between_two_transactions() {
        const LONG: Duration = Duration::from_secs(60);
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let begun = Instant::now();
        let pausing = thread::spawn(move || theirs.is_stopped_within(LONG));
        shared.noted().is_stopped = true;
        shared.changed.notify_all();
        assert!(pausing.join().unwrap());
        assert!(begun.elapsed() < LONG);
        assert!(!Shared::default().is_stopped_within(Duration::from_millis(1)));
    }

    #[test]
    fn a_stop_does_not_wait_for_a_lock_of_the_application_s() {
        let folder = tempfile::tempdir().unwrap();
        let pruning = pruning(folder.path().join("a.db"), 10);
        let application = Connection::open(&pruning.database.path).unwrap();
        application.execute_batch("BEGIN IMMEDIATE").unwrap();
        let patience = pruning.database.busy_timeout;
        let pruner = Pruner::start(pruning);
        pruner.note(Acknowledged { id: 1, is_finished: false });
        // Long enough for it to begin its wait.
        thread::sleep(Duration::from_secs(1));
        let begun = Instant::now();
        drop(pruner);
        assert!(begun.elapsed() < patience / 2, "{:?}", begun.elapsed());
    }

    #[test]
    fn the_wait_for_a_lock_of_the_applications_is_not_paid_back_nine_times() {
        let folder = tempfile::tempdir().unwrap();
        let pruning = pruning(folder.path().join("a.db"), 10 * ROWS_PER_BATCH);
        let application = Connection::open(&pruning.database.path).unwrap();
        application.execute_batch("BEGIN IMMEDIATE").unwrap();
        let (path, names) = (pruning.database.path.clone(), pruning.names.clone());
        let held = Duration::from_secs(3);
        let pruner = Pruner::start(pruning);
        pruner.note(Acknowledged { id: 1, is_finished: false });
        thread::sleep(held);
        application.execute_batch("COMMIT").unwrap();
        let begun = Instant::now();
        let connection = Connection::open(path).unwrap();
        connection.busy_timeout(Duration::from_secs(60)).unwrap();
        let count = format!("SELECT count(*) FROM {}", names.log());
        while connection.query_row(&count, [], |row| row.get::<_, i64>(0)).unwrap() > 1 {
            thread::sleep(Duration::from_millis(5));
            assert!(begun.elapsed() < held * 9, "the log is not pruned");
        }
        drop(pruner);
    }

    #[test]
    fn the_size_of_the_log_and_the_slowest_pipeline_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let names = Names::new("_r");
        let connection = Connection::open(&path).unwrap();
        let make = format!(
            "CREATE TABLE {} (id INTEGER PRIMARY KEY, v0); {}; \
             WITH RECURSIVE n(i) AS (SELECT 5 UNION ALL SELECT i + 1 FROM n LIMIT 1000) \
             INSERT INTO {} SELECT i, zeroblob(500) FROM n",
            names.log(),
            registration::create_statement(&names),
            names.log()
        );
        connection.execute_batch(&make).unwrap();
        registration::register(&connection, &names, "slow", 5).unwrap();
        registration::register(&connection, &names, "fast", 900).unwrap();
        let pruning = Pruning {
            database: Database { path, busy_timeout: Duration::from_secs(1) },
            names,
            pipeline: "fast".to_owned(),
            every: None,
            log_bytes_warn: ByteSize(400_000),
        };
        let (bytes, slowest) = pruning.growth().unwrap();
        assert!((450_000..600_000).contains(&bytes), "{bytes}");
        assert_eq!(slowest, "slow");
        let mut warned = None;
        pruning.warn_of_growth(&mut warned);
        assert_eq!(warned, Some(bytes));
    }
}
