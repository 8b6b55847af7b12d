use std::sync::Arc;

use rdkafka::{ClientConfig, config::RDKafkaLogLevel, error::KafkaError};
use rowtide_core::{
    Context, Error, Result, Sink, async_trait,
    plugin::Config,
    register_sink,
    settings::{ByteSize, Tls},
};
use rowtide_format::{Encoder, Format, Template};

use super::{
    choices::{Compression, Partitioner},
    properties::Properties,
    security::{Sasl, Security},
};
use crate::{
    producer::former_have_ended,
    sink::{Cluster, KafkaSink},
    topics::name,
};

/// Produces messages to Kafka.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct KafkaConfig {
    /// Where some of the brokers are, each as `host:port`.
    brokers: Vec<String>,
    /// How a change is written down.
    #[serde(default)]
    format: Format,
    /// The topic of a message, such as `"shop.{table}"`, with `{table}`, `{namespace}`,
    /// `{column.NAME}`, and `{topic}` for where the format wants it to go. Unset: `{topic}` if the
    /// format has one, as `outbox` has, or else `{table}`.
    topic: Option<Template>,
    /// How the partition of a message is chosen by its key.
    #[serde(default)]
    partitioner: Partitioner,
    /// How messages are compressed on their way and in the topic.
    #[serde(default)]
    compression: Compression,
    /// How much may be under way: handed over, and not yet confirmed by the brokers.
    #[serde(default = "buffer_bytes_max")]
    buffer_bytes_max: ByteSize,
    /// How connections are encrypted. Unset: not at all.
    tls: Option<Tls>,
    /// Who the pipeline is to the brokers. Unset: nobody.
    sasl: Option<Sasl>,
    /// Further properties of librdkafka, such as `linger.ms`, but for those that the guarantees
    /// rest on.
    #[serde(default)]
    properties: Properties,
}

const OF_TABLE: &str = "leave `{column.…}` out; `{table}` is the same for all rows of a message";

fn buffer_bytes_max() -> ByteSize {
    ByteSize::from_mib(32)
}

register_sink!("kafka", KafkaConfig);

#[async_trait]
impl Config for KafkaConfig {
    type Opens = dyn Sink;

    fn validate(&self) -> Result<()> {
        let is_address = |broker: &String| !broker.trim().is_empty() && !broker.contains(',');
        if self.brokers.is_empty() || !self.brokers.iter().all(is_address) {
            let error = Error::config("expected the addresses of brokers").key("brokers");
            return Err(error.help("write `brokers = [\"host:9092\"]`"));
        }
        if self.buffer_bytes_max.0 == 0 {
            return Err(Error::config("nothing could be under way").key("buffer_bytes_max"));
        }
        if let Some(topic) = self.topic.as_ref().and_then(Template::fixed) {
            name::check(topic).map_err(|reason| Error::config(reason).key("topic"))?;
        }
        if let Some(topic) = &self.topic {
            let checked = self.format.check_name(topic);
            checked.map_err(|reason| Error::config(reason).key("topic").help(OF_TABLE))?;
        }
        self.security().validate()?;
        self.properties.validate()?;
        for (name, value) in self.properties.iter() {
            let mut client = ClientConfig::new();
            client.set(name, value);
            client.create_native_config().map(drop).map_err(|error| unknown(name, error))?;
        }
        Ok(())
    }

    async fn open(self, context: &Context) -> Result<Box<dyn Sink>> {
        former_have_ended(context.pipeline()).await;
        let pipeline: Arc<str> = context.pipeline().into();
        let encoder = Encoder::new(&self.format, &pipeline);
        let admin = self.client(&pipeline)?;
        let producer = self.producer(&admin);
        let bytes_max = self.buffer_bytes_max.as_usize();
        let cluster = Cluster::new(producer, admin, pipeline, bytes_max);
        let mut sink = KafkaSink::new(encoder, cluster, self.topic.clone());
        sink.contact().await.map_err(|error| self.at_brokers(error))?;
        if let Some(topic) = self.topic.as_ref().and_then(Template::fixed) {
            sink.expect(topic).await?;
        }
        Ok(Box::new(sink))
    }
}

impl KafkaConfig {
    fn security(&self) -> Security<'_> {
        Security { tls: self.tls.as_ref(), sasl: self.sasl.as_ref() }
    }

    /// What every client has.
    fn client(&self, pipeline: &str) -> Result<ClientConfig> {
        let mut client = ClientConfig::new();
        client.set_log_level(RDKafkaLogLevel::Info);
        client.set("bootstrap.servers", self.brokers.join(","));
        client.set("client.id", format!("rowtide-{pipeline}"));
        client.set("socket.keepalive.enable", "true");
        // A broker that is back is found soon.
        client.set("reconnect.backoff.max.ms", "1000");
        self.security().configure(&mut client)?;
        for (name, value) in self.properties.iter() {
            client.set(name, value);
        }
        Ok(client)
    }

    /// What producers have besides.
    fn producer(&self, client: &ClientConfig) -> ClientConfig {
        let mut producer = client.clone();
        // In order, once, however often it has to be sent: nothing is given up by itself, and after
        // a refused batch nothing follows.
        producer.set("enable.idempotence", "true");
        producer.set("enable.gapless.guarantee", "true");
        producer.set("acks", "all");
        producer.set("message.timeout.ms", "0");
        producer.set("partitioner", self.partitioner.name());
        producer.set("compression.codec", self.compression.name());
        // What is under way is bounded by the sink, which counts keys and headers too.
        let kilobytes = self.buffer_bytes_max.as_usize() / 1024;
        for (names, value) in [
            // The engine makes batches.
            (&["linger.ms", "queue.buffering.max.ms"][..], 0),
            (&["queue.buffering.max.messages"], 0),
            (&["queue.buffering.max.kbytes"], kilobytes.clamp(QUEUE_KILOBYTES, i32::MAX as usize)),
        ] {
            if names.iter().all(|name| client.get(name).is_none()) {
                producer.set(names[0], value.to_string());
            }
        }
        producer
    }

    fn at_brokers(&self, error: Error) -> Error {
        if !error.is_transient() {
            return error;
        }
        Error::transient(format!("failed to reach Kafka at {}", self.brokers.join(", ")))
            .because(error)
            .help("check `brokers`, and `tls` and `sasl` if the brokers want those")
    }
}

/// Room for the largest message that Kafka knows: a message larger than the bound goes alone.
const QUEUE_KILOBYTES: usize = 1 << 20;

fn unknown(name: &str, error: KafkaError) -> Error {
    let reason = match error {
        KafkaError::ClientConfig(_, reason, ..) => reason,
        error => error.to_string(),
    };
    Error::config(format!("librdkafka refuses `{name}`: {reason}"))
        .key(format!("properties.{name}"))
        .help("librdkafka's CONFIGURATION.md lists the properties")
}
