use std::{fmt, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Error, Result};

/// Where a partition can resume. Opaque: only the source that made it can read it.
///
/// A position must carry what tells its upstream from another one at the same address (an
/// incarnation, a cluster id), and the source must check it: a restored backup looks like the real
/// thing and would be read with a silent gap.
///
/// Beside the opaque part there is an optional time, [`as_of`](Self::as_of), which the engine reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    data: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    as_of: Option<Timestamp>,
}

impl Position {
    /// Encodes what the source needs to resume.
    ///
    /// # Errors
    /// `Fatal` if `data` cannot be written as JSON, which is a defect of the source.
    pub fn encode<T: Serialize>(data: &T) -> Result<Self> {
        let text = serde_json::to_string(data)
            .map_err(|error| Error::fatal("failed to encode a position").because(error))?;
        Ok(Self { data: text.into(), as_of: None })
    }

    /// Attests that everything of the partition committed up to `as_of` has been yielded. Lag and
    /// the pipeline's low watermark come from it, so a source must never guess it from a clock.
    #[must_use]
    pub fn as_of(mut self, as_of: Timestamp) -> Self {
        self.as_of = Some(as_of);
        self
    }

    /// Takes over a position that a person wrote down (`rowtide checkpoint set`).
    pub fn from_text(text: &str) -> Self {
        Self { data: text.into(), as_of: None }
    }

    /// The opaque part as text, for people to read.
    pub fn text(&self) -> &str {
        &self.data
    }

    /// The time up to which everything has been yielded, if the source attests one.
    pub fn attested(&self) -> Option<Timestamp> {
        self.as_of
    }

    /// Whether both resume at the same place, whatever time they attest.
    pub fn is_same_place(&self, other: &Position) -> bool {
        self.data == other.data
    }

    /// Decodes what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// `PositionLost` if the data is not of type `T`: a position that cannot be read must never
    /// become "start from now".
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.data).map_err(|error| {
            // It may have the key of a row in it.
            Error::position_lost("the saved position cannot be read")
                .help("it was saved by another plugin or a newer version; run that one, or `rowtide checkpoint reset`")
                .because(error)
        })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn what_was_encoded_is_decoded() {
        let position = Position::encode(&(u64::MAX, "x")).unwrap();
        assert_eq!(position.decode::<(u64, String)>().unwrap(), (u64::MAX, "x".to_owned()));
    }

    #[test]
    fn what_cannot_be_decoded_is_lost() {
        let error = Position::from_text("?").decode::<u64>().unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::PositionLost);
    }

    #[test]
    fn the_attested_time_does_not_move_the_place() {
        let position = Position::encode(&1).unwrap();
        let later = position.clone().as_of(Timestamp::UNIX_EPOCH);
        assert!(position.is_same_place(&later));
        assert_ne!(position, later);
    }
}
