use rowtide_core::{ColumnType, Value};
use serde_json::value::RawValue;

use crate::{
    Integers,
    text::{self, PRINTER},
};

/// The largest magnitude up to which a double holds every integer.
const EXACT_IN_DOUBLE: u64 = 1 << 53;

/// The bits that `f64::NAN` and `f32::NAN` have on every platform we know; others are spelled out.
const NAN_64: u64 = 0x7ff8_0000_0000_0000;
const NAN_32: u32 = 0x7fc0_0000;

/// Appends `value` as it is written in a column of `column_type`.
pub(super) fn write(
    out: &mut Vec<u8>,
    column_type: &ColumnType,
    value: &Value,
    integers: Integers,
) {
    use ColumnType as Type;
    let is_json = *column_type == Type::Json;
    match value {
        Value::Null => text::null(out),
        Value::Int(value) => integer(out, column_type, *value, integers),
        Value::Text(value) if is_plain_text(column_type, value, integers) => {
            text::string(out, value);
        }
        Value::Text(value) => tagged(out, "$text", |out| text::base64(out, value.as_bytes())),
        Value::RawText(bytes) => tagged(out, "$text", |out| text::base64(out, bytes)),
        Value::Float(value) => float(out, column_type, *value),
        Value::Float32(value) => float32(out, column_type, *value),
        Value::Bytes(bytes) if *column_type == Type::Bytes => text::base64(out, bytes),
        Value::Bytes(bytes) => tagged(out, "$blob", |out| text::base64(out, bytes)),
        Value::Bool(value) if is_json => tagged(out, "$bool", |out| text::boolean(out, *value)),
        Value::Bool(value) => text::boolean(out, *value),
        Value::Json(document) if is_json && is_embeddable(document) => {
            out.extend_from_slice(document.as_bytes());
        }
        Value::Json(document) => tagged(out, "$json", |out| text::string(out, document)),
        Value::Array(values) => match column_type {
            Type::Array(element) => array(out, element, values, integers),
            _ => tagged(out, "$array", |out| array(out, &Type::Any, values, integers)),
        },
        Value::Unknown => tagged(out, "$unknown", |out| text::boolean(out, true)),
        _ => named(out, column_type, value),
    }
}

/// A value whose JSON form is a string in a column of its own type.
fn named(out: &mut Vec<u8>, column_type: &ColumnType, value: &Value) {
    use ColumnType as Type;
    let (tag, own) = match value {
        Value::Decimal(_) => ("$decimal", Type::Decimal),
        Value::Uuid(_) => ("$uuid", Type::Uuid),
        Value::Date(_) => ("$date", Type::Date),
        Value::Time(_) => ("$time", Type::Time),
        Value::DateTime(_) => ("$datetime", Type::DateTime),
        Value::Timestamp(_) => ("$timestamp", Type::Timestamp),
        // A kind that core gained and this format does not know yet; its debug form is a string.
        other => return tagged(out, "$other", |out| text::string(out, &format!("{other:?}"))),
    };
    if own == *column_type {
        quoted(out, value);
    } else {
        tagged(out, tag, |out| quoted(out, value));
    }
}

fn quoted(out: &mut Vec<u8>, value: &Value) {
    out.push(b'"');
    // Writing to a vector cannot fail, and every value of these types has a text.
    let _ = match value {
        Value::Decimal(digits) => {
            text::escaped(out, digits);
            Ok(())
        }
        Value::Uuid(bytes) => {
            text::uuid(out, *bytes);
            Ok(())
        }
        Value::Date(date) => PRINTER.print_date(date, &mut *out),
        Value::Time(time) => PRINTER.print_time(time, &mut *out),
        Value::DateTime(time) => PRINTER.print_datetime(time, &mut *out),
        Value::Timestamp(time) => PRINTER.print_timestamp(time, &mut *out),
        _ => Ok(()),
    };
    out.push(b'"');
}

fn tagged(out: &mut Vec<u8>, tag: &str, value: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"{\"");
    out.extend_from_slice(tag.as_bytes());
    out.extend_from_slice(b"\":");
    value(out);
    out.push(b'}');
}

