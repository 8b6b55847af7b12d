//! What becomes of messages that were not delivered.
//!
//! A broker refuses a batch as a whole, whichever of its messages it does not take. librdkafka then
//! raises a fatal error, so that nothing of the same producer overtakes the batch. Everything that
//! it did not deliver comes back, and is sent again by another one in the same order: up to the
//! refused batch one message a batch, so that those which are refused once more are the culprits.

use std::time::Duration;

use rdkafka::{Message as _, error::KafkaError, types::RDKafkaErrorCode};
use rowtide_core::{Error, Result};
use tokio::time;

use super::{KafkaSink, Parcel, parcel};
use crate::{
    producer::{Failure, Lane, Ticket},
    topics::forbidden,
};

/// What was under way when a producer failed may come back to its queue later.
const TAKE_BACK_EVERY: Duration = Duration::from_millis(50);

impl KafkaSink {
    /// Returns once every message that was handed over is delivered or refused.
    pub(super) async fn mend(&mut self) -> Result<()> {
        loop {
            self.settle().await?;
            let failures = self.cluster.deliveries().take_failures();
            if failures.is_empty() {
                return Ok(());
            }
            self.redeliver(failures).await?;
        }
    }

    /// Waits until nothing is under way.
    async fn settle(&self) -> Result<()> {
        let deliveries = self.cluster.deliveries();
        while !deliveries.is_settled() {
            self.cluster.check()?;
            if self.cluster.take_back() {
                let _ = time::timeout(TAKE_BACK_EVERY, deliveries.progress()).await;
            } else {
                deliveries.progress().await;
            }
        }
        Ok(())
    }

    /// Sends what came back again, or refuses it.
    async fn redeliver(&mut self, failures: Vec<Failure>) -> Result<()> {
        let reason = self.cluster.bury();
        let unroutable = |failure: &Failure| failure.code == RDKafkaErrorCode::UnknownPartition;
        let (refused, failures): (Vec<_>, Vec<_>) = failures.into_iter().partition(unroutable);
        for failure in refused {
            self.refuse(failure.ticket, failure.code, parcel::partition(&failure.message));
        }
        let suspects = failures.iter().filter(|failure| self.is_refusal(failure));
        let last_suspect = suspects.map(|failure| failure.ticket.message).max();
        let hopeless = |failure: &&Failure| is_forbidden(failure.code) || last_suspect.is_none();
        if let Some(failure) = failures.iter().find(hopeless) {
            let error = failed(failure.code, failure.message.topic());
            return Err(match reason {
                Some(reason) if error.is_transient() => error.because(reason),
                _ => error,
            });
        }
        let (singles, rest): (Vec<_>, Vec<_>) =
            failures.into_iter().partition(|failure| Some(failure.ticket.message) <= last_suspect);
        self.forget_limits(&singles);
        self.send_one_by_one(&singles).await?;
        self.send_again(rest).await
    }

    /// The limits of topics whose batches are refused have changed, or were never told.
    fn forget_limits(&mut self, failures: &[Failure]) {
        for failure in failures.iter().filter(|failure| is_too_large(failure.code)) {
            if let Ok(topic) = self.topics.named(failure.message.topic()) {
                self.topics.forget(topic);
            }
        }
    }

    /// Sends messages one a batch, and refuses those that are refused so.
    async fn send_one_by_one(&mut self, failures: &[Failure]) -> Result<()> {
        let lane = self.cluster.single_lane()?;
        for failure in failures {
            self.send_single(&lane, failure).await?;
        }
        self.settle().await?;
        for failure in self.cluster.deliveries().take_failures() {
            if !self.is_refusal(&failure) {
                return Err(failed(failure.code, failure.message.topic()));
            }
            self.refuse(failure.ticket, failure.code, parcel::partition(&failure.message));
        }
        Ok(())
    }

    /// Sends messages as usual, which no broker has seen yet.
    async fn send_again(&mut self, failures: Vec<Failure>) -> Result<()> {
        if self.topics.has_unknown() {
            self.learn().await?;
        }
        let mut failures = failures.into_iter();
        while let Some(failure) = failures.next() {
            if !self.send_as_usual(&failure).await? {
                // The next round begins with it.
                self.cluster.deliveries().put_back([failure].into_iter().chain(failures));
                break;
            }
        }
        Ok(())
    }

