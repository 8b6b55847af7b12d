use std::{collections::VecDeque, iter::Peekable, mem, ops::Range, pin::Pin, vec::IntoIter};

use futures_util::{
    FutureExt,
    future::{MaybeDone, maybe_done},
};
use lapin::{
    Channel, Confirmation, PublisherConfirm,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    protocol::AMQPSoftError,
};
use rowtide_core::{Error, Result};
use rowtide_failpoint::reach;

use crate::{
    connection::{Link, failure, soft_error},
    message::{Outgoing, fingerprint},
};

/// How many messages are handed to the client together, and how many bytes: its buffer is not
/// bounded.
const SENDING_MAX: usize = 256;
const SENDING_BYTES: usize = 1 << 20;

/// How much is in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// What becomes of a message that no queue takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum OnUnroutable {
    /// It is rejected.
    #[default]
    Reject,
    /// The broker drops it.
    Drop,
}

/// Publishes on one channel and waits for confirmations.
pub(crate) struct Publisher {
    channel: Channel,
    options: BasicPublishOptions,
    limits: Limits,
    unconfirmed: VecDeque<Unconfirmed>,
    unconfirmed_bytes: usize,
    /// The size that the broker has taken. The broker closes the channel on a message that is too
    /// large, and what is under way then is neither confirmed nor known to be lost; so a message
    /// larger than any before travels alone.
    accepted_bytes: usize,
    /// What was published since the last `settle`.
    sent: Vec<Sent>,
    /// The fingerprints of what came back. The client hands a returned message out with one of
    /// the confirmations of its time, and not always with its own: one confirmation of the broker
    /// can be for many messages.
    returned: Vec<u64>,
}

struct Unconfirmed {
    confirm: PublisherConfirm,
    bytes: usize,
}

#[derive(Clone)]
struct Sent {
    fingerprint: u64,
    contents: Range<usize>,
}

/// What became of a message that travelled alone.
enum Alone {
    Taken,
    /// It is larger than the broker takes.
    TooLarge,
}

type Sending<F> = Pin<Box<MaybeDone<F>>>;

