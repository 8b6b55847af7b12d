use jiff::Timestamp;
use sqlx::{AssertSqlSafe, Database, Encode, Type, query::Query};

use crate::{Value, database};

/// `INSERT … VALUES (…), (…)` with a placeholder for each value.
pub(super) fn statement(table: &str, columns: &[String], rows: usize, quote: char) -> String {
    let table = database::quote_table(table, quote);
    let row = format!("({})", vec!["?"; columns.len()].join(", "));
    let values = vec![row; rows].join(", ");
    format!("INSERT INTO {table} ({}) VALUES {values}", database::quote_columns(columns, quote))
}

/// The statement with its values, texts standing for dates and times too.
pub(super) fn query<D>(sql: String, rows: &[Vec<Value>]) -> Query<'_, D, D::Arguments>
where
    D: Database,
    for<'a> &'a str: Encode<'a, D> + Type<D>,
    for<'a> &'a [u8]: Encode<'a, D> + Type<D>,
    for<'a> Option<String>: Encode<'a, D> + Type<D>,
    for<'a> bool: Encode<'a, D> + Type<D>,
    for<'a> i64: Encode<'a, D> + Type<D>,
    for<'a> f64: Encode<'a, D> + Type<D>,
{
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for value in rows.iter().flatten() {
        query = match value {
            Value::Null => query.bind(None::<String>),
            Value::Bool(value) => query.bind(*value),
            Value::Int(number) => query.bind(*number),
            Value::Float(number) => query.bind(*number),
            Value::Text(text) => query.bind(text.as_str()),
            Value::Json(json) => query.bind(json.get()),
            Value::Bytes(bytes) => query.bind(bytes.as_slice()),
            Value::Time(time) => {
                let time = Timestamp::try_from(*time).ok();
                query.bind(time.map(|time| time.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string()))
            }
        };
    }
    query
}
