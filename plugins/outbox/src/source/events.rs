use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rowtide_core::{Change, Event, Position, Result};

use crate::{
    config::Done,
    database::{Page, Pass},
    keys::{Key, Keys},
    layout::FoundRow,
    source::{
        Outbox,
        position::{Cursor, OutboxPosition, Progress},
    },
};

/// How large an event is at most, unless it is one row.
const EVENT_BYTES: usize = 256 << 10;

/// Makes events of pages.
///
/// A position waits until the log of the database is durable as far as it was when the rows were
/// read. A crash of the server could otherwise take back the rows and give their numbers, and their
/// transactions' ids, to others.
pub(crate) struct Events {
    outbox: Arc<Outbox>,
    /// What is left out of this pass, since it has been yielded before.
    left_out: Keys,
    /// Where reading goes on with `done = "keep"`.
    cursor: Option<Cursor>,
    /// All that was committed up to here has been yielded.
    attested: Option<Timestamp>,
    /// That what was yielded last is not durable yet.
    waiting: Option<Waiting>,
    /// The end of the log behind what was yielded.
    log_end: u64,
}

/// A position covers all that was yielded before it, so it waits for all of that.
struct Waiting {
    /// How far the log must be.
    log_end: u64,
    since: Instant,
}

/// How long a position may wait while more is read, which it would have to wait for as well.
const WAIT_MAX: Duration = Duration::from_millis(500);

impl Events {
    pub(crate) fn new(outbox: Arc<Outbox>, cursor: Option<Cursor>) -> Self {
        Self {
            outbox,
            left_out: Keys::default(),
            cursor,
            attested: None,
            waiting: None,
            log_end: 0,
        }
    }

    /// Must be called before a pass begins: what is settled later may be in its pages, and what is
    /// settled already may not. Returns what has been yielded and is not settled.
    pub(crate) fn begin_pass(&mut self) -> &Keys {
        self.left_out = self.outbox.pending.keys();
        &self.left_out
    }

    /// Whether a position waits for the log.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Whether it has waited for so long that no more should be read before it.
    pub(crate) fn has_waited(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.since.elapsed() > WAIT_MAX)
    }

    /// The events of a page, in order. A row that cannot be read comes last, as an error: what is
    /// before it need not wait until somebody has repaired it.
    pub(crate) fn of(&mut self, page: Page) -> Vec<Result<Event>> {
        let mut events = Vec::new();
        if let Err(error) = self.add(page, &mut events) {
            events.push(Err(error));
        }
        events
    }

    fn add(&mut self, page: Page, events: &mut Vec<Result<Event>>) -> Result<()> {
        events.extend(self.now_durable(page.log_durable).transpose());
        let is_durable = page.log_durable >= page.log_end;
        let keeps = self.outbox.config.done == Done::Keep;
        let of_part = if is_durable && !keeps { Ending::Position } else { Ending::Open };
        let of_page = if is_durable { Ending::Position } else { Ending::Open };
        let has_rows = !page.rows.is_empty();
        if has_rows && !keeps {
            self.log_end = self.log_end.max(page.log_end);
        }
        let mut batch = Batch::default();
        for row in page.rows {
            if self.left_out.contains(&row.key) {
                continue;
            }
            let appended = batch.append(&self.outbox, row);
            if batch.bytes >= EVENT_BYTES || (appended.is_err() && !batch.keys.is_empty()) {
                events.push(self.event(&mut batch, of_part));
            }
            appended?;
        }
        if let Pass::Finished(time) = page.pass {
            self.attested = Some(time);
        }
        if has_rows {
            self.cursor = page.cursor;
        }
        if !batch.keys.is_empty() || (has_rows && keeps) {
            events.push(self.event(&mut batch, of_page));
        }
        if has_rows && !is_durable {
            let since = self.waiting.take().map_or_else(Instant::now, |waiting| waiting.since);
            self.waiting = Some(Waiting { log_end: page.log_end, since });
        }
        Ok(())
    }

    /// That all which was there at the beginning of the last pass has been yielded, unless its
    /// position is not durable yet.
    pub(crate) fn idle(&self) -> Result<Option<Event>> {
        if self.is_waiting() {
            return Ok(None);
        }
        Ok(Some(Event::Idle { position: self.position()? }))
    }

    /// Tells the position, if it has waited and depends on no more of the log than this.
    pub(crate) fn now_durable(&mut self, log_durable: u64) -> Result<Option<Event>> {
        if self.waiting.take_if(|waiting| waiting.log_end <= log_durable).is_none() {
            return Ok(None);
        }
        Ok(Some(Event::Changes { changes: Vec::new(), position: Some(self.position()?) }))
    }

    fn event(&self, batch: &mut Batch, ending: Ending) -> Result<Event> {
        let batch = mem::take(batch);
        if self.outbox.config.done != Done::Keep {
            self.outbox.pending.insert(&batch.keys);
        }
        let position = match ending {
            Ending::Position => Some(self.position()?),
            Ending::Open => None,
        };
        Ok(Event::Changes { changes: batch.changes, position })
    }

    fn position(&self) -> Result<Position> {
        let pending = &self.outbox.pending;
        let progress = match self.outbox.config.done {
            Done::Keep => Progress::Kept(self.cursor.clone()),
            _ => Progress::Pending { run: pending.run().to_owned(), keys: pending.keys() },
        };
        let server = self.outbox.database.identity().to_owned();
        let log_end = self.log_end;
        let position = OutboxPosition { server, log_end, progress }.encode()?;
        Ok(match self.attested {
            Some(time) => position.as_of(time),
            None => position,
        })
    }
}

