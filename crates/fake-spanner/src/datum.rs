use std::cmp::Ordering;

use prost_types::{ListValue, Value, value::Kind};
use serde_json::Value as Json;

/// A value as it stands on the wire: an integer is a text, bytes are one in base64.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Datum {
    #[default]
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Datum>),
}

impl Datum {
    pub fn text(text: impl Into<String>) -> Self {
        Datum::Text(text.into())
    }

    /// An integer, as the wire has it.
    pub fn int(value: i64) -> Self {
        Datum::Text(value.to_string())
    }

    /// As a member of the JSON objects that a change is told in.
    pub fn json(&self) -> Json {
        match self {
            Datum::Null => Json::Null,
            Datum::Bool(value) => Json::Bool(*value),
            Datum::Number(value) => Json::from(*value),
            Datum::Text(text) => Json::from(text.as_str()),
            Datum::List(values) => values.iter().map(Datum::json).collect(),
        }
    }

    pub(crate) fn value(&self) -> Value {
        let kind = match self {
            Datum::Null => Kind::NullValue(0),
            Datum::Bool(value) => Kind::BoolValue(*value),
            Datum::Number(value) => Kind::NumberValue(*value),
            Datum::Text(text) => Kind::StringValue(text.clone()),
            Datum::List(values) => {
                Kind::ListValue(ListValue { values: values.iter().map(Datum::value).collect() })
            }
        };
        Value { kind: Some(kind) }
    }

    pub(crate) fn of_value(value: Value) -> Self {
        match value.kind {
            None | Some(Kind::NullValue(_) | Kind::StructValue(_)) => Datum::Null,
            Some(Kind::BoolValue(value)) => Datum::Bool(value),
            Some(Kind::NumberValue(value)) => Datum::Number(value),
            Some(Kind::StringValue(text)) => Datum::Text(text),
            Some(Kind::ListValue(list)) => Datum::list(list),
        }
    }

    pub(crate) fn list(list: ListValue) -> Self {
        Datum::List(Datum::all(list))
    }

    pub(crate) fn all(list: ListValue) -> Vec<Self> {
        list.values.into_iter().map(Datum::of_value).collect()
    }

    /// The order of keys: nulls first, integers by what they are.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Datum::Text(left), Datum::Text(right)) => {
                match (left.parse::<i128>(), right.parse::<i128>()) {
                    (Ok(left), Ok(right)) => left.cmp(&right),
                    _ => left.cmp(right),
                }
            }
            (Datum::Number(left), Datum::Number(right)) => left.total_cmp(right),
            (Datum::Bool(left), Datum::Bool(right)) => left.cmp(right),
            _ => self.rank().cmp(&other.rank()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Datum::Null => 0,
            Datum::Bool(_) => 1,
            Datum::Number(_) => 2,
            Datum::Text(_) => 3,
            Datum::List(_) => 4,
        }
    }
}

/// The key of a row, in the order of keys.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key(pub(crate) Vec<Datum>);

impl Eq for Key {}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        let parts = self.0.iter().zip(&other.0).map(|(left, right)| left.order(right));
        let first = parts.into_iter().find(|order| order.is_ne());
        first.unwrap_or_else(|| self.0.len().cmp(&other.0.len()))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_ordered_as_such() {
        let key = |value: i64| Key(vec![Datum::int(value)]);
        assert!(key(-10) < key(-9) && key(9) < key(10));
        assert!(Key(vec![Datum::Null]) < key(i64::MIN));
    }

    #[test]
    fn a_value_goes_to_the_wire_and_back() {
        let list = Datum::List(vec![Datum::Null, Datum::Bool(true), Datum::Number(0.5)]);
        assert_eq!(Datum::of_value(list.value()), list);
        assert_eq!(list.json().to_string(), "[null,true,0.5]");
    }
}
