use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rowtide_core::{
    CheckpointUpdate, Claim, Error, Owner, PartitionState, Result,
    plugin::{Execution, UninstallOptions, UninstallScope},
};
use rowtide_failpoint::reach;
use rowtide_lockfile::LockFile;
use rusqlite::{
    Connection, ErrorCode, OptionalExtension, TransactionBehavior, config::DbConfig, params,
};
use sha2::{Digest, Sha256};

use crate::{
    checkpoint::checksum::{claim_checksum, digest_of_rows, state_checksum},
    connection::{Database, FileIdentity, failure, file_failure},
};

/// What the store keeps in its file: the rows of all pipelines, and one claim a pipeline.
pub(crate) const STATEMENTS: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS rowtide_checkpoint (\
     pipeline TEXT NOT NULL, partition TEXT NOT NULL, state TEXT NOT NULL, \
     checksum BLOB NOT NULL, PRIMARY KEY (pipeline, partition)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS rowtide_claim (\
     pipeline TEXT NOT NULL PRIMARY KEY, epoch INTEGER NOT NULL, owner TEXT NOT NULL, \
     checkpoint BLOB NOT NULL, checksum BLOB NOT NULL) WITHOUT ROWID",
];

/// The tables that the statements make, and their columns.
pub(crate) const TABLES: [(&str, &[&str]); 2] = [
    ("rowtide_checkpoint", &["pipeline", "partition", "state", "checksum"]),
    ("rowtide_claim", &["pipeline", "epoch", "owner", "checkpoint", "checksum"]),
];

/// The file, its one connection, and the locks of the pipelines that were claimed through it.
pub(crate) struct CheckpointFile {
    database: Database,
    opened: Mutex<Opened>,
}

#[derive(Default)]
struct Opened {
    connection: Option<Connection>,
    /// What the connection has open.
    file: Option<FileIdentity>,
    locks: HashMap<String, LockFile>,
}

/// A row of `rowtide_claim`.
struct ClaimRow {
    epoch: u64,
    owner: Owner,
    /// A digest of all rows of the pipeline, by which a missing one is noticed.
    checkpoint: Vec<u8>,
}

impl CheckpointFile {
    pub(crate) fn new(path: PathBuf, busy_timeout: Duration) -> Self {
        Self { database: Database { path, busy_timeout }, opened: Mutex::default() }
    }

    pub(crate) fn install(&self) -> Result<()> {
        self.with_connection(&mut self.opened(), |_| Ok(()))
    }

    /// Loads on a connection of its own, so that it makes neither a file nor a table.
    pub(crate) fn load(&self, pipeline: &str) -> Result<Vec<PartitionState>> {
        self.check_place(&self.opened())?;
        if !self.exists()? {
            return Ok(Vec::new());
        }
        let mut connection = self.connect()?;
        let transaction = connection.transaction().map_err(|error| self.failure(error))?;
        if !self.has_tables(&transaction)? {
            return Ok(Vec::new());
        }
        let claim = self.claim_row(&transaction, pipeline)?;
        self.states(&transaction, pipeline, claim.as_ref())
    }

    pub(crate) fn claim(&self, pipeline: &str, owner: &Owner) -> Result<Claim> {
        let mut opened = self.opened();
        if !opened.locks.contains_key(pipeline) {
            let lock = LockFile::acquire(&self.lock_path(pipeline), owner)?;
            opened.locks.insert(pipeline.to_owned(), lock);
            reach!("sqlite checkpoint: locked, not claimed");
        }
        self.write(&mut opened, |connection| {
            let last = self.claim_row(connection, pipeline)?;
            // A damaged checkpoint must not be claimed and then saved over.
            self.states(connection, pipeline, last.as_ref())?;
            let (epoch, checkpoint) = match last {
                Some(last) => (last.epoch + 1, last.checkpoint),
                None => (1, digest_of_rows(std::iter::empty())),
            };
            let row = ClaimRow { epoch, owner: owner.clone(), checkpoint };
            self.put_claim(connection, pipeline, &row)?;
            Ok(Claim { pipeline: pipeline.to_owned(), epoch, owner: owner.clone() })
        })
    }

