//! Reads [`Settings`] through serde and keeps track of the key.

use std::{error, fmt};

use serde::{
    Deserializer,
    de::{
        self, DeserializeSeed, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
        Visitor,
        value::{MapAccessDeserializer, SeqDeserializer, StrDeserializer},
    },
    forward_to_deserialize_any,
};

use super::{Settings, closest};
use crate::Error;

/// What serde found wrong, and under which key.
#[derive(Debug)]
pub struct Wrong {
    /// The path, innermost part first.
    path: Vec<String>,
    message: String,
    help: Option<String>,
}

impl Wrong {
    fn new(message: String) -> Self {
        Self { path: Vec::new(), message, help: None }
    }

    fn with_help(message: String, help: String) -> Self {
        Self { path: Vec::new(), message, help: Some(help) }
    }

    fn under(mut self, key: impl Into<String>) -> Self {
        self.path.push(key.into());
        self
    }
}

impl de::Error for Wrong {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = expected.to_string();
        Self::new(format!("expected {}, found {}", in_words(&expected), describe(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::with_help("unknown key".to_owned(), suggestion(field, expected)).under(field)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::with_help(format!("unknown value `{variant}`"), suggestion(variant, expected))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::with_help("missing key".to_owned(), format!("add `{field} = …`")).under(field)
    }
}

/// What serde calls a Rust type, in the words of a settings file.
fn in_words(expected: &str) -> &str {
    match expected {
        "a boolean" => "true or false",
        "a string" => "a text",
        "a sequence" => "a list",
        "f32" | "f64" => "a number",
        "i8" | "i16" | "i32" | "i64" => "an integer",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number",
        _ if expected.starts_with("a nonzero ") => "a whole number above 0",
        _ if expected.starts_with("struct ") => "a table",
        other => other,
    }
}

fn describe(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Str(_) => "a text".to_owned(),
        Unexpected::Map => "a table".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        other => other.to_string(),
    }
}

fn suggestion(word: &str, expected: &'static [&'static str]) -> String {
    match closest(word, expected) {
        Some(near) => format!("did you mean `{near}`?"),
        None if expected.is_empty() => "this plugin has no settings".to_owned(),
        None => format!("expected one of {}", expected.join(", ")),
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl error::Error for Wrong {}

impl From<Wrong> for Error {
    fn from(mut wrong: Wrong) -> Self {
        wrong.path.reverse();
        let error = Error::config(wrong.message).key(wrong.path.join("."));
        match wrong.help {
            Some(help) => error.help(help),
            None => error,
        }
    }
}

impl<'de> IntoDeserializer<'de, Wrong> for &'de Settings {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Declares the methods in which an overriding text is parsed as a number or a boolean.
macro_rules! parse_overrides {
    ($($method:ident $visit:ident $expected:literal,)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
            let Settings::Override(text) = self else { return self.deserialize_any(visitor) };
            match text.parse() {
                Ok(value) => visitor.$visit(value),
                Err(_) => Err(Wrong::new(format!("expected {}, found `{text}`", $expected))),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for &'de Settings {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self {
            Settings::Bool(value) => visitor.visit_bool(*value),
            Settings::Int(value) => visitor.visit_i64(*value),
            Settings::Float(value) => visitor.visit_f64(*value),
            Settings::Text(text) | Settings::Override(text) => visitor.visit_borrowed_str(text),
            Settings::List(items) => visitor.visit_seq(Items { items: items.iter().enumerate() }),
            Settings::Table(entries) => visitor.visit_map(Entries::new(entries)),
        }
    }

    parse_overrides! {
        deserialize_bool visit_bool "true or false",
        deserialize_i8 visit_i8 "an integer",
        deserialize_i16 visit_i16 "an integer",
        deserialize_i32 visit_i32 "an integer",
        deserialize_i64 visit_i64 "an integer",
        deserialize_u8 visit_u8 "a whole number",
        deserialize_u16 visit_u16 "a whole number",
        deserialize_u32 visit_u32 "a whole number",
        deserialize_u64 visit_u64 "a whole number",
        deserialize_f32 visit_f32 "a number",
        deserialize_f64 visit_f64 "a number",
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let Settings::Override(text) = self else { return self.deserialize_any(visitor) };
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        visitor.visit_seq(SeqDeserializer::<_, Wrong>::new(items))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self {
            Settings::Text(text) | Settings::Override(text) => {
                let variant: StrDeserializer<'_, Wrong> = text.as_str().into_deserializer();
                variant.deserialize_enum(name, variants, visitor)
            }
            Settings::Table(entries) => MapAccessDeserializer::new(Entries::new(entries))
                .deserialize_enum(name, variants, visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct
        identifier ignored_any
    }
}

struct Items<I> {
    items: I,
}

impl<'de, I: Iterator<Item = (usize, &'de Settings)>> SeqAccess<'de> for Items<I> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Wrong> {
        let Some((index, item)) = self.items.next() else { return Ok(None) };
        seed.deserialize(item).map(Some).map_err(|wrong| wrong.under(index.to_string()))
    }
}

struct Entries<'de> {
    entries: std::slice::Iter<'de, (String, Settings)>,
    current: Option<&'de (String, Settings)>,
}

