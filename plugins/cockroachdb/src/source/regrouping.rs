//! When `feeds` has another value than before, each old feed ends and announces all the new ones.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};
use rowtide_core::{Error, Event, EventStream, Partition, PartitionId, Result};
use rowtide_failpoint::reach;

use super::{CockroachSource, feeds::FeedId, position::FeedPosition};

/// How long to wait for the positions of the other old feeds, all of which are read at the start.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn stream(source: &CockroachSource, id: FeedId, from: FeedPosition) -> EventStream<'_> {
    source.note(PartitionId::new(id.to_string()), from.clone());
    let events = async move {
        let old = others(source, &id).await?;
        let last = Event::Changes { changes: Vec::new(), position: Some(from.encode()?) };
        let partitions = children(source, &id, &old)?;
        reach!("cockroachdb: feeds regrouped, not told");
        let all = [last, Event::Children { partitions }, Event::Finished];
        Ok::<_, Error>(stream::iter(all.map(Ok)))
    };
    stream::once(events).try_flatten().boxed()
}

/// The positions of all old feeds: each is read, or was saved as finished and is acknowledged.
async fn others(source: &CockroachSource, id: &FeedId) -> Result<Vec<FeedPosition>> {
    let ids: Vec<_> = FeedId::all(id.count, id.generation)
        .map(|feed| PartitionId::new(feed.to_string()))
        .collect();
    let mut known = source.known.subscribe();
    let wait = async {
        let all = known.wait_for(|known| ids.iter().all(|id| known.contains_key(id))).await;
        let all = all.map_err(|_| Error::transient("the source is gone"))?;
        Ok(ids.iter().filter_map(|id| all.get(id).cloned()).collect())
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| {
        Err(Error::transient(format!("feed `{id}` does not know yet where the others are")))
    })
}

/// The new feeds, from the lowest of the old positions on.
fn children(source: &CockroachSource, id: &FeedId, old: &[FeedPosition]) -> Result<Vec<Partition>> {
    let covered: BTreeSet<_> = old.iter().flat_map(|position| &position.tables).collect();
    let parents: Vec<_> = FeedId::all(id.count, id.generation)
        .map(|feed| PartitionId::new(feed.to_string()))
        .collect();
    // Where a feed without tables stands says nothing, unless all are such.
    let used = old.iter().filter(|position| !position.unused).map(|position| position.at).min();
    let lowest = used.or_else(|| old.iter().map(|position| position.at).max());
    let at = lowest.ok_or_else(|| Error::fatal("no feed is to be regrouped"))?;
    let child = |feed: FeedId| {
        let mut tables = source.tables(&feed);
        tables.retain(|table| covered.contains(table));
        let position = FeedPosition {
            unused: used.is_none(),
            ..FeedPosition::new(&source.cluster, at, tables)
        };
        Ok(Partition {
            parents: parents.clone(),
            start: Some(position.encode()?),
            ..Partition::new(feed.to_string())
        })
    };
    FeedId::all(source.config.feeds.get(), id.generation + 1).map(child).collect()
}
