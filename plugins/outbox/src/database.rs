//! The databases an outbox can be in, and what the source asks of each.
//!
//! A [`Reader`] goes over the table in *passes*. A pass reads, in the order of the numbers and from
//! one moment of the database, what is not yet done and what no earlier pass has read. How a pass
//! finds that out, so that no late committer is skipped, is each database's own matter.

mod mysql;
mod postgres;
mod sqlite;

use std::{sync::Arc, time::Duration};

use rowtide_core::{
    Context, Error, Result, async_trait,
    plugin::{InstallOptions, UninstallOptions},
};
use rowtide_sql::{DatabaseUrl, Dialect};

use crate::{
    config::OutboxConfig,
    keys::Keys,
    layout::{FoundRow, Messages},
    source::position::Cursor,
};

/// An outbox table, locked for this relay alone.
#[async_trait]
pub(crate) trait Database: Send + Sync {
    /// Tells this server from another one at the same address. Keys of another one mean nothing.
    fn identity(&self) -> &str;

    /// The end of the database's log when it was opened. What a position says that needs more of the
    /// log is of a history that the server has lost: its disk was put back to an earlier state.
    fn log_end(&self) -> u64 {
        0
    }

    /// Starts to read on a connection of its own, with `done = "keep"` right behind `cursor`. Holds
    /// no transaction between two pages.
    ///
    /// # Errors
    /// `PositionLost` if the cursor is not of this server, or of what it has lost.
    async fn reader(&self, cursor: Option<Cursor>) -> Result<Box<dyn Reader>>;

    /// Deletes or marks the rows of exactly these keys, in batches; one that is gone does no harm.
    async fn settle(&self, keys: &Keys) -> Result<()>;

    /// Deletes rows that were marked longer ago than this, one batch of them, and returns how many.
    async fn clean(&self, marked_for: Duration) -> Result<u64>;

    /// For how long the oldest transaction is open that has inserted messages, where that is seen.
    async fn oldest_writer(&self) -> Result<Option<Duration>>;

    /// Returns once the lock is lost, and why.
    async fn lock_lost(&self) -> Error;
}

/// Reads the messages in order.
#[async_trait]
pub(crate) trait Reader: Send {
    /// Reads the next page of a pass, or the first of a new one. Does not wait for rows.
    async fn page(&mut self) -> Result<Page>;

    /// How much of the log is on the disk by now.
    async fn log_durable(&mut self) -> Result<u64>;

    /// Called before each pass. A row that has been read and is not among those of `pending` any
    /// more is settled: whatever has its key from now on is another message.
    fn forget_settled(&mut self, _pending: &Keys) {}

    /// Waits until there may be something new.
    async fn wait(&mut self) -> Result<()>;
}

/// Some rows, in order.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) rows: Vec<FoundRow>,
    /// Where `done = "keep"` goes on right behind these rows.
    pub(crate) cursor: Option<Cursor>,
    pub(crate) pass: Pass,
    /// The end of the database's log, read after the moment that the rows were read from.
    pub(crate) log_end: u64,
    /// How much of the log is on the disk by now. What is behind it can be lost by a crash of the
    /// server, and no position may depend on it.
    pub(crate) log_durable: u64,
}

/// How far a pass has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// More pages of it follow.
    Unfinished,
    /// All that was committed when it began has been read, and when that was by the server's clock.
    Finished(jiff::Timestamp),
}

/// Checks the settings against the database that they name, without I/O.
pub(crate) fn validate(config: &OutboxConfig) -> Result<()> {
    let all = [Dialect::Postgres, Dialect::MySql, Dialect::Sqlite];
    DatabaseUrl::check(&config.database, config.tls.as_ref(), &all)
}

/// Opens the table: checks it, and waits for its lock.
pub(crate) async fn open(
    config: &OutboxConfig,
    context: &Context,
) -> Result<(Arc<dyn Database>, Messages)> {
    let url = url(config)?;
    match url.dialect() {
        Dialect::Postgres => postgres::open(config, &url, context).await,
        Dialect::MySql => mysql::open(config, &url, context).await,
        Dialect::Sqlite => sqlite::open(config, &url, context).await,
    }
}

/// Makes the table, or what it lacks.
pub(crate) async fn install(config: &OutboxConfig, options: InstallOptions) -> Result<Vec<String>> {
    let url = url(config)?;
    match url.dialect() {
        Dialect::Postgres => postgres::install(config, &url, options).await,
        Dialect::MySql => mysql::install(config, &url, options).await,
        Dialect::Sqlite => sqlite::install(config, &url, options).await,
    }
}

/// Removes the triggers that [`install`] made, and nothing that holds a message.
pub(crate) async fn uninstall(
    config: &OutboxConfig,
    options: UninstallOptions,
) -> Result<Vec<String>> {
    let url = url(config)?;
    match url.dialect() {
        Dialect::Postgres => postgres::uninstall(config, &url, options).await,
        Dialect::MySql => mysql::uninstall(config, &url, options).await,
        Dialect::Sqlite => sqlite::uninstall(config, &url, options).await,
    }
}

/// The database, once the settings that only some know are right for it.
fn url(config: &OutboxConfig) -> Result<DatabaseUrl> {
    let url = DatabaseUrl::parse(&config.database)?;
    if config.notify.is_some() && url.dialect() != Dialect::Postgres {
        let message = format!("{} has no NOTIFY", url.dialect());
        return Err(Error::config(message).key("notify").help("leave it out; polling needs none"));
    }
    Ok(url)
}
