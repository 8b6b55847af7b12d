//! Servers that tests use one after another.

use std::{
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use crate::{Kind, Result, Server};

/// Those that nobody uses at this moment.
static FREE: Mutex<Vec<Arc<Server>>> = Mutex::new(Vec::new());

/// A server of this process that nobody else uses until this is dropped; then the next test has it,
/// with what is in it. So there are as many as tests run at once, and not as many as there are
/// tests.
///
/// The server may be killed, frozen and restarted. One that is left frozen or ended, or by a panic,
/// is not used again.
#[derive(Debug)]
pub struct Lease {
    server: Arc<Server>,
}

impl Server {
    /// A server that another test has left, or else one of one's own.
    ///
    /// # Errors
    /// As [`start_with`](Self::start_with).
    pub fn lease(kind: Kind) -> Result<Lease> {
        let free = || {
            let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
            let at = free.iter().position(|server| server.kind() == kind)?;
            Some(free.swap_remove(at))
        };
        let server = match free() {
            Some(server) => server,
            None => Arc::new(Self::start_with(kind, &[])?),
        };
        Ok(Lease { server })
    }
}

impl Deref for Lease {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !thread::panicking() && self.server.is_running() {
            FREE.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&self.server));
        }
    }
}
