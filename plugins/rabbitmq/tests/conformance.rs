//! What every sink must do, for a real RabbitMQ.

mod broker;

use std::{
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
use rowtide_core::{Change, Error, Table, Value};
use rowtide_proxy::{Direction, Fault, Proxy, Statistics};
use rowtide_rabbitmq as _;
use rowtide_servers::{Kind, absence};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use broker::{Broker, MESSAGE_BYTES_MAX, Queue, failed};

struct RabbitMq {
    /// Scenarios share one broker; one that restarts or stalls it waits until it is alone.
    turn: Arc<RwLock<()>>,
}

/// The broker that all scenarios share.
fn shared() -> Result<&'static Broker> {
    static BROKER: OnceLock<Result<Broker>> = OnceLock::new();
    let broker = BROKER.get_or_init(Broker::start).as_ref();
    broker.map_err(|error| Error::fatal(error.to_string()))
}

/// What a sink of the suite may have unconfirmed.
const UNCONFIRMED_BYTES_MAX: usize = 64 << 10;

/// A heartbeat has 8 bytes, a confirmation 21, and the changes of a scenario have hundreds.
const CONFIRMATION_BYTES: u64 = 21;
const REQUEST_BYTES: u64 = 500;

struct World {
    has_lost: Arc<AtomicBool>,
    queue: Queue,
    proxy: Arc<Proxy>,
    turn: Arc<RwLock<()>>,
    guard: tokio::sync::Mutex<Option<Guard>>,
}

/// Held as long as the world is.
enum Guard {
    #[expect(dead_code, reason = "it is held, and not read")]
    Shared(OwnedRwLockReadGuard<()>),
    #[expect(dead_code, reason = "it is held, and not read")]
    Alone(OwnedRwLockWriteGuard<()>),
}

#[async_trait]
impl SinkHarness for RabbitMq {
    fn plugin(&self) -> &str {
        "rabbitmq"
    }

    fn lacks(&self) -> Vec<(Capability, &'static str)> {
        if std::env::var_os("ROWTIDE_AMQP_URL").is_none() {
            return Vec::new();
        }
        let reason = "the broker is not the test's own";
        let needed = [Capability::Restart, Capability::Stall, Capability::Poison];
        needed.map(|capability| (capability, reason)).to_vec()
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(120)
    }

    async fn downstream(&self) -> Result<Arc<dyn Downstream>> {
        let guard = Arc::clone(&self.turn).read_owned().await;
        let broker = tokio::task::spawn_blocking(shared).await.map_err(failed)??;
        let queue = Queue::bound(broker).await?;
        let proxy = Arc::new(Proxy::start(queue.broker.address(), 7).await.map_err(failed)?);
        let guard = tokio::sync::Mutex::new(Some(Guard::Shared(guard)));
        let (turn, has_lost) = (Arc::clone(&self.turn), Arc::default());
        Ok(Arc::new(World { has_lost, queue, proxy, turn, guard }))
    }
}

impl World {
    async fn be_alone(&self) {
        let mut guard = self.guard.lock().await;
        if !matches!(*guard, Some(Guard::Alone(_))) {
            *guard = None;
            *guard = Some(Guard::Alone(Arc::clone(&self.turn).write_owned().await));
        }
    }

    /// Takes what goes there until it is so many bytes, and then ends the connection.
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
            proxy.reset();
            proxy.heal();
        });
    }
}

#[async_trait]
impl Downstream for World {
    fn settings(&self) -> String {
        let port = self.proxy.address().port();
        format!(
            "url = 'amqp://guest@127.0.0.1:{port}/{}'\npassword = 'guest'\nexchange = '{}'\n\
             heartbeat = '1s'\nunconfirmed_bytes_max = {UNCONFIRMED_BYTES_MAX}\n",
            self.queue.vhost, self.queue.exchange,
        )
    }

    async fn delivered(&self) -> Result<Vec<Delivered>> {
        let messages = self.queue.messages().await?;
        messages.iter().map(|message| Delivered::from_line(&message.text())).collect()
    }

    /// Too large by turns, or routed to where no queue is bound.
    fn poison(&self, mut change: Change) -> Change {
        if change.id().numbers().next().is_some_and(|number| number % 2 == 0) {
            let large = Value::from("x".repeat(MESSAGE_BYTES_MAX));
            change.after = Some([Value::Int(1), large].into_iter().collect());
        } else {
            let columns = change.table.columns.clone();
            change.table = Arc::new(Table::new("items.unbound", columns));
        }
        change
    }

    async fn restart(&self) -> Result<()> {
        self.be_alone().await;
        let broker = self.queue.broker;
        let restart = move || {
            broker.crash()?;
            broker.server.restart().map_err(failed)?;
            broker.limit_messages()
        };
        tokio::task::spawn_blocking(restart).await.map_err(failed)?
    }

    async fn lose_response(&self) -> Result<()> {
        self.lose(Direction::ToClient, CONFIRMATION_BYTES);
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
        Ok(UNCONFIRMED_BYTES_MAX)
    }

    /// The client stops by itself when it is told; that the sink has bounds of its own is shown in
    /// `bounds.rs`, where confirmations do not come.
    async fn stall(&self) -> Result<()> {
        self.be_alone().await;
        self.queue.broker.control(&["set_vm_memory_high_watermark", "absolute", "1"]).await
    }

    async fn stalled(&self) -> Result<()> {
        loop {
            let states = self.queue.broker.ask(&["list_connections", "state"]).await?;
            if states.contains("blocked") {
                return Ok(());
            }
        }
    }

    async fn resume(&self) -> Result<()> {
        self.queue.broker.control(&["set_vm_memory_high_watermark", "absolute", "1GB"]).await
    }

    async fn held(&self) -> Result<usize> {
        Ok(usize::try_from(self.proxy.statistics().open).unwrap_or(usize::MAX))
    }
}

fn main() -> ExitCode {
    let suite = Suite::sink(RabbitMq { turn: Arc::default() });
    rowtide_conformance::main(vec![suite.unavailable(absence(&[Kind::RabbitMq]))])
}
