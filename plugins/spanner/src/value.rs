//! Values as Spanner writes them, and as they are told.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::{Timestamp, civil::Date};
use rowtide_core::{ColumnType, Value};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::{Cell, Type};

/// A type in a record.
#[derive(Deserialize)]
struct TypeJson {
    code: String,
    array_element_type: Option<Box<TypeJson>>,
    #[serde(default)]
    proto_type_fqn: String,
}

impl Type {
    /// Reads a type such as `{"code":"INT64"}`.
    pub(crate) fn from_json(json: &str) -> Option<Self> {
        serde_json::from_str::<TypeJson>(json).ok().map(Self::from)
    }

    /// Reads a type as the information schema of either dialect names it.
    pub(crate) fn from_name(name: &str) -> Self {
        let lower = name.to_ascii_lowercase();
        if let Some(element) = lower.strip_prefix("array<") {
            let element = element.split('>').next().unwrap_or_default();
            return Type::Array(Box::new(Type::from_name(element)));
        }
        if let Some(element) = lower.strip_suffix("[]") {
            return Type::Array(Box::new(Type::from_name(element)));
        }
        match lower.split(['(', '<']).next().unwrap_or_default().trim_end() {
            "bool" | "boolean" => Type::Bool,
            "int64" | "bigint" => Type::Int64,
            "float32" | "real" => Type::Float32,
            "float64" | "double precision" => Type::Float64,
            "timestamp" | "timestamp with time zone" | "spanner.commit_timestamp" => {
                Type::Timestamp
            }
            "date" => Type::Date,
            "string" | "character varying" | "text" => Type::String,
            "bytes" | "bytea" => Type::Bytes,
            "numeric" => Type::Numeric,
            "json" | "jsonb" => Type::Json,
            "proto" => Type::Proto(String::new()),
            "enum" => Type::Enum(String::new()),
            "uuid" => Type::Uuid,
            _ => Type::Other,
        }
    }

    /// What such values are told as.
    pub(crate) fn column_type(&self) -> ColumnType {
        match self {
            Type::Bool => ColumnType::Bool,
            Type::Int64 | Type::Enum(_) => ColumnType::Int,
            Type::Float32 => ColumnType::Float32,
            Type::Float64 => ColumnType::Float,
            Type::Timestamp => ColumnType::Timestamp,
            Type::Date => ColumnType::Date,
            Type::String => ColumnType::Text,
            Type::Bytes | Type::Proto(_) => ColumnType::Bytes,
            Type::Numeric => ColumnType::Decimal,
            Type::Json => ColumnType::Json,
            Type::Uuid => ColumnType::Uuid,
            Type::Array(element) => ColumnType::Array(Box::new(element.column_type())),
            Type::Struct(_) | Type::Other => ColumnType::Any,
        }
    }
}

impl From<TypeJson> for Type {
    fn from(json: TypeJson) -> Self {
        match json.code.as_str() {
            "BOOL" => Type::Bool,
            "INT64" => Type::Int64,
            "FLOAT32" => Type::Float32,
            "FLOAT64" => Type::Float64,
            "TIMESTAMP" => Type::Timestamp,
            "DATE" => Type::Date,
            "STRING" => Type::String,
            "BYTES" => Type::Bytes,
            "NUMERIC" => Type::Numeric,
            "JSON" => Type::Json,
            "PROTO" => Type::Proto(json.proto_type_fqn),
            "ENUM" => Type::Enum(json.proto_type_fqn),
            "UUID" => Type::Uuid,
            "ARRAY" => {
                let element = json.array_element_type.map_or(Type::Other, |of| Type::from(*of));
                Type::Array(Box::new(element))
            }
            _ => Type::Other,
        }
    }
}

