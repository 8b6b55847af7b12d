use std::collections::BTreeSet;

use rowtide_core::{Error, Position, Result};
use serde::{Deserialize, Serialize};

use crate::hlc::Hlc;

/// How far a feed is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FeedPosition {
    /// The cluster that the time is of.
    pub(crate) cluster: String,
    /// A resolved timestamp: of the tables below, all up to there has been delivered.
    pub(crate) at: Hlc,
    /// The tables whose rows are downstream as they were then. Others have to be scanned first.
    pub(crate) tables: BTreeSet<String>,
    /// Whether the feed had no table at all, so that nothing is missed wherever it begins.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unused: bool,
}

impl FeedPosition {
    pub(crate) fn new(cluster: &str, at: Hlc, tables: BTreeSet<String>) -> Self {
        Self { cluster: cluster.to_owned(), at, tables, unused: false }
    }

    pub(crate) fn encode(&self) -> Result<Position> {
        Position::encode(self)
    }

    /// With the time up to which everything was delivered.
    pub(crate) fn attested(&self) -> Result<Position> {
        let position = self.encode()?;
        Ok(match self.at.timestamp() {
            Some(at) => position.as_of(at),
            None => position,
        })
    }

    pub(crate) fn decode(position: &Position, cluster: &str) -> Result<Self> {
        let decoded: Self = position.decode()?;
        // Empty where the user may not know; then there is nothing to compare.
        if decoded.cluster != cluster && !decoded.cluster.is_empty() && !cluster.is_empty() {
            let message = format!(
                "the position is of the cluster {}, and this is {cluster}",
                decoded.cluster
            );
            let help =
                "connect to the cluster of before, or start over with `rowtide checkpoint reset`";
            return Err(Error::position_lost(message).help(help));
        }
        Ok(decoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_of_another_cluster_is_lost() {
        let at = "1692283563643512000.0000000007".parse().unwrap();
        let tables = BTreeSet::from(["public.orders".to_owned()]);
        let position = FeedPosition::new("a", at, tables);
        let encoded = position.attested().unwrap();
        assert_eq!(FeedPosition::decode(&encoded, "a").unwrap(), position);
        assert_eq!(FeedPosition::decode(&encoded, "").unwrap(), position);
        let error = FeedPosition::decode(&encoded, "b").unwrap_err();
        assert_eq!(error.kind(), &rowtide_core::ErrorKind::PositionLost);
        assert_eq!(
            encoded.text(),
            "{\"cluster\":\"a\",\"at\":\"1692283563643512000.0000000007\",\
             \"tables\":[\"public.orders\"]}"
        );
    }
}
