use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Which tables: a list of names, or `{ include = […], exclude = […] }`.
///
/// `*` in a name stands for any characters. A name without `*` must exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    /// The tables that are meant; at least one.
    pub include: Vec<String>,
    /// Those of them that are not.
    pub exclude: Vec<String>,
}

impl Tables {
    /// Every table.
    pub fn all() -> Self {
        Self { include: vec!["*".to_owned()], exclude: Vec::new() }
    }

    /// Whether the table of this name is meant.
    pub fn matches(&self, name: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| is_match(pattern, name));
        any(&self.include) && !any(&self.exclude)
    }

    /// The included names without `*`: those that the user expects to exist.
    pub fn named(&self) -> impl Iterator<Item = &str> {
        self.include.iter().map(String::as_str).filter(|name| !name.contains('*'))
    }
}

/// Takes each part where it is found first, so that many stars take no longer than few.
fn is_match(pattern: &str, name: &str) -> bool {
    let Some((head, mut rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut tail) = name.strip_prefix(head) else { return false };
    while let Some((part, next)) = rest.split_once('*') {
        let Some(at) = tail.find(part) else { return false };
        (tail, rest) = (&tail[at + part.len()..], next);
    }
    tail.ends_with(rest)
}

/// A plain list where that says it all.
impl Serialize for Tables {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.exclude.is_empty() {
            return self.include.serialize(serializer);
        }
        let mut lists = serializer.serialize_struct("Tables", 2)?;
        lists.serialize_field("include", &self.include)?;
        lists.serialize_field("exclude", &self.exclude)?;
        lists.end()
    }
}

impl<'de> Deserialize<'de> for Tables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Lists {
            #[serde(default = "everything")]
            include: Vec<String>,
            #[serde(default)]
            exclude: Vec<String>,
        }

        fn everything() -> Vec<String> {
            Tables::all().include
        }

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Tables;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of tables, or { include = […], exclude = […] }")
            }

            // From an environment variable; a file writes a list.
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Tables, E> {
                let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
                Ok(Tables { include: names.map(str::to_owned).collect(), exclude: Vec::new() })
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, items: A) -> Result<Tables, A::Error> {
                let include =
                    Deserialize::deserialize(de::value::SeqAccessDeserializer::new(items))?;
                Ok(Tables { include, exclude: Vec::new() })
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Tables, A::Error> {
                let Lists { include, exclude } =
                    Deserialize::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Tables { include, exclude })
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Tables {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Tables".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "array", "items": { "type": "string" } },
                {
                    "type": "object",
                    "properties": {
                        "include": names("The tables that are meant."),
                        "exclude": names("Those of them that are not.")
                    },
                    "additionalProperties": false
                }
            ]
        })
    }
}

fn names(description: &str) -> Schema {
    json_schema!({
        "description": description,
        "type": "array",
        "items": { "type": "string" }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, name: &str, expected: bool) {
        let tables: Tables = serde_json::from_str(json).unwrap();
        assert_eq!(tables.matches(name), expected, "{json} {name}");
    }

    #[test]
    fn a_plain_list_includes() {
        check(r#"["a", "b"]"#, "a", true);
        check(r#"["a", "b"]"#, "c", false);
        check(r#"["*"]"#, "anything", true);
        check(r#"["audit_*_log"]"#, "audit_x_log", true);
        check(r#"["audit_*_log"]"#, "audit_x_logs", false);
        check(r#"["*ö*"]"#, "größe", true);
        check(r#"["a*b*a"]"#, "aba", true);
        check(r#"["a*a"]"#, "a", false);
        check(r#"["**"]"#, "", true);
        check(r#"["*ab*b"]"#, "abab", true);
        check(r#"["*ab*ab"]"#, "ab", false);
    }

    #[test]
    fn many_stars_take_no_longer_than_few() {
        let (pattern, name) = ("*a".repeat(40), "a".repeat(60) + "b");
        check(&format!(r#"["{pattern}"]"#), &name, false);
        check(&format!(r#"["{pattern}b"]"#), &name, true);
    }

    #[test]
    fn what_was_written_is_read() {
        for json in [r#"["a"]"#, r#"{"include":["*"],"exclude":["b"]}"#] {
            let tables: Tables = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&tables).unwrap(), json);
        }
    }

    #[test]
    fn exclude_wins() {
        check(r#"{"exclude": ["tmp_*"]}"#, "tmp_a", false);
        check(r#"{"exclude": ["tmp_*"]}"#, "a", true);
        check(r#"{"include": ["a"], "exclude": ["a"]}"#, "a", false);
    }
}
