//! Settings as a user wrote them, and the words that all plugins share.

mod byte_size;
mod deserializer;
mod period;
mod secret;
mod snapshot;
mod tables;
mod tls;

use serde::de::DeserializeOwned;

pub use byte_size::ByteSize;
pub use period::Period;
pub use secret::Secret;
pub use snapshot::Snapshot;
pub use tables::Tables;
pub use tls::{Tls, Verify};

use crate::Result;

/// A tree of settings: what a pipeline file says, after merging and interpolation.
#[derive(Clone, Debug, PartialEq)]
pub enum Settings {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a point or an exponent.
    Float(f64),
    /// A text, after interpolation.
    Text(String),
    /// A text from an environment variable. It becomes whatever type the setting has: a number for
    /// a number, a list for a list (split at commas), and for a text it stays as it is.
    Override(String),
    /// Values in order.
    List(Vec<Settings>),
    /// Values by key, in the order of the file; a key is there once.
    Table(Vec<(String, Settings)>),
}

impl Settings {
    /// No settings at all.
    pub fn empty() -> Self {
        Settings::Table(Vec::new())
    }

    /// Reads the settings as a `T`.
    ///
    /// # Errors
    /// `Config`, with the path of the key it is about.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(self).map_err(crate::Error::from)
    }

    /// What stands under `key`, if this is a table that has it.
    pub fn get(&self, key: &str) -> Option<&Settings> {
        match self {
            Settings::Table(entries) => {
                entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// Takes `key` out of a table.
    pub fn remove(&mut self, key: &str) -> Option<Settings> {
        let Settings::Table(entries) = self else { return None };
        let index = entries.iter().position(|(name, _)| name == key)?;
        Some(entries.remove(index).1)
    }
}

impl From<serde_json::Value> for Settings {
    fn from(value: serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match value {
            Json::Null => Settings::empty(),
            Json::Bool(value) => Settings::Bool(value),
            Json::Number(number) => match number.as_i64() {
                Some(integer) => Settings::Int(integer),
                None => Settings::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Settings::Text(text),
            Json::Array(values) => Settings::List(values.into_iter().map(Into::into).collect()),
            Json::Object(entries) => Settings::Table(
                entries.into_iter().map(|(key, value)| (key, value.into())).collect(),
            ),
        }
    }
}

/// The candidate that `word` was probably meant to be.
pub fn closest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    candidates
        .iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), *candidate))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_word_is_found_or_none() {
        assert_eq!(closest("brokrs", &["brokers", "topic"]), Some("brokers"));
        assert_eq!(closest("zzz", &["brokers", "topic"]), None);
    }
}
