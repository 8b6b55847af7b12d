use std::{fmt, str::FromStr};

use jiff::Timestamp;
use rowtide_core::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A timestamp of CockroachDB's hybrid logical clock: nanoseconds, and a counter within one.
///
/// Written as the server writes it, never as a floating-point number: the digits would not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Hlc {
    pub(crate) wall: u64,
    pub(crate) logical: u32,
}

impl Hlc {
    /// The wall clock's part, as far as our calendar goes.
    pub(crate) fn timestamp(self) -> Option<Timestamp> {
        Timestamp::from_nanosecond(i128::from(self.wall)).ok()
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        text.parse().map_err(|()| Error::fatal(format!("`{text}` is no timestamp of the cluster")))
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{:010}", self.wall, self.logical)
    }
}

impl FromStr for Hlc {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let (wall, logical) = text.split_once('.').unwrap_or((text, "0"));
        // Shorter than ten digits it would be a fraction, which is another number.
        let is_whole = logical == "0" || logical.len() == 10;
        match (wall.parse(), logical.parse()) {
            (Ok(wall), Ok(logical)) if is_whole => Ok(Self { wall, logical }),
            _ => Err(()),
        }
    }
}

impl Serialize for Hlc {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hlc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Hlc;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a timestamp such as \"1692283563643512000.0000000000\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<Hlc, E> {
                text.parse().map_err(|()| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_digit_is_kept() {
        for text in
            ["18446744073709551615.4294967295", "1692283563643512001.0000000042", "0.0000000000"]
        {
            assert_eq!(text.parse::<Hlc>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn they_are_in_the_order_of_time() {
        let hlc = |text: &str| text.parse::<Hlc>().unwrap();
        assert!(hlc("9.0000000000") < hlc("10.0000000000"));
        assert!(hlc("10.0000000002") < hlc("10.0000000010"));
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "1.5", "-1.0000000000", "1e9", "1.00000000000"] {
            assert!(text.parse::<Hlc>().is_err(), "{text}");
        }
    }
}
