use std::{borrow::Cow, fmt};

use rowtide_core::{Change, Value};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use crate::{Message, text};

/// A name that is made of each message anew, such as `"shop.{table}"`.
///
/// `{table}` and `{namespace}` are those of the change, `{topic}` is where the format wants the
/// message to go, `{column.NAME}` is a value of the row. `{{` and `}}` stand for braces.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    parts: Box<[Part]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Table,
    Namespace,
    Topic,
    Column(Box<str>),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it, as a lower-case fragment.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut parts, mut literal) = (Vec::new(), String::new());
        let mut rest = text;
        while let Some(index) = rest.find(['{', '}']) {
            literal.push_str(&rest[..index]);
            let brace = &rest[index..=index];
            rest = &rest[index + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            let (name, after) = rest
                .split_once('}')
                .filter(|_| brace == "{")
                .ok_or("a brace stands alone; write `{{` or `}}` for one that is meant")?;
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal).into()));
            }
            parts.push(Part::named(name)?);
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.into()));
        }
        Ok(Self { text: text.into(), parts: parts.into() })
    }

    /// The name itself, if it is the same for every message.
    pub fn fixed(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Literal(literal)] => Some(literal),
            _ => None,
        }
    }

    /// Whether the name depends on where the format wants a message to go.
    pub fn needs_topic(&self) -> bool {
        self.parts.contains(&Part::Topic)
    }

    /// Whether the name is the same for all messages of a table.
    pub fn is_of_table(&self) -> bool {
        !self.parts.iter().any(|part| matches!(part, Part::Topic | Part::Column(_)))
    }

    /// Whether a value of the row is in the name.
    pub(crate) fn is_of_row(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Column(_)))
    }

    /// Appends the name for `message`, which is one of `change`.
    ///
    /// # Errors
    /// Why there is none, as a lower-case fragment that names columns and never a value.
    pub fn write(
        &self,
        out: &mut String,
        change: &Change,
        message: &Message<'_>,
    ) -> Result<(), String> {
        for part in &self.parts {
            match part {
                Part::Literal(literal) => out.push_str(literal),
                Part::Table => out.push_str(&change.table.name),
                Part::Namespace => out.push_str(change.table.namespace.as_deref().unwrap_or("")),
                Part::Topic => out.push_str(
                    message.topic.ok_or("the message has no topic, which `{topic}` asks for")?,
                ),
                Part::Column(name) => write_column(out, change, name)?,
            }
        }
        Ok(())
    }
}

impl Part {
    fn named(name: &str) -> Result<Self, String> {
        match name {
            "table" => Ok(Part::Table),
            "namespace" => Ok(Part::Namespace),
            "topic" => Ok(Part::Topic),
            _ => match name.strip_prefix("column.") {
                Some(column) if !column.is_empty() => Ok(Part::Column(column.into())),
                _ => Err(format!(
                    "unknown placeholder `{{{name}}}`: \
                     expected {{table}}, {{namespace}}, {{topic}} or {{column.NAME}}"
                )),
            },
        }
    }
}

fn write_column(out: &mut String, change: &Change, name: &str) -> Result<(), String> {
    let table = &change.table;
    let index = table.columns.iter().position(|column| *column.name == *name);
    let index = index.ok_or_else(|| format!("table `{}` has no column `{name}`", table.name))?;
    let value = change.image().and_then(|row| row.values().get(index));
    let reason = match value {
        Some(Value::Text(value) | Value::Decimal(value)) => {
            out.push_str(value);
            return Ok(());
        }
        Some(Value::Int(value)) => {
            out.push_str(itoa::Buffer::new().format(*value));
            return Ok(());
        }
        Some(Value::Bool(value)) => {
            out.push_str(if *value { "true" } else { "false" });
            return Ok(());
        }
        Some(Value::Uuid(bytes)) => {
            let mut digits = Vec::with_capacity(36);
            text::uuid(&mut digits, *bytes);
            out.extend(digits.into_iter().map(char::from));
            return Ok(());
        }
        None => "there is no row",
        Some(Value::Unknown) => "the upstream did not send it",
        Some(Value::Null) => "it is null",
        Some(_) => "it is neither a text nor a whole number",
    };
    Err(format!("no name can be made of column `{name}` of table `{}`: {reason}", table.name))
}

