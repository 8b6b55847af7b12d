use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::producer::Producer;
use rowtide_core::{Error, Result};

use super::{Deliveries, Lane, Trouble};
use crate::aside;

/// How long a broker may take to answer when a sink is opened.
const CONTACT_MAX: Duration = Duration::from_secs(10);
/// How often the client's complaints are looked at meanwhile.
const LOOK: Duration = Duration::from_millis(100);

/// Waits until a broker has answered.
///
/// # Errors
/// `Config` if the brokers do not accept who we are, `Transient` if none answers.
pub(crate) async fn contact(lane: &Lane, deliveries: &Arc<Deliveries>) -> Result<()> {
    let Some(living) = lane.living().cloned() else { return Ok(()) };
    let deliveries = Arc::clone(deliveries);
    aside::run(move |is_wanted| {
        let begin = Instant::now();
        while is_wanted() {
            if let Some(trouble) = deliveries.troubled() {
                return Err(trouble.at_open());
            }
            if living.producer.client().fetch_cluster_id(LOOK).is_some() {
                return Ok(());
            }
            if begin.elapsed() > CONTACT_MAX {
                break;
            }
        }
        let error = Error::transient("no broker answers");
        Err(match deliveries.complaint() {
            Some(complaint) => error.because(complaint),
            None => error,
        })
    })
    .await
}

impl Trouble {
    /// What it means when the sink is opened: it has never worked.
    fn at_open(self) -> Error {
        match self {
            Trouble::Authentication(reason) => Error::config("the brokers refuse this user")
                .key("sasl")
                .help("check the name, the password and the mechanism")
                .because(reason),
            Trouble::Certificate(reason) => Error::config("a certificate is not accepted")
                .key("tls")
                .help("set `ca` to the authorities that signed the brokers' certificates")
                .because(reason),
        }
    }

    /// What it means later: it worked before, and opening again tells whether it does still.
    pub(crate) fn at_work(self) -> Error {
        match self {
            Trouble::Authentication(reason) => {
                Error::transient("the brokers do not accept this user any more").because(reason)
            }
            Trouble::Certificate(reason) => {
                Error::transient("a certificate is not accepted any more").because(reason)
            }
        }
    }
}
