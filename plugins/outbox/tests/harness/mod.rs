//! Upstreams for the suite: an outbox in each database.

pub(crate) mod mysql;
pub(crate) mod postgres;
pub(crate) mod sqlite;

use rowtide_core::{Change, Error, Value};

/// A column, a literal of it, and what should arrive.
pub(crate) type Sample = (&'static str, &'static str, fn() -> Value);

/// Something that the test itself needs has failed.
pub(crate) fn failed(error: impl std::fmt::Display) -> Error {
    Error::fatal(error.to_string())
}

/// Where a value goes, and as what.
fn literal(samples: &[Sample], value: &Value) -> Option<(&'static str, String)> {
    if *value == Value::Null {
        return None;
    }
    let same = |known: &Value| format!("{known:?}") == format!("{value:?}");
    match samples.iter().find(|(_, _, known)| same(&known())) {
        Some((column, literal, _)) => Some((column, (*literal).to_owned())),
        None => match value {
            Value::Text(text) => Some(("of_text", format!("'{}'", text.replace('\'', "''")))),
            other => panic!("no column for {other:?}"),
        },
    }
}

/// The first column and the value in whichever other is not null.
fn first_value(change: &Change) -> Option<(i64, Value)> {
    let row = change.after.as_ref()?;
    let Value::Int(key) = row[0] else { return None };
    let value = row.values()[1..].iter().find(|value| **value != Value::Null);
    Some((key, value.cloned().unwrap_or(Value::Null)))
}
