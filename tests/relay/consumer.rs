//! What came out, read by the brokers' own clients after everything else has ended.

use std::{error::Error, time::Duration};

use lapin::{
    Connection, ConnectionProperties, ExchangeKind,
    options::{BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};
use serde_json::Value;

use crate::verdict::Message;

type Outcome<T> = Result<T, Box<dyn Error>>;

const PATIENCE: Duration = Duration::from_secs(30);

/// The messages of each partition of a topic, in order.
pub(crate) fn kafka(brokers: &str, topic: &str) -> Outcome<Vec<Vec<Message>>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "verdict")
        .set("enable.auto.commit", "false")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    let partitions = metadata.topics()[0].partitions().iter().map(|partition| partition.id());
    partitions.map(|partition| kafka_partition(&consumer, topic, partition)).collect()
}

fn kafka_partition(consumer: &BaseConsumer, topic: &str, partition: i32) -> Outcome<Vec<Message>> {
    let (_, end) = consumer.fetch_watermarks(topic, partition, PATIENCE)?;
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    consumer.assign(&assignment)?;
    let mut messages = Vec::new();
    let mut next = 0;
    while next < end {
        let message = consumer.poll(PATIENCE).ok_or("the topic ended before its end")??;
        next = message.offset() + 1;
        messages.push(parse(message.payload().ok_or("a message without a payload")?)?);
    }
    Ok(messages)
}

/// Declares a quorum queue that gets what has its name as the routing key.
pub(crate) async fn bind_queue(url: &str, exchange: &str, queue: &str) -> Outcome<()> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let none = FieldTable::default;
    channel.exchange_declare(exchange.into(), ExchangeKind::Topic, durable, none()).await?;
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    channel.queue_declare(queue.into(), durable, quorum).await?;
    let options = QueueBindOptions::default();
    channel.queue_bind(queue.into(), exchange.into(), queue.into(), options, none()).await?;
    connection.close(200, "done".into()).await?;
    Ok(())
}

/// The messages of a queue, in order.
pub(crate) async fn rabbitmq(url: &str, queue: &str) -> Outcome<Vec<Vec<Message>>> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), passive, FieldTable::default()).await?;
    let mut messages = Vec::new();
    let options = BasicGetOptions { no_ack: true };
    while let Some(got) = channel.basic_get(queue.into(), options).await? {
        messages.push(parse(&got.delivery.data)?);
    }
    Ok(vec![messages])
}

fn parse(payload: &[u8]) -> Outcome<Message> {
    let value: Value = serde_json::from_slice(payload)?;
    let number = |name: &str| value[name].as_i64().ok_or_else(|| format!("{value} has no {name}"));
    let nonce = value["nonce"].as_str().ok_or("a message without a nonce")?;
    Ok(Message {
        aggregate: number("aggregate")?,
        version: number("version")?,
        nonce: nonce.to_owned(),
    })
}
