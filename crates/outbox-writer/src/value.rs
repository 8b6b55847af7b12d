use std::time::SystemTime;

use serde::Serialize;
use serde_json::value::RawValue;

/// A value of a column.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Value {
    /// SQL NULL.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating point number.
    Float(f64),
    /// A text.
    Text(String),
    /// A JSON document; the column may be one of JSON or of text. On PostgreSQL a document that is
    /// `null` is SQL's NULL, and one that is a string stands in a column of text without its quotes.
    Json(Box<RawValue>),
    /// Bytes, for a column of bytes.
    Bytes(Vec<u8>),
    /// A point in time, for a column of dates and times.
    Time(SystemTime),
}

impl Value {
    /// The JSON document that `document` serializes to.
    ///
    /// # Errors
    /// Those of its serialization.
    pub fn json(document: &(impl Serialize + ?Sized)) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(document).map(Value::Json)
    }

    /// About how many bytes of a statement it takes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Value::Text(text) => text.len(),
            Value::Json(json) => json.get().len(),
            Value::Bytes(bytes) => bytes.len(),
            _ => 16,
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Value::Int(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Float(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::Text(value)
    }
}

impl From<Box<RawValue>> for Value {
    fn from(value: Box<RawValue>) -> Self {
        Value::Json(value)
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Value::Bytes(value)
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Value::Bytes(value.to_vec())
    }
}

impl From<SystemTime> for Value {
    fn from(value: SystemTime) -> Self {
        Value::Time(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}
