use std::fmt;

use serde::{Deserialize, Deserializer, de};

/// Where a further column of an outbox goes, written `column:header|headers|envelope|partition[:alias]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub column: String,
    pub place: Place,
    /// The name it has there; the column's own by default.
    pub alias: String,
}

/// Part of a message that can hold a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A header.
    Header,
    /// Headers, one for each member of the JSON object in the column.
    Headers,
    /// A member beside `payload` in the value, which then is an object.
    Envelope,
    /// The number of the partition.
    Partition,
}

impl Placement {
    /// Reads `column:place[:alias]`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<_> = text.split(':').map(str::trim).collect();
        let (column, place, alias) = match parts[..] {
            [column, place] => (column, place, column),
            [column, place, alias] => (column, place, alias),
            _ => {
                return Err(format!(
                    "expected `column:place` or `column:place:alias`, found `{text}`"
                ));
            }
        };
        if column.is_empty() || alias.is_empty() {
            return Err(format!("a name is missing in `{text}`"));
        }
        let place = match place.to_ascii_lowercase().as_str() {
            "header" => Place::Header,
            "headers" => Place::Headers,
            "envelope" => Place::Envelope,
            "partition" => Place::Partition,
            _ => {
                return Err(format!(
                    "unknown place `{place}`: expected header, headers, envelope or partition"
                ));
            }
        };
        Ok(Self { column: column.to_owned(), place, alias: alias.to_owned() })
    }

    /// Checks that no two are in one place of the envelope, or of the partition.
    pub(crate) fn check(placements: &[Self]) -> Result<(), String> {
        let mut members = vec!["payload"];
        for placement in placements.iter().filter(|placement| placement.place == Place::Envelope) {
            if members.contains(&placement.alias.as_str()) {
                return Err(format!(
                    "two members of the envelope are called `{}`",
                    placement.alias
                ));
            }
            members.push(&placement.alias);
        }
        let partitions = placements.iter().filter(|placement| placement.place == Place::Partition);
        if partitions.count() > 1 {
            return Err("two columns are placed as the partition".to_owned());
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Placement {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Placement;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a text such as `column:header:alias`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Placement, E> {
                Placement::parse(text).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placement_has_a_column_a_place_and_perhaps_an_alias() {
        let placement = |column: &str, place, alias: &str| {
            Ok(Placement { column: column.to_owned(), place, alias: alias.to_owned() })
        };
        assert_eq!(Placement::parse("type:header"), placement("type", Place::Header, "type"));
        let aliased = placement("type", Place::Envelope, "eventType");
        assert_eq!(Placement::parse("type:Envelope:eventType"), aliased);
        assert_eq!(Placement::parse(" p : partition "), placement("p", Place::Partition, "p"));
        for wrong in ["", "type", "type:body", "type:header:", ":header", "a:header:b:c"] {
            assert!(Placement::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_member_or_the_partition_is_there_once() {
        let check = |texts: &[&str]| {
            let placements: Vec<_> =
                texts.iter().map(|text| Placement::parse(text).unwrap()).collect();
            Placement::check(&placements).is_ok()
        };
        assert!(check(&["a:envelope", "a:header", "b:header:a", "p:partition"]));
        assert!(!check(&["a:envelope", "b:envelope:a"]));
        assert!(!check(&["a:envelope:payload"]));
        assert!(!check(&["a:partition", "b:partition"]));
    }
}
