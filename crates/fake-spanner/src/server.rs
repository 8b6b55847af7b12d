use std::{
    collections::{HashMap, HashSet},
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use futures_util::stream;
use jiff::Timestamp;
use rowtide_proxy::Port;
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
};
use tonic::Status;

use crate::{
    faults::Faults,
    schema::{Capture, Dialect, Table},
    service::Service,
    socket::Socket,
    status::LostWording,
    store::{ChangeStream, Lineage, Store, Told, Transaction, now},
    transactions::Transactions,
};

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct Options {
    pub listen: SocketAddr,
    /// The full name of the one database.
    pub database: String,
    pub dialect: Dialect,
    /// The name of the one change stream, which watches all tables but those that say otherwise.
    pub stream: String,
    pub capture: Capture,
    pub retention: Duration,
    /// Whether the stream says that it has the partition mode `MUTABLE_KEY_RANGE`.
    pub is_mutable: bool,
    pub tables: Vec<Table>,
    /// With how many partitions it begins.
    pub partitions: usize,
    /// The least heartbeat that is taken. The real server takes a second, its emulator a tenth.
    pub heartbeat_min: Duration,
    /// How many queries a connection takes at once.
    pub streams_per_connection: u32,
    /// How many threads serve.
    pub threads: usize,
    pub faults: Faults,
}

/// A server that runs until it is dropped.
pub struct Server {
    shared: Arc<Shared>,
    port: Port,
    running: Mutex<Option<Running>>,
}

/// What takes connections.
struct Running {
    runtime: Runtime,
    accepting: JoinHandle<()>,
}

/// What all requests have in common.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) open: AtomicUsize,
    connections: Arc<AtomicUsize>,
    store: Mutex<Store>,
    faults: Mutex<Faults>,
    wording: Mutex<LostWording>,
    sessions: Mutex<HashSet<String>>,
    session_count: AtomicU64,
    request_count: AtomicU64,
    /// How many queries there were of each partition.
    queries: Mutex<HashMap<String, u64>>,
    requests: Mutex<Vec<Request>>,
    transactions: Mutex<Transactions>,
    handovers: Mutex<Handovers>,
}

/// How fast whoever reads goes from partitions to those that they go on in.
#[derive(Default)]
struct Handovers {
    /// When each partition was told to its end for the first time.
    ended: HashMap<String, Instant>,
    /// The times from the end of the last parent to the first query of the child.
    took: Vec<Duration>,
}

/// A query of the change stream, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub sql: String,
    pub priority: i32,
    pub tag: String,
    pub is_resumed: bool,
}

/// How many requests are kept.
const REQUESTS_MAX: usize = 1000;

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            database: "projects/test/instances/test/databases/fake".to_owned(),
            dialect: Dialect::GoogleSql,
            stream: "changes".to_owned(),
            capture: Capture::default(),
            retention: Duration::from_secs(24 * 60 * 60),
            is_mutable: false,
            tables: Vec::new(),
            partitions: 2,
            heartbeat_min: Duration::from_secs(1),
            streams_per_connection: 100,
            threads: 1,
            faults: Faults::none(),
        }
    }
}

