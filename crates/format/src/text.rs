//! The pieces of JSON text, appended to a buffer.

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::fmt::temporal::DateTimePrinter;

/// What prints times; jiff keeps all digits and no trailing zeros.
pub(crate) static PRINTER: DateTimePrinter = DateTimePrinter::new();

const HEX_UPPER: &[u8; 16] = b"0123456789ABCDEF";
const HEX_LOWER: &[u8; 16] = b"0123456789abcdef";

/// A JSON string with its quotes.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escaped(out, text);
    out.push(b'"');
}

/// The inside of a JSON string.
pub(crate) fn escaped(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    loop {
        let plain = plain_length(rest);
        out.extend_from_slice(&rest[..plain]);
        let Some(&byte) = rest.get(plain) else { return };
        escape(out, byte);
        rest = &rest[plain + 1..];
    }
}

/// How many of the leading bytes stand for themselves in a JSON string.
fn plain_length(bytes: &[u8]) -> usize {
    let mut length = 0;
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = u64::from_le_bytes([
            word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7],
        ]);
        if has_special(word) {
            break;
        }
        length += 8;
    }
    let special = bytes[length..].iter().position(|&byte| is_special(byte));
    special.map_or(bytes.len(), |position| length + position)
}

fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Whether one of eight bytes may be special, all looked at together.
fn has_special(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // The classic test for a byte below n, n up to 128; a borrow can only report too much.
    let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word & HIGH;
    let quote = below(word ^ (ONES * u64::from(b'"')), 1);
    let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
    (below(word, 0x20) | quote | backslash) != 0
}

#[cold]
fn escape(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => out.extend_from_slice(br#"\""#),
        b'\\' => out.extend_from_slice(br"\\"),
        b'\n' => out.extend_from_slice(br"\n"),
        b'\r' => out.extend_from_slice(br"\r"),
        b'\t' => out.extend_from_slice(br"\t"),
        0x08 => out.extend_from_slice(br"\b"),
        0x0c => out.extend_from_slice(br"\f"),
        _ => {
            out.extend_from_slice(br"\u00");
            hex_byte(out, byte, HEX_LOWER);
        }
    }
}

pub(crate) fn integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// The shortest text that reads back as the same number, always with a point or an exponent. Only
/// for finite numbers.
pub(crate) fn float(out: &mut Vec<u8>, value: impl zmij::Float) {
    out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
}

pub(crate) fn boolean(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

pub(crate) fn null(out: &mut Vec<u8>) {
    out.extend_from_slice(b"null");
}

/// Base64 with padding, in quotes.
pub(crate) fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // The room is exact, so there is nothing that could fail.
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or_default();
    out.truncate(start + written);
    out.push(b'"');
}

/// Upper-case hex, in quotes.
pub(crate) fn hex_upper(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    out.reserve(2 * bytes.len());
    for &byte in bytes {
        hex_byte(out, byte, HEX_UPPER);
    }
    out.push(b'"');
}

/// Lower-case hex, without quotes.
pub(crate) fn hex_lower(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(2 * bytes.len());
    for &byte in bytes {
        hex_byte(out, byte, HEX_LOWER);
    }
}

/// A uuid with its hyphens, without quotes.
pub(crate) fn uuid(out: &mut Vec<u8>, bytes: [u8; 16]) {
    for (index, byte) in bytes.into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        hex_byte(out, byte, HEX_LOWER);
    }
}

fn hex_byte(out: &mut Vec<u8>, byte: u8, digits: &[u8; 16]) {
    out.push(digits[usize::from(byte >> 4)]);
    out.push(digits[usize::from(byte & 15)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str) {
        let mut out = Vec::new();
        string(&mut out, text);
        let back: String = serde_json::from_slice(&out).unwrap();
        assert_eq!(back, text);
        assert!(!out.contains(&b'\n'));
    }

    #[test]
    fn every_text_reads_back() {
        for code in 0..0x250 {
            let letter = char::from_u32(code).unwrap();
            for place in 0..17 {
                let mut text = "abcdefgh".repeat(2);
                text.insert(place.min(text.len()), letter);
                check(&text);
            }
        }
        check("");
        check("\u{2028}\u{10ffff}\"\\\"");
    }

    #[test]
    fn a_float_has_a_point_or_an_exponent() {
        for (value, expected) in [(1.0, "1.0"), (-0.0, "-0.0"), (0.1 + 0.2, "0.30000000000000004")]
        {
            let mut out = Vec::new();
            float(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        let mut out = Vec::new();
        float(&mut out, 1e300_f64);
        assert!(out.contains(&b'e'), "{out:?}");
    }

    #[test]
    fn bytes_are_base64_or_hex() {
        for (length, expected) in [(0, ""), (1, "AA=="), (2, "AAE="), (3, "AAEC")] {
            let bytes: Vec<u8> = (0..length).collect();
            let mut out = Vec::new();
            base64(&mut out, &bytes);
            assert_eq!(String::from_utf8(out).unwrap(), format!("\"{expected}\""));
        }
        let mut out = Vec::new();
        hex_upper(&mut out, &[0, 0xab]);
        assert_eq!(out, b"\"00AB\"");
    }
}
