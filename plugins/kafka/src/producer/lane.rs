use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    error::KafkaError,
    producer::{BaseProducer, Producer, PurgeConfig},
    types::RDKafkaErrorCode,
};
use rowtide_core::{Error, Result};

use super::{
    Deliveries, Ticket,
    endings::{self, Ending, Life},
    reports::Reports,
};
use crate::sink::Parcel;

/// A producer, and the thread that hears of its deliveries.
///
/// Dropping it takes back what was not sent, and ends it without waiting; see
/// [`former_have_ended`](super::former_have_ended).
pub(crate) struct Lane {
    /// There until it is dropped.
    living: Option<Arc<Living>>,
    deliveries: Arc<Deliveries>,
    is_over: Arc<AtomicBool>,
    pipeline: Arc<str>,
    ending: Ending,
}

/// A producer that has not ended. Its owners are threads, where an end may take its time, and one
/// [`Lane`].
pub(crate) struct Living {
    pub(crate) producer: BaseProducer<Reports>,
    /// Dropped behind the producer.
    _life: Life,
}

/// How a lane makes batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As many messages as fit.
    Batches {
        /// The largest batch that the lane's topics take.
        bytes_max: usize,
    },
    /// One message a batch, so that none is refused for another one's sake.
    Singles,
}

/// As long as a thread takes to notice that its lane was dropped.
const POLL: Duration = Duration::from_millis(100);

/// As large as librdkafka makes a batch unless it is told otherwise.
const BATCH_BYTES: usize = 1_000_000;
/// The limits of `message.max.bytes`, and what librdkafka adds to a message before it compares.
const MESSAGE_BYTES_LEAST: usize = 1_000;
const MESSAGE_BYTES_MOST: usize = 1_000_000_000;
const MESSAGE_MARGIN: usize = 1_000;

impl Manner {
    fn configure(self, client: &mut ClientConfig) {
        let own = |name: &str| client.get(name).and_then(|value| value.parse::<usize>().ok());
        let (message, batch) = (own("message.max.bytes"), own("batch.size"));
        let at_least = |bytes: usize| bytes.clamp(MESSAGE_BYTES_LEAST, MESSAGE_BYTES_MOST);
        match self {
            Manner::Batches { bytes_max } => {
                let message = message.unwrap_or(at_least(bytes_max.saturating_add(MESSAGE_MARGIN)));
                let batch = batch.unwrap_or(BATCH_BYTES).min(bytes_max);
                client.set("message.max.bytes", message.to_string());
                client.set("batch.size", batch.to_string());
            }
            Manner::Singles => {
                let message = message.unwrap_or(MESSAGE_BYTES_MOST);
                client.set("message.max.bytes", message.to_string());
                client.set("batch.num.messages", "1");
                // A message that is refused by itself leaves no gap that another one could be in.
                client.set("enable.gapless.guarantee", "false");
            }
        }
    }
}

impl Lane {
    /// Makes a producer; it connects by itself.
    ///
    /// # Errors
    /// `Config`, if librdkafka does not take the properties.
    pub(crate) fn open(
        client: &ClientConfig,
        manner: Manner,
        deliveries: &Arc<Deliveries>,
        pipeline: &Arc<str>,
    ) -> Result<Self> {
        let mut client = client.clone();
        manner.configure(&mut client);
        let producer: BaseProducer<_> =
            client.create_with_context(Reports::new(Arc::clone(deliveries))).map_err(refused)?;
        let life = Life::new(());
        let ending = life.subscribe();
        let living = Arc::new(Living { producer, _life: life });
        let is_over = Arc::new(AtomicBool::new(false));
        poll(Arc::clone(&living), Arc::clone(&is_over))?;
        let (deliveries, pipeline) = (Arc::clone(deliveries), Arc::clone(pipeline));
        Ok(Self { living: Some(living), deliveries, is_over, pipeline, ending })
    }

    /// The producer, for threads that ask it.
    pub(crate) fn living(&self) -> Option<&Arc<Living>> {
        self.living.as_ref()
    }

    /// Hands a message over.
    ///
    /// # Errors
    /// What librdkafka says; then it is not under way.
    pub(crate) fn send(&self, parcel: Parcel<'_>) -> Result<(), RDKafkaErrorCode> {
        let Some(living) = &self.living else { return Err(RDKafkaErrorCode::BrokerDestroy) };
        let ticket = Ticket::unpack(parcel.delivery_opaque);
        self.deliveries.begin(ticket);
        let Err((error, _)) = living.producer.send(parcel) else { return Ok(()) };
        self.deliveries.end(ticket);
        // A name with a NUL in it has no code.
        Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::InvalidArgument))
    }

    /// What ended the producer for good, if anything did.
    pub(crate) fn fatal_error(&self) -> Option<String> {
        let (code, reason) = self.living.as_ref()?.producer.client().fatal_error()?;
        Some(format!("{code:?}: {reason}"))
    }

    /// Takes back what was not sent, as failures. What was sent is waited for.
    pub(crate) fn take_back(&self) {
        if let Some(living) = &self.living {
            living.producer.purge(PurgeConfig::default().queue().non_blocking());
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Some(living) = self.living.take() {
            let everything = PurgeConfig::default().queue().inflight();
            living.producer.purge(everything.non_blocking());
            endings::note(&self.pipeline, self.ending.clone());
        }
        // Only now: the thread has to be the last owner, since the end may take a while.
        self.is_over.store(true, Ordering::SeqCst);
    }
}

fn poll(living: Arc<Living>, is_over: Arc<AtomicBool>) -> Result<()> {
    let poll = move || {
        while !is_over.load(Ordering::SeqCst) {
            living.producer.poll(POLL);
        }
    };
    let thread = thread::Builder::new().name("kafka deliveries".to_owned()).spawn(poll);
    let failed = |error| Error::transient("no thread could be started").because(error);
    thread.map(drop).map_err(failed)
}

fn refused(error: KafkaError) -> Error {
    let message = match error {
        KafkaError::ClientCreation(reason) => reason,
        KafkaError::ClientConfig(_, reason, name, _) => format!("`{name}`: {reason}"),
        error => error.to_string(),
    };
    Error::config(format!("librdkafka does not take its properties: {message}")).key("properties")
}