impl Server {
    /// Starts a server in threads of its own.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub fn start(options: Options) -> io::Result<Self> {
        let stream = ChangeStream {
            name: options.stream.clone(),
            capture: options.capture,
            retention: options.retention,
            earliest: now(),
            is_mutable: options.is_mutable,
        };
        let mut store = Store::new(options.dialect, stream, options.tables.clone());
        let at = store.tick();
        store.partitions.begin(options.partitions, at);
        let shared = Arc::new(Shared {
            open: AtomicUsize::new(0),
            connections: Arc::default(),
            store: Mutex::new(store),
            faults: Mutex::new(options.faults.clone()),
            wording: Mutex::default(),
            sessions: Mutex::default(),
            session_count: AtomicU64::new(0),
            request_count: AtomicU64::new(0),
            queries: Mutex::default(),
            requests: Mutex::default(),
            transactions: Mutex::default(),
            handovers: Mutex::default(),
            options,
        });
        let port = Port::bind(shared.options.listen)?;
        let running = Mutex::new(Some(serve(&shared, &port)?));
        Ok(Self { shared, port, running })
    }

    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// What a client connects to.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    pub fn database(&self) -> &str {
        &self.shared.options.database
    }

    /// Commits a transaction, and returns when.
    ///
    /// # Errors
    /// As the real server refuses it: a row that is there already, or is not there.
    pub fn commit(&self, transaction: impl Into<Transaction>) -> Result<Timestamp, Status> {
        self.commit_together(&[transaction.into()])
    }

    /// Commits transactions, all at the very same time. Their rows must not be the same.
    ///
    /// # Errors
    /// As [`commit`](Self::commit); then none of them is committed.
    pub fn commit_together(&self, transactions: &[Transaction]) -> Result<Timestamp, Status> {
        self.shared.store().commit(transactions)
    }

    /// The tokens of the partitions that live, in the order of their keys.
    pub fn live(&self) -> Vec<String> {
        self.shared.store().partitions.live()
    }

    /// Ends partitions that lie side by side in [`live`](Self::live), and begins so many in their
    /// place: a move, a split, a merge, or all of that at once.
    ///
    /// # Errors
    /// If they do not live, or do not lie side by side, or there are fewer keys than children.
    pub fn reshape(&self, parents: &[String], children: usize) -> Result<(), Status> {
        self.shared.store().reshape(parents, children)
    }

    /// All partitions that there are and were.
    pub fn lineages(&self) -> Vec<Lineage> {
        self.shared.store().partitions.lineages()
    }

    /// All that the change stream has told, or will tell whoever asks; in no order.
    pub fn told(&self) -> Vec<Told> {
        self.shared.store().partitions.told()
    }

    pub fn set_faults(&self, faults: Faults) {
        *lock(&self.shared.faults) = faults;
    }

    pub fn set_wording(&self, wording: LostWording) {
        *lock(&self.shared.wording) = wording;
    }

    /// Lets everything before a time be older than the retention, rows as they were then too.
    pub fn forget(&self, before: Timestamp) {
        let mut store = self.shared.store();
        if let Some(stream) = &mut store.stream {
            stream.earliest = before;
        }
        store.oldest_version = before;
        store.partitions.forget(before);
    }

    /// Adds a table, as a definition would; the change stream watches it if it says so.
    pub fn define(&self, table: Table) {
        self.shared.store().define(table);
    }

    /// Drops the change stream, and makes one of that name anew.
    pub fn recreate_stream(&self) {
        let mut store = self.shared.store();
        let at = store.tick();
        if let Some(stream) = &mut store.stream {
            stream.earliest = at;
        }
        store.partitions.begin(self.shared.options.partitions, at);
    }

    /// Drops the change stream.
    pub fn drop_stream(&self) {
        let mut store = self.shared.store();
        let at = store.tick();
        store.stream = None;
        store.partitions.begin(0, at);
    }

    /// Lets no session be known any more.
    pub fn forget_sessions(&self) {
        self.shared.forget_sessions();
    }

    /// A time that no commit so far is after.
    pub fn now(&self) -> Timestamp {
        self.shared.store().tick()
    }

    /// How many queries of the change stream run.
    pub fn open_queries(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How long it took each time from the end of a partition's last parent to its first query.
    pub fn handovers(&self) -> Vec<Duration> {
        lock(&self.shared.handovers).took.clone()
    }

    /// When each row of a table was written, by the first column of its key; that it was removed is
    /// left out.
    ///
    /// # Errors
    /// If there is no such table.
    pub fn writes(&self, table: &str) -> Result<Vec<(String, Timestamp)>, Status> {
        Ok(self.shared.store().table(table)?.writes().collect())
    }

    /// How many queries there were of the change stream.
    pub fn queries(&self) -> u64 {
        lock(&self.shared.queries).values().sum()
    }

    /// The first queries of the change stream.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// Closes all connections, and takes none until [`resume`](Self::resume).
    pub fn stop(&self) {
        if let Some(Running { runtime, accepting }) = lock(&self.running).take() {
            accepting.abort();
            // It accepts nobody once it is gone, which the runtime sees to at once.
            while !accepting.is_finished() {
                thread::yield_now();
            }
            runtime.shutdown_background();
            self.port.shut();
        }
    }

    /// Takes connections again, at the same address. Sessions and all else are kept.
    ///
    /// # Errors
    /// If the system does not let it.
    pub fn resume(&self) -> io::Result<()> {
        *lock(&self.running) = Some(serve(&self.shared, &self.port)?);
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    pub(crate) fn faults(&self) -> Faults {
        lock(&self.faults).clone()
    }

    pub(crate) fn wording(&self) -> LostWording {
        *lock(&self.wording)
    }

    pub(crate) fn make_session(&self) -> String {
        let number = self.session_count.fetch_add(1, Ordering::SeqCst);
        let name = format!("{}/sessions/session-{number}", self.options.database);
        lock(&self.sessions).insert(name.clone());
        name
    }

    pub(crate) fn knows_session(&self, name: &str) -> bool {
        lock(&self.sessions).contains(name)
    }

    pub(crate) fn forget_session(&self, name: &str) {
        lock(&self.sessions).remove(name);
    }

    pub(crate) fn forget_sessions(&self) {
        lock(&self.sessions).clear();
    }

    /// The number of this query among those of a partition, from 1.
    pub(crate) fn count_query(&self, token: &str) -> u64 {
        let mut queries = lock(&self.queries);
        let count = queries.entry(token.to_owned()).or_default();
        *count += 1;
        *count
    }

    pub(crate) fn transactions(&self) -> MutexGuard<'_, Transactions> {
        lock(&self.transactions)
    }

    /// Notes that a partition was told to its end.
    pub(crate) fn note_end(&self, token: &str) {
        lock(&self.handovers).ended.entry(token.to_owned()).or_insert_with(Instant::now);
    }

    /// Notes the first query of a partition.
    pub(crate) fn note_begin(&self, parents: &[Arc<str>]) {
        let mut handovers = lock(&self.handovers);
        let ended = parents.iter().map(|parent| handovers.ended.get(&**parent).copied());
        if let Some(last) = ended.collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().max())
        {
            handovers.took.push(last.elapsed());
        }
    }

    pub(crate) fn count_request(&self) -> u64 {
        self.request_count.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn note(&self, request: Request) {
        let mut requests = lock(&self.requests);
        if requests.len() < REQUESTS_MAX {
            requests.push(request);
        }
    }
}