impl fmt::Debug for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(formatter)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Template::parse(&text).map_err(de::Error::custom)
    }
}

impl JsonSchema for Template {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Template".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "examples": ["orders", "shop.{table}", "{column.region}", "{topic}"]
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rowtide_core::{ChangeId, Column, ColumnType, Operation, Row, Table};

    use super::*;
    use crate::{Encoder, Format, Messages};

    fn written(template: &str, value: Value) -> Result<String, String> {
        let column = Column::new("région", ColumnType::Any);
        let mut table = Table::new("orders", vec![column]);
        table.namespace = Some("shop".into());
        let mut change = Change::new(ChangeId::new("s"), Arc::new(table), Operation::Insert);
        change.after = Some(Row::new([value]));
        let mut messages = Messages::new();
        let changes = [change];
        Encoder::new(&Format::default(), "p").messages(&changes, &mut messages);
        let message = messages.iter().next().unwrap();
        let mut out = String::new();
        Template::parse(template)?.write(&mut out, &changes[0], &message)?;
        Ok(out)
    }

    #[test]
    fn placeholders_are_replaced_and_doubled_braces_are_not() {
        let check = |template: &str, expected: &str| {
            assert_eq!(written(template, Value::Int(-7)).as_deref(), Ok(expected), "{template}");
        };
        check("", "");
        check("plain", "plain");
        check("{namespace}.{table}", "shop.orders");
        check("a{column.région}b", "a-7b");
        check("{{{table}}}", "{orders}");
        check("a}}b{{", "a}b{");
    }

    #[test]
    fn a_value_of_which_no_name_can_be_made_is_a_reason_without_the_value() {
        let check = |value: Value, expected: Result<&str, &str>| match (
            written("{column.région}", value),
            expected,
        ) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(found), Err(expected)) => assert!(found.ends_with(expected), "{found}"),
            (found, _) => panic!("{found:?} instead of {expected:?}"),
        };
        check(Value::from("eu"), Ok("eu"));
        check(Value::Bool(true), Ok("true"));
        check(Value::Uuid([0x12; 16]), Ok("12121212-1212-1212-1212-121212121212"));
        check(Value::Null, Err("it is null"));
        check(Value::Unknown, Err("the upstream did not send it"));
        check(Value::Float(1.5), Err("it is neither a text nor a whole number"));
        assert!(written("{column.other}", Value::Null).unwrap_err().contains("has no column"));
        assert!(written("{topic}", Value::Null).unwrap_err().contains("no topic"));
    }

    #[test]
    fn a_template_that_cannot_be_read_says_why() {
        for (template, expected) in [
            ("{", "stands alone"),
            ("a}b", "stands alone"),
            ("{table", "stands alone"),
            ("{tabel}", "unknown placeholder `{tabel}`"),
            ("{column.}", "unknown placeholder"),
        ] {
            let error = Template::parse(template).unwrap_err();
            assert!(error.contains(expected), "{template}: {error}");
        }
    }

    #[test]
    fn only_a_template_without_placeholders_is_fixed() {
        let fixed = |text| Template::parse(text).unwrap().fixed().map(str::to_owned);
        assert_eq!(fixed("a{{b").as_deref(), Some("a{b"));
        assert_eq!(fixed("").as_deref(), Some(""));
        assert_eq!(fixed("a.{table}"), None);
    }

    #[test]
    fn a_template_without_topic_and_columns_is_of_a_table() {
        let is_of_table = |text| Template::parse(text).unwrap().is_of_table();
        assert!(is_of_table("a.{namespace}.{table}") && is_of_table("a"));
        assert!(!is_of_table("{column.a}") && !is_of_table("a.{topic}"));
    }
}
