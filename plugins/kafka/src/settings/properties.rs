use std::{borrow::Cow, collections::BTreeMap, fmt};

use rowtide_core::{Error, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// Further properties of librdkafka, by name. Their values are not shown: some are passwords.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Properties(BTreeMap<String, String>);

/// Properties that the guarantees rest on: the names, the values that keep them, and the reason.
const KEPT: &[(&[&str], &[&str], &str)] = &[
    (
        &["message.timeout.ms", "delivery.timeout.ms"],
        &["0"],
        "a message that times out is overtaken by those behind it",
    ),
    (
        &["enable.idempotence"],
        &["true"],
        "without it a message that is sent again arrives twice, or behind later ones",
    ),
    (
        &["enable.gapless.guarantee"],
        &["true"],
        "without it a refused batch is overtaken by those behind it",
    ),
    (
        &["acks", "request.required.acks"],
        &["all", "-1"],
        "a message that one broker alone has is lost with it",
    ),
    (
        &["retries", "message.send.max.retries"],
        &["2147483647"],
        "a message that is given up is overtaken by those behind it",
    ),
    (&["delivery.report.only.error"], &["false"], "each message that is delivered is counted"),
    (&["queuing.strategy"], &["fifo"], "the latest messages would be sent first"),
    (&["transactional.id"], &[], "no transaction is ever committed"),
    (&["test.mock.num.brokers"], &[], "messages would go to brokers in memory alone"),
    (&["log.queue"], &["true"], "logs are read from the queue"),
];

/// Properties that have a setting of their own.
const SETTINGS: &[(&str, &[&str])] = &[
    ("brokers", &["bootstrap.servers", "metadata.broker.list"]),
    ("partitioner", &["partitioner"]),
    ("compression", &["compression.codec", "compression.type"]),
    ("sasl", &["sasl.mechanisms", "sasl.mechanism", "sasl.username", "sasl.password"]),
    (
        "tls",
        &[
            "security.protocol",
            "ssl.ca.location",
            "ssl.certificate.location",
            "ssl.key.location",
            "enable.ssl.certificate.verification",
            "ssl.endpoint.identification.algorithm",
        ],
    ),
];

impl Properties {
    /// The names and values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Refuses what would break a guarantee, and what has a setting of its own.
    ///
    /// # Errors
    /// `Config`, with the name of the property.
    pub(crate) fn validate(&self) -> Result<()> {
        self.iter().try_for_each(|(name, value)| {
            check(name, value).map_err(|error| error.key(format!("properties.{name}")))
        })
    }
}

fn check(name: &str, value: &str) -> Result<()> {
    if let Some((setting, _)) = SETTINGS.iter().find(|(_, names)| names.contains(&name)) {
        let error = Error::config(format!("`{name}` has a setting of its own"));
        return Err(error.help(format!("set `{setting}` instead")));
    }
    let kept = KEPT.iter().find(|(names, ..)| names.contains(&name));
    let Some((_, allowed, reason)) = kept else { return Ok(()) };
    if allowed.contains(&value) {
        return Ok(());
    }
    let message = match allowed.first() {
        Some(allowed) => format!("`{name}` must be {allowed}: {reason}"),
        None => format!("`{name}` cannot be set: {reason}"),
    };
    Err(Error::config(message).help("leave it out"))
}

impl fmt::Debug for Properties {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

/// A value, or what stands under the first part of dotted names.
enum Node {
    Value(String),
    Names(Properties),
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Properties;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a table of librdkafka's properties")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Properties, A::Error> {
                read(map)
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

/// `socket.timeout.ms = 1` without quotes is a table in a table in TOML, and is meant all the same.
fn read<'de, A: de::MapAccess<'de>>(mut map: A) -> Result<Properties, A::Error> {
    let mut properties = BTreeMap::new();
    while let Some((name, node)) = map.next_entry::<String, Node>()? {
        match node {
            Node::Value(value) => drop(properties.insert(name, value)),
            Node::Names(Properties(inner)) => properties
                .extend(inner.into_iter().map(|(rest, value)| (format!("{name}.{rest}"), value))),
        }
    }
    Ok(Properties(properties))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Node;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a text, a number, true or false")
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
                Ok(Node::Value(value.to_owned()))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
                Ok(Node::Value(value.to_string()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
                Ok(Node::Value(value.to_string()))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
                Ok(Node::Value(value.to_string()))
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Value(value.to_string()))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Node, A::Error> {
                read(map).map(Node::Names)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Properties {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Properties".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": { "type": ["string", "number", "boolean", "object"] }
        })
    }
}

#[cfg(test)]
mod tests {
    use rowtide_core::settings::Settings;
    use serde_json::json;

    use super::*;

    fn parse(json: serde_json::Value) -> Properties {
        Settings::from(json).parse().unwrap()
    }

    #[track_caller]
    fn check_refused(name: &str, value: &str, words: &str) {
        let error = parse(json!({ name: value })).validate().unwrap_err();
        assert_eq!(error.setting(), Some(format!("properties.{name}").as_str()));
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.remedy().is_some());
    }

    #[test]
    fn what_would_break_a_guarantee_is_refused_with_its_reason() {
        check_refused("message.timeout.ms", "300000", "overtaken");
        check_refused("delivery.timeout.ms", "1", "overtaken");
        check_refused("enable.idempotence", "false", "twice");
        check_refused("enable.gapless.guarantee", "false", "overtaken");
        check_refused("acks", "1", "lost");
        check_refused("request.required.acks", "0", "lost");
        check_refused("retries", "3", "overtaken");
        check_refused("message.send.max.retries", "0", "overtaken");
        check_refused("delivery.report.only.error", "true", "counted");
        check_refused("queuing.strategy", "lifo", "first");
        check_refused("transactional.id", "x", "committed");
        check_refused("test.mock.num.brokers", "1", "memory");
        check_refused("bootstrap.servers", "x", "setting of its own");
        check_refused("sasl.password", "x", "setting of its own");
        check_refused("compression.type", "lz4", "setting of its own");
        check_refused("security.protocol", "ssl", "setting of its own");
    }

    #[test]
    fn what_keeps_the_guarantees_may_be_said() {
        let kept = json!({ "message.timeout.ms": 0, "acks": "all", "enable.idempotence": true });
        assert!(parse(kept).validate().is_ok());
    }

    #[test]
    fn names_may_be_written_with_and_without_quotes() {
        let dotted = parse(json!({ "socket": { "timeout.ms": 5, "keepalive": { "enable": true }}}));
        let quoted = json!({ "socket.timeout.ms": "5", "socket.keepalive.enable": "true" });
        assert_eq!(dotted, parse(quoted));
        assert!(
            dotted.iter().eq([("socket.keepalive.enable", "true"), ("socket.timeout.ms", "5")])
        );
    }

    #[test]
    fn values_are_not_shown() {
        let shown = format!("{:?}", parse(json!({ "ssl.key.password": "hush" })));
        assert_eq!(shown, "{\"ssl.key.password\"}");
    }
}
