use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    Message, Naming, Plan, Scan,
    envelope::{Envelope, messages},
};
use crate::{
    Hlc,
    faults::Faults,
    server::Shared,
    sql::SqlError,
    store::{Commit, Store},
};

/// Over how many ranges keys are spread.
const RANGES: u32 = 3;

/// How many commits are looked at while the store is locked.
const BATCH: usize = 512;

/// Where the messages of a feed go.
pub(crate) trait Output {
    /// Sends a message, when there is room for it.
    async fn send(&mut self, message: &Message) -> std::io::Result<()>;
    /// Sends half of a message.
    async fn send_half(&mut self, message: &Message) -> std::io::Result<()>;
    /// Sends what was kept back.
    async fn flush(&mut self) -> std::io::Result<()>;
}

/// Why a feed ends.
#[derive(Debug)]
pub(crate) enum End {
    /// All that was asked for was sent.
    Complete,
    /// The client gets an error.
    Failed(SqlError),
    /// The connection is cut.
    Cut,
}

impl From<std::io::Error> for End {
    fn from(_: std::io::Error) -> Self {
        End::Cut
    }
}

/// A message of a row, and when that was updated.
type Line = (Hlc, Message);

/// A changefeed that runs.
pub(crate) struct Feed {
    plan: Plan,
    shared: Arc<Shared>,
    grown: watch::Receiver<usize>,
    faults: Faults,
    chance: Rng,
    /// The place in the log.
    next: usize,
    /// What was sent that is above the last resolved timestamp.
    window: Vec<Line>,
    /// A range whose rows are held back until the next resolved timestamp.
    lagging: Option<u32>,
    held: Vec<Line>,
    resolved: Hlc,
    /// How many rows were sent.
    sent: u32,
    resolved_at: Option<Instant>,
    names: Vec<Option<Arc<str>>>,
}

impl Feed {
    pub(crate) fn new(plan: Plan, shared: Arc<Shared>) -> Self {
        let grown = shared.grown.subscribe();
        let faults = shared.faults();
        let number = shared.count_feed();
        let chance = Rng::with_seed(faults.seed.wrapping_mul(1_000_003).wrapping_add(number));
        let next = shared.store().place_after(plan.start);
        Self {
            plan,
            shared,
            grown,
            faults,
            chance,
            next,
            window: Vec::new(),
            lagging: None,
            held: Vec::new(),
            resolved: Hlc::default(),
            sent: 0,
            resolved_at: None,
            names: Vec::new(),
        }
    }

    /// Sends messages until the end.
    pub(crate) async fn run(mut self, output: &mut impl Output) -> End {
        match self.tell_all(output).await {
            Ok(()) => End::Complete,
            Err(end) => end,
        }
    }

    async fn tell_all(&mut self, output: &mut impl Output) -> Result<(), End> {
        if self.chance(self.faults.zero_resolved) && self.plan.resolved_every.is_some() {
            output.send(&Message::resolved(Hlc::default(), self.plan.shape.envelope)).await?;
        }
        if self.plan.scan != Scan::No {
            for table in self.plan.tables.clone() {
                let rows = self.shared.store().scan(table, self.plan.start);
                self.tell(&rows, output).await?;
            }
            if self.plan.scan == Scan::Only {
                return Ok(output.flush().await?);
            }
        }
        loop {
            self.grown.borrow_and_update();
            if self.plan.resolved_every.is_some() && self.chance(self.faults.lag) {
                self.lagging.get_or_insert(self.chance.u32(..RANGES));
            }
            let (commits, frontier) = self.batch();
            self.tell(&commits, output).await?;
            let Some(frontier) = frontier else { continue };
            let is_last = self.plan.end_time.is_some_and(|end| frontier >= end);
            if is_last {
                self.catch_up(output).await?;
            }
            self.resolve(frontier, output).await?;
            output.flush().await?;
            if is_last {
                return Ok(());
            }
            let due = self.resolved_at.zip(self.plan.resolved_every).map(|(at, every)| at + every);
            tokio::select! {
                changed = self.grown.changed() => changed.map_err(|_| End::Cut)?,
                () = sleep_until(due.unwrap_or_else(far_away)) => {}
            }
        }
    }

    /// What comes next in the log, and the time up to which that is all, unless more follows.
    fn batch(&mut self) -> (Vec<Arc<Commit>>, Option<Hlc>) {
        let shared = Arc::clone(&self.shared);
        let mut store = shared.store();
        let end = self.plan.end_time;
        let in_time = |commit: &&Arc<Commit>| match &***commit {
            Commit::Row(row) => end.is_none_or(|end| row.updated <= end),
            Commit::Gone { .. } => true,
        };
        let commits = store.since(self.next, BATCH);
        self.next += commits.len();
        let commits = commits.iter().filter(in_time).cloned().collect();
        let is_all = self.next == store.log_length();
        (commits, is_all.then(|| store.now()))
    }

