//! What every sink must do, for a real Kafka.

#![expect(clippy::unwrap_used, reason = "what is missing fails the test")]

mod broker;

use std::{
    pin::Pin,
    process::ExitCode,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rowtide_conformance::{
    Capability, Delivered, Downstream, Result, SinkHarness, Suite, async_trait,
};
use rowtide_core::{Change, Error, Value};
use rowtide_kafka as _;
use rowtide_proxy::{Direction, Fault, Proxy, Statistics};
use rowtide_servers::{Kind, absence};
use tokio::sync::{Mutex, OwnedMutexGuard};

use broker::{Broker, failed};

struct Kafka {
    /// The broker tells its clients of one proxy, so there is one at a time.
    turn: Arc<Mutex<()>>,
}

struct World {
    has_lost: Arc<AtomicBool>,
    broker: &'static Broker,
    topic: String,
    proxy: Arc<Proxy>,
    stall: std::sync::Mutex<Stall>,
    _turn: OwnedMutexGuard<()>,
}

/// What the topic of a scenario takes.
const MESSAGE_BYTES: usize = 100_000;

/// What a sink of the suite may have under way.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// More than a request that only asks has, and less than the changes of a scenario.
const REQUEST_BYTES: u64 = 500;

/// A sink is opened while the broker answers, and held up from then on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stall {
    None,
    Wanted,
    Frozen,
}

/// The broker that all scenarios share.
fn shared() -> Result<&'static Broker> {
    static BROKER: OnceLock<Result<Broker>> = OnceLock::new();
    let broker = BROKER.get_or_init(Broker::start).as_ref();
    broker.map_err(|error| Error::fatal(error.to_string()))
}

#[async_trait]
impl SinkHarness for Kafka {
    fn plugin(&self) -> &str {
        "kafka"
    }

    fn lacks(&self) -> Vec<(Capability, &'static str)> {
        match std::env::var_os("ROWTIDE_KAFKA_BROKERS") {
            Some(_) => [Capability::Restart, Capability::Stall]
                .map(|capability| (capability, "the broker is not the test's own"))
                .to_vec(),
            None => Vec::new(),
        }
    }

    /// They wait for their turns.
    fn patience(&self) -> Duration {
        Duration::from_secs(240)
    }

    async fn downstream(&self) -> Result<Arc<dyn Downstream>> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let broker = tokio::task::spawn_blocking(shared).await.map_err(failed)??;
        let limit = MESSAGE_BYTES.to_string();
        let topic = broker.topic(1, &[("max.message.bytes", &limit)]).await?;
        let proxy = Arc::new(proxy(broker).await?);
        let (has_lost, stall) = (Arc::default(), Stall::None.into());
        Ok(Arc::new(World { has_lost, broker, topic, proxy, stall, _turn: turn }))
    }
}

/// The proxy of the scenario before may be about to close still.
async fn proxy(broker: &Broker) -> Result<Proxy> {
    let address = broker.socket("ROWTIDE_KAFKA_PROXY")?;
    let server = broker.socket("ROWTIDE_KAFKA_BEHIND_PROXY")?;
    let mut proxy = Proxy::start_at(address, server, 7).await;
    while proxy.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse) {
        tokio::task::yield_now().await;
        proxy = Proxy::start_at(address, server, 7).await;
    }
    proxy.map_err(failed)
}

#[async_trait]
impl Downstream for World {
    fn settings(&self) -> String {
        self.thaw();
        format!(
            "brokers = ['{}']\ntopic = '{}'\nbuffer_bytes_max = {BUFFER_BYTES_MAX}\n",
            self.proxy.address(),
            self.topic
        )
    }

    async fn delivered(&self) -> Result<Vec<Delivered>> {
        let messages = self.broker.messages(&self.topic).await?;
        let text = |message: &rdkafka::message::OwnedMessage| {
            let value = rdkafka::Message::payload(message).unwrap_or_default();
            String::from_utf8_lossy(value).into_owned()
        };
        messages.iter().map(|message| Delivered::from_line(&text(message))).collect()
    }

    fn poison(&self, mut change: Change) -> Change {
        let large = Value::from("x".repeat(MESSAGE_BYTES));
        change.after = Some([Value::Int(1), large].into_iter().collect());
        change
    }

    async fn restart(&self) -> Result<()> {
        let server = self.broker.server()?;
        let restart = || server.kill().and_then(|()| server.restart()).map_err(failed);
        tokio::task::block_in_place(restart)
    }

    async fn lose_response(&self) -> Result<()> {
        self.lose(Direction::ToClient, 1);
        Ok(())
    }

    async fn lose_request(&self) -> Result<()> {
        self.lose(Direction::ToServer, REQUEST_BYTES);
        Ok(())
    }

    async fn has_lost(&self) -> Result<bool> {
        Ok(self.has_lost.load(Ordering::SeqCst))
    }

    fn bytes_max(&self) -> Result<usize> {
        Ok(BUFFER_BYTES_MAX)
    }

    async fn stall(&self) -> Result<()> {
        *self.stall.lock().unwrap() = Stall::Wanted;
        Ok(())
    }

    /// It begins with the call, before the sink that was just opened is written to, and not only
    /// when it is waited for.
    fn stalled<'a, 'b>(&'a self) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let frozen = self.broker.server().and_then(|server| server.freeze().map_err(failed));
        *self.stall.lock().unwrap() = Stall::Frozen;
        Box::pin(async {
            frozen?;
            // Nobody else is answered either.
            while self.broker.answers(&self.topic).await? {}
            Ok(())
        })
    }

    async fn resume(&self) -> Result<()> {
        self.thaw();
        *self.stall.lock().unwrap() = Stall::None;
        Ok(())
    }

    /// What was closed at one end is open until the broker has closed the other one.
    async fn held(&self) -> Result<usize> {
        self.thaw();
        Ok(usize::try_from(self.proxy.statistics().open).unwrap_or(usize::MAX))
    }
}

impl World {
    /// Takes what goes there until it is so many bytes, and then ends the connections.
    fn lose(&self, direction: Direction, bytes: u64) {
        let discarded = move |statistics: &Statistics| match direction {
            Direction::ToServer => statistics.to_server.discarded,
            _ => statistics.to_client.discarded,
        };
        let enough = discarded(&self.proxy.statistics()) + bytes;
        self.proxy.inject(direction, Fault::Discard);
        let (proxy, has_lost) = (Arc::clone(&self.proxy), Arc::clone(&self.has_lost));
        tokio::spawn(async move {
            proxy.wait_until(|statistics| discarded(statistics) >= enough).await;
            has_lost.store(true, Ordering::SeqCst);
            proxy.heal();
            proxy.reset();
        });
    }

    fn thaw(&self) {
        let mut stall = self.stall.lock().unwrap();
        if *stall == Stall::Frozen {
            tokio::task::block_in_place(|| self.broker.server().unwrap().thaw().unwrap());
            *stall = Stall::Wanted;
        }
    }
}

/// A test that fails must not leave it frozen to the others.
impl Drop for World {
    fn drop(&mut self) {
        self.thaw();
    }
}

fn main() -> ExitCode {
    let suite = Suite::sink(Kafka { turn: Arc::default() });
    rowtide_conformance::main(vec![suite.unavailable(absence(&[Kind::Kafka]))])
}
