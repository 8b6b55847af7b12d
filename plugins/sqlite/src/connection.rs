//! How every connection of ours is opened, and what an error of SQLite means.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use rowtide_core::{Error, Result};
use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};

/// Of the first page, where the names of tables are.
const PAGE_BYTES: u64 = 4096;

/// A database file and how long to wait for its locks.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) path: PathBuf,
    pub(crate) busy_timeout: Duration,
}

impl Database {
    /// Opens a file that must exist.
    ///
    /// The connection never checkpoints the write-ahead log, neither at a commit nor when it is
    /// closed: that is up to the application, whose version of SQLite may be another.
    pub(crate) fn connect(&self) -> Result<Connection> {
        let doing = || format!("failed to open `{}`", self.path.display());
        fs::metadata(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Error::config(format!("there is no database `{}`", self.path.display()))
                    .key("path")
                    .help("name a file that is there; Rowtide makes no database")
                    .because(error)
            }
            _ => file_failure(doing(), error),
        })?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)
            .map_err(|error| failure(doing(), error))?;
        self.prepare(&connection).map_err(|error| failure(doing(), error))?;
        Ok(connection)
    }

    /// Whether a file that is no database was one, or has this name in its first page.
    pub(crate) fn was_one(&self, name: &str) -> bool {
        const MAGIC: &[u8] = b"SQLite format 3\0";
        let mut page = Vec::new();
        let file = fs::File::open(&self.path);
        let read = file.and_then(|file| file.take(PAGE_BYTES).read_to_end(&mut page));
        let begins = page.starts_with(&MAGIC[..page.len().min(MAGIC.len())]);
        read.is_ok() && (begins || page.windows(name.len()).any(|part| part == name.as_bytes()))
    }

    fn prepare(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection.busy_timeout(self.busy_timeout)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.set_prepared_statement_cache_capacity(64);
        // The first statement that reads the file: a file that is no database is found here.
        connection.query_row("SELECT count(*) FROM sqlite_master LIMIT 1", [], |_| Ok(()))
    }
}

/// What tells one file from another of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity(u64, u64);

impl FileIdentity {
    #[cfg(unix)]
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(path).map(|file| Self(file.dev(), file.ino()))
    }

    #[cfg(not(unix))]
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|_| Self(0, 0))
    }
}

/// Classifies what the file system said while `doing`.
pub(crate) fn file_failure(doing: impl Into<String>, error: io::Error) -> Error {
    use io::ErrorKind::{
        InvalidFilename, InvalidInput, IsADirectory, NotADirectory, NotFound, PermissionDenied,
        ReadOnlyFilesystem, Unsupported,
    };
    let made = match error.kind() {
        InvalidFilename | InvalidInput | IsADirectory | NotADirectory | NotFound
        | PermissionDenied | ReadOnlyFilesystem | Unsupported => Error::config(doing)
            .key("path")
            .help("name a file in a folder of a local disk that this user can write to"),
        _ => Error::transient(doing),
    };
    made.because(error)
}

/// Classifies what SQLite said while `doing`, a fragment that names the file or table.
pub(crate) fn failure(doing: impl Into<String>, error: rusqlite::Error) -> Error {
    let doing = doing.into();
    let made = match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::OperationInterrupted
            | ErrorCode::OutOfMemory
            | ErrorCode::SystemIoFailure
            | ErrorCode::DiskFull
            | ErrorCode::SchemaChanged
            | ErrorCode::FileLockingProtocolFailed,
        ) => Error::transient(doing),
        Some(ErrorCode::DatabaseCorrupt) => Error::fatal(doing)
            .help("the database is damaged; run `PRAGMA integrity_check` and restore a backup"),
        Some(ErrorCode::NotADatabase) => {
            Error::config(doing).key("path").help("name the file of a SQLite database")
        }
        Some(ErrorCode::ReadOnly) if is_moved(&error) => Error::fatal(doing).help(
            "the file was moved or removed while it was in use; put it back, and start again",
        ),
        Some(ErrorCode::CannotOpen) if is_out_of_files() => Error::transient(doing)
            .help("too many files are open; raise the limit of the process (`ulimit -n`)"),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            Error::config(doing)
                .key("path")
                .help("the user that runs Rowtide must be able to write the file and its folder")
        }
        _ => Error::fatal(doing),
    };
    made.because(error)
}

