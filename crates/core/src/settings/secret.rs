use std::{borrow::Cow, fmt, fs, path::PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use crate::{Error, Result};

/// A value that must not be shown: a text (usually `"${VARIABLE}"`) or `{ file = "…" }`.
///
/// `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Kept);

#[derive(Clone, PartialEq, Eq)]
enum Kept {
    Inline(String),
    File(PathBuf),
}

impl Secret {
    /// Keeps a value that is known already.
    pub fn new(value: impl Into<String>) -> Self {
        Self(Kept::Inline(value.into()))
    }

    /// The value, unless it is in a file: what `validate` can look at without any I/O.
    pub fn inline(&self) -> Option<&str> {
        match &self.0 {
            Kept::Inline(value) => Some(value),
            Kept::File(_) => None,
        }
    }

    /// The value itself; a file is read now, without the line break at its end.
    ///
    /// # Errors
    /// `Config` if the file cannot be read.
    pub fn reveal(&self) -> Result<String> {
        match &self.0 {
            Kept::Inline(value) => Ok(value.clone()),
            Kept::File(path) => match fs::read_to_string(path) {
                Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(error) => {
                    let message = format!("failed to read the secret file {}", path.display());
                    Err(Error::config(message).because(error))
                }
            },
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct InFile {
            file: PathBuf,
        }

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Secret;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a text such as \"${PASSWORD}\", or { file = \"…\" }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::new(text))
            }

            // The usual message of a wrong type shows the value.
            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
                Err(E::custom("expected a text, found a number; put it into quotes"))
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
                self.visit_i64(0)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Secret, A::Error> {
                let InFile { file } =
                    Deserialize::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Secret(Kept::File(file)))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "writeOnly": true,
            "format": "secret",
            "anyOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "properties": { "file": { "type": "string" } },
                    "required": ["file"],
                    "additionalProperties": false
                }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Secret::new("hush")), "Secret(…)");
        assert_eq!(Secret::new("hush").reveal().unwrap(), "hush");
    }

    #[test]
    fn a_number_is_refused_and_not_shown() {
        for number in [Settings::Int(4711), Settings::Float(47.11)] {
            let error = number.parse::<Secret>().unwrap_err().to_string();
            assert!(error.contains("quotes") && !error.contains("47"), "{error}");
        }
    }

    #[test]
    fn a_secret_comes_from_a_file() {
        let secret: Secret = serde_json::from_str(r#"{"file": "/no/such/file"}"#).unwrap();
        let error = secret.reveal().unwrap_err();
        assert_eq!(error.kind(), &crate::ErrorKind::Config);
        assert!(serde_json::from_str::<Secret>(r#"{"flie": "x"}"#).is_err());
    }
}