/// What an event ends with.
#[derive(Clone, Copy)]
enum Ending {
    /// A position to resume after it.
    Position,
    /// None: one follows.
    Open,
}

/// Changes that become one event, and the rows that they are of.
#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
    keys: Vec<Key>,
    bytes: usize,
}

impl Batch {
    fn append(&mut self, outbox: &Outbox, row: FoundRow) -> Result<()> {
        let (before, key) = (self.changes.len(), row.key.clone());
        outbox.messages.append(row, &mut self.changes)?;
        self.keys.push(key);
        self.bytes += self.changes[before..].iter().map(Change::bytes).sum::<usize>();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rowtide_core::{Column, ColumnType, Error, Value, async_trait};

    use super::*;
    use crate::{
        database::{Database, Reader},
        layout::Messages,
    };

    struct Nowhere;

    #[async_trait]
    impl Database for Nowhere {
        fn identity(&self) -> &str {
            "nowhere"
        }

        async fn reader(&self, _: Option<Cursor>) -> Result<Box<dyn Reader>> {
            Err(Error::fatal("nobody reads here"))
        }

        async fn settle(&self, _: &Keys) -> Result<()> {
            Ok(())
        }

        async fn clean(&self, _: Duration) -> Result<u64> {
            Ok(0)
        }

        async fn oldest_writer(&self) -> Result<Option<Duration>> {
            Ok(None)
        }

        async fn lock_lost(&self) -> Error {
            std::future::pending().await
        }
    }

    fn events() -> Events {
        let settings = serde_json::json!({ "database": "sqlite:nowhere" });
        let config = serde_json::from_value(settings).unwrap();
        let columns = ["id", "aggregatetype", "aggregateid", "payload"]
            .map(|name| Column::new(name, ColumnType::Text));
        let messages = Messages::new(&config, &columns).unwrap();
        Events::new(Arc::new(Outbox::new(config, Arc::new(Nowhere), messages)), None)
    }

    fn page(seqs: std::ops::Range<i64>, log_end: u64, log_durable: u64) -> Page {
        let row = |seq| FoundRow {
            key: Key::Seq(seq),
            values: ["i", "t", "a", &"p".repeat(1_000)].map(Value::from).into(),
        };
        let pass = Pass::Finished(Timestamp::UNIX_EPOCH);
        Page { rows: seqs.map(row).collect(), cursor: None, pass, log_end, log_durable }
    }

    /// Of each event, how many changes it has, and its position.
    fn told(events: Vec<Result<Event>>) -> Vec<(usize, Option<String>)> {
        let tell = |event: Result<Event>| match event.unwrap() {
            Event::Changes { changes, position } => {
                (changes.len(), position.map(|position| position.text().to_owned()))
            }
            other => panic!("{other:?}"),
        };
        events.into_iter().map(tell).collect()
    }

    #[test]
    fn a_position_waits_for_the_log_and_the_messages_do_not() {
        let mut events = events();
        assert_eq!(told(events.of(page(1..3, 10, 9))), [(2, None)]);
        assert!(events.idle().unwrap().is_none());
        assert_eq!(told(events.of(page(3..4, 20, 9))), [(1, None)]);
        // It would not cover the third message, which has been yielded.
        assert_eq!(told(events.of(page(4..4, 30, 10))), []);
        let all = told(events.of(page(4..4, 30, 20)));
        assert!(matches!(&all[..], [(0, Some(position))] if position.contains("[[1,3]]")));
        assert!(events.idle().unwrap().is_some());
        // Of a page that begins when it is durable it covers nothing.
        assert_eq!(told(events.of(page(4..6, 40, 39))), [(2, None)]);
        let next = told(events.of(page(6..8, 50, 40)));
        assert!(
            matches!(&next[..], [(0, Some(position)), (2, None)] if position.contains("[1,5]"))
        );
    }

    #[test]
    fn a_large_page_is_several_events_and_each_can_be_resumed_after() {
        let mut events = events();
        let told = told(events.of(page(1..601, 10, 10)));
        assert_eq!(told.iter().map(|(count, _)| count).sum::<usize>(), 600);
        assert!(told.len() > 2 && told.iter().all(|(_, position)| position.is_some()));
        assert!(told[0].1.as_ref().is_some_and(|first| !first.contains(",600]")));
    }

    #[test]
    fn what_is_pending_when_a_pass_begins_is_left_out() {
        let mut events = events();
        told(events.of(page(1..3, 10, 10)));
        events.begin_pass();
        let counts: Vec<_> = told(events.of(page(1..4, 10, 10)));
        assert_eq!(counts.len(), 1);
        assert_eq!(counts[0].0, 1);
    }
}
