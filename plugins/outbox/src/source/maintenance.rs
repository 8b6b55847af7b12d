use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rowtide_core::Result;

use crate::source::Outbox;

/// How often marked rows are looked through.
const CLEAN_EVERY: Duration = Duration::from_secs(10);

/// What goes on beside the reading: watching for writers that stay open, removing marked rows.
pub(crate) struct Maintenance {
    outbox: Arc<Outbox>,
    warned_at: Option<Instant>,
    cleaned_at: Option<Instant>,
}

impl Maintenance {
    pub(crate) fn new(outbox: Arc<Outbox>) -> Self {
        Self { outbox, warned_at: None, cleaned_at: None }
    }

    /// Runs until it is dropped. An error here is no reason to stop: the readers meet the same, and
    /// theirs is told.
    pub(crate) async fn run(mut self) {
        let stall = self.outbox.config.stall_warning.duration();
        let every = (stall / 4).clamp(Duration::from_millis(250), CLEAN_EVERY);
        loop {
            tokio::time::sleep(every).await;
            for outcome in [self.watch().await, self.clean().await] {
                if let Err(error) = outcome {
                    tracing::debug!("{error}");
                }
            }
        }
    }

    async fn watch(&mut self) -> Result<()> {
        let stall = self.outbox.config.stall_warning.duration();
        let oldest = self.outbox.database.oldest_writer().await?;
        let Some(open_for) = oldest.filter(|open_for| *open_for >= stall) else {
            if self.warned_at.take().is_some() {
                tracing::info!(
                    outbox_oldest_writer_seconds = oldest.unwrap_or_default().as_secs_f64(),
                    "no transaction holds back messages for long any more"
                );
            }
            return Ok(());
        };
        if self.warned_at.is_none_or(|at| at.elapsed() >= stall) {
            self.warned_at = Some(Instant::now());
            tracing::warn!(
                outbox_oldest_writer_seconds = open_for.as_secs_f64(),
                "a transaction that has inserted messages is open for long; they are delivered \
                 when it commits, and nothing else waits for it"
            );
        }
        Ok(())
    }

    async fn clean(&mut self) -> Result<()> {
        let Some(marked_for) = self.outbox.config.keep_marked_for else { return Ok(()) };
        if self.cleaned_at.is_some_and(|at| at.elapsed() < CLEAN_EVERY) {
            return Ok(());
        }
        self.cleaned_at = Some(Instant::now());
        while self.outbox.database.clean(marked_for.duration()).await? > 0 {}
        Ok(())
    }
}
