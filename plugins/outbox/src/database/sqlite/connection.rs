//! How a connection of ours is opened, and what an error of SQLite means.

use std::{fs, path::Path, time::Duration};

use rowtide_core::{Error, Result};
use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};

/// How long to wait for the application's locks.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens a file that must exist.
///
/// The connection never checkpoints the write-ahead log, neither at a commit nor when it is closed:
/// that is up to the application, whose version of SQLite may be another.
pub(super) fn connect(path: &Path) -> Result<Connection> {
    if let Err(error) = fs::metadata(path) {
        let message = format!("there is no database `{}`", path.display());
        let help = "name a file that is there; Rowtide makes no database";
        return Err(Error::config(message).key("database").help(help).because(error));
    }
    let doing = |error| failure(format!("failed to open `{}`", path.display()), error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(doing)?;
    prepare(&connection).map_err(doing)?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // The first statement that reads the file: a file that is no database is found here.
    connection.query_row("SELECT count(*) FROM sqlite_master LIMIT 1", [], |_| Ok(()))
}

/// Runs what waits for a disk or a lock beside the runtime. It is finished even if nobody waits.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Error::fatal("SQLite was left in the middle of its work").because(error))
    })
}

/// Classifies what SQLite said while `doing`, a fragment that names the file or table.
pub(super) fn failure(doing: impl Into<String>, error: rusqlite::Error) -> Error {
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
        Some(ErrorCode::NotADatabase) => {
            Error::config(doing).key("database").help("name the file of a SQLite database")
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            let help = "the user that runs Rowtide must be able to write the file and its folder";
            Error::config(doing).key("database").help(help)
        }
        // What a trigger of the user raises may quote a row.
        Some(ErrorCode::ConstraintViolation) => {
            return Error::fatal(doing).because("a constraint or a trigger refuses it");
        }
        _ => Error::fatal(doing),
    };
    made.because(error)
}
