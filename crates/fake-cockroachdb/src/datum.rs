use std::fmt::Write;

/// A value of a row, as far as it must be told apart to be written as JSON.
#[derive(Clone, Debug, PartialEq)]
pub enum Datum {
    /// SQL NULL.
    Null,
    /// BOOL.
    Bool(bool),
    /// INT of any width.
    Int(i64),
    /// FLOAT, finite or not.
    Float(f64),
    /// DECIMAL, with all its digits.
    Decimal(String),
    /// Whatever is written as a JSON string: STRING, UUID, DATE, TIMESTAMP, INTERVAL, an enum.
    Text(String),
    /// BYTES.
    Bytes(Vec<u8>),
    /// Whatever is written as it is: JSONB, GEOMETRY.
    Json(String),
    /// A list.
    Array(Vec<Datum>),
}

impl Datum {
    /// Appends the value as the server writes it in a changefeed.
    pub fn write_json(&self, out: &mut String) {
        match self {
            Datum::Null => out.push_str("null"),
            Datum::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Datum::Int(value) => _ = write!(out, "{value}"),
            Datum::Float(value) => write_float(*value, out),
            Datum::Decimal(text) if is_number(text) => out.push_str(text),
            Datum::Decimal(text) | Datum::Text(text) => write_text(text, out),
            Datum::Bytes(bytes) => write_text(&hex(bytes), out),
            Datum::Json(text) => out.push_str(text),
            Datum::Array(items) => write_array(items, out),
        }
    }

    /// The value as text, as a query returns it.
    pub fn to_text(&self) -> Option<String> {
        match self {
            Datum::Null => None,
            Datum::Bool(value) => Some(if *value { "t" } else { "f" }.to_owned()),
            Datum::Decimal(text) | Datum::Text(text) | Datum::Json(text) => Some(text.clone()),
            Datum::Bytes(bytes) => Some(hex(bytes)),
            Datum::Int(_) | Datum::Float(_) | Datum::Array(_) => {
                let mut text = String::new();
                self.write_json(&mut text);
                Some(text)
            }
        }
    }
}

/// Appends `[1, "a"]`.
pub(crate) fn write_array<'a>(items: impl IntoIterator<Item = &'a Datum>, out: &mut String) {
    out.push('[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        item.write_json(out);
    }
    out.push(']');
}

/// Appends a text in quotes.
pub(crate) fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // As Go's encoder does, lest it ends a line of JavaScript.
            '\u{2028}' | '\u{2029}' => _ = write!(out, "\\u{:04x}", character as u32),
            _ if (character as u32) < 0x20 => _ = write!(out, "\\u{:04x}", character as u32),
            _ => out.push(character),
        }
    }
    out.push('"');
}

fn write_float(value: f64, out: &mut String) {
    if value.is_nan() {
        out.push_str("\"NaN\"");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" });
    } else {
        write_scientific(&format!("{value:e}"), out);
    }
}

/// Appends `12.5`, `1E+2` or `1E-7`, as the server's decimals are written, from `1.25e1` and so on.
fn write_scientific(text: &str, out: &mut String) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let digits = mantissa.replace('.', "");
    let behind = i32::try_from(digits.len()).unwrap_or(i32::MAX) - 1;
    out.push_str(sign);
    if exponent > behind || exponent < -6 {
        let _ = write!(out, "{mantissa}E{exponent:+}");
    } else if let Ok(before) = usize::try_from(exponent + 1) {
        let (whole, fraction) = digits.split_at(before);
        out.push_str(if whole.is_empty() { "0" } else { whole });
        let point = if fraction.is_empty() { "" } else { "." };
        let _ = write!(out, "{point}{fraction}");
    } else {
        let zeros = "0".repeat(usize::try_from(-exponent - 1).unwrap_or_default());
        let _ = write!(out, "0.{zeros}{digits}");
    }
}

fn is_number(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::from("\\x");
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// What `\x00ff` stands for; any other text for itself.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let digits = text.strip_prefix("\\x").filter(|digits| digits.len() % 2 == 0);
    let bytes = digits.and_then(|digits| digits.as_bytes().chunks(2).map(pair).collect());
    bytes.unwrap_or_else(|| text.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(datum: Datum, expected: &str) {
        let mut found = String::new();
        datum.write_json(&mut found);
        assert_eq!(found, expected);
    }

    #[test]
    fn each_value_is_written_as_the_server_does() {
        check(Datum::Null, "null");
        check(Datum::Int(i64::MIN), "-9223372036854775808");
        check(Datum::Decimal("26.30".to_owned()), "26.30");
        check(Datum::Decimal("NaN".to_owned()), "\"NaN\"");
        check(Datum::Float(f64::NEG_INFINITY), "\"-Infinity\"");
        for (value, text) in [
            (1.0, "1"),
            (-12.5, "-12.5"),
            (100.0, "1E+2"),
            (0.1, "0.1"),
            (-0.0, "-0"),
            (0.000_001, "0.000001"),
            (0.000_000_1, "1E-7"),
            (1.5e300, "1.5E+300"),
            (0.015, "0.015"),
        ] {
            check(Datum::Float(value), text);
        }
        check(Datum::Bytes(vec![0, 255]), "\"\\\\x00ff\"");
        check(Datum::Text("a\"\u{1}<".to_owned()), "\"a\\\"\\u0001<\"");
        check(Datum::Array(vec![Datum::Int(1), Datum::Null]), "[1, null]");
        assert_eq!(unhex("\\x00ff"), [0, 255]);
        assert_eq!(unhex("\\x0"), b"\\x0");
    }
}