    async fn tell(&mut self, commits: &[Arc<Commit>], output: &mut impl Output) -> Result<(), End> {
        let mut lines = Vec::new();
        let mut gone = None;
        for commit in commits {
            match &**commit {
                Commit::Row(row) if self.plan.tables.contains(&row.table) => {
                    let name = self.name(row.table);
                    let messages = messages(&self.plan, &name, row);
                    lines.extend(messages.into_iter().map(|message| (row.updated, message)));
                }
                Commit::Gone { table, message, .. } if self.plan.tables.contains(table) => {
                    gone = Some(SqlError::new("XXUUU", message.clone()));
                    break;
                }
                _ => {}
            }
        }
        self.shuffle(&mut lines);
        for line in lines {
            match self.lagging {
                Some(range) if range == range_of(&line.1) => self.held.push(line),
                _ => self.send(line, output).await?,
            }
        }
        if gone.is_some() {
            self.catch_up(output).await?;
        }
        gone.map_or(Ok(()), |error| Err(End::Failed(error)))
    }

    async fn send(&mut self, line: Line, output: &mut impl Output) -> Result<(), End> {
        let is_enough = self.faults.stall_after.is_some_and(|rows| self.sent >= rows);
        if is_enough || self.chance(self.faults.stall) {
            output.flush().await?;
            std::future::pending::<()>().await;
        }
        if self.chance(self.faults.cut) {
            output.send_half(&line.1).await?;
            return Err(End::Cut);
        }
        if self.chance(self.faults.drain) {
            return Err(End::Failed(shutting_down()));
        }
        output.send(&line.1).await?;
        self.sent += 1;
        self.window.push(line);
        if self.chance(self.faults.duplicate) {
            let index = self.chance.usize(..self.window.len());
            output.send(&self.window[index].1).await?;
        }
        Ok(())
    }

    /// Sends what was held back.
    async fn catch_up(&mut self, output: &mut impl Output) -> Result<(), End> {
        self.lagging = None;
        for line in std::mem::take(&mut self.held) {
            self.send(line, output).await?;
        }
        Ok(())
    }

    /// Sends a resolved timestamp, if it is time for one. It is before all that is held back.
    async fn resolve(&mut self, frontier: Hlc, output: &mut impl Output) -> Result<(), End> {
        let Some(every) = self.plan.resolved_every else { return Ok(()) };
        if self.resolved_at.is_some_and(|at| at.elapsed() < every) {
            return Ok(());
        }
        if self.chance(self.faults.replay) && !self.window.is_empty() {
            let from = self.chance.usize(..self.window.len());
            for (_, message) in &self.window[from..] {
                output.send(message).await?;
            }
        }
        let envelope = match (self.chance(self.faults.other_shape), self.plan.shape.envelope) {
            (true, Envelope::Wrapped) => Envelope::Bare,
            (true, _) => Envelope::Wrapped,
            (false, own) => own,
        };
        let frontier =
            self.held.iter().map(|(updated, _)| updated.previous()).fold(frontier, Hlc::min);
        let at = self.plan.end_time.map_or(frontier, |end| end.min(frontier)).max(self.resolved);
        self.resolved = at;
        output.send(&Message::resolved(at, envelope)).await?;
        self.window.retain(|(updated, _)| *updated > at);
        self.resolved_at = Some(Instant::now());
        self.catch_up(output).await
    }

    /// Lets neighbours of different keys change places, as nothing promises their order.
    fn shuffle(&mut self, lines: &mut [Line]) {
        for index in 1..lines.len() {
            if lines[index - 1].1.key != lines[index].1.key && self.chance(self.faults.shuffle) {
                lines.swap(index - 1, index);
            }
        }
    }

    fn chance(&mut self, of_a_thousand: u32) -> bool {
        of_a_thousand > 0 && self.chance.u32(..1000) < of_a_thousand
    }

    /// What a table is called in messages.
    fn name(&mut self, table: usize) -> Arc<str> {
        if self.names.len() <= table {
            self.names.resize(table + 1, None);
        }
        let naming = self.plan.shape.naming;
        let name = || name(&self.shared.store(), table, naming).into();
        Arc::clone(self.names[table].get_or_insert_with(name))
    }
}

fn name(store: &Store, table: usize, naming: Naming) -> String {
    let name = &store.tables[table].name;
    match naming {
        Naming::Full => format!("{}.{name}", store.database),
        Naming::Short => name.rsplit('.').next().unwrap_or(name).to_owned(),
    }
}

fn range_of(message: &Message) -> u32 {
    message.key.iter().flat_map(|key| key.bytes()).map(u32::from).sum::<u32>() % RANGES
}

fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(86_400)
}

/// What a node says that drains.
pub(crate) fn shutting_down() -> SqlError {
    SqlError::fatal("57P01", "server is shutting down")
}
