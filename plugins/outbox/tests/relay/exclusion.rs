//! One relay a table, on each database.

use std::time::{Duration, Instant};

use rowtide_core::{Context, Shutdown};
use serde_json::json;
use tokio::{sync::oneshot, time::timeout};

use super::{Outcome, context, factory, holder::Holder};

/// Within which a standby takes over on a machine that has been seen to stand still for half a
/// minute. On a quiet one it is 5 s, which the plugin's own times add up to.
pub(crate) const TAKE_OVER: Duration = Duration::from_secs(60);
/// How long a standby is watched that is to go on waiting.
const WATCHED_FOR: Duration = Duration::from_secs(6);

pub(crate) async fn a_second_relay_waits_and_takes_over(database: &str) -> Outcome {
    let factory = factory(database, &json!({}))?;
    let first = factory.open(&context()).await?;
    let waiting = context();
    let second = factory.open(&waiting);
    tokio::pin!(second);
    let early = timeout(Duration::from_secs(2), &mut second).await;
    if early.is_ok() || !waiting.waited_for_lock() {
        return Err("two relays have one table".into());
    }
    let left = Instant::now();
    drop(first);
    drop(second.await?);
    within(left)
}

/// Nobody could stop what a process still has in its buffers when it wakes up.
pub(crate) async fn a_frozen_relay_keeps_its_lock_and_a_killed_one_does_not(
    database: &str,
) -> Outcome {
    let owned = database.to_owned();
    let holder = tokio::task::spawn_blocking(move || Holder::start(&owned)).await??;
    holder.freeze()?;
    let waiting = context();
    let factory = factory(database, &json!({}))?;
    let second = factory.open(&waiting);
    tokio::pin!(second);
    let early = timeout(WATCHED_FOR, &mut second).await;
    if early.is_ok() || !waiting.waited_for_lock() {
        return Err("a frozen relay has lost its lock".into());
    }
    let killed = Instant::now();
    holder.kill()?;
    drop(second.await?);
    within(killed)
}

pub(crate) async fn a_standby_gives_up_when_it_is_asked_to_stop(database: &str) -> Outcome {
    let factory = factory(database, &json!({}))?;
    let _first = factory.open(&context()).await?;
    let (stop, asked) = oneshot::channel::<()>();
    let shutdown = Shutdown::new(async {
        let _ = asked.await;
    });
    let standby = Context::new("test", shutdown);
    let second = factory.open(&standby);
    tokio::pin!(second);
    while !standby.waited_for_lock() {
        let _ = timeout(Duration::from_millis(10), &mut second).await;
    }
    let _ = stop.send(());
    match second.await {
        Ok(_) => Err("it has the lock that another has".into()),
        Err(error) if error.is_transient() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn within(since: Instant) -> Outcome {
    match since.elapsed() {
        took if took > TAKE_OVER => Err(format!("took over after {took:?}").into()),
        _ => Ok(()),
    }
}