    pub(crate) fn save(&self, claim: &Claim, update: &CheckpointUpdate) -> Result<()> {
        let pipeline = claim.pipeline.as_str();
        self.write(&mut self.opened(), |connection| {
            let Some(mut row) = self.claim_row(connection, pipeline)? else {
                let message = format!("the claim of pipeline `{pipeline}` is gone");
                return Err(self.damaged(message));
            };
            if row.epoch != claim.epoch {
                return Err(Error::claim_lost(pipeline, &row.owner));
            }
            if update.states.is_empty() && update.forgotten.is_empty() {
                return Ok(());
            }
            let put = |error| self.failure(error);
            for state in &update.states {
                put_state(connection, pipeline, state).map_err(put)?;
            }
            for partition in &update.forgotten {
                let mut statement = connection
                    .prepare_cached(
                        "DELETE FROM rowtide_checkpoint WHERE pipeline = ? AND partition = ?",
                    )
                    .map_err(put)?;
                statement.execute([pipeline, partition.as_str()]).map_err(put)?;
            }
            row.checkpoint = self.combined(connection, pipeline)?;
            self.put_claim(connection, pipeline, &row)
        })
    }

    /// Removes the pipeline, and the tables with the last one; returns the statements.
    pub(crate) fn remove(&self, pipeline: &str, options: UninstallOptions) -> Result<Vec<String>> {
        if !self.exists()? {
            return Ok(Vec::new());
        }
        let mut connection = self.connect()?;
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| self.failure(error))?;
        let statements =
            removal(&transaction, pipeline, options.scope).map_err(|error| self.failure(error))?;
        if options.execution == Execution::Apply {
            for statement in &statements {
                transaction.execute_batch(statement).map_err(|error| self.failure(error))?;
            }
            transaction.commit().map_err(|error| self.failure(error))?;
        }
        Ok(statements)
    }

    fn opened(&self) -> MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_connection<T>(
        &self,
        opened: &mut Opened,
        work: impl FnOnce(&mut Connection) -> Result<T>,
    ) -> Result<T> {
        self.check_place(opened)?;
        let connection = match &mut opened.connection {
            Some(connection) => connection,
            none => {
                let connection = self.create()?;
                let file = FileIdentity::of(&self.database.path);
                opened.file = Some(file.map_err(|error| self.file_failure(error))?);
                none.insert(connection)
            }
        };
        work(connection)
    }

    /// What is open must be what is found under the name: in WAL mode SQLite itself goes on writing
    /// to a file that was moved away, where nobody would look for it.
    fn check_place(&self, opened: &Opened) -> Result<()> {
        let Some(file) = opened.file else { return Ok(()) };
        match FileIdentity::of(&self.database.path) {
            Ok(found) if found == file => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.file_failure(error)),
            _ => {
                let path = self.database.path.display();
                Err(Error::fatal(format!("the checkpoint file `{path}` is gone")).help(
                    "it was moved or removed while it was in use; put it back, and start again",
                ))
            }
        }
    }

    /// A file that cannot be looked for may be there.
    fn exists(&self) -> Result<bool> {
        fs::exists(&self.database.path).map_err(|error| self.file_failure(error))
    }

    /// One write transaction: all of `work` or nothing, on the disk when this returns.
    fn write<T>(
        &self,
        opened: &mut Opened,
        work: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        self.with_connection(opened, |connection| {
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(|error| self.failure(error))?;
            let done = work(&transaction)?;
            reach!("sqlite checkpoint: written, not committed");
            transaction.commit().map_err(|error| self.failure(error))?;
            reach!("sqlite checkpoint: committed");
            Ok(done)
        })
    }

    fn create(&self) -> Result<Connection> {
        if !self.exists()? {
            self.make_file()?;
        }
        let connection = self.connect()?;
        prepare(&connection).map_err(|error| self.failure(error))?;
        if !self.has_tables(&connection)? {
            make_tables(&connection).map_err(|error| self.failure(error))?;
        }
        Ok(connection)
    }

    /// Makes the file complete under another name first: an empty one is always a damaged one.
    fn make_file(&self) -> Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = &self.database.path;
        let mut new = path.as_os_str().to_owned();
        new.push(format!(".{}-{number}.new", process::id()));
        let new = PathBuf::from(new);
        let doing = format!("failed to make the checkpoint file `{}`", path.display());
        let made = fill(&new).map_err(|error| failure(doing.as_str(), error));
        reach!("sqlite checkpoint: file made, not named");
        // Unlike a rename, a link never replaces what another process has made meanwhile.
        let linked = made.map(|()| fs::hard_link(&new, path));
        reach!("sqlite checkpoint: file named, its first name not removed");
        let _ = fs::remove_file(&new);
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let synced = match linked? {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => File::open(directory.unwrap_or(Path::new("."))).and_then(|file| file.sync_all()),
        };
        synced.map_err(|error| file_failure(doing, error))
    }

    /// Whether the tables are there; one without the other is damage, and so is an empty file.
    fn has_tables(&self, connection: &Connection) -> Result<bool> {
        let tables = table_count(connection).map_err(|error| self.failure(error))?;
        let empty = || fs::metadata(&self.database.path).is_ok_and(|file| file.len() == 0);
        match tables {
            2 => Ok(true),
            0 if !empty() => Ok(false),
            0 => Err(self.damaged("it is empty".to_owned())),
            _ => Err(self.damaged("it lacks one of its two tables".to_owned())),
        }
    }

    fn lock_path(&self, pipeline: &str) -> PathBuf {
        lock_path(&self.database.path, pipeline)
    }

    fn connect(&self) -> Result<Connection> {
        self.database.connect().map_err(|error| {
            let reason = std::error::Error::source(&error).and_then(|reason| reason.downcast_ref());
            match reason.and_then(rusqlite::Error::sqlite_error_code) {
                Some(ErrorCode::NotADatabase) if self.database.was_one("rowtide_checkpoint") => {
                    self.damaged("it is no database any more".to_owned())
                }
                _ => error,
            }
        })
    }

    fn failure(&self, error: rusqlite::Error) -> Error {
        failure(format!("checkpoint file `{}`", self.database.path.display()), error)
    }

    fn file_failure(&self, error: io::Error) -> Error {
        file_failure(format!("checkpoint file `{}`", self.database.path.display()), error)
    }

    fn damaged(&self, what: String) -> Error {
        Error::fatal(format!(
            "checkpoint file `{}` is damaged: {what}",
            self.database.path.display()
        ))
        .help("restore the file; or remove it and start anew with `rowtide checkpoint reset`")
    }

    /// The states of a pipeline, after every row and the number of them were verified.
    fn states(
        &self,
        connection: &Connection,
        pipeline: &str,
        claim: Option<&ClaimRow>,
    ) -> Result<Vec<PartitionState>> {
        let rows = rows(connection, pipeline).map_err(|error| self.unreadable(error))?;
        let Some(claim) = claim else {
            return match rows.is_empty() {
                true => Ok(Vec::new()),
                false => Err(self.damaged(format!("the claim of pipeline `{pipeline}` is gone"))),
            };
        };
        let mut states = Vec::with_capacity(rows.len());
        for row in &rows {
            let state = row.verified(pipeline).ok_or_else(|| {
                let partition = row.partition.escape_debug();
                self.damaged(format!("pipeline `{pipeline}`, partition `{partition}`"))
            })?;
            states.push(state);
        }
        if digest_of_rows(rows.iter().map(|row| row.checksum.as_slice())) != claim.checkpoint {
            return Err(self.damaged(format!("pipeline `{pipeline}` lacks a partition")));
        }
        Ok(states)
    }

    fn combined(&self, connection: &Connection, pipeline: &str) -> Result<Vec<u8>> {
        let rows = rows(connection, pipeline).map_err(|error| self.unreadable(error))?;
        Ok(digest_of_rows(rows.iter().map(|row| row.checksum.as_slice())))
    }

    fn claim_row(&self, connection: &Connection, pipeline: &str) -> Result<Option<ClaimRow>> {
        let found = connection
            .query_row(
                "SELECT epoch, owner, checkpoint, checksum FROM rowtide_claim WHERE pipeline = ?",
                [pipeline],
                |row| {
                    let checkpoint = row.get::<_, Vec<u8>>(2)?;
                    let fields = (row.get::<_, i64>(0)?, row.get::<_, String>(1)?, checkpoint);
                    Ok((fields, row.get::<_, Vec<u8>>(3)?))
                },
            )
            .optional()
            .map_err(|error| self.unreadable(error))?;
        let Some(((epoch, owner, checkpoint), checksum)) = found else { return Ok(None) };
        let damaged = || self.damaged(format!("the claim of pipeline `{pipeline}`"));
        if claim_checksum(pipeline, epoch, &owner, &checkpoint) != checksum {
            return Err(damaged());
        }
        let epoch = u64::try_from(epoch).map_err(|_| damaged())?;
        let owner = serde_json::from_str(&owner).map_err(|_| damaged())?;
        Ok(Some(ClaimRow { epoch, owner, checkpoint }))
    }

    fn put_claim(&self, connection: &Connection, pipeline: &str, row: &ClaimRow) -> Result<()> {
        let owner = serde_json::to_string(&row.owner)
            .map_err(|error| Error::fatal("failed to write down an owner").because(error))?;
        let epoch = i64::try_from(row.epoch)
            .map_err(|error| Error::fatal("there are no more claims").because(error))?;
        let checksum = claim_checksum(pipeline, epoch, &owner, &row.checkpoint);
        let fields = params![pipeline, epoch, owner, row.checkpoint, checksum];
        connection
            .prepare_cached("INSERT OR REPLACE INTO rowtide_claim VALUES (?, ?, ?, ?, ?)")
            .and_then(|mut statement| statement.execute(fields))
            .map_err(|error| self.failure(error))?;
        Ok(())
    }

    /// A value of the wrong type is damage too.
    fn unreadable(&self, error: rusqlite::Error) -> Error {
        match error {
            rusqlite::Error::SqliteFailure(..) => self.failure(error),
            other => self.damaged(other.to_string()),
        }
    }
}

