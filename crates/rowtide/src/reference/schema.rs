use rowtide_core::registry::{self, Role};
use rowtide_engine::Delivery;
use schemars::{SchemaGenerator, consts::meta_schemas};
use serde_json::{Value, json};

/// The JSON Schema of a pipeline file, with the plugins of this build.
pub(crate) fn schema() -> Value {
    let mut generator = super::generator();
    let properties = json!({
        "name": {
            "type": "string",
            "description": "The name of the pipeline; positions are saved under it.",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        },
        "source": plugins(Role::Source, &mut generator),
        "sink": plugins(Role::Sink, &mut generator),
        "checkpoint": plugins(Role::Checkpoint, &mut generator),
        "delivery": generator.subschema_for::<Delivery>(),
    });
    json!({
        "$schema": meta_schemas::DRAFT2020_12,
        "title": "Rowtide pipeline",
        "type": "object",
        "properties": properties,
        "required": ["name", "source", "sink", "checkpoint"],
        "additionalProperties": false,
        "$defs": generator.take_definitions(true),
    })
}

/// One of the plugins of this role, told apart by `type`.
fn plugins(role: Role, generator: &mut SchemaGenerator) -> Value {
    let plugins: Vec<_> = registry::plugins()
        .into_iter()
        .filter(|plugin| plugin.role() == role)
        .map(|plugin| with_type(plugin.schema(generator).to_value(), plugin.name))
        .collect();
    json!({ "oneOf": plugins })
}

fn with_type(mut schema: Value, name: &str) -> Value {
    schema["properties"]["type"] = json!({ "const": name });
    let mut required = vec![json!("type")];
    if let Some(own) = schema["required"].as_array() {
        required.extend(own.iter().cloned());
    }
    schema["required"] = required.into();
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_plugin_is_chosen_by_its_type() {
        let schema = schema();
        for plugin in registry::plugins() {
            let choices = &schema["properties"][plugin.role().name()]["oneOf"];
            let choices = choices.as_array().unwrap();
            let own = choices
                .iter()
                .filter(|choice| choice["properties"]["type"]["const"] == plugin.name);
            assert_eq!(own.count(), 1, "{}", plugin.name);
        }
    }

    #[test]
    fn every_reference_leads_to_a_definition() {
        fn check(value: &Value, definitions: &Value) {
            match value {
                Value::Object(entries) => entries.iter().for_each(|(key, value)| {
                    if key == "$ref" {
                        let name = value.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                        assert!(definitions.get(name).is_some(), "{name}");
                    }
                    check(value, definitions);
                }),
                Value::Array(items) => items.iter().for_each(|item| check(item, definitions)),
                _ => {}
            }
        }
        let schema = schema();
        check(&schema, &schema["$defs"]);
    }
}
