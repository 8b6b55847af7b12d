//! The sink: changes become messages, which are handed over, counted, and mended if need be.

mod cluster;
mod mending;
mod parcel;

use std::{mem, ops::Range};

use rdkafka::types::RDKafkaErrorCode;
use rowtide_core::{Change, Error, Result, Sink, async_trait};
use rowtide_failpoint::{fails, reach};
use rowtide_format::{Encoder, Message, Messages, Refusals, Template};

use crate::{
    producer::{Ticket, contact},
    topics::{TopicIndex, Topics},
    wire,
};

pub(crate) use cluster::Cluster;
pub(crate) use parcel::Parcel;

pub(crate) struct KafkaSink {
    encoder: Encoder,
    messages: Messages,
    refusals: Refusals,
    topics: Topics,
    cluster: Cluster,
    /// The messages of the span.
    sent: Vec<Sent>,
    calls: Calls,
}

/// What is known of a message that was handed over.
struct Sent {
    /// The changes in it, by their indexes in the span.
    contents: Range<usize>,
    /// The time that its row gives it, in milliseconds. Without one it has the time at which it is
    /// handed over, by the clock of this machine.
    time: Option<i64>,
}

/// Whether the last call came to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Calls {
    Ended,
    Begun,
}

/// The changes of one call, as messages.
struct Batch<'a> {
    changes: &'a [Change],
    messages: &'a Messages,
    /// The index of the first change in the span.
    first: usize,
}

#[async_trait]
impl Sink for KafkaSink {
    async fn write(&mut self, changes: &[Change]) -> Result<()> {
        self.begin()?;
        if fails!("kafka: write abandoned, nothing handed over") {
            return Ok(());
        }
        let first = self.refusals.changes();
        let mut messages = mem::take(&mut self.messages);
        self.encoder.messages(changes, &mut messages);
        self.refusals.encoded(&self.encoder, changes.len());
        self.hand_over(&Batch { changes, messages: &messages, first }).await?;
        self.messages = messages;
        self.calls = Calls::Ended;
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        self.begin()?;
        reach!("kafka: handed over, no report awaited");
        self.mend().await?;
        reach!("kafka: all reported");
        self.sent.clear();
        self.calls = Calls::Ended;
        self.refusals.flushed()
    }
}

impl KafkaSink {
    pub(crate) fn new(encoder: Encoder, cluster: Cluster, template: Option<Template>) -> Self {
        Self {
            encoder,
            messages: Messages::new(),
            refusals: Refusals::default(),
            topics: Topics::new(template),
            cluster,
            sent: Vec::new(),
            calls: Calls::Ended,
        }
    }

    /// Waits until a broker has answered.
    ///
    /// # Errors
    /// `Config` if the brokers do not accept who we are, `Transient` if none answers.
    pub(crate) async fn contact(&mut self) -> Result<()> {
        let deliveries = self.cluster.deliveries().clone();
        contact(self.cluster.first_lane()?, &deliveries).await
    }

    /// Makes sure that a topic is there.
    ///
    /// # Errors
    /// `Config` if it is not, and `Transient` if nobody tells.
    pub(crate) async fn expect(&mut self, topic: &str) -> Result<()> {
        self.topics.named(topic).map_err(|reason| Error::config(reason).key("topic"))?;
        self.learn().await.map_err(|error| match error.is_transient() {
            true => error,
            false => error.key("topic"),
        })
    }

    /// After a call that was abandoned half way nobody knows what was accepted.
    fn begin(&mut self) -> Result<()> {
        match mem::replace(&mut self.calls, Calls::Begun) {
            Calls::Ended => Ok(()),
            Calls::Begun => Err(Error::transient("an earlier call did not come to its end")),
        }
    }

    async fn hand_over(&mut self, batch: &Batch<'_>) -> Result<()> {
        let mut routes = self.routes(batch);
        if self.topics.has_unknown() {
            self.learn().await?;
        }
        if self.forget_guesses(batch, &routes) {
            self.learn().await?;
        }
        self.refuse_large(batch, &mut routes);
        for (message, route) in batch.messages.iter().zip(routes) {
            if let Some(topic) = route {
                self.send(&message, topic, batch.contents(&message)).await?;
            }
        }
        Ok(())
    }

