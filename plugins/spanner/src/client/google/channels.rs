//! Connections that are never asked for more streams than they take.
//!
//! The library's own pool puts any number of streams into a connection until it has made another
//! one a second later. The queries of a change stream have no end, so that those above the server's
//! limit would wait in their connection for ever.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use google_cloud_auth::credentials::anonymous;
use google_cloud_spanner::{
    builder::SpannerBuilderExt,
    channel_pool::StaticChannelPoolConfig,
    client::{DatabaseClient, Spanner},
};
use rowtide_core::{Error, Result};
use tokio::sync::OnceCell;

use super::{Address, Code, Failure, credentials, failure};

/// A server takes 100 streams a connection; short requests need room beside those that last.
const STREAMS_MAX: usize = 90;

/// What the server says of a session that it has forgotten.
pub(super) const SESSION_LOST: &str = "Session not found";

/// As many connections as there have to be.
pub(super) struct Channels {
    address: Arc<Address>,
    all: Mutex<Vec<Arc<Channel>>>,
    opening: tokio::sync::Mutex<()>,
}

struct Channel {
    spanner: Spanner,
    /// The library makes one session and keeps it, even when the server has forgotten it.
    session: Mutex<Session>,
    streams: AtomicUsize,
}

type Session = Arc<OnceCell<DatabaseClient>>;

/// A session with room for one stream.
pub(super) struct Lease {
    pub(super) database: DatabaseClient,
    session: Session,
    room: Room,
}

/// Room for one stream in a connection, until it is dropped.
struct Room(Arc<Channel>);

impl Channels {
    /// Checks the credentials, and connects at the first request: a server that is away is an error
    /// of that request.
    pub(super) async fn new(address: Arc<Address>) -> Result<Self> {
        let first = Arc::new(Channel::new(&address).await?);
        Ok(Self { address, all: Mutex::new(vec![first]), opening: tokio::sync::Mutex::default() })
    }

    /// Waits for room for one stream.
    pub(super) async fn lease(&self) -> Result<Lease, Failure> {
        let room = match self.room() {
            Some(room) => room,
            None => self.more_room().await?,
        };
        let session = Arc::clone(&room.0.session());
        let connecting = room.0.connect(&self.address);
        let database = session.get_or_try_init(|| connecting).await?.clone();
        Ok(Lease { database, session, room })
    }

    /// Takes room in the first connection that has some, so that others can get empty.
    fn room(&self) -> Option<Room> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let free = all.iter().find(|channel| channel.streams.load(Ordering::SeqCst) < STREAMS_MAX);
        free.map(Room::take)
    }

    async fn more_room(&self) -> Result<Room, Failure> {
        let _turn = self.opening.lock().await;
        if let Some(room) = self.room() {
            return Ok(room);
        }
        let unavailable = |error: Error| Failure {
            code: Code::Unavailable,
            message: format!("another connection could not be made: {error}"),
        };
        let channel = Arc::new(Channel::new(&self.address).await.map_err(unavailable)?);
        let room = Room::take(&channel);
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push(channel);
        Ok(room)
    }
}

impl Channel {
    async fn new(address: &Address) -> Result<Self> {
        let pool = StaticChannelPoolConfig::new(1);
        let mut builder = Spanner::builder().with_channel_pool(pool);
        if let Some(endpoint) = &address.endpoint {
            builder = builder.with_endpoint(endpoint);
            if endpoint.starts_with("http://") {
                builder = builder.with_credentials(anonymous::Builder::new().build());
            }
        }
        if let Some(secret) = &address.credentials {
            builder = builder.with_credentials(credentials(secret)?);
        }
        let spanner = builder.build().await.map_err(|error| {
            if error.is_default_credentials() {
                return Error::config("there are no application default credentials")
                    .key("credentials")
                    .help("run `gcloud auth application-default login`, or name a file")
                    .because(error);
            }
            Error::transient("failed to connect to Spanner").because(error)
        })?;
        Ok(Self { spanner, session: Mutex::default(), streams: AtomicUsize::new(0) })
    }

    async fn connect(&self, address: &Address) -> Result<DatabaseClient, Failure> {
        let mut builder = self.spanner.database_client(&address.database);
        if let Some(role) = &address.role {
            builder = builder.with_database_role(role);
        }
        builder.build().await.map_err(failure)
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// After the failure of a session that is gone, the next lease has another one.
    pub(super) fn noted(&self, failure: Failure) -> Failure {
        let mut current = self.room.0.session();
        if failure.message.contains(SESSION_LOST) && Arc::ptr_eq(&current, &self.session) {
            *current = Arc::default();
        }
        failure
    }
}

impl Room {
    fn take(channel: &Arc<Channel>) -> Self {
        channel.streams.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(channel))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::SeqCst);
    }
}
