//! Connections that are never asked for more streams than they take.
//!
//! The library's own pool puts any number of streams into a connection until it has made another
//! one a second later. The queries of a change stream have no end, so that those above the server's
//! limit would wait in their connection for ever. Nor does it look whether a connection is alive: a
//! dead one would swallow one query after the other.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use google_cloud_auth::credentials::anonymous;
use google_cloud_spanner::{
    builder::SpannerBuilderExt,
    channel_pool::StaticChannelPoolConfig,
    client::{DatabaseClient, Spanner},
};
use rowtide_core::{Error, Result};
use tokio::{sync::OnceCell, time::Instant};

use super::{Address, Code, Failure, credentials, failure};

/// A server takes 100 streams a connection; short requests need room beside those that last.
const STREAMS_MAX: usize = 90;

/// How long somebody has waited in vain who takes a connection for dead on which nobody else has
/// heard anything either.
const SILENCE: Duration = Duration::from_secs(5);

/// What the server says of a session that it has forgotten.
pub(super) const SESSION_LOST: &str = "Session not found";

/// As many connections as there have to be.
pub(super) struct Channels {
    address: Arc<Address>,
    all: Arc<Mutex<Vec<Arc<Channel>>>>,
    opening: tokio::sync::Mutex<()>,
}

struct Channel {
    spanner: Spanner,
    /// The library makes one session and keeps it, even when the server has forgotten it.
    session: Mutex<Session>,
    state: Mutex<State>,
}

struct State {
    streams: usize,
    /// When something came on this connection.
    heard_at: Instant,
}

type Session = Arc<OnceCell<DatabaseClient>>;

/// A session with room for one stream.
pub(super) struct Lease {
    pub(super) database: DatabaseClient,
    session: Session,
    room: Room,
}

/// Room for one stream in a connection, until it is dropped.
struct Room {
    channel: Arc<Channel>,
    all: Arc<Mutex<Vec<Arc<Channel>>>>,
    /// Since when an answer is waited for.
    waits_since: Option<Instant>,
}

impl Channels {
    /// Checks the credentials, and connects at the first request: a server that is away is an error
    /// of that request.
    pub(super) async fn new(address: Arc<Address>) -> Result<Self> {
        let first = Arc::new(Channel::new(&address).await?);
        Ok(Self { address, all: Arc::new(Mutex::new(vec![first])), opening: Default::default() })
    }

    /// Waits for room for one stream.
    pub(super) async fn lease(&self) -> Result<Lease, Failure> {
        let room = match self.room() {
            Some(room) => room,
            None => self.more_room().await?,
        };
        let session = Arc::clone(&lock(&room.channel.session));
        let connecting = room.channel.connect(&self.address);
        let database = session.get_or_try_init(|| connecting).await?.clone();
        Ok(Lease { database, session, room })
    }

    /// Takes room in the first connection that has some, so that others can get empty.
    fn room(&self) -> Option<Room> {
        let all = lock(&self.all);
        let channel = all.iter().find(|channel| lock(&channel.state).streams < STREAMS_MAX)?;
        Some(Room::take(channel, &self.all))
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
        let room = Room::take(&channel, &self.all);
        lock(&self.all).push(channel);
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
        let state = Mutex::new(State { streams: 0, heard_at: Instant::now() });
        Ok(Self { spanner, session: Mutex::default(), state })
    }

    async fn connect(&self, address: &Address) -> Result<DatabaseClient, Failure> {
        let mut builder = self.spanner.database_client(&address.database);
        if let Some(role) = &address.role {
            builder = builder.with_database_role(role);
        }
        builder.build().await.map_err(failure)
    }
}

impl Lease {
    /// After the failure of a session that is gone, the next lease has another one.
    pub(super) fn noted(&self, failure: Failure) -> Failure {
        let mut current = lock(&self.room.channel.session);
        if failure.message.contains(SESSION_LOST) && Arc::ptr_eq(&current, &self.session) {
            *current = Arc::default();
        }
        failure
    }

    /// Notes that an answer is waited for from now on.
    pub(super) fn waits(&mut self) {
        self.room.waits_since = Some(Instant::now());
    }

