use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{future::BoxFuture, stream};
use rowtide_core::{Error, Event, EventStream, Position, Result};
use rowtide_failpoint::reach;
use tokio::sync::mpsc;

use crate::{
    database::{Pass, Reader},
    source::{Outbox, Task, events::Events, position::Cursor},
};

/// How many events are read ahead, so that the next page comes while this one is delivered.
const EVENTS_AHEAD: usize = 16;
/// How often a quiet outbox's reader tells that it is still caught up.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How soon to ask again whether a position has become durable.
const DURABLE_AGAIN: Duration = Duration::from_millis(5);

/// Reads from `from` in a task of its own, until the stream is dropped or the lock lost.
pub(crate) fn start(outbox: Arc<Outbox>, from: Option<Position>) -> EventStream<'static> {
    let begin = Stage::Begin(outbox, from);
    Box::pin(stream::unfold(begin, |stage| async move {
        let mut running = match stage {
            Stage::Begin(outbox, from) => match Running::new(outbox, from) {
                Ok(running) => running,
                Err(error) => return Some((Err(error), Stage::Ended)),
            },
            Stage::Running(running) => running,
            Stage::Ended => return None,
        };
        let event = running.next().await?;
        let next = if event.is_ok() { Stage::Running(running) } else { Stage::Ended };
        Some((event, next))
    }))
}

enum Stage {
    Begin(Arc<Outbox>, Option<Position>),
    Running(Running),
    Ended,
}

struct Running {
    events: mpsc::Receiver<Result<Event>>,
    lock_lost: BoxFuture<'static, Error>,
    _task: Task,
}

impl Running {
    fn new(outbox: Arc<Outbox>, from: Option<Position>) -> Result<Self> {
        let cursor = outbox.resume(from.as_ref())?;
        let (sender, events) = mpsc::channel(EVENTS_AHEAD);
        let database = Arc::clone(&outbox.database);
        let task = Task::spawn(async move {
            if let Err(error) = read(outbox, cursor, &sender).await {
                let _ = sender.send(Err(error)).await;
            }
        });
        let lock_lost = Box::pin(async move { database.lock_lost().await });
        Ok(Self { events, lock_lost, _task: task })
    }

    /// Without the lock nothing is yielded any more, whatever has been read.
    async fn next(&mut self) -> Option<Result<Event>> {
        tokio::select! {
            biased;
            error = &mut self.lock_lost => Some(Err(error)),
            event = self.events.recv() => event,
        }
    }
}

/// Goes over the table again and again, until nobody listens.
async fn read(
    outbox: Arc<Outbox>,
    cursor: Option<Cursor>,
    sender: &mpsc::Sender<Result<Event>>,
) -> Result<()> {
    let mut reader = outbox.database.reader(cursor.clone()).await?;
    let mut events = Events::new(outbox, cursor);
    let mut told_at: Option<Instant> = None;
    loop {
        reader.forget_settled(events.begin_pass());
        loop {
            let page = reader.page().await?;
            reach!("outbox: page read, not told");
            let pass = page.pass;
            for event in events.of(page) {
                let is_last = event.is_err();
                if sender.send(event).await.is_err() || is_last {
                    return Ok(());
                }
            }
            // Where somebody always writes, what is read next would put this off again and again.
            let is_first_pass = pass != Pass::Unfinished && told_at.is_none();
            if (is_first_pass || events.has_waited())
                && let Some(event) = durable(reader.as_mut(), &mut events).await?
                && sender.send(Ok(event)).await.is_err()
            {
                return Ok(());
            }
            if pass != Pass::Unfinished {
                break;
            }
        }
        if told_at.is_none_or(|at| at.elapsed() >= HEARTBEAT)
            && let Some(idle) = events.idle()?
        {
            told_at = Some(Instant::now());
            if sender.send(Ok(idle)).await.is_err() {
                return Ok(());
            }
        }
        if events.is_waiting() {
            tokio::time::timeout(DURABLE_AGAIN, reader.wait()).await.unwrap_or(Ok(()))?;
        } else {
            reader.wait().await?;
        }
    }
}

/// Waits until the position is durable that waits for it, and tells it.
async fn durable(reader: &mut dyn Reader, events: &mut Events) -> Result<Option<Event>> {
    while events.is_waiting() {
        tokio::time::sleep(DURABLE_AGAIN).await;
        let event = events.now_durable(reader.log_durable().await?)?;
        if event.is_some() {
            return Ok(event);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use jiff::Timestamp;
    use rowtide_core::{Column, ColumnType, Value, async_trait};

    use super::*;
    use crate::{
        database::{Database, Page},
        keys::{Key, Keys},
        layout::{FoundRow, Messages},
    };

    /// Has a new message at each look, and its log is never on the disk by then.
    struct Busy;

    struct BusyReader(i64);

    #[async_trait]
    impl Database for Busy {
        fn identity(&self) -> &str {
            "busy"
        }

        async fn reader(&self, _: Option<Cursor>) -> Result<Box<dyn Reader>> {
            Ok(Box::new(BusyReader(0)))
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

    #[async_trait]
    impl Reader for BusyReader {
        async fn page(&mut self) -> Result<Page> {
            self.0 += 1;
            let values = ["i", "t", "a", "p"].map(Value::from).into();
            Ok(Page {
                rows: vec![FoundRow { key: Key::Seq(self.0), values }],
                cursor: None,
                pass: Pass::Finished(Timestamp::UNIX_EPOCH),
                log_end: self.0.unsigned_abs(),
                log_durable: self.0.unsigned_abs() - 1,
            })
        }

        async fn log_durable(&mut self) -> Result<u64> {
            Ok(self.0.unsigned_abs())
        }

        async fn wait(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn an_outbox_that_is_always_written_to_is_caught_up_all_the_same() {
        let settings = serde_json::json!({ "database": "sqlite:nowhere" });
        let config = serde_json::from_value(settings).unwrap();
        let columns = ["id", "aggregatetype", "aggregateid", "payload"]
            .map(|name| Column::new(name, ColumnType::Text));
        let messages = Messages::new(&config, &columns).unwrap();
        let outbox = Outbox::new(config, Arc::new(Busy), messages);
        let mut stream = start(Arc::new(outbox), None);
        let mut changes_before = 0;
        while let Event::Changes { changes, .. } = stream.next().await.unwrap().unwrap() {
            changes_before += changes.len();
            assert!(changes_before < 100, "it never tells that it has caught up");
        }
        assert_eq!(changes_before, 1);
    }
}
