use std::mem;

use rowtide_core::{Change, Error, Result, Sink, async_trait};
use rowtide_format::{Encoder, Refusals};

use crate::{disk, journal::Journal, succession::User};

/// Lines are kept in memory until a flush, or until they are this many bytes.
const BUFFER_BYTES: usize = 1 << 20;

pub(crate) struct FileSink {
    encoder: Encoder,
    refusals: Refusals,
    buffer: Vec<u8>,
    /// Gone after an error: its handle is never used again.
    journal: Option<Journal>,
    /// Stays here while a thread has the journal, which may outlive this sink.
    _user: Option<User>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Written,
    Durable,
}

impl FileSink {
    pub(crate) fn new(encoder: Encoder, mut journal: Journal) -> Self {
        let (refusals, user) = (Refusals::default(), journal.user.take());
        Self { encoder, refusals, buffer: Vec::new(), journal: Some(journal), _user: user }
    }

    async fn append(&mut self, until: Until) -> Result<()> {
        let closed = || Error::transient("the file was closed after an error");
        let mut journal = self.journal.take().ok_or_else(closed)?;
        let mut lines = mem::take(&mut self.buffer);
        let work = move || {
            journal.append(&lines)?;
            if until == Until::Durable {
                journal.flush()?;
            }
            lines.clear();
            Ok((journal, lines))
        };
        let (journal, lines) = disk::blocking(work).await?;
        self.journal = Some(journal);
        self.buffer = lines;
        Ok(())
    }
}

#[async_trait]
impl Sink for FileSink {
    async fn write(&mut self, changes: &[Change]) -> Result<()> {
        self.encoder.lines(changes, &mut self.buffer);
        self.refusals.encoded(&self.encoder, changes.len());
        if self.buffer.len() < BUFFER_BYTES {
            return Ok(());
        }
        self.append(Until::Written).await
    }

    async fn flush(&mut self) -> Result<()> {
        self.append(Until::Durable).await?;
        self.refusals.flushed()
    }
}