    /// Notes that something came.
    pub(super) fn hears(&mut self) {
        self.room.waits_since = None;
        lock(&self.room.channel.state).heard_at = Instant::now();
    }
}

impl Room {
    fn take(channel: &Arc<Channel>, all: &Arc<Mutex<Vec<Arc<Channel>>>>) -> Self {
        lock(&channel.state).streams += 1;
        // The first thing that is waited for is a session.
        let waits_since = Some(Instant::now());
        Self { channel: Arc::clone(channel), all: Arc::clone(all), waits_since }
    }
}

impl Drop for Room {
    /// Nobody is given room any more in a connection that is dead, and of those that are empty all
    /// but one are closed.
    fn drop(&mut self) {
        let mut all = lock(&self.all);
        let mut state = lock(&self.channel.state);
        state.streams -= 1;
        let is_dead = self
            .waits_since
            .is_some_and(|since| since.elapsed() >= SILENCE && state.heard_at <= since);
        let is_empty = state.streams == 0;
        drop(state);
        let is_other = |channel: &Arc<Channel>| !Arc::ptr_eq(channel, &self.channel);
        let is_spare =
            |channel: &Arc<Channel>| is_other(channel) && lock(&channel.state).streams == 0;
        if is_dead || is_empty && all.iter().any(is_spare) {
            all.retain(is_other);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    /// Nothing listens there, and nothing connects before it has to.
    async fn channels() -> Channels {
        let address = Address {
            database: "projects/p/instances/i/databases/d".to_owned(),
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            credentials: None,
            role: None,
            priority: None,
            request_tag: None,
        };
        Channels::new(Arc::new(address)).await.unwrap()
    }

    async fn take(channels: &Channels) -> Room {
        match channels.room() {
            Some(room) => room,
            None => channels.more_room().await.unwrap(),
        }
    }

    async fn take_many(channels: &Channels, count: usize) -> Vec<Room> {
        let mut rooms = Vec::new();
        for _ in 0..count {
            rooms.push(take(channels).await);
        }
        rooms
    }

    fn count(channels: &Channels) -> usize {
        lock(&channels.all).len()
    }

    #[tokio::test]
    async fn streams_have_as_many_connections_as_they_need() {
        let channels = channels().await;
        let mut rooms = take_many(&channels, 2_000).await;
        assert_eq!(count(&channels), 23);
        // What has ended makes room, and nothing new is opened.
        rooms.drain(..500);
        rooms.extend(take_many(&channels, 500).await);
        assert_eq!((rooms.len(), count(&channels)), (2_000, 23));
        let most = lock(&channels.all).iter().map(|channel| lock(&channel.state).streams).max();
        assert_eq!(most, Some(STREAMS_MAX));
    }

    #[tokio::test]
    async fn a_connection_whose_streams_have_ended_is_closed_but_for_one() {
        let channels = channels().await;
        let mut rooms = take_many(&channels, 300).await;
        let last = Arc::downgrade(&rooms[299].channel);
        assert_eq!(count(&channels), 4);
        rooms.truncate(80);
        assert_eq!(count(&channels), 2, "one is kept for what comes next");
        rooms.clear();
        assert_eq!(count(&channels), 1);
        assert!(last.upgrade().is_none(), "nothing holds it any more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_connection_is_given_up() {
        let channels = channels().await;
        let mut rooms = take_many(&channels, 3).await;
        advance(SILENCE).await;
        let dead = Arc::clone(&rooms[0].channel);
        drop(rooms.remove(0));
        assert_eq!(count(&channels), 0);
        let next = take(&channels).await;
        assert!(!Arc::ptr_eq(&next.channel, &dead));
        // The others end with it, and then it is gone.
        rooms.clear();
        assert_eq!((Arc::strong_count(&dead), count(&channels)), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_silent_alone_says_nothing_of_its_connection() {
        let channels = channels().await;
        let mut rooms = take_many(&channels, 2).await;
        advance(SILENCE).await;
        let heard = rooms.remove(1);
        lock(&heard.channel.state).heard_at = Instant::now();
        rooms.clear();
        assert_eq!(count(&channels), 1);
        drop(heard);
        assert_eq!(count(&channels), 1);
    }
}
