use std::{fmt, str::FromStr};

use rowtide_core::Error;

/// One of the feeds over which tables are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FeedId {
    /// From 1.
    pub(crate) number: u16,
    pub(crate) count: u16,
    /// How often the tables were spread anew.
    pub(crate) generation: u32,
}

impl FeedId {
    pub(crate) fn all(count: u16, generation: u32) -> impl Iterator<Item = Self> {
        (1..=count).map(move |number| Self { number, count, generation })
    }

    /// Whether a table belongs to this feed. That depends on its name alone, so that a table added
    /// later does not move the others.
    pub(crate) fn has(&self, table: &str) -> bool {
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = table.bytes().fold(0xcbf2_9ce4_8422_2325, mix);
        // The lower bits of this hash are the better ones, and a count is small.
        hash % u64::from(self.count) == u64::from(self.number - 1)
    }
}

impl fmt::Display for FeedId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-of-{}", self.number, self.count)?;
        if self.generation > 0 {
            write!(formatter, ".{}", self.generation)?;
        }
        Ok(())
    }
}

impl FromStr for FeedId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parse = || {
            let (feed, generation) = text.split_once('.').unwrap_or((text, "0"));
            let (number, count) = feed.split_once("-of-")?;
            let (number, count) = (number.parse().ok()?, count.parse().ok()?);
            let generation = generation.parse().ok()?;
            (1..=count).contains(&number).then_some(Self { number, count, generation })
        };
        parse().ok_or_else(|| Error::position_lost(format!("`{text}` is no feed of this source")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        for text in ["1-of-1", "3-of-8.2"] {
            assert_eq!(text.parse::<FeedId>().unwrap().to_string(), text);
        }
        for text in ["whole", "0-of-1", "2-of-1", "1-of-1.x"] {
            assert!(text.parse::<FeedId>().is_err(), "{text}");
        }
    }

    #[test]
    fn each_table_has_one_feed() {
        for table in ["public.a", "public.b", "public.orders"] {
            assert_eq!(FeedId::all(4, 0).filter(|feed| feed.has(table)).count(), 1);
        }
    }
}
