//! One relay a table: a named lock, on a connection that does nothing else.
//!
//! It ends with its connection, and so with its process. It is no lease: a relay that was frozen
//! would send what its client holds when it goes on.

use std::time::Duration;

use rowtide_core::{Context, Error, Result};
use rowtide_sql::{failure, mysql};
use sqlx::{MySqlConnection, mysql::MySqlConnectOptions};
use tokio::{sync::watch, time::timeout};

use crate::{database::mysql::CONNECT_WITHIN, source::Task};

/// How often a standby tries.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// How often the holder looks whether its connection lives, and how long it waits for an answer.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Who has waited lets its predecessor notice that it has lost the lock, and drop what is in flight.
const PREDECESSOR_NOTICES: Duration = Duration::from_secs(2);

/// A standby takes over within 5 s, and its predecessor has noticed by then.
const _: () = assert!(
    TRY_EVERY.as_millis() + PREDECESSOR_NOTICES.as_millis() < 5_000
        && LOOK_EVERY.as_millis() + ANSWER_WITHIN.as_millis() <= PREDECESSOR_NOTICES.as_millis()
);

/// A lock that is held.
pub(super) struct Lock {
    lost: watch::Receiver<Option<String>>,
    _holder: Task,
}

impl Lock {
    /// Waits for the lock of this name, as a standby.
    pub(super) async fn acquire(
        options: &MySqlConnectOptions,
        name: String,
        context: &Context,
    ) -> Result<Self> {
        let mut connection = mysql::connect(options, CONNECT_WITHIN).await?;
        // Also by an earlier attempt, which failed before it had the lock.
        let mut has_waited = context.waited_for_lock();
        while !try_lock(&mut connection, &name).await? {
            if !has_waited {
                has_waited = true;
                context.note_waited_for_lock();
                tracing::info!("another relay has the lock of the outbox; waiting for it");
            }
            pause(TRY_EVERY, context).await?;
        }
        if has_waited {
            pause(PREDECESSOR_NOTICES, context).await?;
            tracing::info!("took the lock of the outbox over");
        }
        let (sender, lost) = watch::channel(None);
        let context = context.clone();
        let holder = async move {
            let reason = hold(&mut connection, &name).await;
            let _ = sender.send(Some(reason));
            context.note_lock_lost();
        };
        Ok(Self { lost, _holder: Task::spawn(holder) })
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

async fn try_lock(connection: &mut MySqlConnection, name: &str) -> Result<bool> {
    let doing = |error| failure("failed to take the lock of the outbox", error);
    let attempt = sqlx::query_scalar("SELECT CAST(get_lock(?, 0) AS SIGNED)").bind(name);
    let locked: Option<i64> = attempt.fetch_one(connection).await.map_err(doing)?;
    Ok(locked == Some(1))
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
async fn hold(connection: &mut MySqlConnection, name: &str) -> String {
    const IS_OURS: &str = "SELECT CAST(is_used_lock(?) = connection_id() AS SIGNED)";
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let asked = sqlx::query_scalar(IS_OURS).bind(name).fetch_one(&mut *connection);
        match timeout(ANSWER_WITHIN, asked).await {
            Ok(Ok(Some(1_i64))) => {}
            Ok(Ok(_)) => return "somebody has released it".to_owned(),
            Ok(Err(error)) => return failure("its connection has failed", error).to_string(),
            Err(_) => return "the server does not answer".to_owned(),
        }
    }
}
