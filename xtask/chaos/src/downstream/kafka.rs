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
};

use crate::{
    Outcome,
    nemesis::{Fault, network, server},
    pipeline::Downstream,
    site::Site,
};

/// For a look that may fail.
const LOOK_LIMIT: Duration = Duration::from_millis(1_500);
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Topic {
    site: Arc<Site>,
    name: String,
    pub(crate) partitions: i32,
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
        let made = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
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
        Ok(Self { site, name, partitions, settings: more, consumer })
    }

    fn consumer(&self) -> MutexGuard<'_, BaseConsumer> {
        self.consumer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(&self, limit: Duration) -> Outcome<Vec<i64>, KafkaError> {
        let consumer = self.consumer();
        let end = |partition| consumer.fetch_watermarks(&self.name, partition, limit);
        (0..self.partitions).map(|partition| end(partition).map(|(_, end)| end)).collect()
    }

    fn read_to(&self, partition: i32, begin: usize, end: i64) -> Outcome<Vec<Vec<u8>>> {
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
                messages.push(message.payload().unwrap_or_default().to_vec());
            }
        }
        Ok(messages)
    }
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

    fn messages(&self, known: &[usize]) -> Outcome<Vec<Vec<Vec<u8>>>> {
        let read = |(partition, end)| {
            let known = usize::try_from(partition)
                .ok()
                .and_then(|at| known.get(at))
                .copied()
                .unwrap_or_default();
            self.read_to(partition, known, end)
        };
        (0..).zip(self.ends(PATIENCE)?).map(read).collect()
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = server::faults(&self.site);
        faults.extend(network::faults(&self.site.link));
        faults
    }
}
