use std::{collections::HashSet, future::poll_fn, task::Poll, time::Duration};

use futures_util::StreamExt;
use rowtide_core::{
    Change, Error, Event, EventStream, Partition, PartitionId, PartitionState, Progress, Result,
    Source,
};

use crate::{Verdict, scenario::within};

/// Reads all partitions of a source as the engine does: children after their parents, each
/// partition in order, and keeps what came.
pub(crate) struct Reading<'a> {
    source: &'a dyn Source,
    patience: Duration,
    streams: Vec<(PartitionId, EventStream<'a>)>,
    caught_up: HashSet<PartitionId>,
    pub(crate) states: Vec<PartitionState>,
    pub(crate) events: Vec<(PartitionId, Event)>,
    /// After which number of events what would have been saved.
    pub(crate) checkpoints: Vec<(usize, Vec<PartitionState>)>,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(
        source: &'a dyn Source,
        partitions: Vec<Partition>,
        patience: Duration,
    ) -> Self {
        let states = partitions.into_iter().map(PartitionState::waiting).collect();
        Self::resume(source, states, patience)
    }

    pub(crate) fn resume(
        source: &'a dyn Source,
        states: Vec<PartitionState>,
        patience: Duration,
    ) -> Self {
        let mut reading = Self {
            source,
            patience,
            streams: Vec::new(),
            caught_up: HashSet::new(),
            states,
            events: Vec::new(),
            checkpoints: Vec::new(),
        };
        reading.start_those_whose_parents_ended();
        reading
    }

    /// All changes that came, in order.
    pub(crate) fn changes(&self) -> Vec<&Change> {
        changes(self.events.iter().map(|(_, event)| event))
    }

    /// Whether every partition that is being read has yielded `Idle`.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.streams.iter().all(|(id, _)| self.caught_up.contains(id))
    }

    /// Reads until `enough` holds, which must be within the patience of the harness.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        enough: impl Fn(&Reading<'a>) -> bool,
    ) -> Verdict {
        let patience = self.patience;
        let read = async {
            while !enough(self) {
                self.advance().await?;
            }
            Ok::<_, Error>(())
        };
        within(patience, what, read).await??;
        Ok(())
    }

    /// Reads until all that was there when the reading began has come.
    pub(crate) async fn catch_up(&mut self) -> Verdict {
        self.until("every partition to catch up", Reading::is_caught_up).await
    }

    /// Waits for one event of any partition, and notes it.
    pub(crate) async fn advance(&mut self) -> Result<()> {
        if self.streams.is_empty() {
            return Err(Error::fatal("every partition has ended, and more was expected"));
        }
        let streams = &mut self.streams;
        let (index, event) = poll_fn(|context| {
            for (index, (_, stream)) in streams.iter_mut().enumerate() {
                if let Poll::Ready(event) = stream.poll_next_unpin(context) {
                    return Poll::Ready((index, event));
                }
            }
            Poll::Pending
        })
        .await;
        let id = self.streams[index].0.clone();
        let ended = || Err(Error::transient(format!("partition `{id}` ended without `Finished`")));
        let event = event.unwrap_or_else(ended)?;
        // The others have their turn first, so that none is starved.
        self.streams.rotate_left(index + 1);
        self.note(id, event);
        Ok(())
    }

    fn note(&mut self, id: PartitionId, event: Event) {
        match &event {
            Event::Changes { position, .. } => {
                if let Some(position) = position {
                    self.set_progress(&id, Progress::Delivered(position.clone()));
                }
            }
            Event::Idle { position } => {
                self.caught_up.insert(id.clone());
                self.set_progress(&id, Progress::Delivered(position.clone()));
            }
            Event::Children { partitions } => {
                for partition in partitions {
                    if !self.states.iter().any(|state| state.partition.id == partition.id) {
                        self.states.push(PartitionState::waiting(partition.clone()));
                    }
                }
            }
            Event::Finished => {
                let last = self.state(&id).and_then(|state| state.progress.position().cloned());
                self.set_progress(&id, Progress::Finished(last));
                self.streams.retain(|(open, _)| *open != id);
            }
        }
        self.events.push((id, event));
        if self.events.last().is_some_and(|(_, event)| is_resumable(event)) {
            self.checkpoints.push((self.events.len(), self.states.clone()));
        }
        self.start_those_whose_parents_ended();
    }

    pub(crate) fn state(&self, id: &PartitionId) -> Option<&PartitionState> {
        self.states.iter().find(|state| state.partition.id == *id)
    }

    fn set_progress(&mut self, id: &PartitionId, progress: Progress) {
        if let Some(state) = self.states.iter_mut().find(|state| state.partition.id == *id) {
            state.progress = progress;
        }
    }

    fn start_those_whose_parents_ended(&mut self) {
        let ended =
            |id: &PartitionId| self.state(id).is_some_and(|state| state.progress.is_finished());
        let may_start = |state: &&PartitionState| match state.progress {
            Progress::Waiting => state.partition.parents.iter().all(ended),
            Progress::Delivered(_) => true,
            Progress::Finished(_) => false,
        };
        let is_open = |id: &PartitionId| self.streams.iter().any(|(open, _)| open == id);
        let ready: Vec<_> = self.states.iter().filter(may_start).cloned().collect();
        let ready: Vec<_> =
            ready.into_iter().filter(|state| !is_open(&state.partition.id)).collect();
        for PartitionState { partition, progress } in ready {
            let from = progress.position().or(partition.start.as_ref()).cloned();
            let stream = self.source.read(&partition, from);
            self.streams.push((partition.id, stream));
        }
    }
}

/// All changes of `events`, in order.
pub(crate) fn changes<'e>(events: impl Iterator<Item = &'e Event>) -> Vec<&'e Change> {
    let of_event = |event: &'e Event| match event {
        Event::Changes { changes, .. } => changes.as_slice(),
        _ => &[],
    };
    events.flat_map(of_event).collect()
}

fn is_resumable(event: &Event) -> bool {
    !matches!(event, Event::Changes { position: None, .. })
}
