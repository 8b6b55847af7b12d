use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use rowtide_core::PartitionId;
use tokio::{sync::watch, task::JoinHandle, time::sleep};

use super::{feeds::FeedId, position::FeedPosition};
use crate::hlc::Hlc;

/// How often it is looked, at least.
const EVERY: Duration = Duration::from_secs(60);

/// Tells when the saved position of a feed has half of the time behind it for which the cluster
/// keeps old versions.
///
/// A task of its own: a stream is not polled while the sink is stuck, which is when a position
/// grows old.
pub(super) struct GarbageWatch(JoinHandle<()>);

impl GarbageWatch {
    /// Watches a feed that was opened just now, at the time `opened` of the cluster.
    pub(super) fn start(
        feed: FeedId,
        known: watch::Receiver<HashMap<PartitionId, FeedPosition>>,
        opened: Hlc,
        ttl: Duration,
    ) -> Self {
        let begun = Instant::now();
        let partition = PartitionId::new(feed.to_string());
        Self(tokio::spawn(async move {
            let mut was_old = false;
            loop {
                let saved = known.borrow().get(&partition).map(|position| position.at);
                let age = saved.map_or(Duration::ZERO, |at| age(at, opened, begun.elapsed()));
                let is_old = age > ttl / 2;
                if is_old && !was_old {
                    tracing::warn!(
                        "the saved position of feed {feed} is {age:.0?} old, and the cluster keeps \
                         old versions for {ttl:?} (`gc.ttlseconds`): after that the position is \
                         lost"
                    );
                }
                was_old = is_old;
                sleep((ttl / 8).clamp(Duration::from_millis(100), EVERY)).await;
            }
        }))
    }
}

impl Drop for GarbageWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How old a position is by the clock of the cluster, which was at `opened` some time ago.
fn age(saved: Hlc, opened: Hlc, since: Duration) -> Duration {
    let now = Duration::from_nanos(opened.wall) + since;
    now.saturating_sub(Duration::from_nanos(saved.wall))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_ages_while_nothing_is_saved() {
        let hlc = |wall| Hlc { wall, logical: 0 };
        let second = Duration::from_secs(1);
        assert_eq!(age(hlc(5_000_000_000), hlc(7_000_000_000), second), 3 * second);
        assert_eq!(age(hlc(7_500_000_000), hlc(7_000_000_000), second), second / 2);
        assert_eq!(age(hlc(9_000_000_000), hlc(7_000_000_000), second), Duration::ZERO);
    }
}
