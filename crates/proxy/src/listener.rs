use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    select,
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{connection, controls::Shared};

const BACKLOG: u32 = 1024;

/// How long the address may be taken once it is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// Accepts connections until the proxy is dropped, and has them carried.
pub(crate) async fn run(mut door: Door, shared: Arc<Shared>, mut orders: mpsc::Receiver<Order>) {
    let mut connections = JoinSet::new();
    let mut number = 0;
    loop {
        select! {
            client = door.accept() => {
                number += 1;
                connections.spawn(connection::run(client, number, shared.clone()));
            }
            order = orders.recv() => match order {
                Some(order) => door = order.follow(door).await,
                None => return,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Another door in place of the one that there is.
pub(crate) struct Order {
    pub(crate) address: SocketAddr,
    pub(crate) make: fn(SocketAddr) -> io::Result<Door>,
    pub(crate) done: oneshot::Sender<io::Result<()>>,
}

impl Order {
    async fn follow(self, door: Door) -> Door {
        // Two of one address exclude each other.
        drop(door);
        let begun = Instant::now();
        let mut made = (self.make)(self.address);
        // A process that is being started elsewhere may hold a copy of the old one for a moment.
        while made.as_ref().is_err_and(is_taken) && begun.elapsed() < PATIENCE {
            sleep(Duration::from_millis(1)).await;
            made = (self.make)(self.address);
        }
        let (door, result) = match made {
            Ok(door) => (door, Ok(())),
            Err(error) => (Door::Gone, Err(error)),
        };
        // Whoever asked may be gone.
        let _ = self.done.send(result);
        door
    }
}

/// How the address is held.
pub(crate) enum Door {
    Open(TcpListener),
    /// Bound and not listening: whoever connects is refused, and nobody else gets the port, not
    /// even a client that dials it and would be given it as its own.
    Shut {
        _socket: TcpSocket,
    },
    Gone,
}

impl Door {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::Open(bound(address)?.listen(BACKLOG)?))
    }

    pub(crate) fn shut(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::Shut { _socket: bound(address)? })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Open(listener) => listener.local_addr(),
            Self::Shut { .. } | Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    async fn accept(&self) -> TcpStream {
        if let Self::Open(listener) = self {
            loop {
                // An error is about one client that has gone again.
                if let Ok((client, _)) = listener.accept().await {
                    return client;
                }
            }
        }
        std::future::pending().await
    }
}

fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Connections that were accepted at this address may still be open.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}
