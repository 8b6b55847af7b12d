//! What becomes of a partition whose query the server refuses.

use std::{collections::HashSet, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use rowtide_core::{Error, Result};
use tracing::{debug, warn};

use super::{
    Shared,
    place::{Place, before},
    reader::Reader,
};
use crate::{
    client::{Code, Failure},
    config::OnLost,
    record::{Decoder, Record},
};

/// How much earlier a query begins that is refused because its partition has ended by then.
const RETREAT: SignedDuration = SignedDuration::from_millis(1);

/// What is left of the retention when a pipeline begins with the earliest change.
const MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// How near to the earliest change one comes.
const NEAR: SignedDuration = SignedDuration::from_micros(1);

impl Reader {
    /// Decides what a failure means, and asks anew where that helps.
    pub(super) async fn failed(&mut self, failure: Failure) -> Result<()> {
        match failure.code {
            Code::OutOfRange | Code::InvalidArgument if !self.has_told => {
                self.refused(failure).await
            }
            // It began well, and the place has moved since: whether what comes next is lost shows
            // where the next query begins.
            Code::OutOfRange | Code::InvalidArgument if !self.has_children => {
                debug!(partition = %self.id, %failure, "a query was ended; asking anew");
                Ok(())
            }
            Code::OutOfRange | Code::InvalidArgument => {
                let message = format!("partition `{}` was told in part", self.id);
                Err(Error::transient(message).because(failure))
            }
            Code::NotFound => {
                let message = format!("the change stream of partition `{}` is gone", self.id);
                Err(Error::fatal(message).because(failure))
            }
            _ => Err(failure.error(format!("failed to read partition `{}`", self.id))),
        }
    }

    /// The place is gone, or the partition had ended by then: what was told last of it is beyond
    /// its last change. In that case a query from just before tells the children again.
    async fn refused(&mut self, failure: Failure) -> Result<()> {
        let now = self.shared.now().await?;
        let earliest = self.shared.earliest_kept(now);
        let at = self.place.at();
        if at < earliest {
            let message = format!(
                "partition `{}` is delivered up to {at}, and the change stream keeps only what \
                 was committed from {earliest} to {now}",
                self.id
            );
            return self.lost(message, failure).await;
        }
        let begun = self.earlier.unwrap_or(at);
        let retreat = if self.retreats == 0 { before(begun, RETREAT) } else { self.origin };
        let earlier = retreat.max(self.origin);
        self.retreats += 1;
        if self.token.is_some() && earlier < begun {
            self.earlier = Some(earlier);
            return Ok(());
        }
        let message = format!("the change stream does not have partition `{}` at {at}", self.id);
        self.lost(message, failure).await
    }

    async fn lost(&mut self, message: String, failure: Failure) -> Result<()> {
        let policy = self.shared.settings.on_lost;
        let was_restarted = self.restarted_at == Some(self.place.at());
        if policy == OnLost::Stop || was_restarted {
            return Err(Error::position_lost(message).because(failure).help(
                "begin anew with `rowtide checkpoint reset`, or set `on_lost` to go on with \
                 what is left; `retention_period` of the change stream says how long a \
                 pipeline may stand still",
            ));
        }
        let restart = self.shared.restart(policy, self.place.at()).await?;
        let at = restart.at;
        warn!(partition = %self.id, %at, "changes are left out: {message}");
        // One that is still there goes on. The roots at that time are told as the children of one
        // that is not; those that are known already are left as they are.
        self.token = self.token.take().filter(|token| restart.tokens.contains(token));
        self.place = Place::from(at);
        self.origin = at;
        self.earlier = None;
        self.restarted_at = Some(at);
        Ok(())
    }
}

/// Where the partitions go on whose positions are lost, all of them at the same time.
pub(crate) struct Restart {
    at: Timestamp,
    /// The partitions that are there at that time.
    tokens: HashSet<String>,
}

impl Shared {
    fn earliest_kept(&self, now: Timestamp) -> Timestamp {
        let retention = SignedDuration::try_from(self.catalog.retention);
        before(now, retention.unwrap_or(SignedDuration::MAX))
    }

    /// Where to go on from a place that is lost.
    async fn restart(&self, policy: OnLost, lost: Timestamp) -> Result<Arc<Restart>> {
        let mut known = self.restart.lock().await;
        let now = self.now().await?;
        if let Some(restart) = &*known
            && restart.at > lost
            && restart.at >= self.earliest_kept(now)
        {
            return Ok(Arc::clone(restart));
        }
        let latest = self.kept(now).await?.ok_or_else(|| {
            Error::transient(format!("the change stream does not tell of its partitions at {now}"))
        })?;
        let restart = Arc::new(match policy {
            OnLost::Now => latest,
            _ => self.earliest(latest).await?,
        });
        *known = Some(Arc::clone(&restart));
        Ok(restart)
    }

    async fn earliest(&self, latest: Restart) -> Result<Restart> {
        let now = latest.at;
        let oldest = self.earliest_kept(now).checked_add(MARGIN).unwrap_or(now).min(now);
        if let Some(restart) = self.kept(oldest).await? {
            return Ok(restart);
        }
        // The stream is younger than its retention, and does not say how old it is.
        let (mut gone, mut kept) = (oldest, latest);
        while kept.at.duration_since(gone) > NEAR {
            let middle = before(kept.at, kept.at.duration_since(gone) / 2);
            match self.kept(middle).await? {
                Some(restart) => kept = restart,
                None => gone = middle,
            }
        }
        Ok(kept)
    }

    /// What there is at a time, unless the stream does not keep it.
    async fn kept(&self, at: Timestamp) -> Result<Option<Restart>> {
        let failed = |failure: Failure| failure.error("failed to look for the earliest change");
        let mut rows = match self.answered(self.client.query(self.statement(None, at))).await {
            Err(failure) if failure.code == Code::OutOfRange => return Ok(None),
            rows => rows.map_err(failed)?,
        };
        let mut decoder = Decoder::new(rows.columns())?;
        let mut records = Vec::new();
        loop {
            match self.answered(rows.next()).await {
                Err(failure) if failure.code == Code::OutOfRange => return Ok(None),
                Ok(None) => break,
                row => decoder.decode(row.map_err(failed)?.unwrap_or_default(), &mut records)?,
            }
        }
        let children = records.into_iter().flat_map(|record| match record {
            Record::Children(record) => record.children,
            _ => Vec::new(),
        });
        Ok(Some(Restart { at, tokens: children.map(|child| child.token).collect() }))
    }
}