/// A row of `rowtide_checkpoint`.
struct StoredState {
    partition: String,
    state: String,
    checksum: Vec<u8>,
}

impl StoredState {
    fn verified(&self, pipeline: &str) -> Option<PartitionState> {
        if state_checksum(pipeline, &self.partition, &self.state) != self.checksum {
            return None;
        }
        let state: PartitionState = serde_json::from_str(&self.state).ok()?;
        (state.partition.id.as_str() == self.partition).then_some(state)
    }
}

fn rows(connection: &Connection, pipeline: &str) -> rusqlite::Result<Vec<StoredState>> {
    let mut statement = connection.prepare_cached(
        "SELECT partition, state, checksum FROM rowtide_checkpoint \
         WHERE pipeline = ? ORDER BY partition",
    )?;
    let rows = statement.query_map([pipeline], |row| {
        Ok(StoredState { partition: row.get(0)?, state: row.get(1)?, checksum: row.get(2)? })
    })?;
    rows.collect()
}

fn put_state(
    connection: &Connection,
    pipeline: &str,
    state: &PartitionState,
) -> rusqlite::Result<usize> {
    let partition = state.partition.id.as_str();
    let text = serde_json::to_string(state)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let checksum = state_checksum(pipeline, partition, &text);
    connection
        .prepare_cached("INSERT OR REPLACE INTO rowtide_checkpoint VALUES (?, ?, ?, ?)")?
        .execute(params![pipeline, partition, text, checksum])
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    // EXTRA also makes the removal of a rollback journal durable, without which a power cut could
    // roll back what was saved.
    connection.pragma_update(None, "synchronous", "EXTRA")?;
    let others: i64 = connection.query_row(
        "SELECT count(*) FROM sqlite_master \
         WHERE type = 'table' AND name NOT IN ('rowtide_checkpoint', 'rowtide_claim')",
        [],
        |row| row.get(0),
    )?;
    // In a file of the application's, its log is up to the application.
    if others == 0 {
        connection.pragma_update(None, "wal_autocheckpoint", 1000)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    }
    Ok(())
}

