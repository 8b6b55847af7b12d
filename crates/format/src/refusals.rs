use std::ops::Range;

use rowtide_core::{Error, Result};

use crate::Encoder;

/// A change that a format cannot write down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its index in the changes that were encoded.
    pub index: usize,
    /// A lower-case fragment; it names columns, and never a value.
    pub reason: String,
}

/// What a sink has to reject in its next flush.
///
/// The span that a flush covers begins where the last one ended, so the sink reports each call of
/// its encoder to [`encoded`](Self::encoded), and ends its flush with [`flushed`](Self::flushed).
#[derive(Debug, Default)]
pub struct Refusals {
    changes: usize,
    refused: Vec<Refused>,
}

impl Refusals {
    /// Notes that `changes` more changes were given to `encoder`, and what it refused of them.
    pub fn encoded(&mut self, encoder: &Encoder, changes: usize) {
        let of_span = |refused: &Refused| Refused {
            index: self.changes + refused.index,
            reason: refused.reason.clone(),
        };
        self.refused.extend(encoder.refused().iter().map(of_span));
        self.changes += changes;
    }

    /// How many changes of this span were encoded: the index of the next one.
    pub fn changes(&self) -> usize {
        self.changes
    }

    /// Notes that the downstream refuses the change at `index` of the span.
    pub fn refuse(&mut self, index: usize, reason: impl Into<String>) {
        self.refused.push(Refused { index, reason: reason.into() });
    }

    /// As [`refuse`](Self::refuse), for all changes of a message that joins several.
    pub fn refuse_all(&mut self, indexes: Range<usize>, reason: &str) {
        indexes.for_each(|index| self.refuse(index, reason));
    }

    /// Ends the span, of which everything that was not refused is durable.
    ///
    /// # Errors
    /// `Rejected` with what was refused.
    pub fn flushed(&mut self) -> Result<()> {
        self.changes = 0;
        let mut refused = std::mem::take(&mut self.refused);
        refused.sort_by_key(|refused| refused.index);
        refused.dedup_by_key(|refused| refused.index);
        let Some(Refused { reason, .. }) = refused.first() else { return Ok(()) };
        let message = match refused.len() - 1 {
            0 => reason.clone(),
            more => format!("{reason} (and {more} more)"),
        };
        Err(Error::rejected(refused.iter().map(|refused| refused.index).collect(), message))
    }
}

#[cfg(test)]
mod tests {
    use rowtide_core::ErrorKind;

    use super::*;

    #[test]
    fn a_flush_rejects_each_refused_change_once_and_ends_the_span() {
        let mut refusals = Refusals::default();
        assert!(refusals.flushed().is_ok());
        refusals.refuse(5, "too large");
        refusals.refuse(2, "no topic");
        refusals.refuse(5, "unroutable");
        refusals.refuse_all(5..7, "unroutable");
        let error = refusals.flushed().unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Rejected { indexes: vec![2, 5, 6] });
        assert_eq!(error.message(), "no topic (and 2 more)");
        assert!(refusals.flushed().is_ok());
    }
}
