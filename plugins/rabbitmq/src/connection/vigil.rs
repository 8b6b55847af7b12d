//! What becomes of a connection while others use it.

use std::{io, pin::pin, time::Duration};

use futures_util::StreamExt;
use lapin::{Connection, ConnectionStatus, Event};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::soft_error;

/// How often the state of the connection, or of a channel, is looked at, beside what the client
/// tells of it.
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

    /// Waits for `operation`, or until the connection is lost, or its own channel as `has_ended`
    /// tells.
    pub(crate) async fn over<T>(
        &self,
        operation: impl Future<Output = lapin::Result<T>>,
        has_ended: impl Fn() -> bool,
    ) -> lapin::Result<T> {
        let mut operation = pin!(operation);
        let error = tokio::select! {
            biased;
            outcome = &mut operation => return outcome,
            error = self.told() => error,
            () = seen(has_ended) => aborted(),
        };
        timeout(LAST_WORDS, operation).await.unwrap_or(Err(error))
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

async fn seen(has_ended: impl Fn() -> bool) {
    loop {
        sleep(LOOK_EVERY).await;
        if has_ended() {
            return;
        }
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
            // The end of a mere channel is told in the same way, and is no answer to operations
            // that had nothing to do with it; the state of the connection is set before it is told.
            Some(Event::Error(error)) if !status.connected() => {
                return if soft_error(&error).is_some() { aborted() } else { error };
            }
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
    use std::{cell::Cell, future::pending};

    use super::*;

    fn vigil() -> (watch::Sender<Option<lapin::Error>>, Vigil) {
        let (tell, lost) = watch::channel(None);
        (tell, Vigil { task: tokio::spawn(async {}), lost })
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_client_forgets_ends_with_the_connection() {
        let (tell, vigil) = vigil();
        let (outcome, _) =
            tokio::join!(vigil.over(pending::<lapin::Result<()>>(), || false), async {
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
        let error = vigil.over(refused, || false).await.unwrap_err();
        assert!(error.to_string().contains("refused"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_client_forgets_ends_with_its_channel() {
        let (_tell, vigil) = vigil();
        let looks = Cell::new(0);
        let has_ended = || looks.replace(looks.get() + 1) == 2;
        let error = vigil.over(pending::<lapin::Result<()>>(), has_ended).await.unwrap_err();
        assert_eq!((looks.get(), soft_error(&error)), (3, None), "{error}");
    }
}