    /// Asks for what is not known yet of topics.
    async fn learn(&mut self) -> Result<()> {
        let Some(living) = self.cluster.first_lane()?.living().cloned() else { return Ok(()) };
        self.topics.learn(self.cluster.admin(), &living).await
    }

    /// Where each message goes; none where it can go nowhere.
    fn routes(&mut self, batch: &Batch<'_>) -> Vec<Option<TopicIndex>> {
        let route = |message: Message<'_>| {
            let change = &batch.changes[message.index];
            match self.topics.of(change, &message) {
                Ok(topic) => Some(topic),
                Err(reason) => {
                    self.refusals.refuse_all(batch.contents(&message), &reason);
                    None
                }
            }
        };
        batch.messages.iter().map(route).collect()
    }

    /// Nothing is refused for a limit that was guessed while the brokers could not be asked. Returns
    /// whether there is one to be asked for once more.
    fn forget_guesses(&mut self, batch: &Batch<'_>, routes: &[Option<TopicIndex>]) -> bool {
        for (message, route) in batch.messages.iter().zip(routes) {
            let is_doubtful = |topic: &TopicIndex| {
                self.topics.at(*topic).is_doubtful(wire::batch_bytes(&message))
            };
            if let Some(topic) = route.filter(is_doubtful) {
                self.topics.forget(topic);
            }
        }
        self.topics.has_unknown()
    }

    /// Refuses the changes of which a message is larger than its topic takes, before anything of
    /// them is sent: a broker would refuse the whole batch, with what is beside them.
    fn refuse_large(&mut self, batch: &Batch<'_>, routes: &mut [Option<TopicIndex>]) {
        let mut refused = Vec::new();
        for (message, route) in batch.messages.iter().zip(&*routes) {
            let Some(topic) = route.map(|topic| self.topics.at(topic)) else {
                refused.push(message.index);
                continue;
            };
            let (bytes, limit) =
                (wire::batch_bytes(&message), topic.bytes_max().unwrap_or(usize::MAX));
            if bytes > limit {
                let id = batch.changes[message.index].id();
                let reason = format!(
                    "the message of change {id} has {bytes} bytes, and topic `{}` takes {limit}",
                    topic.name
                );
                self.refusals.refuse_all(batch.contents(&message), &reason);
                refused.push(message.index);
            }
        }
        if refused.is_empty() {
            return;
        }
        // A change may have two messages, of which neither must be sent then.
        for (message, route) in batch.messages.iter().zip(routes) {
            if refused.binary_search(&message.index).is_ok() {
                *route = None;
            }
        }
    }

    /// Hands a message over as soon as there is room for it.
    async fn send(
        &mut self,
        message: &Message<'_>,
        topic: TopicIndex,
        contents: Range<usize>,
    ) -> Result<()> {
        let ticket = Ticket { message: self.sent.len(), bytes: parcel::bytes(message) };
        self.sent.push(Sent { contents, time: parcel::time(message) });
        loop {
            self.make_room(ticket.bytes).await?;
            let topic = self.topics.at(topic);
            let lane = self.cluster.lane(topic)?;
            let Err(code) = lane.send(parcel::pack(message, &topic.name, ticket)) else {
                reach!("kafka: message handed over");
                return Ok(());
            };
            if lane.fatal_error().is_some() {
                self.mend().await?;
                continue;
            }
            match code {
                RDKafkaErrorCode::QueueFull if !self.cluster.deliveries().is_settled() => {
                    self.cluster.deliveries().any_progress().await;
                }
                RDKafkaErrorCode::QueueFull
                | RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::InvalidArgument => {
                    self.refuse(ticket, code, message.partition);
                    return Ok(());
                }
                code => return Err(mending::failed(code, &topic.name)),
            }
        }
    }

    async fn make_room(&mut self, bytes: usize) -> Result<()> {
        while !self.cluster.deliveries().has_room(bytes) {
            self.cluster.check()?;
            match self.cluster.deliveries().has_failed() {
                true => self.mend().await?,
                false => self.cluster.deliveries().progress().await,
            }
        }
        Ok(())
    }
}

impl Batch<'_> {
    /// The changes in a message, by their indexes in the span.
    fn contents(&self, message: &Message<'_>) -> Range<usize> {
        let Range { start, end } = message.changes();
        self.first + start..self.first + end
    }
}
