//! MySQL and MariaDB.
//!
//! A number is given at the insert and seen at the commit, so no cursor is safe: a pass looks at all
//! rows that are not done, in the order of their numbers, from one snapshot. Reading on behind the
//! last number in another snapshot would deliver a message before the one that its transaction
//! waited for.

mod catalog;
mod lock;
mod reader;
mod rested;
mod setup;
mod snapshot;
mod statements;
mod values;
mod writers;

use std::{sync::Arc, time::Duration};

use rowtide_core::{Context, Error, Result, async_trait};
use rowtide_failpoint::reach;
use rowtide_sql::{DatabaseUrl, Dialect, TableName, failure, mysql};
use sqlx::{AssertSqlSafe, Executor, MySqlConnection, mysql::MySqlConnectOptions};
use tokio::{sync::Mutex, time::timeout};

pub(super) use self::setup::{install, uninstall};
use self::{
    catalog::Found, lock::Lock, reader::MySqlReader, rested::Rested, setup::Plan,
    snapshot::Snapshot, statements::Statements, writers::Writers,
};
use crate::{
    config::{Done, OutboxConfig},
    database::{Database, Reader},
    keys::Keys,
    layout::Messages,
    source::position::Cursor,
};

const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// How long a statement that settles rows may take. A server that was lost without a word would
/// otherwise be waited for until the system gives its connection up, after a quarter of an hour.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A delete locks what it looks at. Here that is the rows that it deletes, and not the gaps between
/// them, which would keep everybody from inserting.
const SETTLING: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// An outbox in MySQL, with its lock.
pub(super) struct MySqlOutbox {
    options: MySqlConnectOptions,
    config: OutboxConfig,
    table: TableName,
    identity: String,
    log_end: u64,
    statements: Statements,
    lock: Lock,
    settling: Mutex<Rested<MySqlConnection>>,
    writers: Writers,
}

pub(super) async fn open(
    config: &OutboxConfig,
    url: &DatabaseUrl,
    context: &Context,
) -> Result<(Arc<dyn Database>, Messages)> {
    if config.done == Done::Keep {
        let message = "MySQL cannot tell which messages are new, unless those delivered are marked";
        return Err(Error::config(message).key("done").help("set it to \"delete\" or \"mark\""));
    }
    let options = mysql::options(url, config.tls.as_ref())?;
    let table = config.table()?;
    let mut connection = mysql::connect(&options, CONNECT_WITHIN).await?;
    // A standby checks the table before it waits too, so that it tells of it at once.
    look(config, &table, &mut connection).await?;
    let name = lock_name(&mut connection, &table).await?;
    let lock = Lock::acquire(&options, name, context).await?;
    let (found, messages) = look(config, &table, &mut connection).await?;
    let log = snapshot::log(&mut connection).await;
    let (log_end, _) =
        log.map_err(|error| failure("failed to ask for the log of InnoDB", error))?;
    let outbox = MySqlOutbox {
        log_end,
        identity: found.identity(&mut connection).await?,
        statements: Statements::new(config, &table, &found, &messages),
        settling: Mutex::default(),
        writers: Writers::default(),
        config: config.clone(),
        options,
        table,
        lock,
    };
    Ok((Arc::new(outbox), messages))
}

/// The table and its messages, if the table is what it must be.
async fn look(
    config: &OutboxConfig,
    table: &TableName,
    connection: &mut MySqlConnection,
) -> Result<(Found, Messages)> {
    let Some(found) = Found::look(connection, table).await? else {
        let message = format!("there is no outbox `{table}`");
        return Err(Error::config(message).key("table").help("run `rowtide setup`"));
    };
    let messages = Messages::new(config, &found.described())?;
    Plan::new(config, Some(&found))?.check(table)?;
    Ok((found, messages))
}

