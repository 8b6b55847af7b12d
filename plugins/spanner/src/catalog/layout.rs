//! Where the values of a record go in a row of its table.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use rowtide_core::{Column, Error, Result, Row, Table, Value};
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use super::Described;
use crate::{
    client::Type,
    record::{RecordColumn, Shape},
    value,
};

/// The table of a record, and the place and type of each column that it tells of.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) table: Arc<Table>,
    /// The columns of the record as JSON, as it has them.
    pub(crate) columns_json: Box<str>,
    places: HashMap<String, (usize, Type)>,
}

/// The layout of the last record: that of the next one is mostly the same.
#[derive(Debug, Default)]
pub(crate) struct Recent(Option<(Arc<Shape>, Arc<Layout>)>);

/// The members of a JSON object, in order, their values as they stand there.
struct Members<'a>(Vec<(Name<'a>, &'a RawValue)>);

/// A name, which is copied only if it has to be.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl Recent {
    /// The layout of such a record, if the last one was of the same shape.
    pub(crate) fn of(&self, shape: &Arc<Shape>) -> Option<&Arc<Layout>> {
        let (latest, layout) = self.0.as_ref()?;
        (Arc::ptr_eq(latest, shape) || latest == shape).then_some(layout)
    }

    pub(crate) fn keep(&mut self, shape: &Arc<Shape>, layout: &Arc<Layout>) {
        self.0 = Some((Arc::clone(shape), Arc::clone(layout)));
    }
}

/// Whether the table is known with all columns of a record.
pub(super) fn has_all(described: &Described, shape: &Shape) -> bool {
    let names = &described.table.columns;
    shape.columns.iter().all(|column| names.iter().any(|known| *known.name == *column.name))
}

impl Layout {
    /// Puts the columns of a record over those of its table. One that the table has no more comes
    /// behind them.
    pub(super) fn new(described: Option<&Described>, shape: &Shape) -> Result<Self> {
        let mut table = match described {
            Some(described) => Arc::clone(&described.table),
            None => Arc::new(unknown_table(&shape.table)),
        };
        let mut places = HashMap::new();
        let mut keys = table.columns.iter().filter(|column| column.key.is_some()).count();
        for column in &shape.columns {
            let of = Type::from_json(&column.type_json).ok_or_else(|| {
                let name = format!("{}.{}", shape.table, column.name);
                Error::fatal(format!("the type of column `{name}` cannot be read"))
            })?;
            let known = table.columns.iter().position(|known| *known.name == *column.name);
            let place = known.unwrap_or(table.columns.len());
            if known.is_none() {
                let mut added = Column::new(column.name.as_str(), of.column_type());
                added.declared = column.type_json.as_str().into();
                if column.is_key {
                    added.key = u16::try_from(keys).ok();
                    keys += 1;
                }
                Arc::make_mut(&mut table).columns.push(added);
            } else if table.columns[place].column_type != of.column_type() {
                Arc::make_mut(&mut table).columns[place].column_type = of.column_type();
            }
            places.insert(column.name.clone(), (place, of));
        }
        let columns_json = columns_json(&shape.columns).into();
        Ok(Self { table, columns_json, places })
    }

    /// What a record says by itself.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn of_shape(shape: &Shape) -> Result<Self> {
        Self::new(None, shape)
    }

    /// Makes a row of the values of these JSON objects; whatever they lack is unknown.
    ///
    /// # Errors
    /// `Fatal` for a value that is none of its column's type.
    pub(crate) fn row(&self, objects: [&str; 2]) -> Result<Row> {
        let mut values = vec![Value::Unknown; self.table.columns.len()];
        for object in objects {
            let members: Members<'_> = serde_json::from_str(object)
                .map_err(|_| self.unreadable("values that are no JSON object"))?;
            for (name, raw) in members.0 {
                let Some((place, of)) = self.places.get(&*name.0) else {
                    return Err(self.unreadable(&format!("a column `{}` without type", name.0)));
                };
                values[*place] = value::of_json(raw, of).ok_or_else(|| {
                    self.unreadable(&format!(
                        "a value of column `{}` that is not of its type",
                        name.0
                    ))
                })?;
            }
        }
        Ok(Row::new(values))
    }

    fn unreadable(&self, what: &str) -> Error {
        Error::fatal(format!("a change of table `{}` has {what}", self.table.name))
    }
}

