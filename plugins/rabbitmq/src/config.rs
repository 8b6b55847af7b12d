use std::{num::NonZeroU32, time::Duration};

use lapin::types::ShortString;
use rowtide_core::{
    Context, Error, Result, Sink, async_trait,
    plugin::Config,
    register_sink,
    settings::{ByteSize, Period, Secret, Tls},
};
use rowtide_format::{Encoder, Format, Messages, Refusals, Template};

use crate::{
    connection::{Authentication, Endpoint, Link, address::Address},
    message::{LISTS, Stamp},
    publisher::{Limits, OnUnroutable, Publisher},
    sink::RabbitMqSink,
    target::{ExchangeType, QueueType, Router, Target},
};

/// Publishes messages to RabbitMQ, with publisher confirms.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct RabbitMqConfig {
    /// The broker: `amqp://user:password@host:port/vhost`, or `amqps://…` for TLS.
    url: Secret,
    /// The password, if it is not in the URL.
    password: Option<Secret>,
    /// How the user is proven: with a password, or with the certificate in `tls`.
    #[serde(default)]
    authentication: Authentication,
    /// How the connection is encrypted; needs an `amqps` URL.
    tls: Option<Tls>,
    /// The queue to publish to, a template such as `"changes.{table}"`. Either this or `exchange`.
    queue: Option<Template>,
    /// What the queue is declared as, durable.
    queue_type: Option<QueueType>,
    /// The exchange to publish to, a template.
    exchange: Option<Template>,
    /// What the exchange is declared as, durable.
    exchange_type: Option<ExchangeType>,
    /// The routing key of an exchange, a template. Unset: `"{table}"`.
    routing_key: Option<Template>,
    /// How a change is written down.
    #[serde(default)]
    format: Format,
    /// The property `content_type`. Unset: as the format has it.
    content_type: Option<String>,
    /// The property `app_id`. Unset: the name of the pipeline.
    app_id: Option<String>,
    /// The header that gets the key of a message; an empty text for none.
    #[serde(default = "key")]
    key_header: String,
    /// What becomes of a message that no queue takes: the change is rejected, or the broker drops
    /// the message.
    #[serde(default)]
    on_unroutable: OnUnroutable,
    /// Whether an exclusive queue `rowtide.PIPELINE` shuts out an older connection of this pipeline.
    #[serde(default = "yes")]
    exclusive: bool,
    /// How many messages are published before the first of them is confirmed.
    #[serde(default = "five_thousand")]
    unconfirmed_max: NonZeroU32,
    /// How many bytes they may be together.
    #[serde(default = "eight_mebibytes")]
    unconfirmed_bytes_max: ByteSize,
    /// How often both sides tell that they are there. A broker that was silent for two of these is
    /// taken for gone.
    #[serde(default = "ten_seconds")]
    heartbeat: Period,
    /// How long the broker may take to answer when the connection is opened.
    #[serde(default = "ten_seconds")]
    connect_timeout: Period,
}

fn key() -> String {
    "key".to_owned()
}

fn yes() -> bool {
    true
}

fn five_thousand() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(4_999)
}

fn eight_mebibytes() -> ByteSize {
    ByteSize::from_mib(8)
}

fn ten_seconds() -> Period {
    Period::from_secs(10)
}

register_sink!("rabbitmq", RabbitMqConfig);

#[async_trait]
impl Config for RabbitMqConfig {
    type Opens = dyn Sink;

    fn validate(&self) -> Result<()> {
        self.target()?;
        self.check_names()?;
        self.check_templates()?;
        if let Some(address) = Address::check(&self.url)? {
            self.check_encryption(&address)?;
        }
        let heartbeat = self.heartbeat.duration();
        if heartbeat.subsec_nanos() != 0 || u16::try_from(heartbeat.as_secs()).is_err() {
            let error = Error::config("a heartbeat is of whole seconds, up to 65535 of them");
            return Err(error.key("heartbeat"));
        }
        if heartbeat.is_zero() {
            let error = Error::config("without heartbeats a broker that is gone is never missed");
            return Err(error.key("heartbeat"));
        }
        if self.connect_timeout.duration().is_zero() {
            return Err(Error::config("no broker answers at once").key("connect_timeout"));
        }
        Ok(())
    }

    async fn open(self, context: &Context) -> Result<Box<dyn Sink>> {
        let shutdown = context.shutdown();
        tokio::select! {
            sink = self.connect(context) => Ok(Box::new(sink?)),
            () = shutdown.requested() => Err(Error::transient("asked to stop while connecting")),
        }
    }
}

impl RabbitMqConfig {
    async fn connect(self, context: &Context) -> Result<RabbitMqSink> {
        let pipeline = context.pipeline();
        let link = Link::open(self.endpoint(pipeline)?).await?;
        if self.exclusive {
            link.shut_out_others(pipeline, self.patience()).await?;
        }
        let limits = Limits {
            messages: usize::try_from(self.unconfirmed_max.get()).unwrap_or(usize::MAX),
            bytes: self.unconfirmed_bytes_max.as_usize(),
        };
        let content_type = match &self.content_type {
            Some(content_type) => Some(content_type.as_str()),
            None => self.format.content_type(),
        };
        let stamp = Stamp::new(
            content_type.and_then(short),
            short(self.app_id.as_deref().unwrap_or(pipeline)).unwrap_or_default(),
            short(&self.key_header).unwrap_or_default(),
            link.frame_bytes_max(),
        );
        Ok(RabbitMqSink {
            router: Router::open(self.target()?, &link).await?,
            publisher: Publisher::open(&link, limits, self.on_unroutable).await?,
            link,
            stamp,
            encoder: Encoder::new(&self.format, pipeline),
            messages: Messages::new(),
            refusals: Refusals::default(),
            has_failed: false,
        })
    }