/// Reads a value of a record; `None` if it is none of that type.
pub(crate) fn of_json(raw: &RawValue, of: &Type) -> Option<Value> {
    let text = raw.get();
    match (text.as_bytes().first()?, of) {
        (b'n', _) => Some(Value::Null),
        // A document is a string that has it, or stands there itself.
        (b'"', Type::Json) => {
            let document: String = serde_json::from_str(text).ok()?;
            let is_json = serde_json::from_str::<&RawValue>(&document).is_ok();
            Some(Value::Json(if is_json { document.into() } else { text.into() }))
        }
        (_, Type::Json) => Some(Value::Json(text.into())),
        (b'[', Type::Array(element)) => {
            let values: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            let values = values.into_iter().map(|value| element_of_json(value, element));
            values.collect::<Option<Vec<_>>>().map(|values| Value::Array(values.into()))
        }
        (b'"', _) => of_text(string(text)?, of),
        (b't' | b'f', _) => of_cell(Cell::Bool(text == "true"), of),
        (b'[' | b'{', Type::Other) => Some(Value::Json(text.into())),
        // Not by the JSON reader, which may be off by the last bit.
        _ => of_cell(Cell::Number(text.parse().ok()?), of),
    }
}

/// The emulator writes an absent element of these as a text.
fn element_of_json(raw: &RawValue, of: &Type) -> Option<Value> {
    let is_absent =
        raw.get() == "\"NULL\"" && matches!(of, Type::Int64 | Type::Numeric | Type::Json);
    if is_absent { Some(Value::Null) } else { of_json(raw, of) }
}

/// Reads a value of a row; `None` if it is none of that type.
pub(crate) fn of_cell(cell: Cell, of: &Type) -> Option<Value> {
    Some(match (cell, of) {
        (Cell::Null, _) => Value::Null,
        (Cell::Bool(value), _) => Value::Bool(value),
        (Cell::Number(value), Type::Float32) => Value::Float32(value as f32),
        (Cell::Number(value), Type::Float64 | Type::Other) => Value::Float(value),
        // Whole numbers that some server writes as such.
        (Cell::Number(value), Type::Int64 | Type::Enum(_)) if value.fract() == 0.0 => {
            Value::Int(value as i64)
        }
        (Cell::Number(_), _) => return None,
        (Cell::Text(text), of) => return of_text(text.into(), of),
        (Cell::List(cells), Type::Array(element)) => {
            let values = cells.into_iter().map(|cell| of_cell(cell, element));
            Value::Array(values.collect::<Option<Vec<_>>>()?.into())
        }
        (Cell::List(_), _) => return None,
    })
}

/// A string of a JSON document, copied only if it has to be.
fn string(json: &str) -> Option<Cow<'_, str>> {
    match json.contains('\\') {
        true => serde_json::from_str(json).ok().map(Cow::Owned),
        false => json.get(1..json.len() - 1).map(Cow::Borrowed),
    }
}

fn of_text(text: Cow<'_, str>, of: &Type) -> Option<Value> {
    Some(match of {
        Type::Float32 => Value::Float32(special(&text)? as f32),
        Type::Float64 => Value::Float(special(&text)?),
        Type::Int64 | Type::Enum(_) => Value::Int(text.parse().ok()?),
        Type::Numeric => Value::Decimal(text.into()),
        Type::Bytes | Type::Proto(_) => Value::Bytes(STANDARD.decode(&*text).ok()?.into()),
        Type::Json => Value::Json(text.into()),
        Type::Uuid => Value::Uuid(uuid(&text)?),
        Type::Date => Value::Date(padded(&text).parse::<Date>().ok()?),
        Type::Timestamp => match padded(&text).parse::<Timestamp>() {
            Ok(at) => Value::Timestamp(at),
            // The last day there is has hours that are too late for our own type.
            Err(_) if text.starts_with("9999-12-3") => Value::Text(text.into()),
            Err(_) => return None,
        },
        _ => Value::Text(text.into()),
    })
}

fn special(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok(),
    }
}