    /// Returns whether the producer took it; one that has failed for good takes nothing.
    async fn send_as_usual(&mut self, failure: &Failure) -> Result<bool> {
        let topic = self.topics.named(failure.message.topic()).map_err(Error::fatal)?;
        loop {
            let parcel = self.parcel(failure);
            let lane = self.cluster.lane(self.topics.at(topic))?;
            let Err(code) = lane.send(parcel) else {
                return Ok(true);
            };
            if lane.fatal_error().is_some() {
                return Ok(false);
            }
            if is_too_large(code) {
                // The limit that was learned meanwhile is that of the producer as well.
                self.refuse(failure.ticket, code, parcel::partition(&failure.message));
                return Ok(true);
            }
            self.await_queue(code, failure).await?;
        }
    }

    /// Hands a message over to a producer of its own manner.
    async fn send_single(&self, lane: &Lane, failure: &Failure) -> Result<()> {
        while let Err(code) = lane.send(self.parcel(failure)) {
            self.await_queue(code, failure).await?;
        }
        Ok(())
    }

    /// Waits for room in a queue that is full; anything else is an error.
    async fn await_queue(&self, code: RDKafkaErrorCode, failure: &Failure) -> Result<()> {
        let deliveries = self.cluster.deliveries();
        if code != RDKafkaErrorCode::QueueFull || deliveries.is_settled() {
            return Err(failed(code, failure.message.topic()));
        }
        deliveries.any_progress().await;
        Ok(())
    }

    /// Remembers until the flush that the brokers do not take a message.
    pub(super) fn refuse(
        &mut self,
        ticket: Ticket,
        code: RDKafkaErrorCode,
        partition: Option<i32>,
    ) {
        let Some(sent) = self.sent.get(ticket.message) else { return };
        let reason = match (code, partition) {
            (RDKafkaErrorCode::UnknownPartition, Some(partition)) => {
                format!("its topic has no partition {partition}")
            }
            (RDKafkaErrorCode::QueueFull, _) => {
                "it is larger than `queue.buffering.max.kbytes`".to_owned()
            }
            (code, _) => format!("the brokers refuse it: {}", words(code)),
        };
        self.refusals.refuse_all(sent.contents.clone(), &reason);
    }

    /// What is said of a whole batch, or of a message alone: that it will never be taken. The clock
    /// of this machine may be wrong for a while.
    fn is_refusal(&self, failure: &Failure) -> bool {
        match failure.code {
            RDKafkaErrorCode::InvalidTimestamp => self.time(failure).is_some(),
            RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::InvalidDifferentRecord
            | RDKafkaErrorCode::PolicyViolation => true,
            code => is_too_large(code),
        }
    }

    fn parcel<'f>(&self, failure: &'f Failure) -> Parcel<'f> {
        parcel::pack_again(&failure.message, self.time(failure), failure.ticket)
    }

    /// The time that the row gave the message, in milliseconds.
    fn time(&self, failure: &Failure) -> Option<i64> {
        self.sent.get(failure.ticket.message)?.time
    }
}

fn is_too_large(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge)
}

fn is_forbidden(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed
    )
}

/// What a failure means that is not the message's own.
pub(super) fn failed(code: RDKafkaErrorCode, topic: &str) -> Error {
    match code {
        code if is_forbidden(code) => forbidden(topic),
        RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition => {
            Error::transient(format!("topic `{topic}` is gone"))
        }
        RDKafkaErrorCode::InvalidTimestamp => {
            Error::transient(format!("topic `{topic}` does not take the time of this machine"))
                .because(words(code))
                .help(
                    "compare the clocks of this machine and of the brokers; how far they may be \
                     apart is `message.timestamp.after.max.ms` of the topic",
                )
        }
        code => {
            Error::transient(format!("topic `{topic}` did not get a message")).because(words(code))
        }
    }
}

fn words(code: RDKafkaErrorCode) -> String {
    KafkaError::MessageProduction(code).to_string()
}
