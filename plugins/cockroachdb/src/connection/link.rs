use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use rowtide_core::{Error, Result};
use tokio::{runtime::Handle, task::JoinSet, time::timeout};
use tokio_postgres::{CancelToken, Connection, Row, RowStream, Socket, tls::TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Database, Patience, failure};

/// How long a cancel request and its effect may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection that ends when this is dropped.
///
/// The driver goes on reading for as long as an answer is not complete, and that of a changefeed
/// never is; so whoever drops this has the statement cancelled and the socket closed.
pub(crate) struct Link {
    /// There until it has ended. It runs in no task of its own, which would have to be woken, and
    /// wake the reader, for every few rows. Never locked: it makes this shareable.
    connection: Mutex<Option<Running>>,
    cancel: Option<(CancelToken, MakeRustlsConnect)>,
}

type Running = BoxFuture<'static, ()>;

/// A changefeed that runs.
pub(crate) struct Rows {
    /// What came first, by which the changefeed is known to run.
    first: Option<Row>,
    rows: Pin<Box<RowStream>>,
    patience: Arc<Patience>,
    place: String,
    link: Link,
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
        // Whoever waits for an answer hears of the error too.
        let connection = connection.map(drop).boxed();
        Self { connection: Mutex::new(Some(connection)), cancel: Some((token, tls)) }
    }

    /// Waits for an answer, and runs the connection meanwhile.
    pub(super) async fn run<T>(&mut self, answer: impl Future<Output = T>) -> T {
        let mut answer = pin!(answer);
        poll_fn(|context| {
            if let Poll::Ready(answer) = answer.as_mut().poll(context) {
                return Poll::Ready(answer);
            }
            let connection = self.connection();
            if connection.as_mut().is_some_and(|running| running.poll_unpin(context).is_ready()) {
                *connection = None;
            }
            answer.as_mut().poll(context)
        })
        .await
    }

    /// Runs the connection in a task, for short questions: there is nothing to cancel.
    pub(super) fn spawn(mut self) -> JoinSet<()> {
        self.cancel = None;
        self.connection().take().into_iter().collect()
    }

    fn connection(&mut self) -> &mut Option<Running> {
        self.connection.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let Some(connection) = self.connection().take() else { return };
        if let (Some((token, tls)), Ok(runtime)) = (self.cancel.take(), Handle::try_current()) {
            let ended = async move {
                // Once the server has ended the statement, the driver hangs up.
                let (cancelled, ()) = tokio::join!(token.cancel_query(tls), connection);
                cancelled.ok()
            };
            runtime.spawn(timeout(CANCEL_TIMEOUT, ended));
        }
    }
}

impl Rows {
    /// Starts a changefeed, and waits for what it says first.
    pub(crate) async fn start(
        database: &Database,
        statement: &str,
        patience: Arc<Patience>,
    ) -> Result<Self> {
        let (client, mut link) = database.connect().await?;
        let place = database.place.clone();
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 0] = [];
        // The cluster may answer no sooner than with the first row.
        let started = link.run(client.query_raw(statement, parameters));
        let started = timeout(patience.duration(), started).await;
        let rows = started
            .map_err(|_| silence(&place, &patience))?
            .map_err(|error| failure(format!("{place} failed to start a changefeed"), error))?;
        let mut rows = Self { first: None, rows: Box::pin(rows), patience, place, link };
        rows.first = rows.next().await?;
        Ok(rows)
    }

    /// The next row; `None` once the changefeed has ended by itself.
    pub(crate) async fn next(&mut self) -> Result<Option<Row>> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let next = timeout(self.patience.duration(), self.link.run(self.rows.next())).await;
        self.row(next.map_err(|_| silence(&self.place, &self.patience))?)
    }

    /// The next row, if it is there already.
    pub(crate) fn ready(&mut self) -> Option<Result<Option<Row>>> {
        let next = self.link.run(self.rows.next()).now_or_never()?;
        Some(self.row(next))
    }

    fn row(&self, next: Option<Result<Row, tokio_postgres::Error>>) -> Result<Option<Row>> {
        let doing = |error| failure(format!("the changefeed of {} failed", self.place), error);
        next.transpose().map_err(doing)
    }
}

fn silence(place: &str, patience: &Patience) -> Error {
    let lasted = patience.duration();
    patience.lengthen();
    Error::transient(format!("the changefeed of {place} was silent for {lasted:?}"))
}

#[cfg(test)]
mod tests {
    use rowtide_core::{ErrorKind, settings::Secret};
    use rowtide_fake_cockroachdb::{Faults, Options, Server};

    use super::*;

    async fn is_silent_for(database: &Database, patience: &Arc<Patience>) -> Error {
        let sql = "CREATE CHANGEFEED FOR TABLE t WITH initial_scan = 'yes', updated";
        let mut rows = Rows::start(database, sql, Arc::clone(patience)).await.unwrap();
        loop {
            if let Err(error) = rows.next().await {
                return error;
            }
        }
    }

    #[tokio::test]
    async fn a_changefeed_that_is_silent_is_given_up_and_waited_for_longer_the_next_time() {
        let faults = Faults { stall_after: Some(2), ..Faults::none() };
        let server = Server::start(Options { faults, ..Options::default() }).unwrap();
        server.execute("CREATE TABLE t (id INT8 PRIMARY KEY)").unwrap();
        server.execute("INSERT INTO t VALUES (1), (2), (3)").unwrap();
        let url = serde_json::from_value::<Secret>(server.url().into()).unwrap();
        let database = Database::new(&url, None).unwrap();
        let patience = Arc::new(Patience::new(Duration::from_millis(50)));
        for lasted in ["50ms", "100ms"] {
            let error = is_silent_for(&database, &patience).await;
            assert_eq!(error.kind(), &ErrorKind::Transient);
            assert!(error.to_string().ends_with(&format!("was silent for {lasted}")), "{error}");
        }
    }
}
