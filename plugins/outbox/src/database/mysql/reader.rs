//! Passes over the table.

use std::{
    mem,
    time::{Duration, Instant},
};

use futures_util::TryStreamExt;
use rowtide_core::{Result, Value, async_trait};
use sqlx::{AssertSqlSafe, Executor};

use crate::{
    config::OutboxConfig,
    database::{
        Page, Pass, Reader,
        mysql::{
            snapshot::{Held, Snapshot},
            statements::Statements,
        },
    },
    keys::{Key, Keys},
    layout::FoundRow,
};

/// Looks at the keys first, since most of what is there has usually been read.
pub(super) struct MySqlReader {
    snapshot: Snapshot,
    statements: Statements,
    poll_every: Duration,
    /// How long the last page took.
    took: Duration,
    rows_max: u32,
    bytes_max: usize,
    /// How many rows there are about in `bytes_max`.
    rows_now: usize,
    /// What was there when a pass was finished last, and has been read.
    seen: Keys,
    /// What this pass has found so far.
    found: Keys,
    after: Option<Key>,
    /// Up to where the log must be durable for what was read.
    log_end: Option<u64>,
}

/// What a pass finds next.
struct Ahead {
    /// The keys that have not been read, in order.
    new: Vec<Key>,
    last: Option<Key>,
    is_end: bool,
}

impl MySqlReader {
    pub(super) fn new(snapshot: Snapshot, statements: Statements, config: &OutboxConfig) -> Self {
        let rows_max = config.page_rows.get();
        Self {
            snapshot,
            statements,
            poll_every: config.poll_every.duration(),
            took: Duration::ZERO,
            rows_max,
            bytes_max: usize::try_from(config.page_bytes.0).unwrap_or(usize::MAX),
            rows_now: usize::try_from(rows_max).unwrap_or(usize::MAX),
            seen: Keys::default(),
            found: Keys::default(),
            after: None,
            log_end: None,
        }
    }

    /// Begins to look from the front, at another moment. What has been read stays read.
    fn begin(&mut self) {
        let found = mem::take(&mut self.found);
        found.seqs().for_each(|seq| self.seen.insert(&Key::Seq(seq)));
        found.ids().for_each(|id| self.seen.insert(&Key::Id(id.into())));
        self.after = None;
    }

    async fn look_ahead(&mut self, held: &mut Held) -> Result<Ahead> {
        loop {
            let statement = self.statements.keys(self.after.as_ref(), self.rows_max);
            let rows = held.fetch(statement).await?;
            let keys: sqlx::Result<Vec<_>> =
                rows.iter().map(|row| self.statements.key(row)).collect();
            let keys = held.asked(keys)?;
            let is_end = u32::try_from(keys.len()).is_ok_and(|rows| rows < self.rows_max);
            let last = keys.last().cloned();
            let (old, new): (Vec<_>, Vec<_>) =
                keys.into_iter().partition(|key| self.seen.contains(key));
            old.iter().for_each(|key| self.found.insert(key));
            if !new.is_empty() || is_end {
                return Ok(Ahead { new, last, is_end });
            }
            self.after = last;
        }
    }

    /// Reads rows of these keys from the front, up to so many bytes.
    async fn rows(&mut self, held: &mut Held, new: &[Key]) -> Result<Vec<FoundRow>> {
        let new = &new[..new.len().min(self.rows_now)];
        let (Some(first), Some(last)) = (new.first(), new.last()) else { return Ok(Vec::new()) };
        let statement = AssertSqlSafe(self.statements.rows(first, last));
        let (mut rows, mut bytes) = (Vec::new(), 0);
        let mut answer = held.connection().fetch(statement);
        let outcome = loop {
            let row = match answer.try_next().await {
                Ok(Some(row)) => self.statements.row(&row),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            match row {
                Ok(row) if self.seen.contains(&row.key) => {}
                Ok(row) => {
                    bytes += row.values.iter().map(Value::bytes).sum::<usize>();
                    rows.push(row);
                }
                Err(error) => break Err(error),
            }
            if bytes >= self.bytes_max {
                break Ok(());
            }
        };
        drop(answer);
        held.asked(outcome)?;
        let one = (bytes / rows.len().max(1)).max(1);
        let rows_max = usize::try_from(self.rows_max).unwrap_or(usize::MAX);
        self.rows_now = (self.bytes_max / one).clamp(1, rows_max);
        Ok(rows)
    }
}

#[async_trait]
impl Reader for MySqlReader {
    async fn page(&mut self) -> Result<Page> {
        let begun = Instant::now();
        let mut held = self.snapshot.take().await;
        let moment = match held.moment() {
            Some(moment) => moment,
            None => {
                self.begin();
                held.begin().await?
            }
        };
        let ahead = self.look_ahead(&mut held).await?;
        let rows = self.rows(&mut held, &ahead.new).await?;
        rows.iter().for_each(|row| self.found.insert(&row.key));
        let is_whole = rows.len() == ahead.new.len();
        self.after = match rows.last() {
            Some(row) if !is_whole => Some(row.key.clone()),
            _ => ahead.last,
        };
        let pass = if ahead.is_end && is_whole {
            held.end().await?;
            self.seen = mem::take(&mut self.found);
            self.after = None;
            Pass::Finished(moment.time)
        } else {
            self.snapshot.end_when_idle(&held);
            Pass::Unfinished
        };
        let (log_end, log_durable) = self.log(&mut held, &rows).await?;
        self.took = begun.elapsed();
        Ok(Page { rows, cursor: None, pass, log_end, log_durable })
    }

    fn forget_settled(&mut self, pending: &Keys) {
        self.seen = self.seen.intersection(pending);
    }

    async fn log_durable(&mut self) -> Result<u64> {
        Ok(self.snapshot.take().await.log().await?.1)
    }

    /// At least as long as looking takes, so that the server has half of its time for others.
    async fn wait(&mut self) -> Result<()> {
        tokio::time::sleep(self.poll_every.max(self.took)).await;
        Ok(())
    }
}

impl MySqlReader {
    /// Asks for the log only where something depends on it.
    async fn log(&mut self, held: &mut Held, rows: &[FoundRow]) -> Result<(u64, u64)> {
        if rows.is_empty() && self.log_end.is_none() {
            return Ok((0, 0));
        }
        let (end, durable) = held.log().await?;
        let log_end = if rows.is_empty() { self.log_end.unwrap_or(end) } else { end };
        self.log_end = (durable < log_end).then_some(log_end);
        Ok((log_end, durable))
    }
}
