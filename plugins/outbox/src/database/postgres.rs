mod catalog;
mod lock;
mod plan;
mod reader;
mod setup;
mod snapshot;
mod statements;
mod values;
mod wake;
mod writers;

use std::{sync::Arc, time::Duration};

use rowtide_core::{Context, Error, Result, async_trait};
use rowtide_sql::{DatabaseUrl, failure, postgres};
use sqlx::{
    AssertSqlSafe, Connection, Executor, PgConnection, Row,
    postgres::{PgConnectOptions, PgListener},
};
use tokio::{
    sync::{Mutex, MutexGuard},
    task::{JoinError, JoinSet},
};

pub(crate) use setup::{install, uninstall};

use crate::{
    config::{Order, OutboxConfig},
    database::{
        Database, Reader,
        postgres::{
            catalog::Found,
            lock::Lock,
            plan::Plan,
            reader::{Limits, Open, PostgresReader},
            snapshot::Snapshot,
            statements::Statements,
            wake::Wake,
            writers::Writers,
        },
    },
    keys::Keys,
    layout::Messages,
    source::position::Cursor,
};

/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// An outbox in PostgreSQL.
struct Postgres {
    config: OutboxConfig,
    options: PgConnectOptions,
    identity: String,
    log_end: u64,
    statements: Arc<Statements>,
    lock: Lock,
    /// For all that is not reading; made anew after an error.
    connection: Mutex<Option<PgConnection>>,
    /// For the first reader.
    spare: Mutex<Option<PgConnection>>,
    writers: Mutex<Writers>,
}

pub(crate) async fn open(
    config: &OutboxConfig,
    url: &DatabaseUrl,
    context: &Context,
) -> Result<(Arc<dyn Database>, Messages)> {
    let options = postgres::options(url, config.tls.as_ref())?;
    let mut others = Connecting::start(&options);
    let mut connection = postgres::connect(&options, CONNECT_WITHIN).await?;
    let mut found = checked(config, &mut connection).await?;
    let table = found.oid;
    if let Some(channel) = &config.notify {
        wake::try_way(&options, &mut connection, channel).await?;
    }
    let mut listener = others.lock().await?;
    let mut spare = None;
    let is_free = lock::try_lock(&mut listener, table).await?;
    let lock = if is_free && !context.waited_for_lock() {
        let lock = Lock::held(listener, context);
        spare = Some(others.reading().await?);
        lock
    } else {
        // Perhaps for long: nothing is kept open meanwhile that has no use, and what was true
        // before need not be so any more.
        drop(others);
        if !is_free {
            lock::wait(&mut listener, table, context).await?;
        }
        lock::await_predecessor(context).await?;
        let lock = Lock::held(listener, context);
        connection = postgres::connect(&options, CONNECT_WITHIN).await?;
        found = checked(config, &mut connection).await?;
        if found.oid != table {
            return Err(Error::transient("the outbox was made anew while its lock was waited for"));
        }
        lock
    };
    let (identity, log_end) = catalog::identity(&mut connection, table, config.done).await?;
    let database = Postgres {
        config: config.clone(),
        options,
        identity,
        log_end,
        statements: Arc::new(found.statements),
        lock,
        connection: Mutex::new(Some(connection)),
        spare: Mutex::new(spare),
        writers: Mutex::new(Writers::new(table)),
    };
    Ok((Arc::new(database), found.messages))
}

/// Connections that are made while others are in use already: each takes several round trips.
struct Connecting {
    lock: JoinSet<Result<PgListener>>,
    reading: JoinSet<Result<PgConnection>>,
}

impl Connecting {
    fn start(options: &PgConnectOptions) -> Self {
        let (mut lock, mut reading) = (JoinSet::new(), JoinSet::new());
        let of_lock = options.clone();
        lock.spawn(async move { lock::session(&of_lock).await });
        let of_reading = options.clone();
        reading.spawn(async move { postgres::connect(&of_reading, CONNECT_WITHIN).await });
        Self { lock, reading }
    }

    async fn lock(&mut self) -> Result<PgListener> {
        made(self.lock.join_next().await)
    }

    async fn reading(&mut self) -> Result<PgConnection> {
        made(self.reading.join_next().await)
    }
}

fn made<C>(connection: Option<std::result::Result<Result<C>, JoinError>>) -> Result<C> {
    connection
        .and_then(std::result::Result::ok)
        .unwrap_or_else(|| Err(Error::fatal("connecting to PostgreSQL ended with a panic")))
}

async fn connect(config: &OutboxConfig, url: &DatabaseUrl) -> Result<PgConnection> {
    let options = postgres::options(url, config.tls.as_ref())?;
    postgres::connect(&options, CONNECT_WITHIN).await
}

/// A table that is what the settings say.
struct Checked {
    oid: i64,
    messages: Messages,
    statements: Statements,
}

/// Looks whether the table is what the settings say.
async fn checked(config: &OutboxConfig, connection: &mut PgConnection) -> Result<Checked> {
    let table = config.table()?;
    let Some(found) = Found::look(connection, &table).await? else {
        let message = format!("there is no table `{table}`");
        let help = "`rowtide setup` makes it; `rowtide setup --print` shows how";
        return Err(Error::config(message).key("table").help(help));
    };
    catalog::identity(connection, found.oid, config.done).await?;
    let messages = Messages::new(config, &found.described())?;
    let lacking = Plan::new(config, Some(&found))?.needed;
    if !lacking.is_empty() {
        let key = if config.order == Order::None { "done_column" } else { "order_column" };
        let message = format!("the outbox `{table}` lacks what keeps its messages in order");
        let help =
            format!("run `rowtide setup`, or: {}; or set order = \"none\"", lacking.join("; "));
        return Err(Error::config(message).key(key).help(help));
    }
    if config.order == Order::Transactions {
        catalog::check_transactions(connection, config).await?;
    }
    let statements = Statements::new(config, &found, &messages)?;
    Ok(Checked { oid: found.oid, messages, statements })
}

