use std::collections::HashMap;

use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use rowtide_core::{Change, Error, Result};
use rowtide_format::{Message, Template};

use crate::connection::{
    Link,
    failure::{self, Declaration},
    soft_error,
};

/// More names than a pipeline uses at a time; one that makes names of row values must not make the
/// list of them grow for ever.
const KNOWN_MAX: usize = 10_000;

/// Where messages go.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// Straight to a queue, through the default exchange.
    Queue { name: Template, queue_type: QueueType },
    /// To an exchange, which finds the queues by the routing key.
    Exchange { name: Template, exchange_type: ExchangeType, routing_key: Template },
}

/// What a queue is declared as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum QueueType {
    /// Replicated, and always durable.
    #[default]
    Quorum,
    /// On one node.
    Classic,
    /// A log that is read many times.
    Stream,
    /// Nothing is declared: the queue is there.
    Existing,
}

/// What an exchange is declared as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum ExchangeType {
    /// Queues are bound with patterns of the routing key.
    #[default]
    Topic,
    /// Queues are bound with the routing key.
    Direct,
    /// Every bound queue gets every message.
    Fanout,
    /// Queues are bound with values of headers.
    Headers,
    /// Nothing is declared: the exchange is there.
    Existing,
}

/// Finds where each message goes, and makes what is to be there.
pub(crate) struct Router {
    target: Target,
    /// Names that are there, and those that cannot be, with the reason.
    known: HashMap<ShortString, Option<String>>,
    text: String,
}

/// The exchange and the routing key of a message.
pub(crate) type Route = (ShortString, ShortString);

impl Router {
    /// Makes what has a fixed name, or sees that it is there.
    pub(crate) async fn open(target: Target, link: &Link) -> Result<Self> {
        if let Some(name) = target.name().fixed().map(ShortString::try_new).and_then(Result::ok) {
            let declared = target.declare(link, name.clone()).await?;
            let what = format!("{} `{name}`", target.noun());
            declared.map_err(|error| {
                let what = (what.as_str(), target.declaration());
                failure::declaring(error, what, link.server()).key(target.noun())
            })?;
        }
        Ok(Self { target, known: HashMap::new(), text: String::new() })
    }

    /// Where `message` goes, which is one of `change`. `Err` within is why it cannot go anywhere.
    pub(crate) async fn route(
        &mut self,
        link: &Link,
        change: &Change,
        message: &Message<'_>,
    ) -> Result<Result<Route, String>> {
        let (name, routing_key) = match self.names(change, message) {
            Ok(names) => names,
            Err(reason) => return Ok(Err(reason)),
        };
        if self.target.name().fixed().is_none()
            && let Some(reason) = self.refusal(link, &name).await?
        {
            return Ok(Err(reason));
        }
        Ok(Ok(match routing_key {
            Some(routing_key) => (name, routing_key),
            None => (ShortString::default(), name),
        }))
    }

    /// Asks again about what was not there.
    pub(crate) fn forget_refusals(&mut self) {
        self.known.retain(|_, refusal| refusal.is_none());
    }

    /// Whether opening anew declares a queue that is gone.
    pub(crate) fn declares_queues(&self) -> bool {
        matches!(self.target, Target::Queue { .. })
            && self.target.declaration() == Declaration::Active
    }

    /// Why the broker returns a message.
    pub(crate) fn unroutable(&self) -> String {
        match (&self.target, self.target.name().fixed()) {
            (Target::Queue { .. }, Some(name)) => format!("there is no queue `{name}`"),
            (Target::Queue { .. }, None) => "there is no queue of that name".to_owned(),
            (Target::Exchange { .. }, name) => {
                let name = name.map_or(String::new(), |name| format!(" `{name}`"));
                format!("no queue is bound to the exchange{name} for the routing key")
            }
        }
    }

    fn names(
        &mut self,
        change: &Change,
        message: &Message<'_>,
    ) -> Result<(ShortString, Option<ShortString>), String> {
        let Self { target, text, .. } = self;
        let name = write(text, target.name(), change, message)?;
        if name.as_str().is_empty() {
            return Err(format!("the name of the {} is empty", target.noun()));
        }
        let routing_key = match target {
            Target::Queue { .. } => None,
            Target::Exchange { routing_key, .. } => {
                Some(write(text, routing_key, change, message)?)
            }
        };
        Ok((name, routing_key))
    }

