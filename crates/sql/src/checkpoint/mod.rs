//! A checkpoint store in one table: a row a pipeline, and every write replaces a row that is still
//! as it was read, or does nothing.
//!
//! Such a replacement is one statement and atomic by itself, under every isolation level. So two
//! that claim at once cannot both win, nothing is saved under an older claim, and a save whose
//! answer was lost cannot arrive later and undo a newer one.

mod row;
mod session;

use std::time::Duration;

use rowtide_core::{
    CheckpointStore, CheckpointUpdate, Claim, Error, Owner, PartitionState, Result, async_trait,
};
use tokio::sync::{Mutex, MutexGuard};

pub use self::row::Row;
use self::session::Session;

/// A connection that was idle for longer may have been cut by a firewall, silently.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// The table that a [`Store`] keeps its rows in.
#[async_trait]
pub trait Table: Send + Sync + 'static {
    /// The driver's connection.
    type Connection: Send;

    /// What messages call it: "table `rowtide_checkpoint` of PostgreSQL at …".
    fn place(&self) -> String;

    /// Connects to the server.
    async fn connect(&self) -> Result<Self::Connection>;

    /// The row of a pipeline.
    async fn select(
        &self,
        connection: &mut Self::Connection,
        pipeline: &str,
    ) -> sqlx::Result<Option<Row>>;

    /// The rows of all pipelines.
    async fn select_all(&self, connection: &mut Self::Connection) -> sqlx::Result<Vec<Row>>;

    /// Adds a row, durably; false if there is one of its pipeline.
    async fn insert(&self, connection: &mut Self::Connection, row: &Row) -> sqlx::Result<bool>;

    /// Puts `new` in the place of `old`, durably, in one statement that matches the pipeline and
    /// the digest of `old`; false if nothing does.
    async fn replace(
        &self,
        connection: &mut Self::Connection,
        old: &Row,
        new: &Row,
    ) -> sqlx::Result<bool>;
}

/// A checkpoint store in a [`Table`]. It connects when it is first asked, keeps the connection, and
/// connects anew after an error.
pub struct Store<T: Table> {
    table: T,
    timeout: Duration,
    kept: Mutex<Option<Session<T>>>,
}

impl<T: Table> Store<T> {
    /// A store that gives up on a server which does not answer for `timeout`.
    pub fn new(table: T, timeout: Duration) -> Self {
        Self { table, timeout, kept: Mutex::new(None) }
    }

    /// Takes the session, so that one that fails, or whose caller goes away, is dropped.
    async fn session(&self, kept: &mut MutexGuard<'_, Option<Session<T>>>) -> Result<Session<T>> {
        match kept.take().filter(|session| session.used().elapsed() < IDLE_MAX) {
            Some(session) => Ok(session),
            None => self.in_time(Session::connect(&self.table)).await,
        }
    }

    async fn in_time<R>(&self, work: impl Future<Output = Result<R>>) -> Result<R> {
        let unanswered = |_| {
            Error::transient(format!("failed to reach {}: it does not answer", self.table.place()))
        };
        tokio::time::timeout(self.timeout, work).await.map_err(unanswered)?
    }
}

/// Keeps the session for the next call, unless it may be what failed.
fn keep<T: Table, R>(
    kept: &mut Option<Session<T>>,
    mut session: Session<T>,
    done: Result<R>,
) -> Result<R> {
    if !done.as_ref().is_err_and(Error::is_transient) {
        session.note_use();
        *kept = Some(session);
    }
    done
}

#[async_trait]
impl<T: Table> CheckpointStore for Store<T> {
    async fn load(&self, pipeline: &str) -> Result<Vec<PartitionState>> {
        let mut kept = self.kept.lock().await;
        let mut session = self.session(&mut kept).await?;
        let loaded = self.in_time(session.load(&self.table, pipeline)).await;
        keep(&mut kept, session, loaded)
    }

    async fn claim(&self, pipeline: &str, owner: &Owner) -> Result<Claim> {
        let mut kept = self.kept.lock().await;
        let mut session = self.session(&mut kept).await?;
        let claim = self.in_time(session.claim(&self.table, pipeline, owner)).await;
        keep(&mut kept, session, claim)
    }

    async fn save(&self, claim: &Claim, update: &CheckpointUpdate) -> Result<()> {
        let mut kept = self.kept.lock().await;
        let mut session = self.session(&mut kept).await?;
        let saved = self.in_time(session.save(&self.table, claim, update)).await;
        keep(&mut kept, session, saved)
    }
}
