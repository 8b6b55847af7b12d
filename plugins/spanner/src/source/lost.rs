//! What becomes of a partition whose query the server refuses.

use jiff::{SignedDuration, Timestamp};
use rowtide_core::{Error, Result};
use tracing::warn;

use super::{
    Shared,
    place::{Place, before},
    reader::Reader,
};
use crate::{
    catalog,
    client::{Code, Failure},
    config::OnLost,
};

/// How much earlier a query begins that is refused because its partition has ended by then.
const RETREAT: SignedDuration = SignedDuration::from_millis(1);

/// What is left of the retention when a pipeline begins with the earliest change.
const MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// How near to the earliest change one comes.
const NEAR: SignedDuration = SignedDuration::from_millis(1);

impl Reader {
    /// Decides what a failure means, and asks anew where that helps.
    pub(super) async fn failed(&mut self, failure: Failure) -> Result<()> {
        match failure.code {
            Code::OutOfRange | Code::InvalidArgument if !self.has_told => {
                self.refused(failure).await
            }
            Code::NotFound if !failure.message.contains("Session not found") => {
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
        let was_restarted =
            self.token.is_none() && self.shared.restart.get() == Some(&self.place.at());
        if policy == OnLost::Stop || was_restarted {
            return Err(Error::position_lost(message).because(failure).help(
                "begin anew with `rowtide checkpoint reset`, or set `on_lost` to go on with \
                 what is left; `retention_period` of the change stream says how long a \
                 pipeline may stand still",
            ));
        }
        let at = self.shared.restart.get_or_try_init(|| self.shared.restart(policy)).await?;
        warn!(partition = %self.id, %at, "changes are left out: {message}");
        // The roots at that time are told as the children of this partition.
        self.token = None;
        self.place = Place::from(*at);
        self.origin = *at;
        self.earlier = None;
        Ok(())
    }
}

impl Shared {
    fn earliest_kept(&self, now: Timestamp) -> Timestamp {
        let retention = SignedDuration::try_from(self.catalog.retention);
        before(now, retention.unwrap_or(SignedDuration::MAX))
    }

    async fn restart(&self, policy: OnLost) -> Result<Timestamp> {
        let now = self.now().await?;
        if policy == OnLost::Now {
            return Ok(now);
        }
        let oldest = self.earliest_kept(now).checked_add(MARGIN).unwrap_or(now).min(now);
        if self.is_kept(oldest).await? {
            return Ok(oldest);
        }
        // The stream is younger than its retention, and does not say how old it is.
        let (mut gone, mut kept) = (oldest, now);
        while kept.duration_since(gone) > NEAR {
            let middle = before(kept, kept.duration_since(gone) / 2);
            match self.is_kept(middle).await? {
                true => kept = middle,
                false => gone = middle,
            }
        }
        Ok(kept)
    }

    async fn is_kept(&self, at: Timestamp) -> Result<bool> {
        match catalog::rows(&*self.client, self.roots(at)).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.code == Code::OutOfRange => Ok(false),
            Err(failure) => Err(failure.error("failed to look for the earliest change")),
        }
    }
}