fn array(out: &mut Vec<u8>, element: &ColumnType, values: &[Value], integers: Integers) {
    out.push(b'[');
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, element, value, integers);
    }
    out.push(b']');
}

fn integer(out: &mut Vec<u8>, column_type: &ColumnType, value: i64, integers: Integers) {
    let is_string = integers == Integers::String && value.unsigned_abs() > EXACT_IN_DOUBLE;
    let digits = |out: &mut Vec<u8>| text::integer(out, value);
    let in_quotes = |out: &mut Vec<u8>| {
        out.push(b'"');
        digits(out);
        out.push(b'"');
    };
    if *column_type == ColumnType::Json || (is_string && has_strings(column_type)) {
        tagged(out, "$int", in_quotes);
    } else if is_string {
        in_quotes(out);
    } else {
        digits(out);
    }
}

/// Whether the column's own values are JSON strings.
pub(super) fn has_strings(column_type: &ColumnType) -> bool {
    use ColumnType as Type;
    let has_others = matches!(
        column_type,
        Type::Any
            | Type::Bool
            | Type::Int
            | Type::Float32
            | Type::Float
            | Type::Json
            | Type::Array(_)
    );
    !has_others
}

fn is_plain_text(column_type: &ColumnType, value: &str, integers: Integers) -> bool {
    use ColumnType as Type;
    match column_type {
        Type::Text => true,
        Type::Json => false,
        other if has_strings(other) => false,
        _ => integers == Integers::Number || !is_large_integer(value),
    }
}

/// Whether this is exactly how an integer beyond 2^53 is written.
pub(super) fn is_large_integer(value: &str) -> bool {
    let digits = value.strip_prefix('-').unwrap_or(value);
    !digits.starts_with(['0', '+'])
        && value.parse::<i64>().is_ok_and(|value| value.unsigned_abs() > EXACT_IN_DOUBLE)
}

fn float(out: &mut Vec<u8>, column_type: &ColumnType, value: f64) {
    use ColumnType as Type;
    let is_tagged = matches!(column_type, Type::Json | Type::Float32);
    let tag = if *column_type == Type::Float32 { "$float64" } else { "$float" };
    if value.is_finite() && !is_tagged {
        return text::float(out, value);
    }
    tagged(out, tag, |out| {
        out.push(b'"');
        match value.to_bits() {
            _ if value.is_finite() => text::float(out, value),
            NAN_64 => out.extend_from_slice(b"NaN"),
            bits if value.is_nan() => out.extend_from_slice(format!("NaN({bits:#x})").as_bytes()),
            _ => out.extend_from_slice(infinity(value > 0.0)),
        }
        out.push(b'"');
    });
}

fn float32(out: &mut Vec<u8>, column_type: &ColumnType, value: f32) {
    let is_own = *column_type == ColumnType::Float32;
    if value.is_finite() && is_own {
        return text::float(out, value);
    }
    tagged(out, if is_own { "$float" } else { "$float32" }, |out| {
        out.push(b'"');
        match value.to_bits() {
            _ if value.is_finite() => text::float(out, value),
            NAN_32 => out.extend_from_slice(b"NaN"),
            bits if value.is_nan() => out.extend_from_slice(format!("NaN({bits:#x})").as_bytes()),
            _ => out.extend_from_slice(infinity(value > 0.0)),
        }
        out.push(b'"');
    });
}

fn infinity(is_positive: bool) -> &'static [u8] {
    if is_positive { b"Infinity" } else { b"-Infinity" }
}

/// Whether the document can stand in the line as it is, and is read back as what it was.
fn is_embeddable(document: &str) -> bool {
    if document == "null" || document.bytes().any(|byte| byte == b'\n' || byte == b'\r') {
        return false;
    }
    let is_whole = serde_json::from_str::<&RawValue>(document)
        .is_ok_and(|raw| raw.get().len() == document.len());
    is_whole && !has_dollar_first(document)
}

fn has_dollar_first(document: &str) -> bool {
    let blank = [' ', '\t'];
    let Some(members) = document.strip_prefix('{') else { return false };
    let name = members.trim_start_matches(blank).strip_prefix('"');
    name.is_some_and(|name| name.starts_with(['$', '\\']))
}
