//! Servers that are killed, frozen and cut off, and relays that take over.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use rowtide_core::{Event, Partition, Position};
use rowtide_proxy::Proxy;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection};

use crate::world::{Outcome, Relay, World, context, run};

/// Within which a standby takes over.
const TAKE_OVER: Duration = Duration::from_secs(5);
/// How many aggregates there are, each written by one writer.
const AGGREGATES: u64 = 4;

/// Each aggregate's messages are numbered. The server is killed, frozen, and cut off meanwhile; the
/// relay does what the engine would, and begins anew at each error.
pub(crate) fn every_message_comes_whatever_happens_to_the_server() -> Outcome {
    run(async {
        let world = World::new().await?;
        let proxy = Proxy::start(address(&world.url)?, 7).await?;
        let through =
            world.url.replace(&address(&world.url)?.to_string(), &proxy.address().to_string());
        let written: [AtomicU64; 4] = Default::default();
        let is_over = AtomicBool::new(false);
        let writers = futures_util::future::join_all(
            written
                .iter()
                .enumerate()
                .map(|(aggregate, count)| write(&world.url, aggregate, count, &is_over)),
        );
        let trouble = async {
            for _ in 0..2 {
                progress(&written).await;
                proxy.reset();
                progress(&written).await;
                tokio::task::block_in_place(|| world.server.freeze())?;
                // Longer than a relay waits for an answer.
                tokio::time::sleep(Duration::from_millis(2_500)).await;
                tokio::task::block_in_place(|| world.server.thaw())?;
                progress(&written).await;
                tokio::task::block_in_place(|| world.server.kill())?;
                tokio::task::block_in_place(|| world.server.restart())?;
            }
            progress(&written).await;
            is_over.store(true, Ordering::Release);
            Outcome::Ok(())
        };
        let read = relay(&world, &through, &written, &is_over);
        let (_, trouble, read) = tokio::join!(writers, trouble, read);
        trouble?;
        judge(&read?, &written)
    })
}

