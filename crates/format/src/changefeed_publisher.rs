//! The format `changefeed-publisher`: the messages of the program crdb-changefeed-publisher.
//!
//! ```json
//! {"table":"foo","key":"[54]","value":{"after": {"a": 54, "b": null}}}
//! ```
//!
//! `key` is a text that holds a JSON array of the key's values, or null for a table without key;
//! it is also the key of the message. `value` is what a changefeed of CockroachDB says, with its
//! spacing: columns in the order of their names, `"after": null` for a delete, and no operation, no
//! row before the change and no time. A column that the upstream did not send is absent; in the key
//! it is null. A hidden key column (SQLite's rowid) is in the key alone. There is no form for
//! truncates and the marks of a snapshot.
//!
//! Values are written as CockroachDB does: bytes as `"\\x00ff"`, a float as a decimal number
//! (`1E+2`, and a string if it is not finite), a date and time without zone as
//! `"2026-01-02T03:04:05.6"`, a timestamp with `Z`. A decimal keeps all its digits; a JSON document
//! stays as it is.

use rowtide_core::{Change, Operation, Row, Table, Value};
use serde::de::IgnoredAny;

use crate::{
    encoder::Output,
    plans::Plans,
    text::{self, PRINTER},
};

pub(crate) struct ChangefeedPublisherEncoder {
    plans: Plans<Plan>,
    /// The key, before it is put into quotes.
    key: Vec<u8>,
}

struct Plan {
    /// The table, up to the key.
    head: Vec<u8>,
    /// Sorted by name, each with its name in quotes, a colon and a blank.
    columns: Vec<(usize, Vec<u8>)>,
    key: Vec<usize>,
}

impl ChangefeedPublisherEncoder {
    pub(crate) fn new() -> Self {
        Self { plans: Plans::new(Plan::new), key: Vec::new() }
    }

    pub(crate) fn encode(&mut self, changes: &[Change], output: &mut impl Output) {
        let Self { plans, key } = self;
        for (index, change) in changes.iter().enumerate() {
            if change.operation.is_mark() || change.operation == Operation::Truncate {
                continue;
            }
            let plan = plans.of(&change.table);
            key.clear();
            let has_key = plan.write_key(key, change);
            output.message(
                index,
                |out| {
                    out.extend_from_slice(key);
                    has_key
                },
                |out| {
                    out.extend_from_slice(&plan.head);
                    match std::str::from_utf8(key) {
                        Ok(key) if has_key => text::string(out, key),
                        _ => text::null(out),
                    }
                    out.extend_from_slice(b",\"value\":{\"after\": ");
                    plan.write_row(out, change.after.as_ref());
                    out.extend_from_slice(b"}}");
                },
            );
        }
    }
}

impl Plan {
    fn new(table: &Table) -> Self {
        let mut head = b"{\"table\":".to_vec();
        text::string(&mut head, &table.name);
        head.extend_from_slice(b",\"key\":");
        let mut shown: Vec<_> =
            table.columns.iter().enumerate().filter(|(_, column)| !column.hidden).collect();
        shown.sort_by_key(|(_, column)| &column.name);
        let columns = shown.into_iter().map(|(index, column)| {
            let mut name = Vec::new();
            string(&mut name, &column.name);
            name.extend_from_slice(b": ");
            (index, name)
        });
        Self { head, columns: columns.collect(), key: table.key() }
    }

    fn write_key(&self, out: &mut Vec<u8>, change: &Change) -> bool {
        let Some(image) = change.image().filter(|_| !self.key.is_empty()) else { return false };
        let values = self.key.iter().map(|&index| image.values().get(index));
        write_array(out, values.map(|value| value.unwrap_or(&Value::Null)));
        true
    }

    fn write_row(&self, out: &mut Vec<u8>, row: Option<&Row>) {
        let Some(row) = row else { return text::null(out) };
        let known = self.columns.iter().filter_map(|(index, name)| {
            let value = row.values().get(*index)?;
            value.is_known().then_some((name, value))
        });
        out.push(b'{');
        for (count, (name, value)) in known.enumerate() {
            if count > 0 {
                out.extend_from_slice(b", ");
            }
            out.extend_from_slice(name);
            write_value(out, value);
        }
        out.push(b'}');
    }
}

fn write_array<'a>(out: &mut Vec<u8>, values: impl Iterator<Item = &'a Value>) {
    out.push(b'[');
    for (index, value) in values.enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        write_value(out, value);
    }
    out.push(b']');
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Unknown | Value::Null => text::null(out),
        Value::Bool(value) => text::boolean(out, *value),
        Value::Int(value) => text::integer(out, *value),
        Value::Float(value) if value.is_finite() => number(out, &format!("{value:e}")),
        Value::Float32(value) if value.is_finite() => number(out, &format!("{value:e}")),
        Value::Float(value) => string(out, not_finite(*value)),
        Value::Float32(value) => string(out, not_finite(f64::from(*value))),
        Value::Decimal(digits) if is_number(digits) => out.extend_from_slice(digits.as_bytes()),
        Value::Json(document) if is_embeddable(document) => {
            out.extend_from_slice(document.as_bytes());
        }
        Value::Text(text) | Value::Decimal(text) | Value::Json(text) => string(out, text),
        Value::RawText(bytes) => string(out, &String::from_utf8_lossy(bytes)),
        Value::Bytes(bytes) => {
            out.extend_from_slice(br#""\\x"#);
            text::hex_lower(out, bytes);
            out.push(b'"');
        }
        Value::Array(values) => write_array(out, values.iter()),
        other => quoted(out, other),
    }
}

