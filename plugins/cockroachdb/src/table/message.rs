use std::{borrow::Cow, fmt, marker::PhantomData};

use rowtide_core::{Error, Result};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use tokio_postgres::Row;

use crate::hlc::Hlc;

/// A row of a changefeed, as it came.
pub(crate) struct Raw<'r> {
    pub(crate) topic: Option<&'r str>,
    pub(crate) key: &'r [u8],
    pub(crate) value: &'r [u8],
}

/// What a row of a changefeed says.
pub(crate) enum Message<'r> {
    /// All that was committed up to there has come.
    Resolved(Hlc),
    Change(RowMessage<'r>),
}

/// A new version of a row.
pub(crate) struct RowMessage<'r> {
    pub(crate) topic: &'r str,
    pub(crate) key: &'r str,
    pub(crate) before: Option<Fields<'r>>,
    pub(crate) after: Option<Fields<'r>>,
    pub(crate) updated: Hlc,
    pub(crate) mvcc: Option<Hlc>,
}

/// The columns of a row by name, each as it was written.
#[derive(Debug)]
pub(crate) struct Fields<'r>(pub(crate) Vec<(Cow<'r, str>, &'r RawValue)>);

#[derive(Deserialize)]
struct Envelope<'r> {
    #[serde(borrow, default)]
    after: Option<Fields<'r>>,
    #[serde(borrow, default)]
    before: Option<Fields<'r>>,
    updated: Option<Hlc>,
    mvcc_timestamp: Option<Hlc>,
    resolved: Option<Hlc>,
    /// Where the envelopes without `after` keep the resolved timestamp.
    #[serde(rename = "__crdb__")]
    beside: Option<Beside>,
}

#[derive(Deserialize)]
struct Beside {
    resolved: Option<Hlc>,
}

impl<'r> Raw<'r> {
    /// Takes a row apart, whose columns are `table`, `key` and `value`.
    pub(crate) fn of(row: &'r Row) -> Result<Self> {
        let columns = || -> Result<_, tokio_postgres::Error> {
            let key: Option<&[u8]> = row.try_get(1)?;
            let value: Option<&[u8]> = row.try_get(2)?;
            Ok((row.try_get(0)?, key.unwrap_or_default(), value.unwrap_or_default()))
        };
        let (topic, key, value) = columns().map_err(|error| {
            Error::fatal("the changefeed has other columns than table, key, value").because(error)
        })?;
        Ok(Self { topic, key, value })
    }

    /// Reads it.
    pub(crate) fn message(&self) -> Result<Message<'r>> {
        let topic = self.topic.unwrap_or_default();
        let malformed = |what: &str| {
            let message = format!("a row of the changefeed of `{topic}` has {what}");
            Error::fatal(message)
        };
        // The error of the parser would show a part of the row.
        let value = std::str::from_utf8(self.value);
        let value = value.map_err(|_| malformed("a value that is no text"))?;
        let envelope: Envelope<'r> = serde_json::from_str(value).map_err(|error| {
            malformed(&format!("a value that is not understood, at byte {}", error.column()))
        })?;
        let beside = envelope.beside.and_then(|beside| beside.resolved);
        if let Some(resolved) = envelope.resolved.or(beside)
            && self.topic.is_none()
        {
            return Ok(Message::Resolved(resolved));
        }
        Ok(Message::Change(RowMessage {
            topic,
            key: std::str::from_utf8(self.key).map_err(|_| malformed("a key that is no text"))?,
            before: envelope.before,
            after: envelope.after,
            updated: envelope.updated.ok_or_else(|| malformed("no `updated`"))?,
            mvcc: envelope.mvcc_timestamp,
        }))
    }
}

impl<'de: 'r, 'r> Deserialize<'de> for Fields<'r> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Columns<'r>(PhantomData<&'r ()>);

        impl<'de: 'r, 'r> Visitor<'de> for Columns<'r> {
            type Value = Fields<'r>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a row")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(16);
                while let Some((Name(name), value)) = map.next_entry::<Name<'r>, &'r RawValue>()? {
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Columns(PhantomData))
    }
}

/// A name that is borrowed, unless it has escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'r>(#[serde(borrow)] Cow<'r, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn raw<'r>(topic: Option<&'r str>, value: &'r str) -> Raw<'r> {
        Raw { topic, key: b"[1]", value: value.as_bytes() }
    }

    #[test]
    fn both_shapes_of_a_resolved_timestamp_are_known() {
        for value in [
            "{\"resolved\":\"1692283563643512000.0000000007\"}",
            "{\"__crdb__\":{\"resolved\":\"1692283563643512000.0000000007\"}}",
        ] {
            let Message::Resolved(at) = raw(None, value).message().unwrap() else { panic!() };
            assert_eq!(at.to_string(), "1692283563643512000.0000000007");
        }
    }

    #[test]
    fn a_row_keeps_what_was_written() {
        let value = "{\"after\": {\"a\": 26.30, \"b\\u0022\": null}, \"before\": null, \
                     \"mvcc_timestamp\": \"5.0000000000\", \"updated\": \"6.0000000001\"}";
        let Message::Change(row) = raw(Some("t"), value).message().unwrap() else { panic!() };
        let Fields(after) = row.after.unwrap();
        let found: Vec<_> = after.iter().map(|(name, raw)| (&**name, raw.get())).collect();
        assert_eq!(found, [("a", "26.30"), ("b\"", "null")]);
        assert!(row.before.is_none());
        assert_eq!((row.updated.wall, row.mvcc.unwrap().wall), (6, 5));
    }

    #[test]
    fn what_is_not_understood_is_not_shown() {
        let Err(error) = raw(Some("t"), "{\"after\": {\"a\": secret}}").message() else { panic!() };
        assert!(!format!("{error:?}").contains("secret"));
        assert!(raw(Some("t"), "{\"after\": {\"a\": 1}}").message().is_err());
    }
}
