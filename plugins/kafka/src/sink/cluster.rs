use std::{collections::BTreeMap, sync::Arc};

use rdkafka::ClientConfig;
use rowtide_core::{Error, Result};

use crate::{
    producer::{Deliveries, Lane, Manner},
    topics::Topic,
};

/// What a sink has at the brokers: a producer for each size of batch that its topics take, which is
/// one as long as they all take the same.
///
/// A topic has one producer at a time, so that its messages stay in order.
pub(crate) struct Cluster {
    producer: ClientConfig,
    admin: ClientConfig,
    pipeline: Arc<str>,
    deliveries: Arc<Deliveries>,
    /// By the size of a batch.
    lanes: BTreeMap<usize, Lane>,
}

/// What a broker takes unless it is told otherwise.
const BATCH_BYTES: usize = 1_048_588;

impl Cluster {
    pub(crate) fn new(
        producer: ClientConfig,
        admin: ClientConfig,
        pipeline: Arc<str>,
        bytes_max: usize,
    ) -> Self {
        let deliveries = Arc::new(Deliveries::new(bytes_max));
        Self { producer, admin, pipeline, deliveries, lanes: BTreeMap::new() }
    }

    pub(super) fn deliveries(&self) -> &Arc<Deliveries> {
        &self.deliveries
    }

    /// How to ask the brokers.
    pub(super) fn admin(&self) -> &ClientConfig {
        &self.admin
    }

    /// Any producer, through which brokers can be asked.
    pub(super) fn first_lane(&mut self) -> Result<&Lane> {
        match self.lanes.keys().next().copied() {
            Some(bytes) => self.lane_of(bytes),
            None => self.lane_of(BATCH_BYTES),
        }
    }

    /// The producer of a topic.
    pub(super) fn lane(&mut self, topic: &Topic) -> Result<&Lane> {
        self.lane_of(topic.bytes_max().unwrap_or(BATCH_BYTES))
    }

    /// A further producer, for messages that must not share a batch.
    pub(super) fn single_lane(&self) -> Result<Lane> {
        Lane::open(&self.producer, Manner::Singles, &self.deliveries, &self.pipeline)
    }

    /// Whether a producer has failed for good. What it has not sent is taken back, as failures.
    pub(super) fn take_back(&self) -> bool {
        let dead: Vec<_> =
            self.lanes.values().filter(|lane| lane.fatal_error().is_some()).collect();
        dead.iter().for_each(|lane| lane.take_back());
        !dead.is_empty()
    }

    /// Drops the producers that have failed for good, and says why they have.
    pub(super) fn bury(&mut self) -> Option<String> {
        let mut reason = None;
        self.lanes.retain(|_, lane| match lane.fatal_error() {
            None => true,
            Some(error) => {
                reason = Some(error);
                false
            }
        });
        reason
    }

    /// Fails if waiting for deliveries is hopeless.
    ///
    /// # Errors
    /// `Transient`: opening the sink again tells what is wrong.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.deliveries.troubled().map_or(Ok(()), |trouble| Err(trouble.at_work()))
    }

    fn lane_of(&mut self, bytes_max: usize) -> Result<&Lane> {
        use std::collections::btree_map::Entry;
        match self.lanes.entry(bytes_max) {
            Entry::Occupied(lane) => Ok(lane.into_mut()),
            Entry::Vacant(place) => {
                let manner = Manner::Batches { bytes_max };
                let lane = Lane::open(&self.producer, manner, &self.deliveries, &self.pipeline)?;
                Ok(place.insert(lane))
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.deliveries.close();
    }
}
