//! Reads as the engine does: saves now and then, goes on from what is saved, and is killed.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use futures_util::{
    StreamExt,
    stream::{self, BoxStream, SelectAll},
};
use jiff::Timestamp;
use rowtide_core::{
    Context, Error, Event, Partition, PartitionId, PartitionState, Position, Progress, Result,
    Shutdown, Source, registry, settings::Settings,
};
use tokio::time::timeout;

use crate::trace::{Seen, Step};

type States = BTreeMap<PartitionId, PartitionState>;

/// A pipeline, what is saved of it, and what it saw.
pub(crate) struct Pipeline {
    settings: String,
    saved: States,
    accepted: States,
    pub(crate) trace: Vec<Step>,
}

/// A run of it, until it is killed.
pub(crate) struct Reading<'s> {
    source: &'s dyn Source,
    pub(crate) pipeline: &'s mut Pipeline,
    streams: SelectAll<BoxStream<'s, Message>>,
    /// How often each partition was opened; what an earlier reader says does not count.
    opened: HashMap<PartitionId, usize>,
}

/// What a reader says, with its number among those of its partition; `None` at its end.
type Message = (PartitionId, usize, Option<Result<Event>>);

/// Opens a source with these settings.
pub(crate) async fn open(settings: &str) -> Result<Box<dyn Source>> {
    let settings: toml::Table = settings.parse().expect("settings");
    let settings: serde_json::Value = settings.try_into().expect("settings");
    let factory = registry::source("spanner", &Settings::from(settings))?;
    factory.open(&Context::new("scripted", Shutdown::never())).await
}

impl Pipeline {
    pub(crate) fn new(settings: String) -> Self {
        Self { settings, saved: States::new(), accepted: States::new(), trace: Vec::new() }
    }

    /// Opens a source, as often as that takes, and asks it where to begin if nothing is saved.
    pub(crate) async fn open(&mut self) -> Result<Box<dyn Source>> {
        loop {
            match self.try_open().await {
                Err(error) if error.is_transient() => tokio::task::yield_now().await,
                other => return other,
            }
        }
    }

    async fn try_open(&mut self) -> Result<Box<dyn Source>> {
        let source = open(&self.settings).await?;
        if self.saved.is_empty() {
            let partitions = source.partitions().await?.into_iter();
            let state =
                |partition: Partition| (partition.id.clone(), PartitionState::waiting(partition));
            self.saved = partitions.map(state).collect();
        }
        self.accepted = self.saved.clone();
        Ok(source)
    }

    /// Whether everything up to a time is saved, of every partition.
    pub(crate) fn is_saved_up_to(&self, at: Timestamp) -> bool {
        self.saved.values().all(|state| match &state.progress {
            Progress::Finished(_) => true,
            Progress::Delivered(position) => {
                position.attested().is_some_and(|attested| attested >= at)
            }
            Progress::Waiting => false,
        })
    }

    /// The partitions that have not ended, by how far they are.
    pub(crate) fn unfinished(&self) -> impl Iterator<Item = (&PartitionId, &Progress)> {
        let states = self.accepted.iter().filter(|(_, state)| !state.progress.is_finished());
        states.map(|(id, state)| (id, &state.progress))
    }
}

impl<'s> Reading<'s> {
    pub(crate) fn new(source: &'s dyn Source, pipeline: &'s mut Pipeline) -> Self {
        let (streams, opened) = (SelectAll::new(), HashMap::new());
        let mut reading = Self { source, pipeline, streams, opened };
        let states: Vec<_> = reading.pipeline.saved.values().cloned().collect();
        for PartitionState { partition, progress } in states {
            if let Progress::Delivered(position) = progress {
                reading.read(&partition, Some(position));
            }
        }
        reading.start();
        reading
    }

