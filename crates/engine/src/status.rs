use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use rowtide_core::{CheckpointUpdate, PartitionId, PartitionState, Position, Progress};
use tokio::time::{Instant, sleep};

const LOG_EVERY: Duration = Duration::from_secs(10);

/// What a pipeline is doing, for the log. Never knows a row value.
#[derive(Clone)]
pub(crate) struct Status(Arc<Mutex<Figures>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Opening,
    Running,
    Recovering,
    Stopping,
    Stopped,
}

struct Figures {
    state: State,
    delivered: u64,
    skipped: u64,
    logged_at: Instant,
    partitions: BTreeMap<PartitionId, Figure>,
}

/// One partition: what of it is not acknowledged yet, and what time its checkpoint attests.
#[derive(Default)]
struct Figure {
    /// Behind the last accepted position.
    open: Backlog,
    /// Up to it.
    covered: Backlog,
    attested: Option<Timestamp>,
}

#[derive(Default)]
struct Backlog {
    changes: usize,
    since: Option<Instant>,
}

impl Status {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Figures {
            state: State::Opening,
            delivered: 0,
            skipped: 0,
            logged_at: Instant::now(),
            partitions: BTreeMap::new(),
        })))
    }

    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters `state`, and logs it if it is another one.
    pub(crate) fn enter(&self, state: State) {
        let mut figures = self.figures();
        if figures.state != state || state == State::Opening {
            figures.state = state;
            figures.log();
        }
    }

    /// Writes a line every 10 seconds, for ever.
    pub(crate) async fn log_regularly(&self) {
        loop {
            sleep(LOG_EVERY).await;
            self.figures().log();
        }
    }

    /// Begins with what a checkpoint has; nothing of what was accepted before counts any more.
    pub(crate) fn resume(&self, states: &[PartitionState]) {
        let mut figures = self.figures();
        figures.partitions.clear();
        states.iter().for_each(|state| figures.save(state));
    }

    pub(crate) fn accept_changes(&self, id: &PartitionId, count: usize) {
        let mut figures = self.figures();
        figures.delivered += count as u64;
        let backlog = &mut figures.figure(id).open;
        backlog.changes += count;
        backlog.since.get_or_insert_with(Instant::now);
    }

    pub(crate) fn accept_position(&self, id: &PartitionId) {
        let mut figures = self.figures();
        let figure = figures.figure(id);
        let open = std::mem::take(&mut figure.open);
        figure.covered.changes += open.changes;
        figure.covered.since = figure.covered.since.or(open.since);
    }

    /// Notes a position that the checkpoint has already, perhaps with a newer attested time.
    pub(crate) fn attest(&self, id: &PartitionId, position: &Position) {
        self.figures().figure(id).attested = position.attested();
    }

    /// Notes that all that was accepted up to these states is saved and acknowledged.
    pub(crate) fn acknowledge(&self, update: &CheckpointUpdate) {
        let mut figures = self.figures();
        update.states.iter().for_each(|state| figures.save(state));
    }

    pub(crate) fn skip(&self, count: usize) {
        self.figures().skipped += count as u64;
    }

    /// How many changes were written and not saved: they are delivered again after a stop now.
    pub(crate) fn unsaved_changes(&self) -> usize {
        let figures = self.figures();
        figures.partitions.values().map(|figure| figure.open.changes + figure.covered.changes).sum()
    }
}

impl Figures {
    fn figure(&mut self, id: &PartitionId) -> &mut Figure {
        self.partitions.entry(id.clone()).or_default()
    }

    fn save(&mut self, state: &PartitionState) {
        let id = &state.partition.id;
        match &state.progress {
            Progress::Finished(_) => {
                self.partitions.remove(id);
            }
            progress => {
                let figure = self.figure(id);
                figure.covered = Backlog::default();
                figure.attested = progress.position().and_then(Position::attested);
            }
        }
    }

    fn log(&mut self) {
        let elapsed = self.logged_at.elapsed().as_secs_f64();
        let rate = if elapsed > 0.0 { self.delivered as f64 / elapsed } else { 0.0 };
        tracing::info!(
            state = %self.state,
            changes_per_second = rate.round(),
            oldest_unacknowledged = %Age(self.oldest()),
            lag = %Age(self.lag(Timestamp::now())),
            partitions = self.partitions.len(),
            skipped = self.skipped,
            "pipeline is {}", self.state
        );
        if let Some(low_watermark) = self.low_watermark() {
            tracing::debug!(%low_watermark, "everything up to there is delivered");
        }
        self.delivered = 0;
        self.logged_at = Instant::now();
    }

    /// The age of the oldest change that is not acknowledged.
    fn oldest(&self) -> Option<Duration> {
        let since = |figure: &Figure| figure.covered.since.or(figure.open.since);
        self.partitions.values().filter_map(since).min().map(|since| since.elapsed())
    }

    /// How far the pipeline is behind, as far as all partitions attest it.
    fn lag(&self, now: Timestamp) -> Option<Duration> {
        let lag = now.duration_since(self.low_watermark()?);
        Some(lag.try_into().unwrap_or_default())
    }

    /// The time up to which everything of every partition is delivered. Never a guess: where one
    /// attests nothing, neither does the pipeline.
    fn low_watermark(&self) -> Option<Timestamp> {
        let attested: Option<Vec<_>> =
            self.partitions.values().map(|figure| figure.attested).collect();
        attested?.into_iter().min()
    }
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            State::Opening => "opening",
            State::Running => "running",
            State::Recovering => "recovering",
            State::Stopping => "stopping",
            State::Stopped => "stopped",
        })
    }
}

/// A time with one digit behind the point, or a dash.
struct Age(Option<Duration>);

impl fmt::Display for Age {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(age) => write!(formatter, "{:.1}s", age.as_secs_f64()),
            None => formatter.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rowtide_core::Partition;
    use tokio::time::advance;

    use super::*;

    fn delivered(id: &PartitionId, position: Position) -> PartitionState {
        let partition = Partition::new(id.as_str());
        PartitionState { partition, progress: Progress::Delivered(position) }
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_change_is_the_one_behind_the_acknowledged_position() {
        let (status, id) = (Status::new(), PartitionId::new("p"));
        status.accept_changes(&id, 2);
        advance(Duration::from_secs(3)).await;
        status.accept_position(&id);
        status.accept_changes(&id, 1);
        advance(Duration::from_secs(1)).await;
        assert_eq!(status.figures().oldest(), Some(Duration::from_secs(4)));
        assert_eq!(status.unsaved_changes(), 3);
        let states = vec![delivered(&id, Position::from_text("1"))];
        status.acknowledge(&CheckpointUpdate { states, forgotten: vec![] });
        assert_eq!(status.figures().oldest(), Some(Duration::from_secs(1)));
        assert_eq!(status.unsaved_changes(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn lag_is_that_of_the_slowest_partition_and_never_a_guess() {
        let status = Status::new();
        let now = Timestamp::UNIX_EPOCH + Duration::from_secs(100);
        let at = |second| {
            let attested = Timestamp::UNIX_EPOCH + Duration::from_secs(second);
            Position::from_text("1").as_of(attested)
        };
        assert_eq!(status.figures().lag(now), None);
        status.resume(&[
            delivered(&PartitionId::new("a"), at(90)),
            delivered(&PartitionId::new("b"), at(70)),
        ]);
        assert_eq!(status.figures().lag(now), Some(Duration::from_secs(30)));
        status.attest(&PartitionId::new("b"), &Position::from_text("1"));
        assert_eq!(status.figures().lag(now), None);
    }
}