    /// Declares `name` if that was not done before. Only messages of that name suffer if it fails.
    async fn refusal(&mut self, link: &Link, name: &ShortString) -> Result<Option<String>> {
        if let Some(known) = self.known.get(name) {
            return Ok(known.clone());
        }
        if self.known.len() == KNOWN_MAX {
            self.known.clear();
        }
        let declared = self.target.declare(link, name.clone()).await?;
        let refusal = match declared {
            Ok(()) => None,
            // The broker's words have the name in them, which may be a value of the row.
            Err(error) => match soft_error(&error) {
                Some(soft) if failure::is_passing(&error, self.target.declaration()) => {
                    let (server, noun) = (link.server(), self.target.noun());
                    let message = format!("{server} does not declare the {noun} of a message");
                    return Err(Error::transient(format!("{message} for now: {soft:?}")));
                }
                Some(soft) => {
                    let noun = self.target.noun();
                    Some(format!("the broker refuses the {noun} of this message: {soft:?}"))
                }
                None => return Err(failure::in_operation(error, link.server())),
            },
        };
        self.known.insert(name.clone(), refusal.clone());
        Ok(refusal)
    }
}

fn write(
    text: &mut String,
    template: &Template,
    change: &Change,
    message: &Message<'_>,
) -> Result<ShortString, String> {
    text.clear();
    template.write(text, change, message)?;
    let long = |_| format!("the name made of `{template:?}` is longer than 255 bytes");
    ShortString::try_new(text.as_str()).map_err(long)
}

impl Target {
    fn name(&self) -> &Template {
        match self {
            Target::Queue { name, .. } | Target::Exchange { name, .. } => name,
        }
    }

    /// What it is; also the key of its name.
    fn noun(&self) -> &'static str {
        match self {
            Target::Queue { .. } => "queue",
            Target::Exchange { .. } => "exchange",
        }
    }

    /// Whether it is made, or is there.
    fn declaration(&self) -> Declaration {
        match self {
            Target::Queue { queue_type: QueueType::Existing, .. }
            | Target::Exchange { exchange_type: ExchangeType::Existing, .. } => {
                Declaration::Passive
            }
            Target::Queue { .. } | Target::Exchange { .. } => Declaration::Active,
        }
    }

    /// Declares it, or asks for it if it is to be there. A refusal closes the channel.
    async fn declare(&self, link: &Link, name: ShortString) -> Result<lapin::Result<()>> {
        let channel = link.channel().await?;
        Ok(link.done(&channel, self.declare_on(&channel, name)).await)
    }

    async fn declare_on(&self, channel: &Channel, name: ShortString) -> lapin::Result<()> {
        match self {
            Target::Queue { queue_type, .. } => {
                let options = QueueDeclareOptions {
                    passive: self.declaration() == Declaration::Passive,
                    durable: true,
                    ..QueueDeclareOptions::default()
                };
                channel.queue_declare(name, options, queue_type.arguments()).await.map(drop)
            }
            Target::Exchange { exchange_type, .. } => {
                let options = ExchangeDeclareOptions {
                    passive: self.declaration() == Declaration::Passive,
                    durable: true,
                    ..ExchangeDeclareOptions::default()
                };
                let kind = exchange_type.kind();
                channel.exchange_declare(name, kind, options, FieldTable::default()).await
            }
        }
    }
}

impl QueueType {
    fn arguments(self) -> FieldTable {
        let name = match self {
            QueueType::Quorum => "quorum",
            QueueType::Classic => "classic",
            QueueType::Stream => "stream",
            QueueType::Existing => return FieldTable::default(),
        };
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString(name.into()));
        arguments
    }
}

impl ExchangeType {
    fn kind(self) -> ExchangeKind {
        match self {
            ExchangeType::Topic | ExchangeType::Existing => ExchangeKind::Topic,
            ExchangeType::Direct => ExchangeKind::Direct,
            ExchangeType::Fanout => ExchangeKind::Fanout,
            ExchangeType::Headers => ExchangeKind::Headers,
        }
    }
}