    fn endpoint(&self, pipeline: &str) -> Result<Endpoint> {
        let mut address = Address::reveal(&self.url)?;
        self.check_encryption(&address)?;
        if let Some(password) = &self.password {
            let password = password.reveal().map_err(|error| error.key("password"))?;
            address.uri.authority.userinfo.password = password;
        }
        let query = &mut address.uri.query;
        query.auth_mechanism = Some(self.authentication.into());
        query.heartbeat = u16::try_from(self.heartbeat.duration().as_secs()).ok();
        Ok(Endpoint {
            address,
            tls: self.tls.clone().unwrap_or_default(),
            connect_timeout: self.connect_timeout.duration(),
            pipeline: pipeline.to_owned(),
        })
    }

    /// How long an older connection is waited for: the broker misses one that is cut off within
    /// this time.
    fn patience(&self) -> Duration {
        self.heartbeat.duration() * 2
    }

    fn target(&self) -> Result<Target> {
        let only_of = |key: &str, other: &str| {
            Err(Error::config(format!("only a publisher to an {other} has this")).key(key))
        };
        match (&self.queue, &self.exchange) {
            (Some(_), Some(_)) => {
                Err(Error::config("either a queue or an exchange is published to")
                    .key("exchange")
                    .help("with an exchange, bind the queue to it"))
            }
            (None, None) => Err(Error::config("there is nowhere to publish to")
                .key("queue")
                .help("set `queue` or `exchange`")),
            (Some(_), None) if self.routing_key.is_some() => only_of("routing_key", "exchange"),
            (Some(_), None) if self.exchange_type.is_some() => only_of("exchange_type", "exchange"),
            (Some(name), None) => Ok(Target::Queue {
                name: name.clone(),
                queue_type: self.queue_type.unwrap_or_default(),
            }),
            (None, Some(_)) if self.queue_type.is_some() => {
                Err(Error::config("only a publisher to a queue has this").key("queue_type"))
            }
            (None, Some(name)) => Ok(Target::Exchange {
                name: name.clone(),
                exchange_type: self.exchange_type.unwrap_or_default(),
                routing_key: match &self.routing_key {
                    Some(routing_key) => routing_key.clone(),
                    None => Template::parse("{table}")
                        .map_err(|error| Error::config(error).key("routing_key"))?,
                },
            }),
        }
    }

    /// A message that holds several rows cannot be named by a value of one.
    fn check_templates(&self) -> Result<()> {
        let names = [
            ("queue", &self.queue),
            ("exchange", &self.exchange),
            ("routing_key", &self.routing_key),
        ];
        for (key, name) in names {
            let Some(name) = name else { continue };
            self.format.check_name(name).map_err(|reason| {
                let help =
                    "leave `{column.…}` out; `{table}` is the same for all rows of a message";
                Error::config(reason).key(key).help(help)
            })?;
        }
        Ok(())
    }

    /// The protocol has one byte for the length of each of these.
    fn check_names(&self) -> Result<()> {
        let fixed =
            |name: &Option<Template>| name.as_ref().and_then(Template::fixed).map(str::to_owned);
        for (key, text) in [
            ("queue", fixed(&self.queue)),
            ("exchange", fixed(&self.exchange)),
            ("routing_key", fixed(&self.routing_key)),
            ("content_type", self.content_type.clone()),
            ("app_id", self.app_id.clone()),
            ("key_header", Some(self.key_header.clone())),
        ] {
            let Some(text) = text else { continue };
            if short(&text).is_none() {
                return Err(Error::config("longer than 255 bytes").key(key));
            }
            if text.is_empty() && ["queue", "exchange"].contains(&key) {
                let error = Error::config(format!("the name of the {key} is empty")).key(key);
                return Err(error.help("to publish to a queue by its name, set `queue`"));
            }
        }
        if LISTS.contains(&self.key_header.as_str()) {
            let message = format!("the broker routes by the header `{}`", self.key_header);
            return Err(Error::config(message).key("key_header").help("choose another name"));
        }
        Ok(())
    }

    fn check_encryption(&self, address: &Address) -> Result<()> {
        if let Some(tls) = &self.tls {
            tls.validate().map_err(|error| error.under("tls"))?;
            if !address.is_encrypted() {
                let error = Error::config("the connection is not encrypted").key("tls");
                return Err(error.help("write the URL with `amqps://`"));
            }
        }
        let has_certificate = self.tls.as_ref().is_some_and(|tls| tls.certificate.is_some());
        if self.authentication == Authentication::External && !has_certificate {
            let error = Error::config("there is no certificate that could prove the user");
            return Err(error.key("authentication").help("set `tls.certificate` and `tls.key`"));
        }
        Ok(())
    }
}

fn short(text: &str) -> Option<ShortString> {
    ShortString::try_new(text).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_header_that_the_broker_routes_by_takes_no_key() {
        for (name, key) in [("key", None), ("CC", Some("key_header")), ("BCC", Some("key_header"))]
        {
            let settings = json!({"url": "amqp://127.0.0.1", "queue": "q", "key_header": name});
            let config: RabbitMqConfig = serde_json::from_value(settings).unwrap();
            let refused = config.validate().err();
            assert_eq!(refused.as_ref().and_then(Error::setting), key);
        }
    }
}
