//! From what the server sends to values, without a copy in between.

use std::ops::RangeInclusive;

use jiff::{SignedDuration, Timestamp, civil};
use rowtide_core::{ColumnType, Error, Result, Value};
use sqlx::{Row, ValueRef, postgres::PgRow};

/// How the values of a column come over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Text,
    Bytes,
    Json,
    Jsonb,
    Uuid,
    Date,
    Time,
    DateTime,
    Timestamp,
    /// A number with all its digits, which the server is asked for as a text.
    Decimal,
    /// Anything else, as the text that the server has for it.
    Cast,
}

/// Days and microseconds are counted from 2000-01-01.
const EPOCH: civil::Date = civil::date(2000, 1, 1);

impl Wire {
    /// By the number that PostgreSQL has given the type for good.
    pub(super) fn of_type(oid: i64) -> Self {
        match oid {
            16 => Wire::Bool,
            21 => Wire::Int2,
            23 => Wire::Int4,
            20 => Wire::Int8,
            700 => Wire::Float4,
            701 => Wire::Float8,
            25 | 1042 | 1043 => Wire::Text,
            17 => Wire::Bytes,
            114 => Wire::Json,
            3802 => Wire::Jsonb,
            2950 => Wire::Uuid,
            1082 => Wire::Date,
            1083 => Wire::Time,
            1114 => Wire::DateTime,
            1184 => Wire::Timestamp,
            1700 => Wire::Decimal,
            _ => Wire::Cast,
        }
    }

    /// What a consumer is told of the column.
    pub(super) fn column_type(self) -> ColumnType {
        match self {
            Wire::Bool => ColumnType::Bool,
            Wire::Int2 | Wire::Int4 | Wire::Int8 => ColumnType::Int,
            Wire::Float4 => ColumnType::Float32,
            Wire::Float8 => ColumnType::Float,
            Wire::Text | Wire::Cast => ColumnType::Text,
            Wire::Bytes => ColumnType::Bytes,
            Wire::Json | Wire::Jsonb => ColumnType::Json,
            Wire::Uuid => ColumnType::Uuid,
            Wire::Date => ColumnType::Date,
            Wire::Time => ColumnType::Time,
            Wire::DateTime => ColumnType::DateTime,
            Wire::Timestamp => ColumnType::Timestamp,
            Wire::Decimal => ColumnType::Decimal,
        }
    }

    /// What stands in the statement for the column.
    pub(super) fn expression(self, quoted: &str) -> String {
        match self {
            Wire::Decimal | Wire::Cast => format!("{quoted}::text"),
            _ => quoted.to_owned(),
        }
    }

    /// The value in a row, and how many bytes it came in.
    pub(super) fn value(self, row: &PgRow, index: usize) -> Result<(Value, usize)> {
        let raw = row.try_get_raw(index).map_err(|error| malformed(row, index).because(error))?;
        if raw.is_null() {
            return Ok((Value::Null, 0));
        }
        let bytes = raw.as_bytes().map_err(|error| malformed(row, index).because(error))?;
        let value = self.decode(bytes).ok_or_else(|| malformed(row, index))?;
        Ok((value, bytes.len()))
    }

