//! What the settings are, told by the plugins' own schemas.

mod page;
mod schema;
mod setting;

use rowtide_core::registry;
use rowtide_engine::Delivery;
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};

use setting::Setting;

pub(crate) use page::page;
pub(crate) use schema::schema;

/// The settings of one table of a pipeline file.
#[derive(Debug)]
pub(crate) struct Topic {
    /// The table, such as `source`.
    section: &'static str,
    /// What stands as `type` in it, and the crate that knows it.
    plugin: Option<(&'static str, &'static str)>,
    /// The description of the whole.
    doc: String,
    settings: Vec<Setting>,
}

/// What goes by this name: plugins of one system, or `delivery`.
pub(crate) fn topics(name: &str) -> Vec<Topic> {
    if name == "delivery" {
        return vec![Topic::new("delivery", None, Delivery::json_schema)];
    }
    registry::plugins()
        .iter()
        .filter(|plugin| plugin.name == name)
        .map(|plugin| {
            let named = Some((plugin.name, plugin.package));
            Topic::new(plugin.role().name(), named, |generator| plugin.schema(generator))
        })
        .collect()
}

impl Topic {
    fn new(
        section: &'static str,
        plugin: Option<(&'static str, &'static str)>,
        schema: impl FnOnce(&mut SchemaGenerator) -> Schema,
    ) -> Self {
        let mut generator = generator();
        let schema = schema(&mut generator).to_value();
        let definitions = generator.take_definitions(true);
        let doc = setting::doc(&schema);
        Self { section, plugin, doc, settings: setting::settings(&schema, &definitions) }
    }

    /// For a terminal.
    pub(crate) fn text(&self) -> String {
        let mut text = match self.plugin {
            Some((name, package)) => format!("{} \"{name}\", from {package}\n", self.section),
            None => format!("[{}]\n", self.section),
        };
        for setting in &self.settings {
            text.push_str(&setting.text());
        }
        text
    }
}

fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12().for_deserialize().into_generator()
}