/// The emulator writes years before 1000 with fewer than four digits.
fn padded(text: &str) -> Cow<'_, str> {
    match text.find('-').unwrap_or(4) {
        digits @ 0..4 => format!("{}{text}", "0".repeat(4 - digits)).into(),
        _ => text.into(),
    }
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|character| *character != '-').collect();
    let number = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32)?;
    Some(number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(of: &str, json: &str, expected: Value) {
        let of = Type::from_json(of).unwrap();
        let raw: &RawValue = serde_json::from_str(json).unwrap();
        let found = of_json(raw, &of);
        assert_eq!(format!("{found:?}"), format!("{:?}", Some(expected)), "{json}");
    }

    #[test]
    fn every_type_is_read() {
        check(r#"{"code":"BOOL"}"#, "true", Value::Bool(true));
        check(r#"{"code":"INT64"}"#, "\"-9223372036854775808\"", Value::Int(i64::MIN));
        check(r#"{"code":"FLOAT64"}"#, "0.30000000000000004", Value::Float(0.1 + 0.2));
        check(r#"{"code":"FLOAT64"}"#, "\"-Infinity\"", Value::Float(f64::NEG_INFINITY));
        check(r#"{"code":"FLOAT64"}"#, "\"NaN\"", Value::Float(f64::NAN));
        check(r#"{"code":"FLOAT32"}"#, "1.100000023841858", Value::Float32(1.1));
        check(r#"{"code":"NUMERIC"}"#, "\"1.50\"", Value::Decimal("1.50".into()));
        check(r#"{"code":"STRING"}"#, r#""a\"ü""#, Value::from("a\"ü"));
        check(r#"{"code":"BYTES"}"#, "\"AAE=\"", Value::from(vec![0, 1]));
        check(r#"{"code":"JSON"}"#, r#""{\"a\":1.10}""#, Value::Json(r#"{"a":1.10}"#.into()));
        check(r#"{"code":"JSON"}"#, r#"{"a":1.10}"#, Value::Json(r#"{"a":1.10}"#.into()));
        check(r#"{"code":"JSON"}"#, r#""plain""#, Value::Json(r#""plain""#.into()));
        let date = Value::Date("0001-01-02".parse().unwrap());
        check(r#"{"code":"DATE"}"#, "\"1-01-02\"", date);
        let at = Value::Timestamp("2026-11-21T10:00:00.123456789Z".parse().unwrap());
        check(r#"{"code":"TIMESTAMP"}"#, "\"2026-11-21T10:00:00.123456789Z\"", at);
        let last = "9999-12-31T23:59:59.999999999Z";
        check(r#"{"code":"TIMESTAMP"}"#, &format!("\"{last}\""), Value::from(last));
        let id = Value::Uuid([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        check(r#"{"code":"UUID"}"#, "\"00010203-0405-0607-0809-0a0b0c0d0e0f\"", id);
        check(r#"{"code":"PROTO","proto_type_fqn":"a.B"}"#, "\"\"", Value::from(vec![]));
        check(r#"{"code":"ENUM","proto_type_fqn":"a.E"}"#, "\"2\"", Value::Int(2));
        check(r#"{"code":"INTERVAL"}"#, "\"P1Y\"", Value::from("P1Y"));
        check(r#"{"code":"INT64"}"#, "null", Value::Null);
    }

    #[test]
    fn arrays_have_elements_that_may_be_absent() {
        let integers = r#"{"code":"ARRAY","array_element_type":{"code":"INT64"}}"#;
        let expected = Value::Array(vec![Value::Int(1), Value::Null, Value::Null].into());
        check(integers, r#"["1", null, "NULL"]"#, expected);
        let texts = r#"{"code":"ARRAY","array_element_type":{"code":"STRING"}}"#;
        check(texts, r#"["NULL"]"#, Value::Array(vec![Value::from("NULL")].into()));
    }

    #[test]
    fn what_is_not_of_its_type_is_none() {
        let raw: &RawValue = serde_json::from_str("\"x\"").unwrap();
        for of in [Type::Int64, Type::Bytes, Type::Date, Type::Timestamp, Type::Uuid] {
            let raw = if of == Type::Bytes { serde_json::from_str("\"*\"").unwrap() } else { raw };
            assert_eq!(of_json(raw, &of), None, "{of:?}");
        }
    }

    #[test]
    fn both_dialects_name_the_same_types() {
        let names = [
            ("STRING(MAX)", "character varying(36)", Type::String),
            ("INT64", "bigint", Type::Int64),
            ("ARRAY<FLOAT64>", "double precision[]", Type::Array(Box::new(Type::Float64))),
            ("ARRAY<STRING(MAX)>(vector_length=>3)", "text[]", Type::Array(Box::new(Type::String))),
            ("TIMESTAMP", "timestamp with time zone", Type::Timestamp),
            ("TOKENLIST", "spanner.tokenlist", Type::Other),
        ];
        for (google_sql, postgres, of) in names {
            assert_eq!(Type::from_name(google_sql), of);
            assert_eq!(Type::from_name(postgres), of);
        }
    }
}