#[async_trait]
impl Database for Postgres {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn log_end(&self) -> u64 {
        self.log_end
    }

    async fn reader(&self, cursor: Option<Cursor>) -> Result<Box<dyn Reader>> {
        let (seen, span) = resumed(cursor)?;
        let mut connection = match self.spare.lock().await.take() {
            Some(connection) => connection,
            None => postgres::connect(&self.options, CONNECT_WITHIN).await?,
        };
        check_history(&mut connection, seen.as_ref(), span.as_ref()).await?;
        let poll_every = self.config.poll_every.duration();
        let wake = Wake::new(&self.options, self.config.notify.as_deref(), poll_every).await?;
        let rows = usize::try_from(self.config.page_rows.get()).unwrap_or(usize::MAX);
        let bytes = usize::try_from(self.config.page_bytes.0).unwrap_or(usize::MAX / 2);
        Ok(Box::new(PostgresReader {
            connection,
            options: self.options.clone(),
            statements: Arc::clone(&self.statements),
            wake,
            limits: Limits::new(rows, bytes),
            seen,
            span,
        }))
    }

    async fn settle(&self, keys: &Keys) -> Result<()> {
        let statement = self.statements.settle(self.config.done);
        let batch = usize::try_from(self.config.delete_rows.get()).unwrap_or(usize::MAX);
        let ids: Vec<&str> = keys.ids().collect();
        let mut held = self.connection.lock().await;
        for (first, last) in keys.runs(batch) {
            self.lock.check()?;
            let query = sqlx::query(AssertSqlSafe(statement.clone())).bind(first).bind(last);
            self.execute(&mut held, query).await?;
        }
        for batch in ids.chunks(batch) {
            self.lock.check()?;
            let query = sqlx::query(AssertSqlSafe(statement.clone())).bind(batch);
            self.execute(&mut held, query).await?;
        }
        self.lock.check()
    }

    async fn clean(&self, marked_for: Duration) -> Result<u64> {
        let mut held = self.connection.lock().await;
        let query = sqlx::query(AssertSqlSafe(self.statements.clean()))
            .bind(marked_for.as_secs_f64())
            .bind(i64::from(self.config.delete_rows.get()));
        self.execute(&mut held, query).await
    }

    async fn oldest_writer(&self) -> Result<Option<Duration>> {
        let mut held = self.connection.lock().await;
        let connection = self.connected(&mut held).await?;
        let oldest = self.writers.lock().await.oldest(connection).await;
        if oldest.is_err() {
            *held = None;
        }
        oldest
    }

    async fn lock_lost(&self) -> Error {
        self.lock.lost().await
    }
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;
type Held<'a> = MutexGuard<'a, Option<PgConnection>>;

impl Postgres {
    async fn connected<'c>(&self, held: &'c mut Held<'_>) -> Result<&'c mut PgConnection> {
        let connection = match held.take() {
            Some(connection) => connection,
            None => postgres::connect(&self.options, CONNECT_WITHIN).await?,
        };
        Ok(held.insert(connection))
    }

    /// Runs a statement in a transaction of its own, and returns how many rows it was about.
    async fn execute(&self, held: &mut Held<'_>, query: Query<'_>) -> Result<u64> {
        let connection = self.connected(held).await?;
        match in_transaction(connection, query.persistent(false)).await {
            Ok(rows) => Ok(rows),
            Err(error) => {
                **held = None;
                Err(failure("failed to clear the outbox of what is delivered", error))
            }
        }
    }
}

/// In one that is begun, since a pooler may otherwise give each half of a statement with parameters
/// to another session. The plan must not depend on what the statistics say of a table that is now
/// full and now empty.
async fn in_transaction(connection: &mut PgConnection, query: Query<'_>) -> sqlx::Result<u64> {
    let mut transaction = connection.begin_with("BEGIN; SET LOCAL enable_seqscan = off").await?;
    let outcome = query.execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(outcome.rows_affected())
}

fn resumed(cursor: Option<Cursor>) -> Result<(Option<Snapshot>, Option<Open>)> {
    match cursor {
        None => Ok((None, None)),
        Some(Cursor::Snapshots { seen, reading }) => {
            let seen = seen.as_deref().map(Snapshot::parse).transpose()?;
            let open = |reading: crate::source::position::Reading| {
                Ok::<_, Error>(Open::resume(Snapshot::parse(&reading.snapshot)?, reading.after))
            };
            Ok((seen, reading.map(open).transpose()?))
        }
        Some(Cursor::Row { .. }) => {
            Err(Error::position_lost("the saved position is of another database"))
        }
    }
}

/// Refuses snapshots from the future: the server has lost what they saw.
async fn check_history(
    connection: &mut PgConnection,
    seen: Option<&Snapshot>,
    span: Option<&Open>,
) -> Result<()> {
    let doing = |error| failure("failed to look at the server's transactions", error);
    let query = sqlx::raw_sql("SELECT pg_current_snapshot()::text");
    let row = connection.fetch_one(query).await.map_err(doing)?;
    let now = Snapshot::parse(&row.try_get::<String, _>(0).map_err(doing)?)?;
    let mut saved = seen.into_iter().chain(span.map(|open| &open.reading));
    if saved.all(|snapshot| snapshot.is_not_after(&now)) {
        return Ok(());
    }
    let message = "the server has lost transactions that the saved position has seen";
    Err(Error::position_lost(message).help(
        "it was restored from a backup; to read the whole outbox anew, `rowtide checkpoint reset`",
    ))
}
