//! A connection to the broker, and its end.

pub(crate) mod address;
pub(crate) mod failure;
mod lifeline;
mod tls;
mod vigil;

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use lapin::{
    AsyncTcpStream, Channel, Connection, ConnectionProperties, ErrorKind,
    options::QueueDeclareOptions,
    protocol::{AMQPErrorKind, AMQPSoftError},
    runtime::default_runtime,
    types::{FieldTable, ShortString},
    uri::SASLMechanism,
};
use rowtide_core::{Error, Result, settings::Tls};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, timeout},
};

use address::Address;
use lifeline::Lifeline;
use vigil::Vigil;

/// How long the broker may take to answer a farewell.
const FAREWELL: Duration = Duration::from_secs(1);

/// How often the broker is asked whether an older connection is gone.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// What a connection needs to know.
pub(crate) struct Endpoint {
    /// With the credentials, the virtual host and the heartbeat in it.
    pub(crate) address: Address,
    pub(crate) tls: Tls,
    pub(crate) connect_timeout: Duration,
    pub(crate) pipeline: String,
}

/// An open connection. Dropping it ends it: at once if something is unconfirmed, so that nothing of
/// it arrives later, and with a farewell otherwise.
pub(crate) struct Link {
    server: String,
    client: Option<Connection>,
    lifeline: Option<Lifeline>,
    vigil: Vigil,
    is_settled: bool,
}

impl Link {
    /// Connects, within the time allowed.
    pub(crate) async fn open(endpoint: Endpoint) -> Result<Self> {
        let server = endpoint.address.server();
        let limit = endpoint.connect_timeout;
        timeout(limit, Self::connect(endpoint)).await.unwrap_or_else(|_| {
            Err(Error::transient(format!("{server} did not answer within {limit:?}")))
        })
    }

