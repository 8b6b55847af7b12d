use std::{io, net::Shutdown, time::Duration};

use socket2::{SockRef, Socket};

/// A second handle of the client's socket, by which the connection can be ended at any time.
///
/// The client itself would send what it holds before it closes, and never while it is blocked.
/// Dropping this ends the connection; what is still in the system's buffers is lost where it can be.
pub(crate) struct Lifeline(Socket);

impl Lifeline {
    pub(crate) fn of<'s, S>(socket: &'s S) -> io::Result<Self>
    where
        SockRef<'s>: From<&'s S>,
    {
        let socket = SockRef::from(socket).try_clone()?;
        socket.set_tcp_nodelay(true)?;
        Ok(Self(socket))
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        // Whether the other side has closed it already makes no difference.
        let _ = self.0.set_linger(Some(Duration::ZERO));
        let _ = self.0.shutdown(Shutdown::Both);
    }
}
