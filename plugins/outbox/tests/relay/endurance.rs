//! Servers that are killed, frozen and cut off, while the relay does what the engine would: it
//! begins anew at each error, from the last position that it saved.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use futures_util::future::{BoxFuture, join_all};
use rowtide_core::{Position, async_trait};
use rowtide_proxy::{Direction, Fault, Proxy};
use rowtide_servers::Server;
use serde_json::json;

use crate::relay::{Outcome, Relay, context, factory};

/// How many aggregates there are, each written by one writer.
const AGGREGATES: usize = 4;
/// Longer than a relay waits for an answer.
const SILENCE: Duration = Duration::from_millis(2_500);

/// A connection that writes messages.
#[async_trait]
pub(crate) trait Inserts: Send {
    /// In a transaction of its own. One with this id that is there already does no harm.
    async fn insert(&mut self, id: &str, label: &str) -> Outcome;
}

/// Connects to the server of a URL.
pub(crate) type Connects = fn(String) -> BoxFuture<'static, Outcome<Box<dyn Inserts>>>;

/// What goes on.
struct Scene<'a> {
    server: &'a Server,
    proxy: &'a Proxy,
    /// Counts what is committed for certain.
    written: [AtomicU64; AGGREGATES],
    /// How many messages the relay has yielded.
    came: AtomicU64,
    is_over: AtomicBool,
    /// No writer writes any more.
    is_written: AtomicBool,
}

/// Each aggregate's messages are numbered. Every one must come, none before the one before it.
pub(crate) async fn every_message_comes_whatever_happens(
    server: &Server,
    url: &str,
    connects: Connects,
) -> Outcome {
    let address = address(url)?;
    let proxy = Proxy::start(address, 7).await?;
    let through = url.replace(&address.to_string(), &proxy.address().to_string());
    let scene = Scene {
        server,
        proxy: &proxy,
        written: Default::default(),
        came: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
        is_written: AtomicBool::new(false),
    };
    let writers = async {
        join_all((0..AGGREGATES).map(|aggregate| scene.write(aggregate, url, connects))).await;
        scene.is_written.store(true, Ordering::Release);
    };
    let trouble = async {
        let outcome = scene.trouble().await;
        scene.is_over.store(true, Ordering::Release);
        outcome
    };
    let ((), trouble, read) = tokio::join!(writers, trouble, scene.relay(&through));
    trouble?;
    scene.judge(&read?)
}

fn address(url: &str) -> Outcome<SocketAddr> {
    let address = url.split('@').nth(1).and_then(|rest| rest.split('/').next());
    Ok(address.ok_or("no address")?.parse()?)
}

impl Scene<'_> {
    async fn trouble(&self) -> Outcome {
        self.progress().await;
        self.proxy.reset();
        self.progress().await;
        // Somewhere in a statement or an answer.
        for bytes in [1_000, 1_777, 2_345] {
            self.proxy.inject(Direction::Both, Fault::CutAfter { bytes });
            self.progress().await;
        }
        self.proxy.heal();
        self.lose_answers().await;
        self.progress().await;
        self.proxy.inject(Direction::Both, Fault::Stall);
        tokio::time::sleep(SILENCE).await;
        self.proxy.heal();
        self.progress().await;
        tokio::task::block_in_place(|| self.server.freeze())?;
        tokio::time::sleep(SILENCE).await;
        tokio::task::block_in_place(|| self.server.thaw())?;
        for _ in 0..2 {
            self.progress().await;
            tokio::task::block_in_place(|| self.server.kill())?;
            tokio::task::block_in_place(|| self.server.restart())?;
        }
        self.progress().await;
        Ok(())
    }

    /// Requests arrive, and what is said to them does not.
    async fn lose_answers(&self) {
        let lost = self.proxy.statistics().to_client.discarded;
        self.proxy.inject(Direction::ToClient, Fault::Discard);
        self.proxy.wait_until(|now| now.to_client.discarded > lost).await;
        self.proxy.heal();
        self.proxy.reset();
    }

    /// Waits until every writer has written some more, and the relay has yielded some of it.
    async fn progress(&self) {
        for count in self.written.iter().chain([&self.came]) {
            let goal = count.load(Ordering::Acquire) + 20;
            while count.load(Ordering::Acquire) < goal {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    async fn write(&self, aggregate: usize, url: &str, connects: Connects) {
        let mut next = 1;
        while !self.is_over.load(Ordering::Acquire) {
            let Ok(mut connection) = connects(url.to_owned()).await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            while !self.is_over.load(Ordering::Acquire) {
                // A message of an unknown fate keeps its number, and is written again.
                let (id, label) = (format!("{aggregate}-{next}"), format!("{aggregate} {next}"));
                if connection.insert(&id, &label).await.is_err() {
                    break;
                }
                self.written[aggregate].store(next, Ordering::Release);
                next += 1;
            }
        }
    }

    /// Reads until all that was written has come.
    async fn relay(&self, url: &str) -> Outcome<Vec<String>> {
        let mut found = Vec::new();
        let mut saved: Option<Position> = None;
        let mut last = BTreeMap::new();
        loop {
            let opened = factory(url, &json!({}))?.open(&context()).await;
            let source = match opened {
                Ok(source) => source,
                Err(error) if error.is_transient() => continue,
                Err(error) => return Err(error.into()),
            };
            let mut relay = Relay::new(&*source, saved.clone());
            // What is saved is acknowledged first, as the engine does.
            let mut outcome = relay.acknowledge().await;
            while outcome.is_ok() {
                match relay.advance().await {
                    Ok(labels) => {
                        self.came.fetch_add(labels.len() as u64, Ordering::AcqRel);
                        note(labels, &mut found, &mut last)?;
                    }
                    Err(error) => {
                        outcome = Err(error);
                        break;
                    }
                }
                if relay.position != saved {
                    saved.clone_from(&relay.position);
                    outcome = relay.acknowledge().await;
                }
                if self.is_written.load(Ordering::Acquire) && self.is_whole(&last) {
                    return Ok(found);
                }
            }
            match outcome {
                Err(error) if !error.is_transient() => return Err(error.into()),
                _ => {}
            }
        }
    }

    fn is_whole(&self, last: &BTreeMap<String, u64>) -> bool {
        self.written.iter().enumerate().all(|(aggregate, count)| {
            let came = last.get(&aggregate.to_string()).copied().unwrap_or(0);
            came >= count.load(Ordering::Acquire)
        })
    }

    fn judge(&self, found: &[String]) -> Outcome {
        for (aggregate, count) in self.written.iter().enumerate() {
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
}

fn note(labels: Vec<String>, found: &mut Vec<String>, last: &mut BTreeMap<String, u64>) -> Outcome {
    for label in &labels {
        let (aggregate, number) = label.split_once(' ').ok_or("no label")?;
        let known = last.entry(aggregate.to_owned()).or_insert(0);
        *known = number.parse::<u64>()?.max(*known);
    }
    found.extend(labels);
    Ok(())
}
