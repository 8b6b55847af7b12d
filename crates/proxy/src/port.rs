use std::{
    io,
    net::{Shutdown, SocketAddr},
};

use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

/// How many connections wait to be accepted.
const BACKLOG: i32 = 1024;

/// A TCP port that is one's own whether one listens or not: while it is shut nobody else gets it,
/// not even a client that dials it and would be given it as its own.
#[derive(Debug)]
pub struct Port {
    socket: Socket,
    address: SocketAddr,
}

impl Port {
    /// Takes a port, which is shut at first. The number 0 takes a free one.
    ///
    /// # Errors
    /// If it is taken.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        // One that the system has chosen would be given back when it is shut, so it is asked for by
        // its number.
        let chosen = bound(address)?;
        let address = chosen.local_addr()?.as_socket().unwrap_or(address);
        Ok(Self { socket: bound(address)?, address })
    }

    /// With its number.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens. It is for the runtime in whose context it is called.
    ///
    /// # Errors
    /// If the system does not let it.
    pub fn open(&self) -> io::Result<TcpListener> {
        self.socket.listen(BACKLOG)?;
        self.socket.set_nonblocking(true)?;
        TcpListener::from_std(self.socket.try_clone()?.into())
    }

    /// Refuses whoever connects from now on. The listener is of no use any more.
    pub fn shut(&self) {
        // Not closed, and for everybody who has a copy, as a process that is just started has. It
        // fails if nobody listens.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // Connections that were accepted here may still be open; and two may be bound to one address as
    // long as neither listens.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
