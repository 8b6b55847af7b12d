use serde::de::IgnoredAny;

use crate::Expansion;

/// Deeper documents stay as they are: each level is a level of the stack.
const DEPTH_MAX: usize = 128;

/// Which members of a document remain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expander {
    pub(super) null: Expansion,
    pub(super) empty_array: Expansion,
}

impl Expander {
    /// Appends the JSON that `text` is, without blanks, and returns whether it is any. Only the text
    /// of an object or an array is, as in Debezium. Numbers keep all their digits.
    pub(super) fn expand(self, text: &str, out: &mut Vec<u8>) -> bool {
        if !text.starts_with(['{', '[']) || serde_json::from_str::<IgnoredAny>(text).is_err() {
            return false;
        }
        let start = out.len();
        let mut reader = Reader { text: text.as_bytes(), expander: self };
        if reader.value(out, 0).is_none() {
            out.truncate(start);
            return false;
        }
        true
    }

    fn drops(self, value: &[u8]) -> bool {
        match value {
            b"null" => self.null == Expansion::Drop,
            b"[]" => self.empty_array == Expansion::Drop,
            _ => false,
        }
    }
}

/// Reads a document that is known to be valid.
struct Reader<'a> {
    text: &'a [u8],
    expander: Expander,
}

impl Reader<'_> {
    fn value(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        match self.peek()? {
            _ if depth > DEPTH_MAX => None,
            b'{' => self.object(out, depth),
            b'[' => self.array(out, depth),
            b'"' => self.string(out),
            _ => {
                let is_end = |byte: &u8| matches!(byte, b',' | b']' | b'}') || is_blank(*byte);
                let length = self.text.iter().position(is_end).unwrap_or(self.text.len());
                self.copy(length, out)
            }
        }
    }

    fn object(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        self.take(b'{', out)?;
        while self.peek()? != b'}' {
            let member = out.len();
            if out.last() != Some(&b'{') {
                out.push(b',');
            }
            self.string(out)?;
            self.take(b':', out)?;
            let value = out.len();
            self.value(out, depth + 1)?;
            if self.expander.drops(&out[value..]) {
                out.truncate(member);
            }
            self.skip_comma()?;
        }
        self.take(b'}', out)
    }

    fn array(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        self.take(b'[', out)?;
        while self.peek()? != b']' {
            if out.last() != Some(&b'[') {
                out.push(b',');
            }
            self.value(out, depth + 1)?;
            self.skip_comma()?;
        }
        self.take(b']', out)
    }

    /// A string stays as it is written.
    fn string(&mut self, out: &mut Vec<u8>) -> Option<()> {
        self.peek()?;
        let mut length = 1;
        loop {
            match self.text.get(length)? {
                b'"' => return self.copy(length + 1, out),
                b'\\' => length += 2,
                _ => length += 1,
            }
        }
    }

    /// What comes after blanks.
    fn peek(&mut self) -> Option<u8> {
        let blanks = self.text.iter().take_while(|byte| is_blank(**byte)).count();
        self.text = &self.text[blanks..];
        self.text.first().copied()
    }

    fn take(&mut self, byte: u8, out: &mut Vec<u8>) -> Option<()> {
        if self.peek()? == byte { self.copy(1, out) } else { None }
    }

    fn skip_comma(&mut self) -> Option<()> {
        if self.peek()? == b',' {
            self.text = &self.text[1..];
        }
        Some(())
    }

    fn copy(&mut self, length: usize, out: &mut Vec<u8>) -> Option<()> {
        let (head, rest) = self.text.split_at_checked(length)?;
        out.extend_from_slice(head);
        self.text = rest;
        Some(())
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DROP: Expander = Expander { null: Expansion::Drop, empty_array: Expansion::Drop };
    const KEEP: Expander = Expander { null: Expansion::Keep, empty_array: Expansion::Keep };

    #[track_caller]
    fn check(expander: Expander, text: &str, expected: Option<&str>) {
        let mut out = b"before".to_vec();
        let is_expanded = expander.expand(text, &mut out);
        let expanded = String::from_utf8(out).unwrap();
        let expanded = expanded.strip_prefix("before").unwrap();
        assert_eq!(is_expanded.then_some(expanded), expected, "{text}");
        assert!(is_expanded || expanded.is_empty());
    }

    #[test]
    fn an_object_or_an_array_becomes_itself_without_blanks() {
        let text =
            "{ \"a\" : [ 1 , 1.50e3 , \"x \\\" , y\" , null ] ,\n \"ü\" : { } , \"b\": true }";
        let expected = r#"{"a":[1,1.50e3,"x \" , y",null],"ü":{},"b":true}"#;
        check(DROP, text, Some(expected));
        check(KEEP, text, Some(expected));
        check(KEEP, "[]", Some("[]"));
        check(DROP, "[[],[null]]", Some("[[],[null]]"));
    }

    #[test]
    fn members_without_a_type_are_dropped_or_kept() {
        let text = r#"{"a":null,"b":[],"c":{"d":null,"e":[],"f":1},"g":[{"h":null}]}"#;
        check(DROP, text, Some(r#"{"c":{"f":1},"g":[{}]}"#));
        check(KEEP, text, Some(text));
        let no_null = Expander { empty_array: Expansion::Keep, ..DROP };
        check(no_null, text, Some(r#"{"b":[],"c":{"e":[],"f":1},"g":[{}]}"#));
    }

    #[test]
    fn anything_else_stays_as_it_is() {
        for text in ["", "x", "1", "\"{}\"", " {}", "{", "{}x", "{'a':1}", "[1,]"] {
            check(KEEP, text, None);
        }
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        check(KEEP, &deep, None);
    }

    fn document() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "\\PC{0,6}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::btree_map("\\PC{0,4}", inner, 0..5)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_kept_document_is_the_same_document(document in document()) {
            let text = serde_json::to_string_pretty(&document).unwrap();
            let mut out = Vec::new();
            let is_expanded = KEEP.expand(&text, &mut out);
            prop_assert_eq!(is_expanded, document.is_object() || document.is_array());
            if is_expanded {
                prop_assert_eq!(String::from_utf8(out).unwrap(), document.to_string());
            }
        }

        #[test]
        fn any_text_is_survived(text in "[\\[{}\\],:\"a1 \\\\]{0,24}") {
            let mut out = Vec::new();
            if DROP.expand(&text, &mut out) {
                prop_assert!(serde_json::from_slice::<IgnoredAny>(&out).is_ok());
            }
        }
    }
}