impl Publisher {
    pub(crate) async fn open(
        link: &Link,
        limits: Limits,
        on_unroutable: OnUnroutable,
    ) -> Result<Self> {
        let mandatory = on_unroutable == OnUnroutable::Reject;
        Ok(Self {
            channel: confirming_channel(link).await?,
            options: BasicPublishOptions { mandatory, ..BasicPublishOptions::default() },
            limits,
            unconfirmed: VecDeque::new(),
            unconfirmed_bytes: 0,
            accepted_bytes: 0,
            sent: Vec::new(),
            returned: Vec::new(),
        })
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Publishes messages in order, and waits for room where there is none. Those that are too
    /// large are added to `too_large`, as the indexes of their changes.
    pub(crate) async fn publish(
        &mut self,
        link: &Link,
        messages: Vec<Outgoing<'_>>,
        too_large: &mut Vec<Range<usize>>,
    ) -> Result<()> {
        let mut rest = messages.into_iter().peekable();
        while let Some(next) = rest.peek() {
            if next.payload.len() > self.accepted_bytes {
                self.confirm_all(link).await?;
                let Some(message) = rest.next() else { break };
                let (contents, bytes) = (message.contents.clone(), message.payload.len());
                match self.publish_alone(link, message).await? {
                    Alone::Taken => self.accepted_bytes = bytes,
                    Alone::TooLarge => too_large.push(contents),
                }
                continue;
            }
            let batch = self.take_batch(&mut rest);
            if batch.is_empty() {
                self.confirm_some(link).await?;
            } else {
                self.send(link, batch).await?;
            }
        }
        Ok(())
    }

    /// Waits until everything is confirmed, and returns the changes of each message that came back.
    pub(crate) async fn settle(&mut self, link: &Link) -> Result<Vec<Range<usize>>> {
        reach!("rabbitmq: published, not confirmed");
        self.confirm_all(link).await?;
        reach!("rabbitmq: all confirmed");
        let mut sent = mem::take(&mut self.sent);
        let returned = mem::take(&mut self.returned);
        if returned.is_empty() {
            sent.clear();
            self.sent = sent;
            return Ok(Vec::new());
        }
        Ok(indexes(sent, &returned))
    }

    /// As many of the next messages as there is room for.
    fn take_batch<'m>(&self, rest: &mut Peekable<IntoIter<Outgoing<'m>>>) -> Vec<Outgoing<'m>> {
        let mut batch = Vec::new();
        let (mut count, mut bytes) = (self.unconfirmed.len(), 0);
        while let Some(next) = rest.peek() {
            let size = next.bytes();
            let is_first = count == 0;
            let is_full = count >= self.limits.messages
                || (self.unconfirmed_bytes + bytes + size > self.limits.bytes && !is_first)
                || (!batch.is_empty() && (bytes + size > SENDING_BYTES))
                || batch.len() >= SENDING_MAX
                || next.payload.len() > self.accepted_bytes;
            if is_full {
                break;
            }
            bytes += size;
            count += 1;
            batch.extend(rest.next());
        }
        batch
    }

    /// Hands messages to the client together, and waits until they are on their way.
    async fn send(&mut self, link: &Link, batch: Vec<Outgoing<'_>>) -> Result<()> {
        let (channel, options) = (&self.channel, self.options);
        let mut sizes = Vec::with_capacity(batch.len());
        let mut sendings: Vec<Sending<_>> = Vec::with_capacity(batch.len());
        for message in batch {
            sizes.push(message.bytes());
            let contents = message.contents.clone();
            self.sent.push(Sent { fingerprint: message.fingerprint(), contents });
            let Outgoing { exchange, routing_key, properties, payload, .. } = message;
            let publish =
                channel.basic_publish(exchange, routing_key, options, payload, properties);
            let mut sending = Box::pin(maybe_done(publish));
            // The first poll puts the message into the client's queue: this makes the order.
            let _ = sending.as_mut().now_or_never();
            sendings.push(sending);
        }
        reach!("rabbitmq: some messages on their way");
        let mut failed = None;
        for (mut sending, bytes) in sendings.into_iter().zip(sizes) {
            let sent = async {
                sending.as_mut().await;
                Ok(())
            };
            if let Err(error) = link.done(channel, sent).await {
                failed = Some(error);
                break;
            }
            match sending.as_mut().take_output() {
                Some(Ok(confirm)) => {
                    self.unconfirmed_bytes += bytes;
                    self.unconfirmed.push_back(Unconfirmed { confirm, bytes });
                }
                Some(Err(error)) => {
                    failed = Some(error);
                    break;
                }
                None => {}
            }
        }
        match failed {
            Some(error) => Err(failure::in_operation(self.cause(error), link.server())),
            None => Ok(()),
        }
    }

    /// Publishes a message of a size that the broker may refuse, while nothing else is under way.
    async fn publish_alone(&mut self, link: &Link, message: Outgoing<'_>) -> Result<Alone> {
        let Outgoing { exchange, routing_key, properties, payload, contents } = message;
        let fingerprint = fingerprint(&exchange, &routing_key, &properties, payload);
        let publish =
            self.channel.basic_publish(exchange, routing_key, self.options, payload, properties);
        let confirmed = async { publish.await?.await };
        match link.done(&self.channel, confirmed).await {
            Ok(confirmation) => {
                reach!("rabbitmq: large message confirmed alone");
                self.sent.push(Sent { fingerprint, contents });
                self.confirmed(confirmation, link)?;
                Ok(Alone::Taken)
            }
            Err(error) => match soft_error(&error) {
                Some(AMQPSoftError::PRECONDITIONFAILED | AMQPSoftError::CONTENTTOOLARGE) => {
                    self.channel = confirming_channel(link).await?;
                    Ok(Alone::TooLarge)
                }
                _ => Err(failure::in_operation(error, link.server())),
            },
        }
    }

    async fn confirm_all(&mut self, link: &Link) -> Result<()> {
        while !self.unconfirmed.is_empty() {
            self.confirm_oldest(link).await?;
        }
        Ok(())
    }

    /// Makes room for a good number of messages.
    async fn confirm_some(&mut self, link: &Link) -> Result<()> {
        let messages = self.limits.messages - self.limits.messages.div_ceil(4);
        let bytes = self.limits.bytes / 4 * 3;
        self.confirm_oldest(link).await?;
        while self.unconfirmed.len() > messages || self.unconfirmed_bytes > bytes {
            self.confirm_oldest(link).await?;
        }
        Ok(())
    }

    async fn confirm_oldest(&mut self, link: &Link) -> Result<()> {
        let Some(Unconfirmed { confirm, bytes }) = self.unconfirmed.pop_front() else {
            return Ok(());
        };
        match link.done(&self.channel, confirm).await {
            Ok(confirmation) => self.confirmed(confirmation, link)?,
            Err(error) => return Err(failure::in_operation(self.cause(error), link.server())),
        }
        self.unconfirmed_bytes -= bytes;
        Ok(())
    }

    fn confirmed(&mut self, confirmation: Confirmation, link: &Link) -> Result<()> {
        let server = link.server();
        match confirmation {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(message)) => {
                let message = &message.delivery;
                let fingerprint = fingerprint(
                    &message.exchange,
                    &message.routing_key,
                    &message.properties,
                    &message.data,
                );
                self.returned.push(fingerprint);
                Ok(())
            }
            Confirmation::Nack(_) => {
                let message = format!("{server} could not take a message, for the time being");
                Err(Error::transient(message).help(
                    "a queue is full and has `overflow = reject-publish`, or it has lost its \
                     leader; in front of such a queue, set `unconfirmed_max = 1` to keep the order",
                ))
            }
            Confirmation::NotRequested => {
                Err(Error::fatal(format!("{server} does not confirm what is published")))
            }
        }
    }

    /// What ended the channel: the first to notice is not always the one that is told.
    fn cause(&mut self, noticed: lapin::Error) -> lapin::Error {
        if noticed.is_amqp_error() {
            return noticed;
        }
        let told = self.unconfirmed.drain(..).find_map(|unconfirmed| {
            unconfirmed.confirm.now_or_never()?.err().filter(lapin::Error::is_amqp_error)
        });
        told.unwrap_or(noticed)
    }
}

