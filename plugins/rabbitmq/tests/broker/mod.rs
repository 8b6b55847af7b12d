//! A broker, and a reader of its queues that shares no code with the sink.

#![expect(dead_code, reason = "each test uses a part of it")]

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind,
    options::{
        BasicAckOptions, BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions,
        QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
    uri::AMQPUri,
};
use rowtide_core::{
    Change, ChangeId, Column, ColumnType, Error, Operation, Result, Row, Table, Value,
    settings::Settings,
};
use rowtide_servers::{Kind, Server};
use tokio::sync::Mutex;

/// What the broker of the tests takes at most in a message.
pub(crate) const MESSAGE_BYTES_MAX: usize = 100_000;

/// `guest:guest`
const AUTHORIZATION: &str = "Basic Z3Vlc3Q6Z3Vlc3Q=";

pub(crate) fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::fatal("the broker of the test failed").because(error)
}

/// A broker on loopback.
pub(crate) struct Broker {
    pub(crate) server: Server,
    uri: AMQPUri,
    management: SocketAddr,
}

impl Broker {
    pub(crate) fn start() -> Result<Self> {
        let server = Server::start(Kind::RabbitMq).map_err(failed)?;
        let url = server.variable("ROWTIDE_AMQP_URL").map_err(failed)?;
        let uri = url.parse().map_err(Error::fatal)?;
        let management = server.variable("ROWTIDE_AMQP_MANAGEMENT_URL").map_err(failed)?;
        let place = management.rsplit(['@', '/']).next().unwrap_or_default();
        let management = place.parse().map_err(failed)?;
        let broker = Self { server, uri, management };
        if broker.server.is_own() {
            broker.limit_messages()?;
        }
        Ok(broker)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.uri.authority.port))
    }

    pub(crate) fn url(&self, vhost: &str) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/{vhost}", self.uri.authority.port)
    }

    /// Makes the broker refuse large messages on channels to come; a restart makes it forget.
    pub(crate) fn limit_messages(&self) -> Result<()> {
        let set = format!("application:set_env(rabbit, max_message_size, {MESSAGE_BYTES_MAX}).");
        self.run(&["eval", &set]).map(drop)
    }

    /// Ends the broker with SIGKILL. What it was told of queues and bindings it writes down a good
    /// while later, and forgets a young queue with all that is in it; a test of messages is not
    /// about that.
    pub(crate) fn crash(&self) -> Result<()> {
        let write_down = "mnesia:sync_log(), [dets:sync(Table) || Table <- dets:all()].";
        self.run(&["eval", write_down])?;
        self.server.kill().map_err(failed)
    }

    /// Runs `rabbitmqctl`, in the environment of the server.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String> {
        let pid = self.server.pid().map_err(failed)?;
        let environment = fs::read(format!("/proc/{pid}/environ")).map_err(failed)?;
        let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmqctl");
        for variable in String::from_utf8_lossy(&environment).split('\0') {
            let ours = |name: &str| name.starts_with("RABBITMQ_") || name.starts_with("ERL_EPMD");
            match variable.split_once('=') {
                Some((name, value)) if ours(name) || name == "HOME" => command.env(name, value),
                _ => continue,
            };
        }
        let output = command.arg("-q").args(arguments).output().map_err(failed)?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Error::fatal(format!("rabbitmqctl {arguments:?}: {text}")));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub(crate) async fn ask(&'static self, arguments: &[&str]) -> Result<String> {
        let arguments: Vec<_> = arguments.iter().map(|text| (*text).to_owned()).collect();
        let run = move || {
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            self.run(&arguments)
        };
        tokio::task::spawn_blocking(run).await.map_err(failed)?
    }

    pub(crate) async fn control(&'static self, arguments: &[&str]) -> Result<()> {
        self.ask(arguments).await.map(drop)
    }

    /// Asks the management interface for something to be done.
    pub(crate) fn manage(&self, method: &str, path: &str, body: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.management).map_err(failed)?;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nAuthorization: {AUTHORIZATION}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).map_err(failed)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(failed)?;
        let is_good = answer.split(' ').nth(1).is_some_and(|status| status.starts_with('2'));
        match is_good {
            true => Ok(answer),
            false => Err(Error::fatal(format!("{method} {path}: {answer}"))),
        }
    }
}

/// A queue in a virtual host of its own, which is bound to a topic exchange for routing keys of one
/// word.
pub(crate) struct Queue {
    pub(crate) broker: &'static Broker,
    pub(crate) vhost: String,
    pub(crate) exchange: String,
    pub(crate) name: String,
    found: Mutex<Vec<Found>>,
}

/// A message as it was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) body: Vec<u8>,
    pub(crate) routing_key: String,
    pub(crate) properties: BasicProperties,
}