/// Waits until every writer has written some more.
async fn progress(written: &[AtomicU64]) {
    for count in written {
        let goal = count.load(Ordering::Acquire) + 50;
        while count.load(Ordering::Acquire) < goal {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn address(url: &str) -> Outcome<std::net::SocketAddr> {
    let address = url.split('@').nth(1).and_then(|rest| rest.split('/').next());
    Ok(address.ok_or("no address")?.parse()?)
}

/// Counts what is committed for certain; a message of an unknown fate keeps its number.
async fn write(url: &str, aggregate: usize, count: &AtomicU64, is_over: &AtomicBool) {
    let mut next = 1;
    while !is_over.load(Ordering::Acquire) {
        let Ok(mut connection) = MySqlConnection::connect(url).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        while !is_over.load(Ordering::Acquire) {
            // Once only, so that a fate that is not known can be found out by writing again.
            let insert = format!(
                "INSERT IGNORE INTO outbox (id, type) VALUES ('{aggregate}-{next}', '{aggregate} {next}')"
            );
            if connection.execute(AssertSqlSafe(insert)).await.is_err() {
                break;
            }
            count.store(next, Ordering::Release);
            next += 1;
        }
    }
}

/// Reads until all that was written has come.
async fn relay(
    world: &World,
    url: &str,
    written: &[AtomicU64],
    is_over: &AtomicBool,
) -> Outcome<Vec<String>> {
    let mut found = Vec::new();
    let mut saved: Option<Position> = None;
    let mut last = BTreeMap::new();
    loop {
        let opened = world.open_with(json!({ "database": url }), &context()).await;
        let Ok(source) = opened else { continue };
        let mut relay = Relay::new(&*source, saved.clone());
        let broken = loop {
            match relay.advance().await {
                Ok(labels) => {
                    for label in &labels {
                        let (aggregate, number) = label.split_once(' ').ok_or("no label")?;
                        let known = last.entry(aggregate.to_owned()).or_insert(0);
                        *known = number.parse::<u64>()?.max(*known);
                    }
                    found.extend(labels);
                }
                Err(error) if error.is_transient() => break error,
                Err(error) => return Err(error.into()),
            }
            if relay.position != saved {
                saved.clone_from(&relay.position);
                if let Err(error) = relay.acknowledge().await {
                    break error;
                }
            }
            let is_whole = written.iter().enumerate().all(|(aggregate, count)| {
                last.get(&aggregate.to_string()).copied().unwrap_or(0)
                    >= count.load(Ordering::Acquire)
            });
            if is_over.load(Ordering::Acquire) && is_whole {
                return Ok(found);
            }
        };
        assert!(broken.is_transient(), "{broken}");
    }
}

/// Every message came, and none before the one before it had come.
fn judge(found: &[String], written: &[AtomicU64]) -> Outcome {
    for (aggregate, count) in (0..AGGREGATES).zip(written) {
        let prefix = format!("{aggregate} ");
        let numbers =
            found.iter().filter_map(|label| label.strip_prefix(&prefix)?.parse::<u64>().ok());
        let mut next = 1_u64;
        for number in numbers {
            if number > next {
                return Err(format!("{aggregate}: {number} came when {next} was due").into());
            }
            next = next.max(number + 1);
        }
        let count = count.load(Ordering::Acquire);
        if count == 0 || next <= count {
            return Err(format!("{aggregate}: {next} of {count} is missing").into());
        }
    }
    Ok(())
}

pub(crate) fn a_second_relay_waits_and_takes_over() -> Outcome {
    run(async {
        let world = World::new().await?;
        let first = world.open(&context()).await?;
        let waiting = context();
        let second = world.open(&waiting);
        tokio::pin!(second);
        let early = tokio::time::timeout(Duration::from_secs(2), &mut second).await;
        if early.is_ok() {
            return Err("two relays have one table".into());
        }
        let left = Instant::now();
        drop(first);
        drop(second.await?);
        if left.elapsed() > TAKE_OVER || !waiting.waited_for_lock() {
            let noted = waiting.waited_for_lock();
            return Err(format!("took over after {:?}, noted: {noted}", left.elapsed()).into());
        }
        Ok(())
    })
}

pub(crate) fn a_cut_lock_connection_stops_the_relay_before_another_takes_over() -> Outcome {
    run(async {
        let world = World::new().await?;
        let losing = context();
        let first = world.open(&losing).await?;
        let mut stream = first.read(&Partition::whole(), None);
        let idle = stream.next().await.ok_or("no event")??;
        assert!(matches!(idle, Event::Idle { .. }), "{idle:?}");
        let waiting = context();
        let second = world.open(&waiting);
        tokio::pin!(second);
        let early = tokio::time::timeout(Duration::from_secs(1), &mut second).await;
        assert!(early.is_err(), "two relays have one table");
        let cut = Instant::now();
        let mut connection = world.connect().await?;
        let holder = "SELECT concat('KILL ', is_used_lock(concat('rowtide-outbox-', \
                      md5(concat_ws('.', database(), 'outbox')))))";
        let kill: String = sqlx::query_scalar(holder).fetch_one(&mut connection).await?;
        connection.execute(AssertSqlSafe(kill)).await?;
        let noticed = async {
            loop {
                match stream.next().await {
                    Some(Err(error)) => return (error, Instant::now()),
                    Some(Ok(_)) => {}
                    None => panic!("the stream ended without an error"),
                }
            }
        };
        let (taken, (error, noticed), ()) = tokio::join!(second, noticed, losing.lock_lost());
        drop(taken?);
        assert!(error.is_transient(), "{error}");
        let (noticed, taken) = (noticed - cut, cut.elapsed());
        if noticed > Duration::from_millis(1_500) || taken > TAKE_OVER {
            return Err(format!("noticed after {noticed:?}, taken over after {taken:?}").into());
        }
        Ok(())
    })
}
