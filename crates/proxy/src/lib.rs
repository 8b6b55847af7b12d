//! A TCP proxy that misbehaves on demand, for tests.
//!
//! A test puts a [`Proxy`] between a client and a real server, and makes the network as bad as
//! networks are: slow, stalled, cut in the middle of a message, deaf in one direction. What it does
//! can be changed while it runs, and what it has done can be waited for, so no test needs to sleep.
//! What is left to chance comes from a seed.
//!
//! ```
//! use rowtide_proxy::{Direction, Fault, Proxy};
//! use tokio::{io::{AsyncReadExt, AsyncWriteExt}, net::{TcpListener, TcpStream}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let server = TcpListener::bind("127.0.0.1:0").await?;
//! let proxy = Proxy::start(server.local_addr()?, 7).await?;
//! let mut client = TcpStream::connect(proxy.address()).await?;
//! let (mut server, _) = server.accept().await?;
//!
//! // The server gets the request, and its answer is lost.
//! proxy.inject(Direction::ToClient, Fault::Discard);
//! client.write_all(b"write").await?;
//! server.read_exact(&mut [0; 5]).await?;
//! server.write_all(b"done").await?;
//! proxy.wait_until(|statistics| statistics.to_client.discarded == 4).await;
//!
//! proxy.reset();
//! assert!(client.read(&mut [0; 4]).await.is_err());
//! # Ok(())
//! # }
//! ```

mod connection;
mod controls;
mod fault;
mod lane;
mod listener;
mod port;
mod random;
mod statistics;
mod swizzle;

use std::{io, net::SocketAddr, sync::Arc};

use tokio::sync::{mpsc, oneshot};

use controls::Shared;
use listener::{Door, Order};

pub use fault::{Direction, Fault};
pub use port::Port;
pub use statistics::{Statistics, Traffic};
pub use swizzle::{Step, swizzle};

/// A listener on loopback that passes every connection on to a server.
///
/// Dropping it closes the listener and all connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
}

impl Proxy {
    /// Starts a proxy for `server` on a free port of loopback.
    ///
    /// # Errors
    /// If no port can be had. A server that does not answer is no error here: the proxy then resets
    /// what connects to it.
    pub async fn start(server: SocketAddr, seed: u64) -> io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), server, seed).await
    }

    /// Starts a proxy for `server` at an `address` of its own, for a server that tells its clients
    /// where to go on (Kafka does) and has been told of the proxy.
    ///
    /// # Errors
    /// If `address` is taken.
    pub async fn start_at(address: SocketAddr, server: SocketAddr, seed: u64) -> io::Result<Self> {
        let port = Port::bind(address)?;
        let address = port.address();
        let door = Door::new(port)?;
        let shared = Arc::new(Shared::new(server, seed));
        let (orders, received) = mpsc::channel(1);
        tokio::spawn(listener::run(door, shared.clone(), received));
        Ok(Self { address, shared, orders })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends connections that are made from now on to another server.
    pub fn set_server(&self, server: SocketAddr) {
        self.shared.controls.send_modify(|controls| controls.server = server);
    }

    /// Begins a fault on all connections, those to come as well. It lasts until [`heal`], and adds
    /// to the faults of other kinds; one of the same kind is replaced.
    ///
    /// [`heal`]: Self::heal
    pub fn inject(&self, direction: Direction, fault: Fault) {
        self.shared.controls.send_modify(|controls| {
            for lane in controls.lanes_mut(direction) {
                lane.begin(fault);
            }
        });
    }

    /// Ends every fault that was injected. What was stalled or late goes on at once; what was
    /// discarded, cut, reset or half closed stays so.
    pub fn heal(&self) {
        self.shared.controls.send_modify(|controls| {
            for lane in &mut controls.lanes {
                lane.heal();
            }
        });
    }

    /// Ends a stall, and no other fault.
    fn release(&self) {
        self.shared.controls.send_modify(|controls| {
            for lane in &mut controls.lanes {
                lane.is_stalled = false;
            }
        });
    }

    /// Resets the connections that the [`Statistics`] count as open: both ends see an error, and
    /// what was under way is lost. It has happened once they do not count any more.
    pub fn reset(&self) {
        self.shared.controls.send_modify(|controls| controls.resets += 1);
    }

    /// Ends one direction of the connections that count as open, and leaves the other one open: the
    /// receiver is told that nothing more comes. What the sender still sends is discarded.
    pub fn half_close(&self, direction: Direction) {
        self.shared.controls.send_modify(|controls| {
            for lane in controls.lanes_mut(direction) {
                lane.half_closes += 1;
            }
        });
    }

    /// Refuses new connections, as if no server were there. The port stays the proxy's, and open
    /// connections stay open. It is so when this returns.
    ///
    /// # Errors
    /// If the runtime of the proxy has ended.
    pub async fn refuse(&self) -> io::Result<()> {
        self.order(false).await
    }

    /// Accepts connections again, after [`refuse`](Self::refuse).
    ///
    /// # Errors
    /// If the system does not let it, or the runtime of the proxy has ended.
    pub async fn accept(&self) -> io::Result<()> {
        self.order(true).await
    }

    /// What has passed so far.
    pub fn statistics(&self) -> Statistics {
        self.shared.statistics.borrow().clone()
    }

    /// Waits until `condition` holds, and says what had passed by then.
    pub async fn wait_until(&self, condition: impl FnMut(&Statistics) -> bool) -> Statistics {
        let mut statistics = self.shared.statistics.subscribe();
        match statistics.wait_for(condition).await {
            Ok(statistics) => statistics.clone(),
            // The sender lives as long as `self`.
            Err(_) => self.statistics(),
        }
    }

    async fn order(&self, is_open: bool) -> io::Result<()> {
        let (done, is_done) = oneshot::channel();
        let gone = || io::Error::other("the runtime of the proxy has ended");
        let order = Order { is_open, done };
        self.orders.send(order).await.map_err(|_| gone())?;
        is_done.await.map_err(|_| gone())?
    }
}