impl Found {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Queue {
    /// A virtual host without anything in it.
    pub(crate) fn nowhere(broker: &'static Broker) -> Result<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let vhost = format!("test-{}-{number}", std::process::id());
        broker.manage("PUT", &format!("/api/vhosts/{vhost}"), "")?;
        broker.manage(
            "PUT",
            &format!("/api/permissions/{vhost}/guest"),
            r#"{"configure":".*","write":".*","read":".*"}"#,
        )?;
        let (exchange, name) = ("changes".to_owned(), "queue".to_owned());
        Ok(Self { broker, vhost, exchange, name, found: Mutex::default() })
    }

    pub(crate) async fn bound(broker: &'static Broker) -> Result<Self> {
        Self::bound_with(broker, FieldTable::default()).await
    }

    /// A quorum queue with these arguments beside.
    pub(crate) async fn bound_with(
        broker: &'static Broker,
        mut arguments: FieldTable,
    ) -> Result<Self> {
        let queue = Self::nowhere(broker)?;
        let (connection, channel) = queue.channel().await?;
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let exchange = queue.exchange.as_str();
        let none = FieldTable::default;
        channel
            .exchange_declare(exchange.into(), ExchangeKind::Topic, durable, none())
            .await
            .map_err(failed)?;
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let name = queue.name.as_str();
        channel.queue_declare(name.into(), durable, arguments).await.map_err(failed)?;
        let options = QueueBindOptions::default();
        let bound = channel.queue_bind(name.into(), exchange.into(), "*".into(), options, none());
        bound.await.map_err(failed)?;
        close(connection).await;
        Ok(queue)
    }

    /// A connection of the test's own.
    pub(crate) async fn channel(&self) -> Result<(Connection, Channel)> {
        let url = self.broker.url(&self.vhost);
        let connected = Connection::connect(&url, ConnectionProperties::default());
        let connection = connected.await.map_err(failed)?;
        let channel = connection.create_channel().await.map_err(failed)?;
        Ok((connection, channel))
    }

    /// All messages of the queue until now, those found before included.
    pub(crate) async fn messages(&self) -> Result<Vec<Found>> {
        // A queue has no leader for a while after its broker was killed.
        for _ in 0..10 {
            if let Ok(found) = self.try_messages().await {
                return Ok(found);
            }
        }
        self.try_messages().await
    }

    async fn try_messages(&self) -> Result<Vec<Found>> {
        let mut found = self.found.lock().await;
        let (connection, channel) = self.channel().await?;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let (name, none) = (self.name.as_str(), FieldTable::default);
        let declared = channel.queue_declare(name.into(), passive, none()).await.map_err(failed)?;
        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(name.into(), "".into(), options, none());
        let count = usize::try_from(declared.message_count()).unwrap_or_default();
        let mut deliveries = consumer.await.map_err(failed)?.take(count);
        let multiple = BasicAckOptions { multiple: true };
        let mut number = 0;
        while let Some(delivery) = deliveries.next().await {
            let delivery = delivery.map_err(failed)?;
            found.push(Found {
                body: delivery.data,
                routing_key: delivery.routing_key.to_string(),
                properties: delivery.properties,
            });
            number += 1;
            // A quorum queue hands out no more than 2,000 ahead.
            if number % 500 == 0 || number == count {
                delivery.acker.ack(multiple).await.map_err(failed)?;
            }
        }
        close(connection).await;
        Ok(found.clone())
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let _ = self.broker.manage("DELETE", &format!("/api/vhosts/{}", self.vhost), "");
    }
}

async fn close(connection: Connection) {
    let _ = connection.close(200, "OK".into()).await;
}

pub(crate) fn text(text: &str) -> Settings {
    Settings::Text(text.to_owned())
}

pub(crate) fn id(found: &Found) -> String {
    found.properties.message_id().as_ref().map_or_else(String::new, ToString::to_string)
}

pub(crate) fn ids(changes: &[Change]) -> Vec<String> {
    changes.iter().map(|change| change.id().to_string()).collect()
}

pub(crate) fn change(number: u64, table: &str, value: Value) -> Change {
    let key = Column::new("key", ColumnType::Int).in_key(0);
    let table = Table::new(table, vec![key, Column::new("value", ColumnType::Any)]);
    let id = ChangeId::new("c").major(number);
    let mut change = Change::new(id, Arc::new(table), Operation::Insert);
    change.committed_at = "2026-01-02T03:04:05.678Z".parse().ok();
    change.after = Some(Row::new([Value::Int(number.cast_signed()), value]));
    change
}

pub(crate) fn changes(numbers: std::ops::Range<u64>) -> Vec<Change> {
    numbers.map(|number| change(number, "items", Value::from("v"))).collect()
}
