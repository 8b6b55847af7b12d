use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use rowtide_core::{
    Change, ChangeId, CheckpointStore, CheckpointUpdate, Claim, Context, Error, Event, EventStream,
    Operation, Owner, Partition, PartitionId, PartitionState, Position, Result, Shutdown, Sink,
    Source, Table, async_trait,
    plugin::{Factory, InstallOptions, UninstallOptions},
};
use rowtide_engine::{
    Delivery, Outcome, Pipeline, Until,
    simulation::{Environment, run_in},
};
use tokio::time::Instant;

/// A source, a sink and a store that do what a test tells them, and write down what they are asked.
#[derive(Clone)]
pub struct Script(Arc<Mutex<Lines>>);

#[derive(Default)]
pub struct Lines {
    pub partitions: Vec<Partition>,
    /// What the readers yield, one list for each call of `read`; nothing once it is used up.
    pub events: VecDeque<Vec<Result<Event>>>,
    /// Whether the first stream panics when it is dropped.
    pub panics_when_dropped: bool,
    pub writes: VecDeque<Result<()>>,
    pub flushes: VecDeque<Result<()>>,
    pub flush_hangs: bool,
    /// How long each write takes.
    pub write_takes: Duration,
    /// What each opening of the source comes to. Behind an error it waits for its lock no more.
    pub source_openings: VecDeque<Result<()>>,
    /// What each opening of the sink comes to.
    pub sink_openings: VecDeque<Result<()>>,
    /// How long each takes.
    pub sink_opening_takes: Duration,
    pub waits_for_lock: bool,
    /// That of the last opening of the source.
    pub context: Option<Context>,
    /// Another process claims the pipeline while the source waits for its lock.
    pub is_taken_over_meanwhile: bool,
    /// Another process claims the pipeline when it is read.
    pub is_taken_over: bool,
    pub states: Vec<PartitionState>,
    pub epoch: u64,
    pub calls: Vec<String>,
    pub saved_at: Vec<Instant>,
}

impl Script {
    pub fn new(lines: Lines) -> Self {
        Self(Arc::new(Mutex::new(lines)))
    }

    pub fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap()
    }

    fn call(&self, call: impl Into<String>) {
        self.lines().calls.push(call.into());
    }

    pub fn calls(&self) -> Vec<String> {
        self.lines().calls.clone()
    }

    /// How often something was called whose name begins like this.
    pub fn count(&self, name: &str) -> usize {
        self.calls().iter().filter(|call| call.starts_with(name)).count()
    }

    pub fn pipeline(&self, delivery: Delivery) -> Pipeline {
        Pipeline {
            name: "scripted".into(),
            source: Box::new(self.clone()),
            sink: Box::new(self.clone()),
            checkpoint: Box::new(self.clone()),
            delivery,
        }
    }

    /// Runs until caught up, or until `stop` resolves.
    pub async fn run(
        &self,
        delivery: Delivery,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Outcome> {
        self.run_until(Until::CaughtUp, delivery, stop).await
    }

    pub async fn run_until(
        &self,
        until: Until,
        delivery: Delivery,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Outcome> {
        let started = Instant::now();
        let environment = Environment::new(move || started.elapsed(), 1);
        run_in(environment, self.pipeline(delivery), until, Shutdown::new(stop)).await
    }
}

pub async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

pub fn place(number: u64) -> Position {
    Position::encode(&number).unwrap()
}

pub fn change(number: u64) -> Change {
    let table = Arc::new(Table::new("t", vec![]));
    Change::new(ChangeId::new("c").major(number), table, Operation::Insert)
}

/// An event with the changes `from` to `to` and a position.
pub fn changes(from: u64, to: u64) -> Result<Event> {
    let changes = (from..=to).map(change).collect();
    Ok(Event::Changes { changes, position: Some(place(to)) })
}

pub fn idle(number: u64) -> Result<Event> {
    Ok(Event::Idle { position: place(number) })
}

impl fmt::Debug for Script {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Script")
    }
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        // Without a word on stderr.
        std::panic::resume_unwind(Box::new("injected"));
    }
}

