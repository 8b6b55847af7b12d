//! A queue of RabbitMQ. Nobody reads it before the end, so that nothing is ever put back.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fastrand::Rng;
use lapin::{
    Channel, Connection, ConnectionProperties,
    options::{BasicGetOptions, QueueDeclareOptions},
    types::FieldTable,
};
use tokio::time::timeout;

use crate::{
    Outcome,
    nemesis::{Fault, server},
    pipeline::Downstream,
    site::{Link, Site},
};

/// What the broker takes.
const MESSAGE_BYTES_MAX: usize = 500_000;
/// How it is told so when it starts.
pub(crate) const ARGUMENTS: [&str; 3] = ["-rabbit", "max_message_size", "500000"];

const LOOK_LIMIT: Duration = Duration::from_secs(3);

pub(crate) struct Queue {
    site: Arc<Site>,
    name: String,
    settings: String,
    /// What was taken out of it.
    taken: Mutex<Vec<Vec<u8>>>,
}

impl Queue {
    pub(crate) fn new(site: Arc<Site>, name: String, chance: &mut Rng) -> Outcome<Self> {
        let queue_type = ["quorum", "classic"][chance.usize(..2)];
        let settings = format!(
            "type = \"rabbitmq\"\nurl = \"{}\"\nqueue = \"{name}\"\nqueue_type = \"{queue_type}\"\n\
             heartbeat = \"{}s\"\nunconfirmed_max = {}",
            site.proxied(site.url()?)?,
            chance.u32(1..10),
            chance.u32(1..3_000)
        );
        Ok(Self { site, name, settings, taken: Mutex::default() })
    }

    /// How many messages wait in it.
    async fn length(&self) -> Outcome<u64> {
        let connection = self.connect().await?;
        let channel = connection.create_channel().await?;
        let length = self.declare(&channel).await?;
        connection.close(200, "done".into()).await?;
        Ok(length)
    }

    async fn connect(&self) -> Outcome<Connection> {
        Ok(Connection::connect(self.site.url()?, ConnectionProperties::default()).await?)
    }

    async fn declare(&self, channel: &Channel) -> Outcome<u64> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let name = self.name.as_str().into();
        let queue = channel.queue_declare(name, passive, FieldTable::default()).await?;
        Ok(u64::from(queue.message_count()))
    }

    async fn take(&self) -> Outcome<Vec<Vec<u8>>> {
        let connection = self.connect().await?;
        let channel = connection.create_channel().await?;
        let mut messages = Vec::new();
        // The program may not have declared it yet.
        if self.declare(&channel).await.is_ok() {
            let options = BasicGetOptions { no_ack: true };
            let name = self.name.as_str();
            while let Some(got) = channel.basic_get(name.into(), options).await? {
                messages.push(got.delivery.data);
            }
            connection.close(200, "done".into()).await?;
        }
        Ok(messages)
    }
}

impl Downstream for Queue {
    fn settings(&self) -> String {
        self.settings.clone()
    }

    /// For the exclusive queue of the pipeline.
    fn makes_wait(&self) -> bool {
        true
    }

    fn reached(&self) -> Outcome<Option<Vec<u64>>> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner).len() as u64;
        let look = async { timeout(LOOK_LIMIT, self.length()).await };
        // Nobody can tell while it is down.
        let length = self.site.runtime.block_on(look).ok().and_then(Result::ok);
        Ok(length.map(|length| vec![taken + length]))
    }

    fn limit(&self) -> Option<usize> {
        Some(MESSAGE_BYTES_MAX)
    }

    fn largest(&self, known: &[usize]) -> Outcome<usize> {
        let messages = self.messages(known)?.concat();
        Ok(messages.iter().map(Vec::len).max().unwrap_or_default())
    }

    fn messages(&self, known: &[usize]) -> Outcome<Vec<Vec<Vec<u8>>>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.extend(self.site.runtime.block_on(self.take())?);
        let known = known.first().map_or(0, |known| taken.len().min(*known));
        Ok(vec![taken[known..].to_vec()])
    }

    fn link(&self) -> Option<&Arc<Link>> {
        Some(&self.site.link)
    }

    /// A broker that is killed within seconds of a queue's declaration may come up without the
    /// queue, or with one that answers nobody; and it can't be seen when that is over.
    fn spared(&self) -> Duration {
        Duration::from_secs(4)
    }

    fn faults(&self) -> Vec<Fault> {
        server::faults(&self.site)
    }
}
