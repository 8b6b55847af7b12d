use std::ops::Range;

use rowtide_core::{Change, Error, Result, Sink, async_trait};
use rowtide_format::{Encoder, Messages, Refusals};

use crate::{
    connection::Link,
    message::{Outgoing, Stamp},
    publisher::Publisher,
    target::Router,
};

pub(crate) struct RabbitMqSink {
    pub(crate) link: Link,
    pub(crate) publisher: Publisher,
    pub(crate) router: Router,
    pub(crate) stamp: Stamp,
    pub(crate) encoder: Encoder,
    pub(crate) messages: Messages,
    pub(crate) refusals: Refusals,
    /// After an error nobody knows what is durable.
    pub(crate) has_failed: bool,
}

#[async_trait]
impl Sink for RabbitMqSink {
    async fn write(&mut self, changes: &[Change]) -> Result<()> {
        self.check()?;
        let mut messages = std::mem::take(&mut self.messages);
        self.encoder.messages(changes, &mut messages);
        let published = self.publish(changes, &messages).await;
        self.messages = messages;
        self.refusals.encoded(&self.encoder, changes.len());
        self.passed(published)
    }

    async fn flush(&mut self) -> Result<()> {
        self.check()?;
        let settled = self.publisher.settle(&self.link).await;
        let unroutable = self.passed(settled)?;
        self.link.set_settled(true);
        if !unroutable.is_empty() && self.router.declares_queues() {
            let error = format!("{}: {}", self.link.server(), self.router.unroutable());
            let help = "it was deleted, or has expired; opening the sink anew declares it again";
            return self.passed(Err(Error::transient(error).help(help)));
        }
        for contents in unroutable {
            self.refusals.refuse_all(contents, &self.router.unroutable());
        }
        self.router.forget_refusals();
        self.refusals.flushed().map_err(|error| {
            error.help("declare or bind a queue that takes it, or set `on_unroutable = \"drop\"`")
        })
    }
}

impl Drop for RabbitMqSink {
    fn drop(&mut self) {
        self.link.end(Some(self.publisher.channel()));
    }
}

impl RabbitMqSink {
    async fn publish(&mut self, changes: &[Change], messages: &Messages) -> Result<()> {
        let first = self.refusals.changes();
        let mut outgoing = Vec::with_capacity(messages.iter().len());
        for message in messages.iter() {
            let change = &changes[message.index];
            let Range { start, end } = message.changes();
            let contents = first + start..first + end;
            let route = self.router.route(&self.link, change, &message).await?;
            let prepared = route.and_then(|(exchange, routing_key)| {
                let properties = self.stamp.properties(change, &message)?;
                // Nothing here is null: a tombstone is a message without a body.
                let payload = message.value.unwrap_or_default();
                let contents = contents.clone();
                Ok(Outgoing { contents, exchange, routing_key, properties, payload })
            });
            match prepared {
                Ok(message) => outgoing.push(message),
                Err(reason) => self.refusals.refuse_all(contents, &reason),
            }
        }
        if outgoing.is_empty() {
            return Ok(());
        }
        self.link.set_settled(false);
        let mut too_large = Vec::new();
        self.publisher.publish(&self.link, outgoing, &mut too_large).await?;
        let reason = format!("{} takes no message this large", self.link.server());
        for contents in too_large {
            self.refusals.refuse_all(contents, &reason);
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        match self.has_failed {
            true => Err(Error::transient("the connection was given up after an error")),
            false => Ok(()),
        }
    }

    fn passed<T>(&mut self, outcome: Result<T>) -> Result<T> {
        self.has_failed |= outcome.is_err();
        outcome
    }
}