    fn decode(self, bytes: &[u8]) -> Option<Value> {
        Some(match self {
            Wire::Bool => Value::Bool(bytes.first()? != &0),
            Wire::Int2 => Value::Int(i16::from_be_bytes(bytes.try_into().ok()?).into()),
            Wire::Int4 => Value::Int(i32::from_be_bytes(bytes.try_into().ok()?).into()),
            Wire::Int8 => Value::Int(i64::from_be_bytes(bytes.try_into().ok()?)),
            Wire::Float4 => Value::Float32(f32::from_be_bytes(bytes.try_into().ok()?)),
            Wire::Float8 => Value::Float(f64::from_be_bytes(bytes.try_into().ok()?)),
            Wire::Text | Wire::Cast => Value::Text(text(bytes)?.into()),
            Wire::Decimal => Value::Decimal(text(bytes)?.into()),
            Wire::Bytes => Value::Bytes(bytes.into()),
            Wire::Json => Value::Json(text(bytes)?.into()),
            // The first byte is the version of the form.
            Wire::Jsonb => Value::Json(text(bytes.get(1..)?)?.into()),
            Wire::Uuid => Value::Uuid(bytes.try_into().ok()?),
            Wire::Date => date(i32::from_be_bytes(bytes.try_into().ok()?))?,
            Wire::Time => Value::Time(time(i64::from_be_bytes(bytes.try_into().ok()?))?),
            Wire::DateTime => {
                point(i64::from_be_bytes(bytes.try_into().ok()?), Value::DateTime, |time| {
                    EPOCH.to_datetime(civil::Time::midnight()).checked_add(time).ok()
                })?
            }
            Wire::Timestamp => {
                point(i64::from_be_bytes(bytes.try_into().ok()?), Value::Timestamp, |time| {
                    Timestamp::from_second(EPOCH_SECOND).ok()?.checked_add(time).ok()
                })?
            }
        })
    }
}

/// 2000-01-01 as a Unix time.
const EPOCH_SECOND: i64 = 946_684_800;

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn date(days: i32) -> Option<Value> {
    if let Some(infinite) = infinite(days, i32::MIN..=i32::MAX) {
        return Some(infinite);
    }
    let date = EPOCH.checked_add(SignedDuration::from_hours(i64::from(days) * 24)).ok()?;
    Some(Value::Date(date))
}

fn time(micros: i64) -> Option<civil::Time> {
    // PostgreSQL knows 24:00, which is the last moment of the day here.
    let micros = micros.min(86_399_999_999);
    civil::Time::midnight().checked_add(SignedDuration::from_micros(micros)).ok()
}

fn point<T>(
    micros: i64,
    value: fn(T) -> Value,
    behind_epoch: impl FnOnce(SignedDuration) -> Option<T>,
) -> Option<Value> {
    match infinite(micros, i64::MIN..=i64::MAX) {
        Some(infinite) => Some(infinite),
        None => behind_epoch(SignedDuration::from_micros(micros)).map(value),
    }
}

/// PostgreSQL's words for what no calendar has.
fn infinite<N: PartialEq>(number: N, all: RangeInclusive<N>) -> Option<Value> {
    match () {
        () if number == *all.end() => Some(Value::from("infinity")),
        () if number == *all.start() => Some(Value::from("-infinity")),
        () => None,
    }
}

fn malformed(row: &PgRow, index: usize) -> Error {
    use sqlx::Column as _;
    let column = row.columns().get(index).map_or("?", |column| column.name());
    Error::fatal(format!("the column `{column}` of the outbox has a value that cannot be read"))
        .help("a date or time beyond the year 9999 is one; delete the message or correct it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_microseconds_are_counted_from_2000() {
        let decode = |wire: Wire, number: i64| wire.decode(&number.to_be_bytes());
        assert_eq!(date(-1), Some(Value::Date(civil::date(1999, 12, 31))));
        assert_eq!(date(i32::MAX), Some(Value::from("infinity")));
        let second = Timestamp::from_second(946_684_801).unwrap();
        assert_eq!(decode(Wire::Timestamp, 1_000_000), Some(Value::Timestamp(second)));
        let before = civil::date(1999, 12, 31).at(23, 59, 59, 999_999_000);
        assert_eq!(decode(Wire::DateTime, -1), Some(Value::DateTime(before)));
        assert_eq!(decode(Wire::Time, 1_000), Some(Value::Time(civil::time(0, 0, 0, 1_000_000))));
        assert_eq!(decode(Wire::Timestamp, i64::MIN), Some(Value::from("-infinity")));
        assert_eq!(decode(Wire::Timestamp, i64::MAX - 1), None);
    }

    #[test]
    fn a_document_has_no_version_before_it() {
        assert_eq!(Wire::Jsonb.decode(b"\x01{}"), Some(Value::Json("{}".into())));
        assert_eq!(Wire::Jsonb.decode(b""), None);
    }
}
