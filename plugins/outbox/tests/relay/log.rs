//! The log of this process.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use crate::relay::Outcome;

#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Once in a process only.
    pub(crate) fn listen() -> Outcome<Self> {
        let log = Self::default();
        let written = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || written.clone()).finish();
        tracing::subscriber::set_global_default(subscriber)?;
        Ok(log)
    }

    pub(crate) fn has(&self, what: &str) -> bool {
        let written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&written).contains(what)
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
