//! From the settings a user would write to an open plugin.

use rowtide_core::{Context, Shutdown, settings::Settings};

use crate::{Failure, Verdict};

/// The pipeline that scenarios run as, where one is enough.
pub(crate) const PIPELINE: &str = "conformance";

/// Reads settings as a pipeline file has them.
pub(crate) fn settings(text: &str) -> Verdict<Settings> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        Failure::broken(format!("the harness's settings are not TOML: {error}\n{text}"))
    })?;
    Ok(tree(toml::Value::Table(table)))
}

pub(crate) fn context(pipeline: &str) -> Context {
    Context::new(pipeline, Shutdown::never())
}

fn tree(value: toml::Value) -> Settings {
    match value {
        toml::Value::String(text) => Settings::Text(text),
        toml::Value::Integer(number) => Settings::Int(number),
        toml::Value::Float(number) => Settings::Float(number),
        toml::Value::Boolean(value) => Settings::Bool(value),
        toml::Value::Datetime(time) => Settings::Text(time.to_string()),
        toml::Value::Array(items) => Settings::List(items.into_iter().map(tree).collect()),
        toml::Value::Table(entries) => {
            Settings::Table(entries.into_iter().map(|(key, value)| (key, tree(value))).collect())
        }
    }
}
