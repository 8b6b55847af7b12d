use std::borrow::Cow;

use jiff::civil;
use rowtide_core::{ColumnType, Value};
use serde_json::value::RawValue;

/// What the name of a type says, as `SHOW COLUMNS` writes it.
pub(super) fn column_type(declared: &str) -> ColumnType {
    if let Some(item) = declared.strip_suffix("[]") {
        return ColumnType::Array(Box::new(column_type(item)));
    }
    let name = declared.split(['(', ' ']).next().unwrap_or(declared).to_ascii_uppercase();
    match name.as_str() {
        "BOOL" | "BOOLEAN" => ColumnType::Bool,
        "INT" | "INT2" | "INT4" | "INT8" | "BIGINT" | "SMALLINT" | "INTEGER" => ColumnType::Int,
        "FLOAT4" | "REAL" => ColumnType::Float32,
        "FLOAT" | "FLOAT8" | "DOUBLE" => ColumnType::Float,
        "DECIMAL" | "NUMERIC" | "DEC" => ColumnType::Decimal,
        "BYTES" | "BYTEA" | "BLOB" => ColumnType::Bytes,
        "JSONB" | "JSON" | "GEOMETRY" | "GEOGRAPHY" => ColumnType::Json,
        "UUID" => ColumnType::Uuid,
        "DATE" => ColumnType::Date,
        "TIME" => ColumnType::Time,
        "TIMESTAMP" if declared.to_ascii_uppercase().contains(" WITH TIME ZONE") => {
            ColumnType::Timestamp
        }
        "TIMESTAMP" => ColumnType::DateTime,
        "TIMESTAMPTZ" => ColumnType::Timestamp,
        // STRING and all that is written as one: INTERVAL, INET, BIT, TIMETZ, OID, an enum.
        _ => ColumnType::Text,
    }
}

/// The value of a column. What its type cannot hold, such as the date `infinity`, stays text.
pub(super) fn value(raw: &RawValue, column_type: &ColumnType) -> Value {
    let json = raw.get();
    if json == "null" {
        return Value::Null;
    }
    match column_type {
        ColumnType::Any => of_any(json),
        ColumnType::Json => json_document(json),
        ColumnType::Array(item) => match serde_json::from_str::<Vec<&RawValue>>(json) {
            Ok(items) => Value::Array(items.into_iter().map(|raw| value(raw, item)).collect()),
            Err(_) => of_any(json),
        },
        ColumnType::Decimal => Value::Decimal(unquoted(json).into()),
        ColumnType::Int => json.parse().map_or_else(|_| of_any(json), Value::Int),
        ColumnType::Float => unquoted(json).parse().map_or_else(|_| of_any(json), Value::Float),
        ColumnType::Float32 => unquoted(json).parse().map_or_else(|_| of_any(json), Value::Float32),
        ColumnType::Bool => match json {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => of_any(json),
        },
        _ if json.starts_with('"') => of_text(unquoted(json), column_type),
        _ => of_any(json),
    }
}

fn of_text(text: Cow<'_, str>, column_type: &ColumnType) -> Value {
    let typed = match column_type {
        ColumnType::Bytes => bytes(&text).map(|bytes| Value::Bytes(bytes.into())),
        ColumnType::Uuid => uuid(&text).map(Value::Uuid),
        ColumnType::Date => text.parse().ok().map(Value::Date),
        ColumnType::Time => time(&text).map(Value::Time),
        ColumnType::DateTime => text.parse().ok().map(Value::DateTime),
        ColumnType::Timestamp => text.parse().ok().map(Value::Timestamp),
        _ => None,
    };
    typed.unwrap_or_else(|| Value::Text(text.into()))
}

/// A value by its JSON alone, where the type of its column is not known.
fn of_any(json: &str) -> Value {
    match json.as_bytes().first() {
        Some(b'"') => Value::Text(unquoted(json).into()),
        Some(b'{' | b'[') => Value::Json(json.into()),
        Some(b't' | b'f') => Value::Bool(json == "true"),
        _ => json.parse().map_or_else(|_| Value::Decimal(json.into()), Value::Int),
    }
}

/// A document; the option `encode_json_value_null_as_object` marks its null.
fn json_document(json: &str) -> Value {
    const NULL: &str = "{\"__crdb_json_null__\":true}";
    let is_null = json.len() <= NULL.len() + 2 && json.replace(' ', "") == NULL;
    Value::Json(if is_null { "null" } else { json }.into())
}

