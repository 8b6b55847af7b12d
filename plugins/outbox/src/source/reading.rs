use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{future::BoxFuture, stream};
use rowtide_core::{Error, Event, EventStream, Position, Result};
use tokio::sync::mpsc;

use crate::{
    database::Pass,
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
        events.begin_pass();
        loop {
            let page = reader.page().await?;
            let pass = page.pass;
            for event in events.of(page)? {
                if sender.send(Ok(event)).await.is_err() {
                    return Ok(());
                }
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
