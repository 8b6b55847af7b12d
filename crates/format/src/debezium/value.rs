use jiff::civil::{Date, Time};
use rowtide_core::Value;

use crate::text::{self, PRINTER};

const UNAVAILABLE: &str = "__debezium_unavailable_value";

/// What stands for bytes that the upstream did not send.
pub(super) fn write_unavailable_bytes(out: &mut Vec<u8>) {
    text::base64(out, UNAVAILABLE.as_bytes());
}

/// The value in the form of its own type.
pub(crate) fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Unknown => text::string(out, UNAVAILABLE),
        Value::Null => text::null(out),
        Value::Bool(value) => text::boolean(out, *value),
        Value::Int(value) => text::integer(out, *value),
        Value::Float(value) if value.is_finite() => text::float(out, *value),
        Value::Float(value) => text::string(out, not_finite(*value)),
        Value::Float32(value) if value.is_finite() => text::float(out, *value),
        Value::Float32(value) => text::string(out, not_finite(f64::from(*value))),
        Value::Text(text) | Value::Decimal(text) | Value::Json(text) => text::string(out, text),
        Value::RawText(bytes) | Value::Bytes(bytes) => text::base64(out, bytes),
        Value::Uuid(bytes) => {
            out.push(b'"');
            text::uuid(out, *bytes);
            out.push(b'"');
        }
        Value::Date(date) => text::integer(out, days(*date)),
        Value::Time(time) => text::integer(out, microseconds(*time)),
        Value::DateTime(at) => {
            text::integer(out, days(at.date()) * MICROSECONDS_A_DAY + microseconds(at.time()));
        }
        Value::Timestamp(time) => {
            out.push(b'"');
            // Writing to a vector cannot fail.
            let _ = PRINTER.print_timestamp(time, &mut *out);
            out.push(b'"');
        }
        Value::Array(values) => write_array(out, values),
        // A kind that core gained and this format does not know yet.
        other => text::string(out, &format!("{other:?}")),
    }
}

/// The value as a string, whatever it is; null stays null.
pub(super) fn write_as_text(out: &mut Vec<u8>, value: &Value) {
    let mut own = Vec::new();
    write_value(&mut own, value);
    if matches!(value, Value::Null) || own.starts_with(b"\"") {
        out.extend_from_slice(&own);
    } else {
        text::string(out, &String::from_utf8_lossy(&own));
    }
}

fn write_array(out: &mut Vec<u8>, values: &[Value]) {
    out.push(b'[');
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_value(out, value);
    }
    out.push(b']');
}

fn not_finite(value: f64) -> &'static str {
    match value {
        _ if value.is_nan() => "NaN",
        _ if value > 0.0 => "Infinity",
        _ => "-Infinity",
    }
}

const MICROSECONDS_A_DAY: i64 = 86_400_000_000;

/// The days since the first of January 1970.
fn days(date: Date) -> i64 {
    let epoch = Date::constant(1970, 1, 1);
    date.duration_since(epoch).as_secs().div_euclid(86_400)
}

/// The microseconds since midnight.
fn microseconds(time: Time) -> i64 {
    let seconds =
        (i64::from(time.hour()) * 60 + i64::from(time.minute())) * 60 + i64::from(time.second());
    seconds * 1_000_000 + i64::from(time.subsec_nanosecond()) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: Value, expected: &str) {
        let mut out = Vec::new();
        write_value(&mut out, &value);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn each_type_has_debeziums_form() {
        check(Value::Date(Date::constant(1970, 1, 2)), "1");
        check(Value::Date(Date::constant(1969, 12, 31)), "-1");
        check(Value::Time(Time::constant(1, 0, 0, 1500)), "3600000001");
        check(Value::DateTime(Date::constant(1969, 12, 31).at(23, 59, 59, 0)), "-1000000");
        check(
            Value::Timestamp("2026-01-01T00:00:00.5Z".parse().unwrap()),
            "\"2026-01-01T00:00:00.5Z\"",
        );
        check(Value::Float(f64::NEG_INFINITY), "\"-Infinity\"");
        check(Value::Float(2.0), "2.0");
        check(Value::Array([Value::Int(1), Value::Null].into()), "[1,null]");
        check(Value::RawText([0xff].into()), "\"/w==\"");
    }

    #[test]
    fn anything_can_be_a_string_but_null() {
        for (value, expected) in [
            (Value::Null, "null"),
            (Value::Int(1), "\"1\""),
            (Value::from("x"), "\"x\""),
            (Value::Array([Value::from("x")].into()), r#""[\"x\"]""#),
        ] {
            let mut out = Vec::new();
            write_as_text(&mut out, &value);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
