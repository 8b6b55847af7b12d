//! The rows of a SQLite table as a consumer of JSON should have them, by code of its own.

use std::{collections::BTreeMap, error::Error, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rusqlite::{Connection, types::ValueRef};
use serde_json::{Map, Value, json};

/// The one column that is declared as a blob.
const BLOB_COLUMN: &str = "data";

/// The table as it is, written as the `json` format promises, by code of its own.
pub(crate) fn table(
    path: &Path,
    name: &str,
    key: &[&str],
) -> Result<BTreeMap<String, Value>, Box<dyn Error>> {
    let connection = Connection::open(path)?;
    let mut statement = connection.prepare(&format!("SELECT * FROM {name}"))?;
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let mut found = BTreeMap::new();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let mut image = Map::new();
        for (index, column) in columns.iter().enumerate() {
            let value = expected(row.get_ref(index)?, column == BLOB_COLUMN)?;
            image.insert(column.clone(), value);
        }
        let key: Map<_, _> =
            key.iter().map(|&column| (column.to_owned(), image[column].clone())).collect();
        found.insert(Value::Object(key).to_string(), Value::Object(image));
    }
    Ok(found)
}

fn expected(value: ValueRef<'_>, is_blob: bool) -> Result<Value, Box<dyn Error>> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(integer) => json!(integer),
        ValueRef::Real(real) if real.is_finite() => json!(real),
        ValueRef::Real(real) if real > 0.0 => json!({ "$float": "Infinity" }),
        ValueRef::Real(_) => json!({ "$float": "-Infinity" }),
        ValueRef::Text(bytes) if is_blob => json!({ "$text": STANDARD.encode(bytes) }),
        ValueRef::Text(bytes) => json!(std::str::from_utf8(bytes)?),
        ValueRef::Blob(bytes) if is_blob => json!(STANDARD.encode(bytes)),
        ValueRef::Blob(bytes) => json!({ "$blob": STANDARD.encode(bytes) }),
    })
}