/// Makes a new file with the tables in it, and closes it.
fn fill(path: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(path)?;
    prepare(&connection)?;
    make_tables(&connection)?;
    connection.close().map_err(|(_, error)| error)
}

fn make_tables(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!("BEGIN IMMEDIATE; {}; COMMIT", STATEMENTS.join("; ")))
}

fn table_count(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row(
        "SELECT count(*) FROM sqlite_master \
         WHERE type = 'table' AND name IN ('rowtide_checkpoint', 'rowtide_claim')",
        [],
        |row| row.get(0),
    )
}

fn removal(
    connection: &Connection,
    pipeline: &str,
    scope: UninstallScope,
) -> rusqlite::Result<Vec<String>> {
    if table_count(connection)? < 2 {
        return Ok(Vec::new());
    }
    let others: i64 = connection.query_row(
        "SELECT count(*) FROM rowtide_claim WHERE pipeline <> ?",
        [pipeline],
        |row| row.get(0),
    )?;
    if others == 0 || scope == UninstallScope::All {
        return Ok(["rowtide_checkpoint", "rowtide_claim"]
            .map(|name| format!("DROP TABLE {name}"))
            .into());
    }
    let name = pipeline.replace('\'', "''");
    let delete = |table: &str| format!("DELETE FROM {table} WHERE pipeline = '{name}'");
    Ok(["rowtide_checkpoint", "rowtide_claim"].map(delete).into())
}

/// A file beside the database, so that two pipelines can share it and `load` needs no lock.
fn lock_path(database: &Path, pipeline: &str) -> PathBuf {
    let readable = pipeline.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let name = match readable {
        true => pipeline.to_owned(),
        false => hex(&Sha256::digest(pipeline)[..8]),
    };
    let mut path = database.as_os_str().to_owned();
    path.push(format!(".{name}.lock"));
    path.into()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
