use std::{pin::Pin, time::Duration};

use futures_util::{FutureExt, StreamExt};
use rowtide_core::{Error, Result};
use tokio::{runtime::Handle, task::JoinHandle, time::timeout};
use tokio_postgres::{CancelToken, Connection, Row, RowStream, Socket, tls::TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Database, failure};

/// How long a cancel request and its effect may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection that ends when this is dropped.
///
/// The driver goes on reading for as long as an answer is not complete, and that of a changefeed
/// never is; so whoever drops this has the statement cancelled and the socket closed.
pub(crate) struct Link {
    connection: Option<JoinHandle<()>>,
    cancel: Option<(CancelToken, MakeRustlsConnect)>,
}

/// A changefeed that runs.
pub(crate) struct Rows {
    /// What came first, by which the changefeed is known to run.
    first: Option<Row>,
    rows: Pin<Box<RowStream>>,
    patience: Duration,
    place: String,
    _link: Link,
}

impl Link {
    pub(super) fn new<S>(
        connection: Connection<Socket, S>,
        token: CancelToken,
        tls: MakeRustlsConnect,
    ) -> Self
    where
        S: TlsStream + Send + Unpin + 'static,
    {
        let run = async move {
            // Whoever waits for an answer hears of the error too.
            let _ = connection.await;
        };
        Self { connection: Some(tokio::spawn(run)), cancel: Some((token, tls)) }
    }

    /// For short questions: there is nothing to cancel.
    pub(super) fn without_cancel(mut self) -> Self {
        self.cancel = None;
        self
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let running = self.cancel.take().filter(|_| !connection.is_finished());
        match (running, Handle::try_current()) {
            (Some((token, tls)), Ok(runtime)) => {
                runtime.spawn(async move {
                    let ended = async {
                        // Once the server has ended the statement, the driver hangs up.
                        token.cancel_query(tls).await.ok()?;
                        (&mut connection).await.ok()
                    };
                    let _ = timeout(CANCEL_TIMEOUT, ended).await;
                    connection.abort();
                });
            }
            _ => connection.abort(),
        }
    }
}

impl Rows {
    /// Starts a changefeed, and waits for what it says first.
    pub(crate) async fn start(
        database: &Database,
        statement: &str,
        patience: Duration,
    ) -> Result<Self> {
        let (client, link) = database.connect().await?;
        let place = database.place.clone();
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 0] = [];
        // The cluster may answer no sooner than with the first row.
        let started = timeout(patience, client.query_raw(statement, parameters)).await;
        let rows = started
            .map_err(|_| silence(&place, patience))?
            .map_err(|error| failure(format!("{place} failed to start a changefeed"), error))?;
        let mut rows = Self { first: None, rows: Box::pin(rows), patience, place, _link: link };
        rows.first = rows.next().await?;
        Ok(rows)
    }

    /// The next row; `None` once the changefeed has ended by itself.
    pub(crate) async fn next(&mut self) -> Result<Option<Row>> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let next = timeout(self.patience, self.rows.next()).await;
        self.row(next.map_err(|_| silence(&self.place, self.patience))?)
    }

    /// The next row, if it is there already.
    pub(crate) fn ready(&mut self) -> Option<Result<Option<Row>>> {
        let next = self.rows.next().now_or_never()?;
        Some(self.row(next))
    }

    fn row(&self, next: Option<Result<Row, tokio_postgres::Error>>) -> Result<Option<Row>> {
        let doing = |error| failure(format!("the changefeed of {} failed", self.place), error);
        next.transpose().map_err(doing)
    }
}

fn silence(place: &str, patience: Duration) -> Error {
    Error::transient(format!("the changefeed of {place} was silent for {patience:?}"))
}
