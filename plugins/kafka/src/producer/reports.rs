use std::sync::Arc;

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    error::KafkaError,
    producer::{DeliveryResult, ProducerContext},
    types::RDKafkaErrorCode,
};
use tracing::{debug, info, warn};

use super::{Deliveries, Failure, Ticket, Trouble};

/// Hears of deliveries and complaints, on the thread that polls a producer.
pub(crate) struct Reports {
    deliveries: Arc<Deliveries>,
}

/// Passes on what librdkafka logs. It names brokers, topics and counts, and no message.
pub(crate) struct Log;

impl Reports {
    pub(super) fn new(deliveries: Arc<Deliveries>) -> Self {
        Self { deliveries }
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Log.log(level, facility, message);
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(%error, reason, "librdkafka complains");
        let is_of_certificate = || reason.to_ascii_lowercase().contains("certificate");
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Authentication) => {
                self.deliveries.trouble(Trouble::Authentication(reason.to_owned()));
            }
            Some(RDKafkaErrorCode::SSL) if is_of_certificate() => {
                self.deliveries.trouble(Trouble::Certificate(reason.to_owned()));
            }
            _ => self.deliveries.complain(reason.to_owned()),
        }
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: usize) {
        let ticket = Ticket::unpack(ticket);
        match result {
            Ok(_) => self.deliveries.end(ticket),
            Err((error, message)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                self.deliveries.fail(Failure { ticket, code, message: message.detach() });
            }
        }
    }
}

impl ClientContext for Log {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            _ if is_of_what_we_set(message) => debug!("librdkafka: {facility}: {message}"),
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => warn!("librdkafka: {facility}: {message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                info!("librdkafka: {facility}: {message}");
            }
            RDKafkaLogLevel::Debug => debug!("librdkafka: {facility}: {message}"),
        }
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(%error, reason, "librdkafka complains");
    }
}

/// Each producer would be warned of at its start, for a setting that is not the user's.
fn is_of_what_we_set(message: &str) -> bool {
    message.contains("enable.gapless.guarantee is experimental")
}
