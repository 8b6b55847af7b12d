use std::collections::BTreeSet;

use futures_util::FutureExt;
use rowtide_core::{
    CheckpointUpdate, Context, Error, ErrorKind, PartitionState, Result, Shutdown, Sink, Source,
};
use rowtide_failpoint::reach;
use tokio::time::sleep;

use crate::{
    Outcome, Pipeline, Until,
    checkpoint::{Checkpoint, Entry},
    delivery::{Control, DeliveryLoop},
    drain::Drain,
    environment::{Environment, Random},
    mutant::{self, Mutant},
    partitions::Partitions,
    pause::{Pause, Pauses},
    rejection::never_rejected,
    status::{State, Status},
};

/// One run of a pipeline: opens both ends, delivers, and after a transient error does it all again.
///
/// There is one recovery path, and a start is its first use: whatever happened, both ends are
/// dropped and opened anew, and reading resumes from the checkpoint.
pub(crate) struct Recovery {
    pipeline: Pipeline,
    until: Until,
    shutdown: Shutdown,
    environment: Environment,
    random: Random,
    status: Status,
    checkpoint: Option<Checkpoint>,
    /// How the checkpoint is entered next. It outlives a session that ended before it was entered.
    entry: Entry,
    drain: Drain,
    pause: Pause,
    reader_pauses: Pauses,
}

struct Ends {
    context: Context,
    source: Box<dyn Source>,
    sink: Box<dyn Sink>,
}

impl Recovery {
    pub(crate) fn new(
        pipeline: Pipeline,
        until: Until,
        shutdown: Shutdown,
        environment: Environment,
        status: Status,
    ) -> Self {
        let random = environment.random();
        Self {
            pipeline,
            until,
            shutdown,
            environment,
            random,
            status,
            checkpoint: None,
            entry: Entry::Prove,
            drain: Drain::default(),
            pause: Pause::default(),
            reader_pauses: Pauses::default(),
        }
    }

    /// Runs sessions until one ends without an error, or with one that does not pass by itself.
    // Invariant 7: a sink or checkpoint error resumes the pipeline from the checkpoint.
    pub(crate) async fn run(mut self) -> Result<Outcome> {
        loop {
            self.status.enter(State::Opening);
            let error = match self.session().await {
                Ok(outcome) => {
                    self.tell_uncovered();
                    return Ok(outcome);
                }
                Err(error) => self.confirm(error).await,
            };
            if !error.is_transient() {
                return Err(error);
            }
            if self.is_stopping() {
                self.tell_redelivery(&error);
                return Ok(Outcome::Stopped);
            }
            let pause = self.pause.next(&mut self.random);
            let help = error.remedy();
            tracing::warn!(
                ?pause,
                help,
                "pipeline resumes from its checkpoint after a pause: {error}"
            );
            self.status.enter(State::Recovering);
            tokio::select! {
                () = self.shutdown.requested() => {
                    self.tell_redelivery(&error);
                    return Ok(Outcome::Stopped);
                }
                () = sleep(pause) => {}
            }
        }
    }

    fn tell_redelivery(&self, error: &Error) {
        tracing::warn!(
            "the stop is not a clean one, and {} written changes are delivered again by the next start: {error}",
            self.status.unsaved_changes()
        );
    }

    /// A stop waits for the position of what is written for a moment only.
    fn tell_uncovered(&self) {
        let changes = self.status.unsaved_changes();
        if changes > 0 {
            tracing::warn!(
                "{changes} written changes are delivered again by the next start: no position behind \
                 them was saved before the stop"
            );
        }
    }

