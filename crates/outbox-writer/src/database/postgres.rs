use std::fmt::Write;

use jiff::Timestamp;
use serde::{Serialize, Serializer, ser::SerializeMap};
use sqlx::{AssertSqlSafe, PgConnection, Postgres};

use crate::{Database, Value, database};

impl Database for Postgres {
    /// All rows are one parameter.
    const VALUES_MAX: usize = usize::MAX;

    /// Sends the rows as JSON, which the server turns into the types of the columns. Parameters
    /// would have to be of just these types: a text is no UUID and no JSONB.
    async fn insert(
        connection: &mut PgConnection,
        table: &str,
        columns: &[String],
        rows: &[Vec<Value>],
    ) -> sqlx::Result<u64> {
        let table = database::quote_table(table, '"');
        let names = database::quote_columns(columns, '"');
        let sql = format!(
            "INSERT INTO {table} ({names}) \
             SELECT {names} FROM json_populate_recordset(NULL::{table}, $1::text::json)"
        );
        let objects: Vec<_> = rows.iter().map(|values| Object { columns, values }).collect();
        let json = serde_json::to_string(&objects)
            .map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
        let written = sqlx::query(AssertSqlSafe(sql)).bind(json).execute(connection).await?;
        Ok(written.rows_affected())
    }
}

/// A row, by the names of its columns.
struct Object<'a> {
    columns: &'a [String],
    values: &'a [Value],
}

/// A value in the form that the input of its column's type reads.
struct Input<'a>(&'a Value);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(self.columns.len()))?;
        for (column, value) in self.columns.iter().zip(self.values) {
            object.serialize_entry(column, &Input(value))?;
        }
        object.end()
    }
}

impl Serialize for Input<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(number) => serializer.serialize_i64(*number),
            Value::Float(number) if number.is_finite() => serializer.serialize_f64(*number),
            Value::Float(number) => serializer.serialize_str(&number.to_string()),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Json(json) => json.serialize(serializer),
            Value::Bytes(bytes) => serializer.serialize_str(&hexadecimal(bytes)),
            Value::Time(time) => {
                let time = Timestamp::try_from(*time).ok();
                time.map(|time| time.to_string()).serialize(serializer)
            }
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("\\x");
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
