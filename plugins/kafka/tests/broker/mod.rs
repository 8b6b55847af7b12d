//! A real broker, and an independent reader of its topics.

#![expect(clippy::unwrap_used, dead_code, reason = "each test takes what it needs of it")]

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    admin::{
        AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
    },
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    message::OwnedMessage,
};
use rowtide_core::{
    Change, ChangeId, Column, ColumnType, Context, Error, Operation, Result, Row, Shutdown, Sink,
    Table, Value, registry, settings::Settings,
};
use rowtide_servers::{Kind, Server};
use serde_json::{Value as Json, json};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Broker {
    /// The test's own, if it is not shared.
    server: Option<Server>,
    pub(crate) address: String,
}

pub(crate) fn failed(error: impl std::fmt::Display) -> Error {
    Error::fatal(error.to_string())
}

impl Broker {
    pub(crate) fn start() -> Result<Self> {
        Self::of(Server::start(Kind::Kafka).map_err(failed)?)
    }

    pub(crate) fn start_with(arguments: &[&str]) -> Result<Self> {
        Self::of(Server::start_with(Kind::Kafka, arguments).map_err(failed)?)
    }

    fn of(server: Server) -> Result<Self> {
        let address = server.variable("ROWTIDE_KAFKA_BROKERS").map_err(failed)?.to_owned();
        Ok(Self { server: Some(server), address })
    }

    /// One that others use, too.
    pub(crate) fn at(address: String) -> Self {
        Self { server: None, address }
    }

    pub(crate) fn server(&self) -> Result<&Server> {
        self.server.as_ref().ok_or_else(|| failed("the broker is shared"))
    }

    pub(crate) fn variable(&self, name: &str) -> Result<&str> {
        self.server()?.variable(name).map_err(failed)
    }

    pub(crate) fn socket(&self, name: &str) -> Result<SocketAddr> {
        self.variable(name)?.parse().map_err(failed)
    }

    pub(crate) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.address);
        client
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>> {
        self.client().create().map_err(failed)
    }

    /// Makes a topic with a name of its own.
    pub(crate) async fn topic(
        &self,
        partitions: i32,
        configuration: &[(&str, &str)],
    ) -> Result<String> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("topic-{}-{number}", std::process::id());
        let mut topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        for (key, value) in configuration {
            topic = topic.set(key, value);
        }
        let made = self.admin()?.create_topics([&topic], &AdminOptions::new()).await;
        for result in made.map_err(failed)? {
            result.map_err(|(_, code)| failed(code))?;
        }
        Ok(name)
    }

    /// Replaces the configuration of a topic.
    pub(crate) async fn configure(
        &self,
        topic: &str,
        configuration: &[(&str, &str)],
    ) -> Result<()> {
        let mut change = AlterConfig::new(ResourceSpecifier::Topic(topic));
        for (key, value) in configuration {
            change = change.set(key, value);
        }
        let changed = self.admin()?.alter_configs([&change], &AdminOptions::new()).await;
        for result in changed.map_err(failed)? {
            result.map_err(|(_, code)| failed(code))?;
        }
        Ok(())
    }

    /// All messages that are in the topic now, by partition.
    pub(crate) async fn messages(&self, topic: &str) -> Result<Vec<OwnedMessage>> {
        let (client, topic) = (self.client(), topic.to_owned());
        let read = move || read(client, &topic);
        tokio::task::spawn_blocking(read).await.map_err(failed)?
    }

    /// Whether it tells of the topic within a second.
    pub(crate) async fn answers(&self, topic: &str) -> Result<bool> {
        let (client, topic) = (self.client(), topic.to_owned());
        let ask = move || {
            let client: BaseConsumer = client.create().map_err(failed)?;
            Ok(client.fetch_metadata(Some(&topic), Duration::from_secs(1)).is_ok())
        };
        tokio::task::spawn_blocking(ask).await.map_err(failed)?
    }

    /// Opens a sink at this broker.
    pub(crate) async fn open(&self, mut settings: Json) -> Result<Box<dyn Sink>> {
        settings["brokers"] = json!([self.address]);
        open(settings).await
    }
}

fn read(mut client: ClientConfig, topic: &str) -> Result<Vec<OwnedMessage>> {
    client.set("group.id", "reader").set("check.crcs", "true").set("fetch.wait.max.ms", "10");
    let consumer: BaseConsumer = client.create().map_err(failed)?;
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).map_err(failed)?;
    let (mut all, mut count) = (TopicPartitionList::new(), 0);
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let (begin, end) =
            consumer.fetch_watermarks(topic, partition.id(), PATIENCE).map_err(failed)?;
        all.add_partition_offset(topic, partition.id(), Offset::Offset(begin)).map_err(failed)?;
        count += end - begin;
    }
    consumer.assign(&all).map_err(failed)?;
    let next = |_| {
        let message = consumer.poll(PATIENCE).ok_or_else(|| failed("a message is missing"))?;
        message.map(|message| message.detach()).map_err(failed)
    };
    let mut messages = (0..count).map(next).collect::<Result<Vec<_>>>()?;
    messages.sort_by_key(|message| (message.partition(), message.offset()));
    Ok(messages)
}

/// Opens a sink through the registry, as the next one of the same pipeline.
pub(crate) async fn open(settings: Json) -> Result<Box<dyn Sink>> {
    let factory = registry::sink("kafka", &Settings::from(settings))?;
    factory.open(&Context::new("tests", Shutdown::never())).await
}

/// Inserts with these numbers, of which each is its own key.
pub(crate) fn inserts(numbers: std::ops::Range<u64>) -> Vec<Change> {
    numbers.map(|number| insert(number, "value")).collect()
}

pub(crate) fn insert(number: u64, value: &str) -> Change {
    let key = Column::new("key", ColumnType::Int).in_key(0);
    let table = Table::new("items", vec![key, Column::new("value", ColumnType::Text)]);
    let id = ChangeId::new("tests").major(number);
    let mut change = Change::new(id, table.into(), Operation::Insert);
    change.after = Some(Row::new([Value::Int(number.cast_signed()), Value::from(value)]));
    change
}

/// The numbers of inserts by their keys.
pub(crate) fn numbers(messages: &[OwnedMessage]) -> Vec<u64> {
    let number = |message: &OwnedMessage| {
        let key = std::str::from_utf8(message.key().unwrap()).unwrap();
        key.trim_matches(|letter: char| !letter.is_ascii_digit()).parse().unwrap()
    };
    messages.iter().map(number).collect()
}

pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().unwrap().block_on(test)
}
