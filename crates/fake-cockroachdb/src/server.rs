//! The server: what listens, what sessions share, and what a test asks of them.

mod authentication;
mod encryption;
mod execution;
mod session;
mod wire;

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use rowtide_proxy::Port;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    sync::{Notify, watch},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    Answer, Faults, SqlError,
    server::{execution::Reply, session::Session},
    sql::parse,
    store::Store,
};

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The name of its one database.
    pub database: String,
    /// What `version()` says.
    pub version: String,
    /// Who may come in: everybody as `root`, if there is none.
    pub users: BTreeMap<String, String>,
    /// How a password is asked for.
    pub authentication: Authentication,
    /// With it, connections may be encrypted.
    pub certificate: Option<Certificate>,
    /// How it misbehaves.
    pub faults: Faults,
}

/// How a password is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// As it is.
    Cleartext,
    /// Without being told: SCRAM-SHA-256.
    Scram,
}

/// What a server shows of itself.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// File with the certificates (PEM), its own first.
    pub chain: PathBuf,
    /// File with its private key (PEM).
    pub key: PathBuf,
    /// File with the authorities (PEM) of clients: one whose certificate bears the name of its user
    /// needs no password.
    pub client_authority: Option<PathBuf>,
}

/// A server that runs until it is dropped.
pub struct Server {
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
    listening: Mutex<Option<JoinHandle<()>>>,
    port: Port,
}

/// What sessions share.
pub(crate) struct Shared {
    store: Mutex<Store>,
    faults: Mutex<Faults>,
    options: Options,
    tls: Option<TlsAcceptor>,
    /// The length of the log.
    pub(crate) grown: watch::Sender<usize>,
    /// How often the server was drained.
    drained: watch::Sender<u64>,
    sessions: Mutex<BTreeMap<u32, Arc<Handle>>>,
    statements: Mutex<Vec<String>>,
    server_names: Mutex<Vec<String>>,
    numbers: AtomicU64,
    cancels: AtomicUsize,
    feeds: AtomicUsize,
}

/// What others may do to a session.
#[derive(Debug, Default)]
pub(crate) struct Handle {
    secret: u32,
    cancel: Notify,
    cut: Notify,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            database: "defaultdb".to_owned(),
            version: "CockroachDB CCL v25.4.1 (x86_64-pc-linux-gnu, built 2025/12/01 00:00:00, \
                      go1.23.12)"
                .to_owned(),
            users: BTreeMap::new(),
            authentication: Authentication::Scram,
            certificate: None,
            faults: Faults::none(),
        }
    }
}

impl Server {
    /// Starts a server; it answers once this returns.
    ///
    /// # Errors
    /// If it cannot listen there, or a file of its certificate cannot be read.
    pub fn start(options: Options) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let tls = options.certificate.as_ref().map(encryption::acceptor).transpose()?;
        let port = Port::bind(options.listen)?;
        let listener = listen(&runtime, &port)?;
        let shared = Arc::new(Shared {
            store: Mutex::new(Store::new(&options.database)),
            faults: Mutex::new(options.faults.clone()),
            tls,
            options,
            grown: watch::Sender::new(0),
            drained: watch::Sender::new(0),
            sessions: Mutex::default(),
            statements: Mutex::default(),
            server_names: Mutex::default(),
            numbers: AtomicU64::new(1),
            cancels: AtomicUsize::new(0),
            feeds: AtomicUsize::new(0),
        });
        let listening = runtime.spawn(accept(listener, Arc::clone(&shared)));
        let listening = Mutex::new(Some(listening));
        Ok(Self { shared, runtime: Some(runtime), listening, port })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The URL of its database, for the user `root`.
    pub fn url(&self) -> String {
        let database = &self.shared.options.database;
        format!("postgresql://root@{}/{database}?sslmode=disable", self.address())
    }

    /// Runs statements as a session of its own would; the last one's answer is returned.
    ///
    /// # Errors
    /// What the client of a session would be told.
    pub fn execute(&self, sql: &str) -> Result<Answer, SqlError> {
        let mut transaction = None;
        let mut answer = Answer::default();
        for statement in parse(sql)? {
            match self.shared.run(&statement, &mut transaction)? {
                Reply::Rows(rows) => answer = rows,
                Reply::Done(_) => {}
                Reply::Changefeed(_) => {
                    return Err(SqlError::new("0A000", "a changefeed needs a connection"));
                }
            }
        }
        Ok(answer)
    }

    /// Lets it misbehave from now on; changefeeds that run already do not change.
    pub fn set_faults(&self, faults: Faults) {
        *lock(&self.shared.faults) = faults;
    }

    /// Forgets all that is older than now.
    pub fn collect_garbage(&self) {
        self.shared.store().collect_garbage();
    }

    /// All statements that clients sent, in order.
    pub fn statements(&self) -> Vec<String> {
        lock(&self.shared.statements).clone()
    }

    /// The names by which clients asked for it when they began to encrypt (SNI).
    pub fn server_names(&self) -> Vec<String> {
        lock(&self.shared.server_names).clone()
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        lock(&self.shared.sessions).len()
    }

    /// How many changefeeds run.
    pub fn feeds(&self) -> usize {
        self.shared.feeds.load(Ordering::SeqCst)
    }

    /// How many cancel requests came that named a session.
    pub fn cancels(&self) -> usize {
        self.shared.cancels.load(Ordering::SeqCst)
    }

    /// Cuts all connections without a word.
    pub fn cut(&self) {
        for session in lock(&self.shared.sessions).values() {
            session.cut.notify_one();
        }
    }

    /// Tells all clients that it is shutting down, and closes their connections.
    pub fn drain(&self) {
        self.shared.drained.send_modify(|count| *count += 1);
    }

    /// Listens no more, and cuts all connections. The rows stay.
    pub fn stop(&self) {
        if let Some(task) = lock(&self.listening).take() {
            task.abort();
            // It accepts nobody once it is gone, which the runtime sees to at once.
            while !task.is_finished() {
                std::thread::yield_now();
            }
            self.port.shut();
        }
        self.cut();
    }

    /// Listens again, where it did before.
    ///
    /// # Errors
    /// If the system does not let it.
    pub fn resume(&self) -> io::Result<()> {
        let Some(runtime) = &self.runtime else { return Ok(()) };
        let listener = listen(runtime, &self.port)?;
        let task = runtime.spawn(accept(listener, Arc::clone(&self.shared)));
        *lock(&self.listening) = Some(task);
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    pub(crate) fn faults(&self) -> Faults {
        lock(&self.faults).clone()
    }

    /// A number that no other feed has.
    pub(crate) fn count_feed(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::SeqCst)
    }

    /// Wakes the feeds, once something was committed.
    fn announce(&self) {
        let length = self.store().log_length();
        self.grown.send_if_modified(|known| std::mem::replace(known, length) != length);
    }

    fn note(&self, sql: &str) {
        lock(&self.statements).push(sql.to_owned());
    }
}

/// Whoever calls may be in a runtime of its own, where nothing may block on another.
fn listen(runtime: &Runtime, port: &Port) -> io::Result<TcpListener> {
    let _context = runtime.enter();
    port.open()
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(serve(socket, Arc::clone(&shared)));
    }
}

async fn serve(socket: TcpStream, shared: Arc<Shared>) {
    let _ = socket.set_nodelay(true);
    // A client that goes away is nothing to tell of.
    let _ = Session::serve(socket, shared).await;
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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