fn quoted(out: &mut Vec<u8>, value: &Value) {
    out.push(b'"');
    // Writing to a vector cannot fail, and every value of these types has a text.
    let _ = match value {
        Value::Uuid(bytes) => {
            text::uuid(out, *bytes);
            Ok(())
        }
        Value::Date(date) => PRINTER.print_date(date, &mut *out),
        Value::Time(time) => PRINTER.print_time(time, &mut *out),
        Value::DateTime(time) => PRINTER.print_datetime(time, &mut *out),
        Value::Timestamp(time) => PRINTER.print_timestamp(time, &mut *out),
        // A kind that core gained and this format does not know yet.
        other => {
            text::escaped(out, &format!("{other:?}"));
            Ok(())
        }
    };
    out.push(b'"');
}

/// A number in Rust's `1.5e2`, as the decimal that CockroachDB makes of a float: without exponent
/// if none of its digits is left of the point by zeros alone, else as `1.5E+2`.
fn number(out: &mut Vec<u8>, scientific: &str) {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => ("-", mantissa),
        None => ("", mantissa),
    };
    let digits = mantissa.replace('.', "");
    let adjusted: i64 = exponent.parse().unwrap_or_default();
    let fraction = i64::try_from(digits.len()).unwrap_or_default() - 1;
    let text = match usize::try_from(adjusted) {
        _ if adjusted > fraction || adjusted < -6 => {
            let plus = if adjusted > 0 { "+" } else { "" };
            format!("{mantissa}E{plus}{adjusted}")
        }
        Ok(whole) if whole < digits.len() - 1 => {
            format!("{}.{}", &digits[..=whole], &digits[whole + 1..])
        }
        Ok(_) => digits,
        Err(_) => {
            let zeros = usize::try_from(-adjusted - 1).unwrap_or_default();
            format!("0.{}{digits}", "0".repeat(zeros))
        }
    };
    out.extend_from_slice(sign.as_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn not_finite(value: f64) -> &'static str {
    match value {
        _ if value.is_nan() => "NaN",
        _ if value > 0.0 => "Infinity",
        _ => "-Infinity",
    }
}

/// Whether a decimal is a number in JSON too; `NaN` and `Infinity` are not.
fn is_number(digits: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(digits).is_ok()
}

fn is_embeddable(document: &str) -> bool {
    !document.contains(['\n', '\r']) && serde_json::from_str::<IgnoredAny>(document).is_ok()
}

/// A string as Go's encoder writes it.
fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend_from_slice(&[b'\\', letter as u8]),
            '\n' => out.extend_from_slice(br"\n"),
            '\r' => out.extend_from_slice(br"\r"),
            '\t' => out.extend_from_slice(br"\t"),
            '\0'..='\x1f' | '\u{2028}' | '\u{2029}' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(letter)).as_bytes());
            }
            letter => out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[track_caller]
    fn check(value: Value, expected: &str) {
        let mut out = Vec::new();
        write_value(&mut out, &value);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_float_is_a_decimal_number() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (100.0, "1E+2"),
            (123.0, "123"),
            (1234.5, "1234.5"),
            (0.1 + 0.2, "0.30000000000000004"),
            (0.000_001, "0.000001"),
            (0.000_000_12, "1.2E-7"),
            (1.5e300, "1.5E+300"),
        ] {
            check(Value::Float(value), expected);
        }
        check(Value::Float32(0.1), "0.1");
        check(Value::Float(f64::NAN), "\"NaN\"");
    }

    #[test]
    fn each_type_has_cockroachdbs_form() {
        check(Value::Decimal("26.30".into()), "26.30");
        check(Value::Decimal("NaN".into()), "\"NaN\"");
        check(Value::Bytes([0, 255].into()), r#""\\x00ff""#);
        check(Value::Json(r#"{"a": [1, 2]}"#.into()), r#"{"a": [1, 2]}"#);
        check(Value::Json("{\n}".into()), r#""{\n}""#);
        check(
            Value::DateTime(date(2026, 1, 2).at(3, 4, 5, 600_000_000)),
            r#""2026-01-02T03:04:05.6""#,
        );
        check(Value::Array([Value::Int(1), Value::Null].into()), "[1, null]");
        check(Value::from("<\u{8}\u{2028}\"\n😀>"), "\"<\\u0008\\u2028\\\"\\n😀>\"");
    }
}