macro_rules! opens {
    ($what:ty, $name:literal) => {
        #[async_trait]
        impl Factory<$what> for Script {
            fn validate(&self) -> Result<()> {
                Ok(())
            }
            async fn open(&self, context: &Context) -> Result<Box<$what>> {
                self.call(concat!("open ", $name));
                if $name == "source" {
                    self.lines().context = Some(context.clone());
                }
                if $name == "source" && self.lines().waits_for_lock {
                    context.note_waited_for_lock();
                    let mut lines = self.lines();
                    if std::mem::take(&mut lines.is_taken_over_meanwhile) {
                        lines.epoch += 1;
                        lines.waits_for_lock = false;
                    }
                }
                if $name == "source" {
                    let opening = self.lines().source_openings.pop_front().unwrap_or(Ok(()));
                    self.lines().waits_for_lock &= opening.is_ok();
                    opening?;
                }
                if $name == "sink" {
                    let takes = self.lines().sink_opening_takes;
                    if !takes.is_zero() {
                        tokio::time::sleep(takes).await;
                    }
                    self.lines().sink_openings.pop_front().unwrap_or(Ok(()))?;
                }
                Ok(Box::new(self.clone()))
            }
            async fn install(&self, _: &Context, _: InstallOptions) -> Result<Vec<String>> {
                Ok(vec![])
            }
            async fn uninstall(&self, _: &Context, _: UninstallOptions) -> Result<Vec<String>> {
                Ok(vec![])
            }
            async fn forget(&self, _: &Context) -> Result<()> {
                Ok(())
            }
        }
    };
}

opens!(dyn Source, "source");
opens!(dyn Sink, "sink");
opens!(dyn CheckpointStore, "store");

#[async_trait]
impl Source for Script {
    async fn partitions(&self) -> Result<Vec<Partition>> {
        self.call("partitions");
        Ok(self.lines().partitions.clone())
    }

    fn read(&self, partition: &Partition, from: Option<Position>) -> EventStream<'_> {
        let from = from.map_or("the beginning".to_owned(), |position| position.to_string());
        self.call(format!("read {} from {from}", partition.id));
        let mut lines = self.lines();
        lines.epoch += u64::from(lines.is_taken_over);
        let events = lines.events.pop_front().unwrap_or_default();
        let panics = std::mem::take(&mut lines.panics_when_dropped);
        drop(lines);
        let guard = panics.then(|| PanicsWhenDropped);
        let events = stream::iter(events).chain(stream::pending());
        Box::pin(events.inspect(move |_| {
            let _ = &guard;
        }))
    }

    async fn acknowledge(&self, positions: &[(PartitionId, Position)]) -> Result<()> {
        let places: Vec<_> =
            positions.iter().map(|(id, position)| format!("{id} {position}")).collect();
        self.call(format!("acknowledge {}", places.join(", ")));
        Ok(())
    }
}

#[async_trait]
impl Sink for Script {
    async fn write(&mut self, changes: &[Change]) -> Result<()> {
        self.call(format!("write {}", changes.len()));
        let takes = self.lines().write_takes;
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        self.lines().writes.pop_front().unwrap_or(Ok(()))
    }

    async fn flush(&mut self) -> Result<()> {
        self.call("flush");
        if self.lines().flush_hangs {
            std::future::pending::<()>().await;
        }
        self.lines().flushes.pop_front().unwrap_or(Ok(()))
    }
}

#[async_trait]
impl CheckpointStore for Script {
    async fn load(&self, _: &str) -> Result<Vec<PartitionState>> {
        Ok(self.lines().states.clone())
    }

    async fn claim(&self, pipeline: &str, owner: &Owner) -> Result<Claim> {
        self.call("claim");
        let mut lines = self.lines();
        lines.epoch += 1;
        Ok(Claim { pipeline: pipeline.to_owned(), epoch: lines.epoch, owner: owner.clone() })
    }

    async fn save(&self, claim: &Claim, update: &CheckpointUpdate) -> Result<()> {
        let is_proof = update.states.is_empty() && update.forgotten.is_empty();
        self.call(if is_proof { "prove" } else { "save" });
        let mut lines = self.lines();
        if claim.epoch != lines.epoch {
            let since = Timestamp::UNIX_EPOCH;
            let owner = Owner { host: "other".into(), process: 1, since };
            return Err(Error::claim_lost(&claim.pipeline, &owner));
        }
        for state in &update.states {
            lines.states.retain(|known| known.partition.id != state.partition.id);
            lines.states.push(state.clone());
        }
        lines.states.retain(|known| !update.forgotten.contains(&known.partition.id));
        if !is_proof {
            lines.saved_at.push(Instant::now());
        }
        Ok(())
    }
}
