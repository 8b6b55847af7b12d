use std::{pin::pin, time::Duration};

use rowtide_core::Result;
use rowtide_failpoint::reach;
use tokio::time::{Instant, sleep};

use super::DeliveryLoop;
use crate::{
    inbox::{Content, Message},
    lock::{lock_lost, without_lock},
    mutant::{self, Mutant},
};

/// How long a stop waits at most for the positions of what is written. A database whose log is made
/// durable behind the commits does so within a second.
const COVERING: Duration = Duration::from_secs(2);

impl DeliveryLoop<'_> {
    // Invariant 9: a stop flushes and saves, and is exact where it can be. What can be saved at once
    // does not depend on how the waiting for more ends.
    pub(super) async fn stop(&mut self) -> Result<()> {
        if !self.partitions.are_covered() && !mutant::active(Mutant::StopsBeforeThePosition) {
            self.deliver_now().await?;
            self.cover().await?;
        }
        self.end().await
    }

    /// A source may tell the position of what it has yielded a moment later. Until then that alone
    /// is read on which belongs before it.
    async fn cover(&mut self) -> Result<()> {
        let patience = COVERING.min(self.control.settings.stop_timeout.duration() / 4);
        let mut is_over = pin!(sleep(patience));
        while !self.partitions.are_covered() {
            if self.flush_is_due(Instant::now()) {
                self.flush().await?;
            }
            tokio::select! {
                biased;
                () = &mut is_over => break,
                () = lock_lost(&self.control.context) => return Err(without_lock()),
                message = self.inbox.receive() => self.accept_before_position(message).await?,
            }
        }
        Ok(())
    }

    /// Takes what a stop waits for. A partition is left alone for good once it is covered, and the
    /// error of a reader, which the next start will meet, does not fail a stop.
    async fn accept_before_position(&mut self, message: Message) -> Result<()> {
        match message.content {
            Content::Event(..) if self.partitions.is_uncovered(&message.partition) => {
                self.accept(message).await
            }
            Content::Event(..) => Ok(()),
            Content::Ended(_) => {
                self.partitions.start_over(&message.partition);
                Ok(())
            }
        }
    }

    /// The readers are dropped and the inbox discarded; what was written is still delivered.
    async fn end(&mut self) -> Result<()> {
        self.readers.abort();
        reach!("engine: stopping, not flushed");
        if mutant::active(Mutant::StopsWithoutFlush) {
            return Ok(());
        }
        self.flush().await?;
        if mutant::active(Mutant::StopsWithoutSave) {
            return Ok(());
        }
        self.save().await
    }
}