/// What stands in quotes, without them and their escapes; anything else as it is.
fn unquoted(json: &str) -> Cow<'_, str> {
    let Some(inner) = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Cow::Borrowed(json);
    };
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    serde_json::from_str(json).map_or(Cow::Borrowed(inner), Cow::Owned)
}

/// `\x00ff`.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    let nibble = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(nibble(*high)? << 4 | nibble(*low)?).ok(),
        _ => None,
    };
    digits.chunks(2).map(pair).collect()
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let is_grouped =
        text.len() == 36 && [8, 13, 18, 23].iter().all(|&at| text.as_bytes()[at] == b'-');
    let digits = text.replace('-', "");
    bytes(&format!("\\x{digits}")).filter(|_| is_grouped)?.try_into().ok()
}

/// A time of the day; `24:00:00` is none here.
fn time(text: &str) -> Option<civil::Time> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(declared: &str, json: &str, expected: Value) {
        let raw: Box<RawValue> = serde_json::from_str(json).unwrap();
        let found = value(&raw, &column_type(declared));
        assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{declared} {json}");
    }

    #[test]
    fn no_digit_is_lost() {
        check("INT8", "9223372036854775807", Value::Int(i64::MAX));
        check("DECIMAL(10,2)", "26.30", Value::Decimal("26.30".into()));
        check("DECIMAL", "123456789012345678901234567890.10", {
            Value::Decimal("123456789012345678901234567890.10".into())
        });
        check("DECIMAL", "\"NaN\"", Value::Decimal("NaN".into()));
        check("DECIMAL", "1E+20", Value::Decimal("1E+20".into()));
        check("FLOAT8", "0.1", Value::Float(0.1));
        check("FLOAT4", "0.1", Value::Float32(0.1));
        check("FLOAT8", "\"-Infinity\"", Value::Float(f64::NEG_INFINITY));
        check("FLOAT8", "\"NaN\"", Value::Float(f64::NAN));
    }

    #[test]
    fn each_type_becomes_its_value() {
        check("BYTES", "\"\\\\x00ff\"", Value::Bytes([0, 255].into()));
        check("BYTES", "\"\\\\x\"", Value::Bytes([].into()));
        check("STRING", "\"a\\u00e9\\n\"", Value::Text("aé\n".into()));
        check("public.mood", "\"happy\"", Value::Text("happy".into()));
        check(
            "UUID",
            "\"63616665-6630-3064-6465-616462656562\"",
            Value::Uuid(*b"cafef00ddeadbeeb"),
        );
        check("JSONB", "{\"a\": 1.50}", Value::Json("{\"a\": 1.50}".into()));
        check("JSONB", "{\"__crdb_json_null__\": true}", Value::Json("null".into()));
        check("INT8[]", "[1, null]", Value::Array([Value::Int(1), Value::Null].into()));
        check("INT8", "null", Value::Null);
        check("DATE", "\"2026-01-02\"", Value::Date(civil::date(2026, 1, 2)));
        check("TIME", "\"03:04:05.6\"", Value::Time(civil::time(3, 4, 5, 600_000_000)));
        let moment = civil::date(2026, 1, 2).at(3, 4, 5, 600_000_000);
        check("TIMESTAMP(6)", "\"2026-01-02T03:04:05.6\"", Value::DateTime(moment));
        let timestamp = "2026-01-02T03:04:05.6Z".parse().unwrap();
        check("TIMESTAMPTZ", "\"2026-01-02T03:04:05.6Z\"", Value::Timestamp(timestamp));
        check(
            "TIMESTAMP WITH TIME ZONE",
            "\"2026-01-02T03:04:05.6Z\"",
            Value::Timestamp(timestamp),
        );
    }

    #[test]
    fn what_a_type_cannot_hold_stays_text() {
        check("DATE", "\"infinity\"", Value::Text("infinity".into()));
        check("TIME", "\"24:00:00\"", Value::Text("24:00:00".into()));
        check("UUID", "\"6361666566303064646561646265656\"", {
            Value::Text("6361666566303064646561646265656".into())
        });
        check("BYTES", "\"\\\\x0\"", Value::Text("\\x0".into()));
    }
}
