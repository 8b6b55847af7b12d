//! One relay a table: an advisory lock, held by a transaction that does nothing else.
//!
//! A session's lock would stay behind in a transaction pooler. Whoever waits for a lock holds back
//! vacuum meanwhile, so a standby tries again and again.

use std::time::Duration;

use rowtide_core::{Context, Error, Result};
use rowtide_sql::{failure, postgres};
use sqlx::{
    Executor, Row,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::{sync::watch, time::timeout};

use crate::source::Task;

/// How often a standby tries.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// How often the holder looks whether its connection lives, and how long it waits for an answer.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Who has waited lets its predecessor notice that the lock is lost, and drop what is in flight.
const PREDECESSOR_NOTICES: Duration = Duration::from_millis(2_500);

/// A standby takes over within 5 s, and its predecessor has noticed by then.
const _: () = assert!(
    TRY_EVERY.as_millis() + PREDECESSOR_NOTICES.as_millis() < 5_000
        && LOOK_EVERY.as_millis() + ANSWER_WITHIN.as_millis() <= PREDECESSOR_NOTICES.as_millis()
);

/// A transaction may be idle for ever here.
const BEGIN: &str = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0";

/// The first half of the lock's key; the second is the table.
const NAMESPACE: i32 = i32::from_be_bytes(*b"rowt");

/// A lock that is held.
pub(super) struct Lock {
    lost: watch::Receiver<Option<String>>,
    _holder: Task,
}

impl Lock {
    /// One that the session has taken.
    pub(super) fn held(mut listener: PgListener, context: &Context) -> Self {
        let (sender, lost) = watch::channel(None);
        let context = context.clone();
        let holder = async move {
            let reason = hold(&mut listener).await;
            let _ = sender.send(Some(reason));
            context.note_lock_lost();
        };
        Self { lost, _holder: Task::spawn(holder) }
    }

    /// Returns once the lock is lost, and why.
    pub(super) async fn lost(&self) -> Error {
        let mut lost = self.lost.clone();
        let reason = match lost.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "its task has ended".to_owned(),
        };
        error(&reason)
    }

    /// Fails once the lock is lost.
    pub(super) fn check(&self) -> Result<()> {
        match &*self.lost.borrow() {
            Some(reason) => Err(error(reason)),
            None => Ok(()),
        }
    }
}

fn error(reason: &str) -> Error {
    Error::transient(format!("the lock of the outbox is lost: {reason}"))
}

/// A connection that can be listened on, and so tells at once when it ends.
pub(super) async fn session(options: &PgConnectOptions) -> Result<PgListener> {
    let doing = |error| failure("failed to connect for the lock of the outbox", error);
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(|connection, _| Box::pin(postgres::prepare(connection)))
        .connect_with(options.clone())
        .await
        .map_err(doing)?;
    let mut listener = PgListener::connect_with(&pool).await.map_err(doing)?;
    listener.ignore_pool_close_event(true);
    listener.eager_reconnect(false);
    Ok(listener)
}

/// Waits for the lock of the table, as a standby, and takes it.
pub(super) async fn wait(listener: &mut PgListener, table: i64, context: &Context) -> Result<()> {
    context.note_waited_for_lock();
    tracing::info!("another relay has the lock of the outbox; waiting for it");
    loop {
        pause(TRY_EVERY, context).await?;
        if try_lock(listener, table).await? {
            return Ok(());
        }
    }
}

/// Lets whoever had the lock before notice that it is lost.
pub(super) async fn await_predecessor(context: &Context) -> Result<()> {
    pause(PREDECESSOR_NOTICES, context).await?;
    tracing::info!("took the lock of the outbox over");
    Ok(())
}

/// Takes the lock of the table, unless another session has it.
pub(super) async fn try_lock(listener: &mut PgListener, table: i64) -> Result<bool> {
    let doing = |error| failure("failed to take the lock of the outbox", error);
    listener.execute(BEGIN).await.map_err(doing)?;
    let attempt = sqlx::query("SELECT pg_try_advisory_xact_lock($1, $2)")
        .bind(NAMESPACE)
        .bind(key(table))
        .persistent(false);
    let row = listener.fetch_one(attempt).await.map_err(doing)?;
    if row.try_get(0).map_err(doing)? {
        return Ok(true);
    }
    listener.execute("ROLLBACK").await.map_err(doing)?;
    Ok(false)
}

/// The bits of an oid, which has no sign.
fn key(table: i64) -> i32 {
    u32::try_from(table).unwrap_or_default().cast_signed()
}

async fn pause(length: Duration, context: &Context) -> Result<()> {
    let shutdown = context.shutdown();
    tokio::select! {
        () = shutdown.requested() => {
            Err(Error::transient("stopped while waiting for the lock of the outbox"))
        }
        () = tokio::time::sleep(length) => Ok(()),
    }
}

/// Holds the lock until its connection ends, and returns why it did.
async fn hold(listener: &mut PgListener) -> String {
    loop {
        match timeout(LOOK_EVERY, listener.try_recv()).await {
            Ok(Ok(None)) => return "the server has closed the connection".to_owned(),
            Ok(Err(error)) => return failure("its connection has failed", error).to_string(),
            Ok(Ok(Some(_))) => {}
            Err(_) => match timeout(ANSWER_WITHIN, listener.execute("SELECT 1")).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return failure("its connection has failed", error).to_string(),
                Err(_) => return "the server does not answer".to_owned(),
            },
        }
    }
}
