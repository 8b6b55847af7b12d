//! A topic of Kafka, read by a consumer of its own.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fastrand::Rng;
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::{BorrowedMessage, Headers as _},
};

use crate::{
    Outcome,
    nemesis::{Fault, server},
    pipeline::Downstream,
    site::{Link, Site},
};

/// For a look that may fail.
const LOOK_LIMIT: Duration = Duration::from_millis(1_500);
/// What the largest message of a topic may have; rows of about a million bytes are refused by some.
const LIMITS: std::ops::Range<usize> = 600_000..1_040_000;
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Topic {
    site: Arc<Site>,
    name: String,
    pub(crate) partitions: i32,
    /// The largest batch, which may be one message.
    limit: usize,
    settings: String,
    /// One look at a time.
    consumer: Mutex<BaseConsumer>,
}

impl Topic {
    /// # Errors
    /// The topic cannot be made.
    pub(crate) fn create(site: Arc<Site>, name: String, chance: &mut Rng) -> Outcome<Self> {
        let partitions = chance.i32(1..=3);
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", site.url()?).set("group.id", "chaos");
        settings.set("enable.auto.commit", "false");
        let admin: AdminClient<DefaultClientContext> = settings.create()?;
        let limit = chance.usize(LIMITS);
        let text = limit.to_string();
        let made = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        let made = made.set("max.message.bytes", &text);
        let made = admin.create_topics([&made], &AdminOptions::new());
        for result in site.runtime.block_on(made)? {
            result.map_err(|(name, code)| format!("{name}: {code}"))?;
        }
        let compression = ["none", "lz4", "zstd", "gzip"][chance.usize(..4)];
        let more = format!(
            "topic = \"{name}\"\ncompression = \"{compression}\"\nbuffer_bytes_max = {}",
            chance.u32(64_000..8_000_000)
        );
        let consumer = Mutex::new(settings.create()?);
        Ok(Self { site, name, partitions, limit, settings: more, consumer })
    }

    fn read<T>(
        &self,
        known: &[usize],
        take: fn(&BorrowedMessage<'_>) -> T,
    ) -> Outcome<Vec<Vec<T>>> {
        let read = |(partition, end)| {
            let at = usize::try_from(partition).ok();
            let known = at.and_then(|at| known.get(at)).copied().unwrap_or_default();
            self.read_to(partition, known, end, take)
        };
        (0..).zip(self.ends(PATIENCE)?).map(read).collect()
    }

    fn consumer(&self) -> MutexGuard<'_, BaseConsumer> {
        self.consumer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(&self, limit: Duration) -> Outcome<Vec<i64>, KafkaError> {
        let consumer = self.consumer();
        let end = |partition| consumer.fetch_watermarks(&self.name, partition, limit);
        (0..self.partitions).map(|partition| end(partition).map(|(_, end)| end)).collect()
    }

    /// What `take` makes of each message.
    fn read_to<T>(
        &self,
        partition: i32,
        begin: usize,
        end: i64,
        take: fn(&BorrowedMessage<'_>) -> T,
    ) -> Outcome<Vec<T>> {
        let mut messages = Vec::new();
        let mut next = i64::try_from(begin)?;
        if next >= end {
            return Ok(messages);
        }
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(&self.name, partition, Offset::Offset(next))?;
        let consumer = self.consumer();
        consumer.assign(&assignment)?;
        while next < end {
            let message = consumer.poll(PATIENCE).ok_or("the topic ended before its end")?;
            // The broker may just have come back.
            let Ok(message) = message else { continue };
            if message.partition() == partition && message.offset() == next {
                next += 1;
                messages.push(take(&message));
            }
        }
        Ok(messages)
    }
}

/// A batch of this message alone, as the protocol has it.
fn batch_bytes(message: &BorrowedMessage<'_>) -> usize {
    let sized = |bytes: Option<&[u8]>| bytes.map_or(1, |bytes| length(bytes.len()) + bytes.len());
    let mut record = 3 + sized(message.key()) + sized(message.payload());
    let headers: Vec<_> = message.headers().iter().flat_map(|all| all.iter()).collect();
    record += length(headers.len());
    for header in headers {
        record += sized(Some(header.key.as_bytes())) + sized(header.value);
    }
    61 + length(record) + record
}

/// The bytes of a number, of which each has seven bits, and one bit of all is the sign.
fn length(number: usize) -> usize {
    (1..).find(|bytes| number < 1 << (7 * bytes - 1)).unwrap_or_default()
}

impl Downstream for Topic {
    fn settings(&self) -> String {
        let brokers = self.site.link.proxy.address();
        format!("type = \"kafka\"\nbrokers = [\"{brokers}\"]\n{}", self.settings)
    }

    fn reached(&self) -> Outcome<Option<Vec<u64>>> {
        // Nobody can tell while it is down.
        Ok(self
            .ends(LOOK_LIMIT)
            .ok()
            .map(|ends| ends.iter().map(|end| end.unsigned_abs()).collect()))
    }

    fn limit(&self) -> Option<usize> {
        Some(self.limit)
    }

    fn largest(&self, known: &[usize]) -> Outcome<usize> {
        let sizes = self.read(known, batch_bytes)?;
        Ok(sizes.into_iter().flatten().max().unwrap_or_default())
    }

    fn messages(&self, known: &[usize]) -> Outcome<Vec<Vec<Vec<u8>>>> {
        self.read(known, |message| message.payload().unwrap_or_default().to_vec())
    }

    fn link(&self) -> Option<&Arc<Link>> {
        Some(&self.site.link)
    }

    fn faults(&self) -> Vec<Fault> {
        server::faults(&self.site)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_takes_a_byte_for_each_seven_bits_and_one_bit_is_the_sign() {
        assert_eq!(
            [0, 63, 64, 8191, 8192, 1_048_575, 1_048_576].map(length),
            [1, 1, 2, 2, 3, 3, 4]
        );
    }
}