/// Finds the changes of what came back. Each return is one message, and those that look the same
/// came back in the order in which they were sent.
fn indexes(sent: Vec<Sent>, returned: &[u64]) -> Vec<Range<usize>> {
    let mut sent: Vec<_> = sent.into_iter().map(Some).collect();
    let found = returned.iter().filter_map(|fingerprint| {
        let is_it = |sent: &&mut Option<Sent>| {
            sent.as_ref().is_some_and(|it| it.fingerprint == *fingerprint)
        };
        sent.iter_mut().find(is_it)?.take().map(|sent| sent.contents)
    });
    found.collect()
}

async fn confirming_channel(link: &Link) -> Result<Channel> {
    let channel = link.channel().await?;
    let selected = link.done(&channel, channel.confirm_select(ConfirmSelectOptions::default()));
    selected.await.map_err(|error| failure::in_operation(error, link.server()))?;
    Ok(channel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_return_is_one_message_that_was_sent() {
        let sent = [(7, 0..3), (8, 3..4), (7, 4..5), (9, 5..7)]
            .map(|(fingerprint, contents)| Sent { fingerprint, contents })
            .to_vec();
        assert_eq!(indexes(sent.clone(), &[9, 7]), [5..7, 0..3]);
        assert_eq!(indexes(sent.clone(), &[7, 7, 7]), [0..3, 4..5]);
        assert!(indexes(sent, &[1]).is_empty());
    }
}