fn is_moved(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    code == Some(rusqlite::ffi::SQLITE_READONLY_DBMOVED)
}

/// SQLite opens several files, and does not say why it could not open one. This opens others than
/// its own: to close one of those gives up all locks that this process has on it.
fn is_out_of_files() -> bool {
    const PER_SYSTEM_AND_PER_PROCESS: [i32; 2] = [23, 24];
    let opened: io::Result<Vec<_>> = (0..8).map(|_| fs::File::open("/")).collect();
    let code = opened.err().and_then(|error| error.raw_os_error());
    cfg!(unix) && code.is_some_and(|code| PER_SYSTEM_AND_PER_PROCESS.contains(&code))
}

/// Runs what waits for a disk or a lock beside the runtime. It is finished even if nobody waits.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Error::fatal("SQLite was left in the middle of its work").because(error))
    })
}

#[cfg(test)]
mod tests {
    use rowtide_core::ErrorKind;

    use super::*;

    fn database(path: PathBuf) -> Database {
        Database { path, busy_timeout: Duration::from_secs(1) }
    }

    #[test]
    fn a_missing_file_is_named_and_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("no.db");
        let error = database(path.clone()).connect().unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Config);
        assert!(error.message().contains("no.db"), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_no_database_is_a_wrong_setting() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("text.db");
        fs::write(&path, "this is a text, and a long enough one to have a header".repeat(20))
            .unwrap();
        let error = database(path).connect().unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Config, "{error}");
    }

    #[test]
    fn what_a_user_can_put_right_is_a_wrong_setting_and_the_rest_is_tried_again() {
        for (code, kind) in [
            (2, ErrorKind::Config),
            (5, ErrorKind::Transient),
            (13, ErrorKind::Config),
            (20, ErrorKind::Config),
            (23, ErrorKind::Transient),
            (24, ErrorKind::Transient),
        ] {
            let error = file_failure("x", io::Error::from_raw_os_error(code));
            assert_eq!(error.kind(), &kind, "{error:?}");
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [file.join("a.db"), directory.path().to_owned()] {
            let error = database(path).connect().unwrap_err();
            assert_eq!(error.kind(), &ErrorKind::Config, "{error:?}");
        }
    }

    /// In a process of its own, which may have few files.
    #[cfg(unix)]
    #[test]
    fn a_process_without_files_left_tries_again() {
        const CHILD: &str = "ROWTIDE_TEST_FEW_FILES";
        if std::env::var_os(CHILD).is_some() {
            return connects_only_with_enough_files();
        }
        let name = "connection::tests::a_process_without_files_left_tries_again";
        let output = std::process::Command::new("sh")
            .args(["-c", "ulimit -n 40 && exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
    }

    #[cfg(unix)]
    fn connects_only_with_enough_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let application = Connection::open(&path).unwrap();
        application.pragma_update(None, "journal_mode", "wal").unwrap();
        application.execute_batch("CREATE TABLE t (x)").unwrap();
        let database = database(path);
        let mut files: Vec<_> = (0..).map_while(|_| fs::File::open("/dev/null").ok()).collect();
        let mut refused = 0;
        while let Err(error) = database.connect() {
            assert_eq!(error.kind(), &ErrorKind::Transient, "{} free: {error:?}", refused);
            refused += 1;
            assert!(files.pop().is_some());
        }
        assert!(refused > 1, "{refused}");
    }

    #[test]
    fn closing_leaves_the_write_ahead_log_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let application = Connection::open(&path).unwrap();
        application.pragma_update(None, "journal_mode", "wal").unwrap();
        application.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        application.execute_batch("CREATE TABLE t (x)").unwrap();
        drop(application);
        let log = directory.path().join("a.db-wal");
        let before = fs::metadata(&log).unwrap().len();

        let connection = database(path).connect().unwrap();
        connection.execute_batch("CREATE TABLE u (x)").unwrap();
        drop(connection);
        assert!(fs::metadata(&log).unwrap().len() > before);
    }
}
