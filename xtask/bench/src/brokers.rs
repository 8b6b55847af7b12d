//! What a producer that does nothing else reaches at the same brokers, and a look at what arrived.

use std::time::{Duration, Instant};

use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions},
    types::FieldTable,
};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
    types::RDKafkaErrorCode,
};

use crate::{Result, outbox::Message};

const PATIENCE: Duration = Duration::from_secs(30);
/// How many messages lapin's loop publishes before it waits for their confirmations.
const UNCONFIRMED: usize = 10_000;

/// The time of librdkafka's idempotent producer, as it is by default, for `messages`.
pub(crate) fn produce(brokers: &str, topic: &str, messages: &[Message]) -> Result<Duration> {
    let producer = producer(brokers)?;
    let start = Instant::now();
    for message in messages {
        let headers = OwnedHeaders::new().insert(Header { key: "id", value: Some(&message.id) });
        let mut record =
            BaseRecord::to(topic).key(&message.key).payload(&message.payload).headers(headers);
        while let Err((error, again)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            producer.poll(Duration::from_millis(10));
            record = again;
        }
    }
    while producer.in_flight_count() > 0 {
        producer.poll(Duration::from_millis(10));
    }
    Ok(start.elapsed())
}

pub(crate) fn producer(brokers: &str) -> Result<BaseProducer> {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", brokers).set("enable.idempotence", "true");
    Ok(settings.create()?)
}

pub(crate) fn consumer(brokers: &str) -> Result<BaseConsumer> {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", brokers).set("group.id", "bench");
    Ok(settings.set("enable.auto.commit", "false").create()?)
}

/// How many messages the only partition of a topic has ever had.
pub(crate) fn topic_length(brokers: &str, topic: &str) -> Result<i64> {
    Ok(consumer(brokers)?.fetch_watermarks(topic, 0, PATIENCE).map_or(0, |(_, end)| end))
}

/// The time of a loop of lapin's that publishes `messages` and awaits their confirmations.
pub(crate) async fn publish(url: &str, queue: &str, messages: &[Message]) -> Result<Duration> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let start = Instant::now();
    for part in messages.chunks(UNCONFIRMED) {
        let mut confirmations = Vec::with_capacity(part.len());
        for message in part {
            let properties = BasicProperties::default()
                .with_delivery_mode(2)
                .with_message_id(message.id.as_str().into());
            let options = BasicPublishOptions { mandatory: true, ..Default::default() };
            let publish = channel.basic_publish(
                "".into(),
                queue.into(),
                options,
                &message.payload,
                properties,
            );
            confirmations.push(publish.await?);
        }
        for confirmation in confirmations {
            if !confirmation.await?.is_ack() {
                return Err("the broker did not take a message".into());
            }
        }
    }
    let time = start.elapsed();
    connection.close(200, "done".into()).await?;
    Ok(time)
}

/// How many messages wait in a queue; it is emptied.
pub(crate) async fn empty_queue(url: &str, queue: &str) -> Result<u32> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let passive = QueueDeclareOptions { passive: true, ..Default::default() };
    channel.queue_declare(queue.into(), passive, FieldTable::default()).await?;
    let count = channel.queue_purge(queue.into(), Default::default()).await?;
    connection.close(200, "done".into()).await?;
    Ok(count)
}