fn unknown_table(name: &str) -> Table {
    match name.rsplit_once('.') {
        None => Table::new(name, Vec::new()),
        Some((namespace, name)) => {
            let mut table = Table::new(name, Vec::new());
            table.namespace = Some(namespace.into());
            table
        }
    }
}

fn columns_json(columns: &[RecordColumn]) -> String {
    let columns = columns.iter().map(|column| {
        format!(
            r#"{{"name":{},"type":{},"is_primary_key":{},"ordinal_position":{}}}"#,
            serde_json::Value::from(column.name.as_str()),
            ordered(&column.type_json),
            column.is_key,
            column.ordinal
        )
    });
    format!("[{}]", columns.collect::<Vec<_>>().join(","))
}

/// A type with its code first, as the other programs that read change streams write it.
fn ordered(type_json: &str) -> String {
    let Ok(serde_json::Value::Object(members)) = serde_json::from_str(type_json) else {
        return type_json.to_owned();
    };
    let mut members: Vec<_> = members.into_iter().collect();
    members.sort_by_key(|(name, _)| (name != "code", name != "array_element_type"));
    let member = |(name, value): (String, serde_json::Value)| {
        format!("{}:{}", serde_json::Value::from(name), ordered(&value.to_string()))
    };
    format!("{{{}}}", members.into_iter().map(member).collect::<Vec<_>>().join(","))
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use rowtide_core::ColumnType;

    use super::*;

    fn described() -> Described {
        let mut table = Table::new("t", vec![Column::new("id", ColumnType::Int).in_key(0)]);
        table.columns.push(Column::new("name", ColumnType::Text));
        table.columns.push(Column::new("note", ColumnType::Text));
        Described { table: Arc::new(table), types: vec![Type::Int64, Type::String, Type::String] }
    }

    fn shape(columns: &[(&str, &str, bool)]) -> Shape {
        let columns = columns.iter().enumerate().map(|(index, (name, code, is_key))| {
            let type_json = format!(r#"{{"code":"{code}"}}"#);
            let ordinal = index as i64 + 1;
            RecordColumn { name: (*name).to_owned(), type_json, is_key: *is_key, ordinal }
        });
        Shape { table: "t".to_owned(), columns: columns.collect() }
    }

    #[test]
    fn a_column_that_was_not_modified_is_unknown() {
        let described = described();
        let shape = shape(&[("id", "INT64", true), ("note", "STRING", false)]);
        let layout = Layout::new(Some(&described), &shape).unwrap();
        assert!(Arc::ptr_eq(&layout.table, &described.table), "the table itself is kept");
        let row = layout.row([r#"{"id":"1"}"#, r#"{"note":null}"#]).unwrap();
        assert_eq!(row.values(), [Value::Int(1), Value::Unknown, Value::Null]);
    }

    #[test]
    fn a_type_is_written_with_its_code_first() {
        let element = r#"{"proto_type_fqn":"p","code":"PROTO"}"#;
        let of = format!(r#"{{"array_element_type":{element},"code":"ARRAY"}}"#);
        let element = r#"{"code":"PROTO","proto_type_fqn":"p"}"#;
        let written = format!(r#"{{"code":"ARRAY","array_element_type":{element}}}"#);
        assert_eq!(ordered(&of), written);
        assert_eq!(ordered("?"), "?");
    }

    #[test]
    fn a_column_that_was_dropped_since_comes_behind_the_others() {
        let shape = shape(&[("id", "INT64", true), ("gone", "BOOL", false)]);
        let layout = Layout::new(Some(&described()), &shape).unwrap();
        assert_eq!(&*layout.table.columns[3].name, "gone");
        let row = layout.row([r#"{"id":"1"}"#, r#"{"gone":true}"#]).unwrap();
        assert_eq!(row[3], Value::Bool(true));
    }

    #[test]
    fn a_table_that_was_dropped_since_is_what_its_record_says() {
        let shape = shape(&[("id", "INT64", true), ("name", "STRING", false)]);
        let layout = Layout::new(None, &shape).unwrap();
        assert_eq!((layout.table.columns.len(), layout.table.key()), (2, vec![0]));
    }

    #[test]
    fn a_value_of_another_type_is_refused_without_being_shown() {
        let shape = shape(&[("id", "INT64", true)]);
        let layout = Layout::new(Some(&described()), &shape).unwrap();
        let error = layout.row([r#"{"id":"hush"}"#, "{}"]).unwrap_err().to_string();
        assert!(error.contains("`id`") && !error.contains("hush"), "{error}");
    }
}
