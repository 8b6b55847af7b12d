use std::sync::Arc;

use crate::{
    Datum,
    datum::{unhex, write_array},
    sql::{Literal, SqlError},
};

/// A column of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// The name.
    pub name: String,
    /// The type, as `SHOW COLUMNS` says it.
    pub sql_type: String,
    /// Whether it may be null.
    pub nullable: bool,
    /// What rows get that do not say.
    pub default: Datum,
    /// Stays the same when the column is renamed.
    pub(crate) id: usize,
    /// The index of its family.
    pub(crate) family: usize,
}

/// What a table looks like at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    /// The columns, in their order.
    pub columns: Vec<Column>,
    /// The indexes of the columns of the primary key, in its order.
    pub key: Vec<usize>,
    /// The names of the families; at least one.
    pub families: Vec<String>,
}

/// A row under the schema that it was written with.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// What the values are.
    pub schema: Arc<Schema>,
    /// The values, one a column.
    pub values: Arc<[Datum]>,
}

impl Schema {
    /// The index of a column.
    pub fn index(&self, name: &str) -> Result<usize, SqlError> {
        let found = self.columns.iter().position(|column| column.name == name);
        found.ok_or_else(|| SqlError::new("42703", format!("column \"{name}\" does not exist")))
    }

    /// The next id of a column.
    pub(crate) fn next_id(&self) -> usize {
        self.columns.iter().map(|column| column.id + 1).max().unwrap_or(0)
    }

    /// Whether a changefeed splits rows of this table.
    pub fn has_families(&self) -> bool {
        self.families.len() > 1
    }
}

impl Image {
    /// The primary key as a JSON array, which also tells rows apart.
    pub fn key(&self) -> Arc<str> {
        let mut text = String::new();
        write_array(self.schema.key.iter().map(|&index| &self.values[index]), &mut text);
        text.into()
    }

    /// The same row under another schema.
    pub(crate) fn under(&self, schema: &Arc<Schema>) -> Image {
        let value = |column: &Column| {
            let index = self.schema.columns.iter().position(|own| own.id == column.id);
            index.map_or(column.default.clone(), |index| self.values[index].clone())
        };
        Image { schema: Arc::clone(schema), values: schema.columns.iter().map(value).collect() }
    }
}

impl Column {
    /// What a literal stands for in this column.
    pub(crate) fn datum(&self, literal: &Literal) -> Result<Datum, SqlError> {
        datum(&self.sql_type, literal)
    }
}

fn datum(sql_type: &str, literal: &Literal) -> Result<Datum, SqlError> {
    let wrong = || SqlError::new("22P02", format!("could not parse a value as type {sql_type}"));
    let name = sql_type.to_ascii_lowercase();
    let is = |names: &[&str]| names.iter().any(|prefix| name.starts_with(prefix));
    Ok(match literal {
        Literal::Null => Datum::Null,
        Literal::Bool(value) => Datum::Bool(*value),
        Literal::Array(items) => {
            let item = sql_type.strip_suffix("[]").ok_or_else(wrong)?;
            let items: Result<_, _> = items.iter().map(|literal| datum(item, literal)).collect();
            Datum::Array(items?)
        }
        Literal::Number(text) if is(&["float", "real", "double"]) => {
            Datum::Float(text.parse().map_err(|_| wrong())?)
        }
        Literal::Text(text) if is(&["float", "real", "double"]) => {
            Datum::Float(text.parse().map_err(|_| wrong())?)
        }
        Literal::Number(text) | Literal::Text(text) if is(&["decimal", "numeric"]) => {
            Datum::Decimal(text.clone())
        }
        Literal::Number(text) | Literal::Text(text) if is(&["json", "geo"]) => {
            Datum::Json(text.clone())
        }
        Literal::Number(text) => Datum::Int(text.parse().map_err(|_| wrong())?),
        Literal::Text(text) if is(&["int", "bigint", "smallint"]) && !is(&["interval"]) => {
            Datum::Int(text.parse().map_err(|_| wrong())?)
        }
        Literal::Text(text) if is(&["bool"]) => Datum::Bool(text.starts_with('t')),
        Literal::Text(text) if is(&["bytes", "bytea", "blob"]) => Datum::Bytes(unhex(text)),
        Literal::Text(text) => Datum::Text(text.clone()),
    })
}