    /// Takes an event, if one comes within a time; whether one came.
    pub(crate) async fn glance(&mut self, patience: Duration) -> Result<bool> {
        let Ok(next) = timeout(patience, self.streams.next()).await else { return Ok(false) };
        let Some((id, number, event)) = next else { return Ok(false) };
        if self.opened.get(&id) != Some(&number) {
            return Ok(true);
        }
        match event {
            Some(Ok(event)) => self.note(&id, event)?,
            Some(Err(error)) if error.is_transient() => self.read_anew(&id),
            Some(Err(error)) => return Err(error),
            None if self.state(&id).progress.is_finished() => {}
            None => return Err(Error::fatal(format!("{id} ended without saying so"))),
        }
        Ok(true)
    }

    /// Saves all that was accepted, and starts those whose parents are saved as finished.
    pub(crate) fn save(&mut self) {
        let is_new = |id: &PartitionId| !self.pipeline.saved.get(id).is_some_and(is_finished);
        let finished = self.pipeline.accepted.iter().filter(|(_, state)| is_finished(state));
        let finished: Vec<_> =
            finished.filter(|(id, _)| is_new(id)).map(|(id, _)| id.to_string()).collect();
        self.pipeline.saved = self.pipeline.accepted.clone();
        if !finished.is_empty() {
            self.pipeline.trace.push(Step::Saved { finished });
        }
        self.start();
    }

    fn note(&mut self, id: &PartitionId, event: Event) -> Result<()> {
        let partition = id.to_string();
        match event {
            Event::Changes { changes, position } => {
                for change in &changes {
                    let (partition, change) = (partition.clone(), Seen::of(change));
                    self.pipeline.trace.push(Step::Changed { partition, change });
                }
                if let Some(position) = position {
                    self.place(id, position);
                }
            }
            Event::Idle { position } => self.place(id, position),
            Event::Children { partitions } => {
                for child in partitions {
                    if !child.parents.contains(id) {
                        return Err(Error::fatal(format!("{id} is no parent of {}", child.id)));
                    }
                    let state = PartitionState::waiting(child);
                    let known = self.pipeline.accepted.entry(state.partition.id.clone());
                    known.or_insert(state);
                }
            }
            Event::Finished => {
                let state = self.state(id);
                state.progress = Progress::Finished(state.progress.position().cloned());
                self.pipeline.trace.push(Step::Finished { partition });
            }
        }
        Ok(())
    }

    fn state(&mut self, id: &PartitionId) -> &mut PartitionState {
        self.pipeline.accepted.get_mut(id).expect("a partition that is read is known")
    }

    fn place(&mut self, id: &PartitionId, position: Position) {
        let (partition, attested) = (id.to_string(), position.attested());
        let step = Step::Placed { partition, position: position.text().to_owned(), attested };
        self.pipeline.trace.push(step);
        self.state(id).progress = Progress::Delivered(position);
    }

    /// Starts those that may and have not.
    fn start(&mut self) {
        let saved = &self.pipeline.saved;
        let ended = |id: &PartitionId| saved.get(id).is_some_and(is_finished);
        let may_start = |state: &&PartitionState| {
            state.progress == Progress::Waiting
                && !self.opened.contains_key(&state.partition.id)
                && state.partition.parents.iter().all(ended)
        };
        let ready: Vec<_> =
            saved.values().filter(may_start).map(|state| state.partition.clone()).collect();
        for partition in ready {
            self.read(&partition, None);
        }
    }

    /// Goes on behind the last event that was accepted.
    fn read_anew(&mut self, id: &PartitionId) {
        let PartitionState { partition, progress } = self.state(id).clone();
        self.read(&partition, progress.position().cloned());
    }

    fn read(&mut self, partition: &Partition, from: Option<Position>) {
        let position = from.as_ref().map(|position| position.text().to_owned());
        let step = Step::Opened { partition: partition.id.to_string(), from: position };
        self.pipeline.trace.push(step);
        let (id, end) = (partition.id.clone(), partition.id.clone());
        let number = *self.opened.entry(id.clone()).and_modify(|count| *count += 1).or_insert(1);
        let events = self.source.read(partition, from);
        let events = events.map(move |event| (id.clone(), number, Some(event)));
        self.streams.push(events.chain(stream::once(async move { (end, number, None) })).boxed());
    }
}

fn is_finished(state: &PartitionState) -> bool {
    state.progress.is_finished()
}
