use jiff::{Timestamp, civil};

/// One value of a row, as exact as the upstream gave it.
///
/// This is our own type and not a JSON value, because JSON numbers lose digits and JSON text loses
/// bytes. A format decides how each of these is written down.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// The upstream did not send this column. It says nothing about the value, which is not null.
    Unknown,
    /// SQL NULL.
    Null,
    /// True or false.
    Bool(bool),
    /// Any integer of up to 64 bits, signed.
    Int(i64),
    /// A single-precision float; kept apart so that its shortest decimal form stays short.
    Float32(f32),
    /// A double-precision float, bit for bit; infinities and NaN included.
    Float(f64),
    /// A decimal number as text, with all its digits and trailing zeros.
    Decimal(Box<str>),
    /// Text in UTF-8.
    Text(Box<str>),
    /// What the upstream calls text although its bytes are not UTF-8.
    RawText(Box<[u8]>),
    /// Bytes, in whatever way the upstream writes them.
    Bytes(Box<[u8]>),
    /// A JSON document as the upstream wrote it.
    Json(Box<str>),
    /// A UUID, by its bytes in the order in which it is written.
    Uuid([u8; 16]),
    /// A day of the calendar.
    Date(civil::Date),
    /// A time of the day, without a day or a zone.
    Time(civil::Time),
    /// A date and time without time zone.
    DateTime(civil::DateTime),
    /// A point in time, UTC.
    Timestamp(Timestamp),
    /// A list of values, any of which may be null.
    Array(Box<[Value]>),
}

impl Value {
    /// Whether the upstream sent this value at all.
    pub fn is_known(&self) -> bool {
        !matches!(self, Value::Unknown)
    }

    /// The memory this value holds, in bytes, its own size included.
    pub fn bytes(&self) -> usize {
        size_of::<Value>() + self.heap_bytes()
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Value::Decimal(text) | Value::Text(text) | Value::Json(text) => text.len(),
            Value::RawText(bytes) | Value::Bytes(bytes) => bytes.len(),
            Value::Array(values) => values.iter().map(Value::bytes).sum(),
            _ => 0,
        }
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Float(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Text(value.into())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::Text(value.into_boxed_str())
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Value::Bytes(value.into_boxed_slice())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_small() {
        assert!(size_of::<Value>() <= 24, "{} bytes", size_of::<Value>());
    }

    #[test]
    fn bytes_count_the_heap() {
        let size = size_of::<Value>();
        assert_eq!(Value::Null.bytes(), size);
        assert_eq!(Value::from("four").bytes(), size + 4);
        assert_eq!(Value::Array(vec![Value::from("x")].into()).bytes(), 2 * size + 1);
    }
}
