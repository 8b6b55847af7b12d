//! SQLite.
//!
//! There is one writer at a time, so with AUTOINCREMENT the order of the numbers is that of the
//! commits: what is behind the last number read is all that is new.

mod catalog;
mod connection;
mod reader;
mod setup;
mod statements;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rowtide_core::{Context, Error, Result, async_trait};
use rowtide_lockfile::{LockFile, this_process};
use rowtide_sql::{DatabaseUrl, Dialect, TableName};
use rusqlite::Connection;

pub(super) use self::setup::{install, uninstall};
use self::{
    catalog::Found,
    connection::{blocking, connect, failure},
    reader::SqliteReader,
    setup::lacking,
    statements::Statements,
};
use crate::{
    config::{Done, OutboxConfig},
    database::{Database, Reader},
    keys::Keys,
    layout::Messages,
    source::position::Cursor,
};

/// How often a standby tries.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// An outbox in a file, with its lock.
struct SqliteOutbox {
    config: OutboxConfig,
    path: PathBuf,
    identity: String,
    statements: Arc<Statements>,
    settling: Arc<Mutex<Option<Connection>>>,
    _lock: LockFile,
}

pub(super) async fn open(
    config: &OutboxConfig,
    url: &DatabaseUrl,
    context: &Context,
) -> Result<(Arc<dyn Database>, Messages)> {
    let (path, table) = (path(url)?, config.table()?);
    // A standby checks the table before it waits too, so that it tells of it at once.
    look(config, &path).await?;
    let lock = lock(&path, &table, context).await?;
    let (found, messages) = look(config, &path).await?;
    let outbox = SqliteOutbox {
        identity: identity(config, &path),
        statements: Arc::new(Statements::new(config, &table, &found, &messages)),
        settling: Arc::default(),
        config: config.clone(),
        path,
        _lock: lock,
    };
    Ok((Arc::new(outbox), messages))
}

/// The table and its messages, if the table is what it must be.
async fn look(config: &OutboxConfig, path: &Path) -> Result<(Found, Messages)> {
    let (config, path) = (config.clone(), path.to_owned());
    blocking(move || {
        let table = config.table()?;
        let Some(found) = Found::look(&connect(&path)?, &table)? else {
            let message = format!("there is no outbox `{table}`");
            return Err(Error::config(message).key("table").help("run `rowtide setup`"));
        };
        let messages = Messages::new(&config, &found.described())?;
        lacking(&config, &table, Some(&found))?.check(&table)?;
        Ok((found, messages))
    })
    .await
}

/// Waits for the lock, as a standby.
async fn lock(path: &Path, table: &TableName, context: &Context) -> Result<LockFile> {
    // One file and one table, however each is spelled.
    let canonical = fs::canonicalize(path).map_err(|error| {
        Error::transient(format!("failed to find `{}`", path.display())).because(error)
    })?;
    let mut name = canonical.into_os_string();
    let table = table.name().to_ascii_lowercase().replace(['/', '\\'], "_");
    name.push(format!("-{table}.lock"));
    let (name, shutdown) = (PathBuf::from(name), context.shutdown());
    let mut has_waited = false;
    loop {
        if let Some(lock) = LockFile::try_acquire(&name, &this_process())? {
            return Ok(lock);
        }
        if !has_waited {
            has_waited = true;
            context.note_waited_for_lock();
            tracing::info!("another relay has the lock `{}`; waiting for it", name.display());
        }
        tokio::select! {
            () = shutdown.requested() => {
                return Err(Error::transient("stopped while waiting for the lock of the outbox"));
            }
            () = tokio::time::sleep(TRY_EVERY) => {}
        }
    }
}

/// Numbers of a file that was put in the place of another one mean nothing. What is kept is checked
/// by a digest instead, since a file may be copied.
fn identity(config: &OutboxConfig, path: &Path) -> String {
    match (config.done, reader::file(path)) {
        (Done::Delete | Done::Mark, Some(file)) => format!("sqlite/{file}"),
        _ => "sqlite".to_owned(),
    }
}

#[async_trait]
impl Database for SqliteOutbox {
    fn identity(&self) -> &str {
        &self.identity
    }

    async fn reader(&self, cursor: Option<Cursor>) -> Result<Box<dyn Reader>> {
        let (path, statements) = (self.path.clone(), Arc::clone(&self.statements));
        let poll_every = self.config.poll_every.duration();
        let open = move || SqliteReader::open(path, statements, poll_every, cursor);
        Ok(Box::new(blocking(open).await?))
    }

    async fn settle(&self, keys: &Keys) -> Result<()> {
        let keys = keys.clone();
        self.write(move |connection, statements| statements.settle(connection, &keys)).await
    }

    async fn clean(&self, marked_for: Duration) -> Result<u64> {
        self.write(move |connection, statements| statements.clean(connection, marked_for)).await
    }

    /// There is one writer at a time, and everybody waits for it.
    async fn oldest_writer(&self) -> Result<Option<Duration>> {
        Ok(None)
    }

    /// The lock is this process's for as long as it lives.
    async fn lock_lost(&self) -> Error {
        std::future::pending().await
    }
}

impl SqliteOutbox {
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection, &Statements) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (path, statements) = (self.path.clone(), Arc::clone(&self.statements));
        let settling = Arc::clone(&self.settling);
        blocking(move || {
            let mut settling = settling.lock().unwrap_or_else(PoisonError::into_inner);
            let mut connection = match settling.take() {
                Some(connection) => connection,
                None => connect(&path)?,
            };
            let done = work(&mut connection, &statements).map_err(|error| {
                failure(format!("failed to settle rows in `{}`", path.display()), error)
            })?;
            *settling = Some(connection);
            Ok(done)
        })
        .await
    }
}

fn path(url: &DatabaseUrl) -> Result<PathBuf> {
    let not_a_file = || Error::config("not the file of a SQLite database").key("database");
    url.path().map(Path::to_owned).ok_or_else(not_a_file)
}

fn quote(name: &str) -> String {
    Dialect::Sqlite.quote(name)
}