/// At most 64 characters, and the same whichever way the table is named.
async fn lock_name(connection: &mut MySqlConnection, table: &TableName) -> Result<String> {
    const NAME: &str =
        "SELECT concat('rowtide-outbox-', md5(concat_ws('.', coalesce(?, database()), ?)))";
    let query = sqlx::query_scalar(NAME).bind(table.schema()).bind(table.name());
    let doing = |error| failure(format!("failed to name the lock of the outbox `{table}`"), error);
    query.persistent(false).fetch_one(connection).await.map_err(doing)
}

#[async_trait]
impl Database for MySqlOutbox {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn log_end(&self) -> u64 {
        self.log_end
    }

    async fn reader(&self, _cursor: Option<Cursor>) -> Result<Box<dyn Reader>> {
        let connection = mysql::connect(&self.options, CONNECT_WITHIN).await?;
        let snapshot = Snapshot::new(connection, &self.table).await?;
        Ok(Box::new(MySqlReader::new(snapshot, self.statements.clone(), &self.config)))
    }

    async fn settle(&self, keys: &Keys) -> Result<()> {
        self.lock.check()?;
        let doing = format!("failed to settle rows of `{}`", self.table);
        let mut settling = self.settling.lock().await;
        let mut connection = self.connection(settling.take(), SETTLING).await?;
        for statement in self.statements.settle(keys) {
            // Nothing is deleted any more once another relay may run.
            self.lock.check()?;
            self.answered(&doing, connection.execute(AssertSqlSafe(statement))).await?;
            reach!("outbox: one of several deletions done");
        }
        settling.put(connection);
        Ok(())
    }

    async fn clean(&self, marked_for: Duration) -> Result<u64> {
        self.lock.check()?;
        let doing = format!("failed to clean `{}`", self.table);
        let mut settling = self.settling.lock().await;
        let mut connection = self.connection(settling.take(), SETTLING).await?;
        let select = self.statements.marked(marked_for);
        let rows = self.answered(&doing, connection.fetch_all(AssertSqlSafe(select))).await?;
        let mut keys = Keys::default();
        for row in &rows {
            keys.insert(&self.statements.key(row).map_err(|error| failure(&doing, error))?);
        }
        for statement in self.statements.delete(&keys) {
            self.answered(&doing, connection.execute(AssertSqlSafe(statement))).await?;
        }
        settling.put(connection);
        Ok(u64::try_from(rows.len()).unwrap_or(u64::MAX))
    }

    async fn oldest_writer(&self) -> Result<Option<Duration>> {
        let mut known = self.writers.lock().await;
        let mut connection = self.connection(known.connection.take(), SETTLING).await?;
        let doing = format!("failed to look for open writers of `{}`", self.table);
        let look = known.look(&mut connection, &self.statements);
        let oldest = self.answered(&doing, look).await?;
        known.connection = Some(connection);
        Ok(oldest)
    }

    async fn lock_lost(&self) -> Error {
        self.lock.lost().await
    }
}

impl MySqlOutbox {
    /// The connection of last time, or a new one.
    async fn connection(
        &self,
        last: Option<MySqlConnection>,
        session: &'static str,
    ) -> Result<MySqlConnection> {
        if let Some(connection) = last {
            return Ok(connection);
        }
        let mut connection = mysql::connect(&self.options, CONNECT_WITHIN).await?;
        self.answered("failed to prepare a session", connection.execute(session)).await?;
        Ok(connection)
    }

    /// What a statement answers, unless that takes too long.
    async fn answered<T>(
        &self,
        doing: &str,
        answer: impl Future<Output = sqlx::Result<T>>,
    ) -> Result<T> {
        tokio::select! {
            lost = self.lock.lost() => Err(lost),
            answer = timeout(ANSWER_WITHIN, answer) => match answer {
                Ok(answer) => answer.map_err(|error| failure(doing, error)),
                Err(_) => Err(Error::transient(format!("{doing}: the server does not answer"))),
            },
        }
    }
}

/// What stands for a name in a statement.
fn quote(name: &str) -> String {
    Dialect::MySql.quote(name)
}
