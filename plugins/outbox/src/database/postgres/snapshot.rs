use rowtide_core::{Error, Result};

/// A snapshot of PostgreSQL, `xmin:xmax:xip,xip,…`: which transactions had ended at a moment.
///
/// It goes into statements as a literal, so it is of digits, colons and commas alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    text: String,
    xmax: u64,
}

impl Snapshot {
    /// # Errors
    /// `PositionLost` if it is none.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let malformed =
            || Error::position_lost("the saved position has no snapshot of PostgreSQL in it");
        let plain = |one: char| one.is_ascii_digit() || matches!(one, ':' | ',');
        let mut parts = text.split(':');
        let xmax = parts.nth(1).and_then(|xmax| xmax.parse().ok());
        let has_all = parts.next().is_some() && parts.next().is_none();
        match xmax {
            Some(xmax) if has_all && text.chars().all(plain) => {
                Ok(Self { text: text.to_owned(), xmax })
            }
            _ => Err(malformed()),
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it was taken before `other`, as far as can be told. If not, the server has forgotten
    /// transactions: it has crashed, or it is another one.
    pub(super) fn is_not_after(&self, other: &Snapshot) -> bool {
        self.xmax <= other.xmax
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_snapshots_are_taken_for_one() {
        for text in ["730:730:", "730:735:731,733"] {
            assert_eq!(Snapshot::parse(text).unwrap().text(), text);
        }
        for text in ["", "730", "730:735", "730:735:731:", "a:b:", "730:735:731'", "730:x:"] {
            assert!(Snapshot::parse(text).is_err(), "{text}");
        }
    }
}
