use serde_json::{Map, Value};

type Definitions = Map<String, Value>;

/// A setting, as a schema describes it.
#[derive(Debug)]
pub(super) struct Setting {
    /// The path inside its table, with dots.
    pub(super) key: String,
    /// What is written there, in words.
    pub(super) kind: String,
    pub(super) need: Need,
    pub(super) doc: String,
    /// The documented values of a choice.
    pub(super) choices: Vec<(String, String)>,
}

/// Whether a setting must be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Need {
    Required,
    /// As TOML writes it.
    Default(String),
    Optional,
}

/// The settings that `schema` has, those that must be written first. A table inside is listed by
/// its keys.
pub(super) fn settings(schema: &Value, definitions: &Definitions) -> Vec<Setting> {
    let mut settings = Vec::new();
    collect("", schema, definitions, &mut settings);
    settings.sort_by_key(|setting| setting.need != Need::Required);
    settings
}

/// The description of `schema`, one paragraph a line.
pub(super) fn doc(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    let paragraphs = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
    paragraphs.collect::<Vec<_>>().join("\n")
}

fn collect(prefix: &str, schema: &Value, definitions: &Definitions, settings: &mut Vec<Setting>) {
    let Some(properties) = schema["properties"].as_object() else { return };
    for (name, property) in properties {
        let key = format!("{prefix}{name}");
        let resolved = resolve(property, definitions);
        if resolved["properties"].is_object() {
            collect(&format!("{key}."), resolved, definitions, settings);
            continue;
        }
        let required = schema["required"].as_array();
        let is_required = required.is_some_and(|names| names.iter().any(|other| other == name));
        let need = match property.get("default") {
            _ if is_required => Need::Required,
            None | Some(Value::Null) => Need::Optional,
            Some(value) => Need::Default(value.to_string()),
        };
        let own = doc(property);
        let doc = if own.is_empty() { doc(resolved) } else { own };
        let kind = kind(resolved, definitions);
        settings.push(Setting { key, kind, need, doc, choices: choices(resolved) });
    }
}

/// Follows references, and looks through "this or null".
fn resolve<'a>(schema: &'a Value, definitions: &'a Definitions) -> &'a Value {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return definitions.get(name).map_or(schema, |inner| resolve(inner, definitions));
    }
    match alternatives(schema).as_slice() {
        [only] if schema["oneOf"].is_null() => resolve(only, definitions),
        _ => schema,
    }
}

fn alternatives(schema: &Value) -> Vec<&Value> {
    let list = schema["anyOf"].as_array().or(schema["oneOf"].as_array());
    list.into_iter().flatten().filter(|schema| schema["type"] != "null").collect()
}

fn kind(schema: &Value, definitions: &Definitions) -> String {
    if let Some(constant) = schema.get("const") {
        return constant.to_string();
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<_> =
            values.iter().filter(|value| !value.is_null()).map(Value::to_string).collect();
        return values.join(" or ");
    }
    match schema["format"].as_str() {
        Some("duration") => return "duration".to_owned(),
        Some("size") => return "size".to_owned(),
        Some("secret") => return "secret".to_owned(),
        _ => {}
    }
    let alternatives = alternatives(schema);
    if !alternatives.is_empty() {
        let kinds: Vec<_> = alternatives
            .iter()
            .map(|inner| kind(resolve(inner, definitions), definitions))
            .collect();
        return kinds.join(" or ");
    }
    let types: Vec<_> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        single => single.as_str().into_iter().collect(),
    };
    let words = types.into_iter().filter(|name| *name != "null").map(|name| match name {
        "string" => "text".to_owned(),
        "boolean" => "true or false".to_owned(),
        "array" => format!("list of {}", kind(resolve(&schema["items"], definitions), definitions)),
        "object" => "table".to_owned(),
        number => number.to_owned(),
    });
    words.collect::<Vec<_>>().join(" or ")
}

fn choices(schema: &Value) -> Vec<(String, String)> {
    let described = |choice: &&Value| {
        let value = choice.get("const")?;
        let text = doc(choice);
        (!text.is_empty()).then(|| (value.to_string(), text))
    };
    alternatives(schema).iter().filter_map(described).collect()
}

impl Setting {
    /// For a terminal.
    pub(super) fn text(&self) -> String {
        let need = match &self.need {
            Need::Required => ", required".to_owned(),
            Need::Default(value) => format!(", default {value}"),
            Need::Optional => String::new(),
        };
        let mut text = format!("\n  {}: {}{need}\n", self.key, self.kind);
        for line in self.doc.lines() {
            text.push_str(&format!("      {line}\n"));
        }
        for (value, doc) in &self.choices {
            text.push_str(&format!("      {value}: {}\n", doc.replace('\n', " ")));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use rowtide_core::settings::{ByteSize, Period, Secret, Snapshot, Tables};
    use schemars::JsonSchema;

    use super::*;

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Config {
        /// Where it is.
        ///
        /// Really.
        path: String,
        #[serde(default = "second")]
        every: Period,
        limit: Option<ByteSize>,
        tables: Tables,
        password: Option<Secret>,
        #[serde(default)]
        snapshot: Snapshot,
        tls: Option<Tls>,
        brokers: Vec<String>,
    }

    fn second() -> Period {
        Period::from_secs(1)
    }

    /// How to encrypt.
    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Tls {
        /// A file.
        ca: Option<String>,
    }

    #[track_caller]
    fn check(key: &str, kind: &str, need: Need) {
        let mut generator = super::super::generator();
        let schema = Config::json_schema(&mut generator).to_value();
        let settings = settings(&schema, &generator.take_definitions(true));
        let setting = settings.iter().find(|setting| setting.key == key).unwrap();
        assert_eq!((setting.kind.as_str(), &setting.need), (kind, &need));
    }

    #[test]
    fn settings_are_told_in_words() {
        check("path", "text", Need::Required);
        check("every", "duration", Need::Default("\"1s\"".to_owned()));
        check("limit", "size", Need::Optional);
        check("tables", "list of text or table", Need::Required);
        check("password", "secret", Need::Optional);
        let initial = Need::Default("\"initial\"".to_owned());
        check("snapshot", "\"initial\" or \"never\" or \"only\"", initial);
        check("tls.ca", "text", Need::Optional);
        check("brokers", "list of text", Need::Required);
    }

    #[test]
    fn paragraphs_and_choices_are_kept() {
        let mut generator = super::super::generator();
        let schema = Config::json_schema(&mut generator).to_value();
        let settings = settings(&schema, &generator.take_definitions(true));
        let find = |key: &str| settings.iter().find(|setting| setting.key == key).unwrap();
        assert_eq!(find("path").doc, "Where it is.\nReally.");
        assert_eq!(find("snapshot").choices.len(), 3);
    }
}
