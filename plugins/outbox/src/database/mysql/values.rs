//! From what the server sends to values.

use jiff::{Timestamp, civil, tz::TimeZone};
use rowtide_core::{ColumnType, Value};
use rowtide_sql::Dialect;
use sqlx::{Row, mysql::MySqlRow};

/// How the values of a column are asked for, and what they become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Int,
    Float4,
    Float8,
    Decimal,
    Text,
    Json,
    Bytes,
    /// 16 bytes, which are a UUID if the column is an id.
    Binary16,
    Uuid,
    Date,
    DateTime,
    Timestamp,
    /// Anything else, as the text that the server has for it.
    Cast,
}

impl Wire {
    pub(super) fn of_type(data_type: &str, declared: &str) -> Self {
        match data_type.to_ascii_lowercase().as_str() {
            "tinyint" | "smallint" | "mediumint" | "int" | "year" => Wire::Int,
            "bigint" if !declared.to_ascii_lowercase().contains("unsigned") => Wire::Int,
            "bigint" | "decimal" => Wire::Decimal,
            "float" => Wire::Float4,
            "double" => Wire::Float8,
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => Wire::Text,
            "json" => Wire::Json,
            "binary" if declared.eq_ignore_ascii_case("binary(16)") => Wire::Binary16,
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Wire::Bytes,
            "uuid" => Wire::Uuid,
            "date" => Wire::Date,
            "datetime" => Wire::DateTime,
            "timestamp" => Wire::Timestamp,
            _ => Wire::Cast,
        }
    }

    /// What a consumer is told of the column.
    pub(super) fn column_type(self) -> ColumnType {
        match self {
            Wire::Int => ColumnType::Int,
            Wire::Float4 => ColumnType::Float32,
            Wire::Float8 => ColumnType::Float,
            Wire::Decimal => ColumnType::Decimal,
            Wire::Text | Wire::Cast => ColumnType::Text,
            Wire::Json => ColumnType::Json,
            Wire::Bytes | Wire::Binary16 => ColumnType::Bytes,
            Wire::Uuid => ColumnType::Uuid,
            Wire::Date => ColumnType::Date,
            Wire::DateTime => ColumnType::DateTime,
            Wire::Timestamp => ColumnType::Timestamp,
        }
    }

    /// What is selected for a column. Where a text will do, the server makes it.
    pub(super) fn expression(self, column: &str) -> String {
        let quoted = Dialect::MySql.quote(column);
        match self {
            Wire::Text | Wire::Bytes | Wire::Binary16 => quoted,
            // A float's own text has six digits.
            Wire::Float4 | Wire::Float8 => format!("{quoted} + 0e0"),
            _ => format!("CAST({quoted} AS CHAR)"),
        }
    }

    pub(super) fn value(self, row: &MySqlRow, index: usize) -> sqlx::Result<Value> {
        if matches!(self, Wire::Float4 | Wire::Float8) {
            let number: Option<f64> = row.try_get(index)?;
            #[expect(clippy::cast_possible_truncation, reason = "it was a float before")]
            let float = |number| match self {
                Wire::Float4 => Value::Float32(number as f32),
                _ => Value::Float(number),
            };
            return Ok(number.map_or(Value::Null, float));
        }
        let bytes: Option<&[u8]> = row.try_get_unchecked(index)?;
        Ok(bytes.map_or(Value::Null, |bytes| self.read(bytes)))
    }

    fn read(self, bytes: &[u8]) -> Value {
        let raw = || Value::Bytes(bytes.into());
        if matches!(self, Wire::Bytes | Wire::Binary16) {
            return raw();
        }
        let Ok(text) = std::str::from_utf8(bytes) else { return Value::RawText(bytes.into()) };
        let read = match self {
            Wire::Int => text.parse().ok().map(Value::Int),
            Wire::Decimal => Some(Value::Decimal(text.into())),
            Wire::Json => Some(Value::Json(text.into())),
            Wire::Uuid => uuid(text),
            Wire::Date => text.parse().ok().map(Value::Date),
            Wire::DateTime => civil_time(text).map(Value::DateTime),
            Wire::Timestamp => civil_time(text).and_then(utc).map(Value::Timestamp),
            _ => None,
        };
        // MySQL has dates that there are not, such as 0000-00-00.
        read.unwrap_or_else(|| Value::from(text))
    }
}

/// The id of a message that is kept as 16 bytes.
pub(super) fn as_uuid(value: Value) -> Value {
    match value {
        Value::Bytes(bytes) => match <[u8; 16]>::try_from(&*bytes) {
            Ok(uuid) => Value::Uuid(uuid),
            Err(_) => Value::Bytes(bytes),
        },
        value => value,
    }
}

fn civil_time(text: &str) -> Option<civil::DateTime> {
    text.parse().ok()
}

/// The session's time zone is UTC.
fn utc(time: civil::DateTime) -> Option<Timestamp> {
    TimeZone::UTC.to_timestamp(time).ok()
}

fn uuid(text: &str) -> Option<Value> {
    let digits: String = text.chars().filter(|digit| *digit != '-').collect();
    let number = (digits.len() == 32).then(|| u128::from_str_radix(&digits, 16).ok())??;
    Some(Value::Uuid(number.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(data_type: &str, declared: &str, bytes: &[u8], expected: Value) {
        assert_eq!(Wire::of_type(data_type, declared).read(bytes), expected, "{declared}");
    }

    #[test]
    fn each_type_keeps_what_it_has() {
        check("int", "int(11)", b"-7", Value::Int(-7));
        check("bigint", "bigint(20)", b"9223372036854775807", Value::Int(i64::MAX));
        let large = Value::Decimal("18446744073709551615".into());
        check("bigint", "bigint(20) unsigned", b"18446744073709551615", large);
        check("decimal", "decimal(9,2)", b"1.50", Value::Decimal("1.50".into()));
        check("varchar", "varchar(9)", "ü".as_bytes(), Value::from("ü"));
        check("json", "json", b"{}", Value::Json("{}".into()));
        check("blob", "blob", b"\xff", Value::Bytes([0xff].into()));
        check("date", "date", b"2026-11-21", Value::Date(civil::date(2026, 11, 21)));
        let time = civil::date(2026, 11, 21).at(1, 2, 3, 456_000_000);
        check("datetime", "datetime(3)", b"2026-11-21 01:02:03.456", Value::DateTime(time));
        let expected = Value::Timestamp(utc(time).unwrap());
        check("timestamp", "timestamp(3)", b"2026-11-21 01:02:03.456", expected);
        let uuid = Value::Uuid(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef_u128.to_be_bytes());
        check("uuid", "uuid", b"01234567-89ab-cdef-0123-456789abcdef", uuid);
        check("time", "time", b"-838:59:59", Value::from("-838:59:59"));
    }

    #[test]
    fn what_is_no_value_of_its_type_stays_a_text() {
        check("datetime", "datetime", b"0000-00-00 00:00:00", Value::from("0000-00-00 00:00:00"));
        check("date", "date", b"2026-02-00", Value::from("2026-02-00"));
        check("varchar", "varchar(9)", b"\xff", Value::RawText([0xff].into()));
    }

    #[test]
    fn sixteen_bytes_of_an_id_are_a_uuid() {
        assert_eq!(as_uuid(Value::Bytes([7; 16].into())), Value::Uuid([7; 16]));
        assert_eq!(as_uuid(Value::Bytes([7; 15].into())), Value::Bytes([7; 15].into()));
    }
}