    /// From opening both ends to dropping them.
    async fn session(&mut self) -> Result<Outcome> {
        let ends = self.open().await.map_err(never_rejected)?;
        if self.is_stopping() {
            return Ok(Outcome::Stopped);
        }
        let states = self.enter(ends.source.as_ref()).await.map_err(never_rejected)?;
        self.status.resume(&states);
        self.drain.recover();
        let Some(checkpoint) = &mut self.checkpoint else { return Err(no_checkpoint()) };
        let control = Control {
            settings: &self.pipeline.delivery,
            until: self.until,
            checkpoint,
            drain: &mut self.drain,
            pause: &mut self.pause,
            reader_pauses: &mut self.reader_pauses,
            status: &self.status,
            random: self.random.clone(),
            context: ends.context,
        };
        let partitions = Partitions::new(states);
        let mut delivery = DeliveryLoop::new(control, ends.source, ends.sink, partitions);
        let result = delivery.run(&self.shutdown).await;
        // Invariant 3: the readers are awaited before both ends are dropped, and these before they
        // are opened again, so that nothing of the old session comes behind the new one.
        delivery.close().await;
        result
    }

    /// Opens the store, once, and then both ends. The store stays open, since it may hold the lock
    /// that goes with the claim.
    async fn open(&mut self) -> Result<Ends> {
        if self.checkpoint.is_none() {
            let store = self.pipeline.checkpoint.open(&self.context()).await?;
            let (name, environment) = (self.pipeline.name.clone(), self.environment.clone());
            self.checkpoint = Some(Checkpoint::new(store, name, environment));
        }
        let context = self.context();
        if self.entry == Entry::Claim {
            // It waited, and something failed before it could claim.
            context.note_waited_for_lock();
        }
        let source = self.pipeline.source.open(&context).await;
        if context.waited_for_lock() && !mutant::active(Mutant::ForgetsTheWaitForALock) {
            self.entry = Entry::Claim;
        }
        let source = source?;
        let sink = self.pipeline.sink.open(&context).await?;
        reach!("engine: opened, not claimed");
        Ok(Ends { context, source, sink })
    }

    /// Establishes the claim, and loads what is saved. A pipeline never seen begins here.
    async fn enter(&mut self, source: &dyn Source) -> Result<Vec<PartitionState>> {
        let Some(checkpoint) = &mut self.checkpoint else { return Err(no_checkpoint()) };
        checkpoint.enter(self.entry).await?;
        reach!("engine: claimed, not loaded");
        self.entry = Entry::Prove;
        let states = checkpoint.load().await?;
        if !states.is_empty() {
            return Ok(states);
        }
        let states = first_states(source).await?;
        reach!("engine: first partitions told, not saved");
        let update = CheckpointUpdate { states: states.clone(), forgotten: Vec::new() };
        checkpoint.save(&update).await?;
        Ok(states)
    }

    /// Proves the claim before a position is called lost: whoever took over may have moved on, and
    /// then the upstream rightly has forgotten what only we still remember.
    async fn confirm(&mut self, error: Error) -> Error {
        let Some(checkpoint) = &mut self.checkpoint else { return error };
        if *error.kind() != ErrorKind::PositionLost || !checkpoint.is_claimed() {
            return error;
        }
        match checkpoint.prove().await.map_err(never_rejected) {
            Ok(()) => error,
            Err(unproven) => unproven,
        }
    }

    fn context(&self) -> Context {
        Context::new(self.pipeline.name.as_str(), self.shutdown.clone())
    }

    fn is_stopping(&self) -> bool {
        self.shutdown.requested().now_or_never().is_some()
    }
}

/// Where a pipeline begins that has no checkpoint yet.
async fn first_states(source: &dyn Source) -> Result<Vec<PartitionState>> {
    let partitions = source.partitions().await.map_err(|error| error.under("source"))?;
    if partitions.is_empty() {
        return Err(Error::config("the source has nothing to read")
            .help("check which tables it is told to read"));
    }
    let mut ids = BTreeSet::new();
    if let Some(twice) = partitions.iter().find(|partition| !ids.insert(&partition.id)) {
        // Merged into one, one of the two would never be read.
        return Err(Error::fatal(format!("the source names partition `{}` twice", twice.id))
            .help("this is a defect of the source; report it"));
    }
    Ok(partitions.into_iter().map(PartitionState::waiting).collect())
}

fn no_checkpoint() -> Error {
    Error::fatal("the checkpoint store is not open").help("this is a defect of Rowtide; report it")
}
