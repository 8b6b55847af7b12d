use std::time::Duration;

use futures_util::StreamExt;
use rowtide_core::{Error, Result};
use tokio::{runtime::Handle, task::AbortHandle, time::timeout};
use tokio_postgres::{CancelToken, Connection, Row, RowStream, Socket, tls::TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Database, failure};

/// How long a cancel request may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection that ends when this is dropped.
///
/// The driver goes on reading for as long as an answer is not complete, and that of a changefeed
/// never is; so whoever drops this has the statement cancelled and the socket closed.
pub(crate) struct Link {
    connection: AbortHandle,
    cancel: Option<(CancelToken, MakeRustlsConnect)>,
}

/// A changefeed that runs.
pub(crate) struct Rows {
    rows: std::pin::Pin<Box<RowStream>>,
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
        Self { connection: tokio::spawn(run).abort_handle(), cancel: Some((token, tls)) }
    }

    /// For short questions: there is nothing to cancel.
    pub(super) fn without_cancel(mut self) -> Self {
        self.cancel = None;
        self
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let connection = self.connection.clone();
        let running = self.cancel.take().filter(|_| !connection.is_finished());
        match (running, Handle::try_current()) {
            (Some((token, tls)), Ok(runtime)) => {
                runtime.spawn(async move {
                    let _ = timeout(CANCEL_TIMEOUT, token.cancel_query(tls)).await;
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
        // The cluster answers together with the first row.
        let started = timeout(patience, client.query_raw(statement, parameters)).await;
        let rows = started
            .map_err(|_| silence(&place, patience))?
            .map_err(|error| failure(format!("{place} failed to start a changefeed"), error))?;
        Ok(Self { rows: Box::pin(rows), patience, place, _link: link })
    }

    /// The next row; `None` once the changefeed has ended by itself.
    pub(crate) async fn next(&mut self) -> Result<Option<Row>> {
        let next = timeout(self.patience, self.rows.next()).await;
        self.row(next.map_err(|_| silence(&self.place, self.patience))?)
    }

    /// The next row, if it is there already.
    pub(crate) fn ready(&mut self) -> Option<Result<Option<Row>>> {
        let next = futures_util::FutureExt::now_or_never(self.rows.next())?;
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
