//! Waiting for messages: a notification, or the next look.

use std::time::Duration;

use rowtide_core::{Error, Result};
use rowtide_sql::failure;
use sqlx::{
    Connection, PgConnection,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};

/// How long a notification may take that is sent to try the way.
const TRIED_WITHIN: Duration = Duration::from_secs(3);

/// What a reader waits for.
pub(super) struct Wake {
    poll_every: Duration,
    listener: Option<PgListener>,
}

impl Wake {
    pub(super) async fn new(
        options: &PgConnectOptions,
        channel: Option<&str>,
        poll_every: Duration,
    ) -> Result<Self> {
        let listener = match channel {
            Some(channel) => Some(listen(options, channel).await?),
            None => None,
        };
        Ok(Self { poll_every, listener })
    }

    /// A notification that comes while nobody waits is kept, and ends the next wait at once.
    pub(super) async fn wait(&mut self) -> Result<()> {
        let Some(listener) = &mut self.listener else {
            tokio::time::sleep(self.poll_every).await;
            return Ok(());
        };
        match tokio::time::timeout(self.poll_every, listener.try_recv()).await {
            Ok(Ok(Some(_))) => while listener.next_buffered().is_some() {},
            Ok(Ok(None)) => {
                let message = "the server has closed the connection that waits for notifications";
                return Err(Error::transient(message));
            }
            Ok(Err(error)) => return Err(failure("failed to wait for a notification", error)),
            Err(_) => {}
        }
        Ok(())
    }
}

async fn listen(options: &PgConnectOptions, channel: &str) -> Result<PgListener> {
    let doing = |error| failure(format!("failed to listen on `{channel}`"), error);
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options.clone())
        .await
        .map_err(doing)?;
    let mut listener = PgListener::connect_with(&pool).await.map_err(doing)?;
    listener.ignore_pool_close_event(true);
    listener.eager_reconnect(false);
    listener.listen(channel).await.map_err(doing)?;
    Ok(listener)
}

/// Sends a notification and waits for it. It does not come through a pooler that gives each
/// transaction another session: LISTEN belongs to a session.
pub(super) async fn try_way(
    options: &PgConnectOptions,
    connection: &mut PgConnection,
    channel: &str,
) -> Result<()> {
    let doing = |error| failure(format!("failed to notify on `{channel}`"), error);
    let mut listener = listen(options, channel).await?;
    let word = format!("rowtide {:p} {}", &raw const listener, std::process::id());
    let mut transaction = connection.begin().await.map_err(doing)?;
    sqlx::query("SELECT pg_notify($1, $2)")
        .bind(channel)
        .bind(&word)
        .persistent(false)
        .execute(&mut *transaction)
        .await
        .map_err(doing)?;
    transaction.commit().await.map_err(doing)?;
    let comes = async {
        while let Ok(Some(notification)) = listener.try_recv().await {
            if notification.payload() == word {
                return true;
            }
        }
        false
    };
    if tokio::time::timeout(TRIED_WITHIN, comes).await.unwrap_or(false) {
        return Ok(());
    }
    let message = format!("no notification comes on `{channel}` through this connection");
    Err(Error::config(message).key("notify").help(
        "a transaction pooler loses them: connect to the server itself, or to a pooler of \
         sessions, or leave `notify` out",
    ))
}
