//! What becomes of a connection while others use it.

use std::{io, pin::pin, time::Duration};

use futures_util::StreamExt;
use lapin::{Connection, ConnectionStatus, Event};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

/// How often the state of the connection is looked at, beside what the client tells of it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long an operation has to tell by itself why it failed.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Notices the end of a connection.
///
/// The client answers what is under way when a connection breaks, and never what is handed to it
/// in that moment: nothing may wait for the broker without this.
pub(crate) struct Vigil {
    task: JoinHandle<()>,
    lost: watch::Receiver<Option<lapin::Error>>,
}

impl Vigil {
    pub(crate) fn keep(client: &Connection, server: String) -> Self {
        let (tell, lost) = watch::channel(None);
        let (events, status) = (client.events_listener(), client.status().clone());
        let task = tokio::spawn(async move {
            let error = end(events, status, server).await;
            tell.send_replace(Some(error));
        });
        Self { task, lost }
    }

    /// Waits for `operation`, or until the connection is lost.
    pub(crate) async fn over<T>(
        &self,
        operation: impl Future<Output = lapin::Result<T>>,
    ) -> lapin::Result<T> {
        let mut operation = pin!(operation);
        tokio::select! {
            biased;
            outcome = &mut operation => outcome,
            error = self.told() => timeout(LAST_WORDS, operation).await.unwrap_or(Err(error)),
        }
    }

    async fn told(&self) -> lapin::Error {
        let mut lost = self.lost.clone();
        let told = lost.wait_for(Option::is_some).await;
        told.ok().and_then(|error| error.clone()).unwrap_or_else(aborted)
    }
}

impl Drop for Vigil {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns when the connection has ended. Tells meanwhile when the broker takes nothing for a while;
/// publishing waits then, by itself.
async fn end(
    mut events: impl futures_util::Stream<Item = Event> + Unpin,
    status: ConnectionStatus,
    server: String,
) -> lapin::Error {
    let mut is_blocked = false;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            // What happened before anybody listened is told nobody.
            () = sleep(LOOK_EVERY) => match status.connected() {
                true => continue,
                false => return aborted(),
            },
        };
        match event {
            Some(Event::ConnectionBlocked(reason)) if !is_blocked => {
                is_blocked = true;
                tracing::warn!("{server} takes no messages for now: {reason}");
            }
            Some(Event::ConnectionUnblocked) if is_blocked => {
                is_blocked = false;
                tracing::info!("{server} takes messages again");
            }
            Some(Event::Error(error)) => return error,
            Some(_) => {}
            None => return aborted(),
        }
    }
}

fn aborted() -> lapin::Error {
    io::Error::from(io::ErrorKind::ConnectionAborted).into()
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn vigil() -> (watch::Sender<Option<lapin::Error>>, Vigil) {
        let (tell, lost) = watch::channel(None);
        (tell, Vigil { task: tokio::spawn(async {}), lost })
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_client_forgets_ends_with_the_connection() {
        let (tell, vigil) = vigil();
        let (outcome, _) = tokio::join!(vigil.over(pending::<lapin::Result<()>>()), async {
            tell.send_replace(Some(aborted()))
        });
        assert!(outcome.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_tells_by_itself_why_it_failed() {
        let (tell, vigil) = vigil();
        tell.send_replace(Some(aborted()));
        let refused = async {
            sleep(LAST_WORDS / 2).await;
            Err::<(), _>(io::Error::other("refused").into())
        };
        let error = vigil.over(refused).await.unwrap_err();
        assert!(error.to_string().contains("refused"), "{error}");
    }
}