fn serve(shared: &Arc<Shared>, port: &Port) -> io::Result<Running> {
    let threads = shared.options.threads.max(1);
    let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let listener = {
        let _context = runtime.enter();
        port.open()?
    };
    let connections = Arc::clone(&shared.connections);
    let incoming = stream::unfold(listener, move |listener| {
        let connections = Arc::clone(&connections);
        async move {
            let accepted = listener.accept().await.map(|(socket, _)| {
                // Without it small messages wait for each other.
                let _ = socket.set_nodelay(true);
                Socket::new(socket, connections)
            });
            Some((accepted, listener))
        }
    });
    let service = Service::new(Arc::clone(shared));
    let serving = tonic::transport::Server::builder()
        .max_concurrent_streams(shared.options.streams_per_connection)
        .serve_with_incoming(service, incoming);
    // It ends with the runtime, if not before.
    let accepting = runtime.spawn(async move { drop(serving.await) });
    Ok(Running { runtime, accepting })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{io::ErrorKind, net};

    use tokio::net::TcpSocket;

    use super::*;

    #[test]
    fn a_stopped_server_keeps_its_port() {
        let server = Server::start(Options::default()).unwrap();
        for _ in 0..20 {
            net::TcpStream::connect(server.address()).unwrap();
            server.stop();
            let error = net::TcpStream::connect(server.address()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            let error = TcpSocket::new_v4().unwrap().bind(server.address()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AddrInUse);
            server.resume().unwrap();
        }
    }
}