    async fn connect(endpoint: Endpoint) -> Result<Self> {
        let Endpoint { address, tls, pipeline, .. } = endpoint;
        let server = address.server();
        let fail = |error| failure::connecting(error, &server);
        let runtime = default_runtime().map_err(fail)?;
        let place = (address.uri.authority.host.clone(), address.uri.authority.port);
        let unreachable =
            |error| Error::transient(format!("failed to connect to {server}")).because(error);
        let stream = AsyncTcpStream::connect(&runtime, runtime.to_socket_addrs(place)).await;
        let stream = stream.map_err(unreachable)?;
        let AsyncTcpStream::Plain(plain) = &stream else {
            return Err(Error::fatal("a new connection is encrypted already"));
        };
        let lifeline = Lifeline::of(plain.get_ref()).map_err(unreachable)?;
        let stream = match address.is_encrypted() {
            false => stream,
            true => {
                let connector = tls::connector(&tls)?;
                let encrypted = stream.into_rustls(&connector, &address.uri.authority.host).await;
                encrypted.map_err(|error| not_encrypted(&server, error))?
            }
        };
        let properties = ConnectionProperties::default()
            .with_client_property("product".into(), "rowtide".into())
            .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into())
            .with_connection_name(format!("rowtide {pipeline}").into());
        // The client connects once, since it is not to recover by itself.
        let stream = Mutex::new(Some(stream));
        let hand_over = async move |_, _| {
            let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
            stream.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected).into())
        };
        let client = Connection::connector(address.uri, runtime, hand_over, properties);
        let client = client.await.map_err(fail)?;
        let vigil = Vigil::keep(&client, server.clone());
        let (client, lifeline) = (Some(client), Some(lifeline));
        Ok(Self { server, client, lifeline, vigil, is_settled: true })
    }

    /// The server's name, as it may be shown.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// The largest frame that the broker takes.
    pub(crate) fn frame_bytes_max(&self) -> usize {
        let frame = self.client.as_ref().map_or(0, |client| client.configuration().frame_max());
        usize::try_from(frame).unwrap_or(usize::MAX)
    }

    pub(crate) async fn channel(&self) -> Result<Channel> {
        let gone = || Error::transient(format!("the connection to {} is closed", self.server));
        let client = self.client.as_ref().ok_or_else(gone)?;
        let created = self.vigil.over(client.create_channel(), || false).await;
        created.map_err(|error| failure::in_operation(error, &self.server))
    }

    /// Waits for what the client is to do on `channel`, no longer than there are both the
    /// connection and the channel.
    pub(crate) async fn done<T>(
        &self,
        channel: &Channel,
        operation: impl Future<Output = lapin::Result<T>>,
    ) -> lapin::Result<T> {
        self.vigil.over(operation, || !channel.status().connected()).await
    }

    /// Notes whether everything that was published is confirmed.
    pub(crate) fn set_settled(&mut self, is_settled: bool) {
        self.is_settled = is_settled;
    }

    /// Waits until no other connection publishes for `pipeline`, and keeps others from it.
    ///
    /// The lock is an exclusive queue, which lives as long as its connection does at the broker:
    /// what an older connection has sent, and the broker has not read yet, comes before its end.
    pub(crate) async fn shut_out_others(&self, pipeline: &str, patience: Duration) -> Result<()> {
        let long = |_| {
            Error::config("the name of the pipeline is too long for the name of a queue")
                .key("exclusive")
                .help("shorten it, or set `exclusive = false`")
        };
        let name = format!("rowtide.{pipeline}");
        let queue = ShortString::try_new(name.as_str()).map_err(long)?;
        let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let deadline = Instant::now() + patience;
        loop {
            let channel = self.channel().await?;
            let declared = channel.queue_declare(queue.clone(), options, FieldTable::default());
            let Err(error) = self.done(&channel, declared).await else { return Ok(()) };
            match soft_error(&error) {
                Some(AMQPSoftError::RESOURCELOCKED) if Instant::now() < deadline => {
                    sleep(ASK_EVERY).await;
                }
                Some(AMQPSoftError::RESOURCELOCKED) => {
                    let message = format!("another connection holds the queue `{name}`");
                    return Err(Error::transient(message).help(
                        "an older connection of this pipeline ends within two heartbeats; \
                         otherwise another pipeline has the same name",
                    ));
                }
                Some(AMQPSoftError::ACCESSREFUSED) => {
                    let message = format!("the user may not declare the queue `{name}`");
                    return Err(Error::config(message).key("exclusive").help(
                        "grant the permission to configure `^rowtide\\.`, or set `exclusive = \
                         false`; then what is left of an older connection may arrive late",
                    ));
                }
                _ => return Err(failure::in_operation(error, &self.server)),
            }
        }
    }

    /// Ends it, as dropping it does. A `channel` that is still open outlives the farewell: of one
    /// that ends before, the client would say goodbye as well, too late, and log an error.
    pub(crate) fn end(&mut self, channel: Option<Channel>) {
        let (Some(client), Some(lifeline)) = (self.client.take(), self.lifeline.take()) else {
            return;
        };
        let is_answering = client.status().connected() && !client.status().blocked();
        match Handle::try_current() {
            Ok(runtime) if self.is_settled && is_answering => {
                runtime.spawn(async move {
                    let _ = timeout(FAREWELL, client.close(200, "OK".into())).await;
                    drop((channel, lifeline));
                });
            }
            _ => drop(lifeline),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.end(None);
    }
}

/// Which error of a channel the broker answered with, if it did.
pub(crate) fn soft_error(error: &lapin::Error) -> Option<&AMQPSoftError> {
    let ErrorKind::ProtocolError(error) = error.kind() else { return None };
    match error.kind() {
        AMQPErrorKind::Soft(soft) => Some(soft),
        AMQPErrorKind::Hard(_) => None,
    }
}

/// How the client proves who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Authentication {
    /// With a user and a password.
    #[default]
    Plain,
    /// With the certificate in `tls`.
    External,
}

impl From<Authentication> for SASLMechanism {
    fn from(authentication: Authentication) -> Self {
        match authentication {
            Authentication::Plain => SASLMechanism::Plain,
            Authentication::External => SASLMechanism::External,
        }
    }
}

fn not_encrypted(server: &str, error: std::io::Error) -> Error {
    let is_certificate = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        .is_some_and(|error| matches!(error, rustls::Error::InvalidCertificate(_)));
    let message = format!("no encrypted connection to {server}");
    match is_certificate {
        true => Error::config(message)
            .key("tls")
            .help("the certificate of the server is not trusted; set `tls.ca` or `tls.verify`")
            .because(error),
        false => Error::transient(message).because(error),
    }
}