impl<'de> Entries<'de> {
    fn new(entries: &'de [(String, Settings)]) -> Self {
        Self { entries: entries.iter(), current: None }
    }
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Wrong> {
        self.current = self.entries.next();
        let Some((key, _)) = self.current else { return Ok(None) };
        seed.deserialize(key.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Wrong> {
        let Some((key, value)) = self.current else {
            return Err(Wrong::new("a value was asked for before its key".to_owned()));
        };
        seed.deserialize(value).map_err(|wrong| wrong.under(key))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        count: u16,
        name: Option<String>,
        #[serde(default)]
        list: Vec<String>,
        inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        mode: Mode,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        Fast,
        Safe,
    }

    #[track_caller]
    fn check_error(settings: serde_json::Value, key: &str, message: &str, help: Option<&str>) {
        let error = Settings::from(settings).parse::<Outer>().unwrap_err();
        assert_eq!(error.setting(), Some(key));
        assert_eq!(error.message(), message);
        assert_eq!(error.remedy(), help);
    }

    #[test]
    fn every_error_names_its_key() {
        check_error(json!({}), "count", "missing key", Some("add `count = …`"));
        check_error(
            json!({"count": 1, "nmae": "x"}),
            "nmae",
            "unknown key",
            Some("did you mean `name`?"),
        );
        check_error(json!({"count": "1"}), "count", "expected a whole number, found a text", None);
        check_error(
            json!({"count": 1, "inner": {"mode": "fats"}}),
            "inner.mode",
            "unknown value `fats`",
            Some("did you mean `fast`?"),
        );
        check_error(
            json!({"count": 1, "list": ["a", 2]}),
            "list.1",
            "expected a text, found integer `2`",
            None,
        );
    }

    #[test]
    fn an_override_takes_the_type_of_its_target() {
        let settings = Settings::Table(vec![
            ("count".to_owned(), Settings::Override("12345".to_owned())),
            ("name".to_owned(), Settings::Override("12345".to_owned())),
            ("list".to_owned(), Settings::Override("a, b".to_owned())),
        ]);
        let outer: Outer = settings.parse().unwrap();
        assert_eq!(outer.count, 12345);
        assert_eq!(outer.name.as_deref(), Some("12345"));
        assert_eq!(outer.list, ["a", "b"]);
    }

    #[test]
    fn an_override_of_the_wrong_type_is_refused() {
        let settings =
            Settings::Table(vec![("count".to_owned(), Settings::Override("many".to_owned()))]);
        let error = settings.parse::<Outer>().unwrap_err();
        assert_eq!(error.setting(), Some("count"));
        assert_eq!(error.message(), "expected a whole number, found `many`");
    }
}
