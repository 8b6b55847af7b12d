//! What a database says of itself, to the statements that a reader of change streams sends.

use std::time::Duration;

use prost::{Message, bytes::Bytes};
use tonic::Status;

use crate::{
    datum::Datum,
    messages::{ExecuteSqlRequest, Field},
    query::row_of,
    schema::{Dialect, Kind},
    store::{Row, Rows, Store},
};

use super::read::{frames, values};

type Named = Vec<(&'static str, Datum)>;

/// The messages that answer a query of the information schema, or one for a sample of keys.
/// Conditions are left to what is known to be asked for.
pub(crate) fn rows(store: &Store, request: &ExecuteSqlRequest) -> Result<Vec<Bytes>, Status> {
    let sql = &request.sql;
    let unknown = || Status::unimplemented(format!("This statement is not understood here: {sql}"));
    if sql.contains("TABLESAMPLE RESERVOIR") {
        return sample(store, sql).ok_or_else(unknown);
    }
    let (columns, source) = selected(sql).ok_or_else(unknown)?;
    let table = source.strip_prefix("information_schema.").ok_or_else(unknown)?;
    let rows = match table {
        "database_options" => vec![database_option(store)],
        "change_streams" => change_streams(store),
        "change_stream_options" => change_stream_options(store),
        "change_stream_tables" => change_stream_tables(store),
        "change_stream_columns" => Vec::new(),
        "index_columns" => index_columns(store),
        "columns" => table_columns(store),
        _ => return Err(unknown()),
    };
    let cell = |row: &Named, name: &str| {
        row.iter().find(|(own, _)| *own == name).map(|(_, value)| value.clone())
    };
    let mut answer = Vec::new();
    for row in &rows {
        let cells = columns.iter().map(|name| cell(row, name).ok_or_else(unknown));
        let cells = cells.collect::<Result<Vec<_>, _>>()?;
        answer.push(cells.iter().map(|cell| cell.value().encode_to_vec().into()).collect());
    }
    let field = |name: &String| {
        let kind = match rows.first().and_then(|row| cell(row, name)) {
            Some(Datum::Bool(_)) => Kind::Bool,
            _ if name.starts_with("ordinal") => Kind::Int64,
            _ => Kind::String,
        };
        Field { name: name.clone(), r#type: Some(kind.message(store.dialect)) }
    };
    Ok(frames(&answer, &row_of(columns.iter().map(field).collect())))
}

/// The columns between `SELECT` and `FROM`, without quotes and aliases, and what comes after.
fn selected(sql: &str) -> Option<(Vec<String>, String)> {
    let rest = sql.trim().strip_prefix("SELECT ")?;
    let (columns, rest) = rest.split_once(" FROM ")?;
    let source = rest.split_whitespace().next()?.to_lowercase();
    let name = |column: &str| {
        let column = column.trim().rsplit('.').next().unwrap_or_default();
        column.trim_matches(['`', '"']).to_lowercase()
    };
    Some((columns.split(',').map(name).collect(), source))
}

fn database_option(store: &Store) -> Named {
    let dialect = match store.dialect {
        Dialect::GoogleSql => "GOOGLE_STANDARD_SQL",
        Dialect::Postgres => "POSTGRESQL",
    };
    vec![("option_name", Datum::text("database_dialect")), ("option_value", Datum::text(dialect))]
}

/// What the dialects have for yes and no in the information schema.
fn flag(store: &Store, value: bool) -> Datum {
    match store.dialect {
        Dialect::GoogleSql => Datum::Bool(value),
        Dialect::Postgres => Datum::text(if value { "YES" } else { "NO" }),
    }
}

fn schema(store: &Store) -> Datum {
    Datum::text(if store.dialect == Dialect::GoogleSql { "" } else { "public" })
}

fn watches_all(store: &Store) -> bool {
    store.tables.iter().all(|rows| rows.table.is_watched)
}

fn change_streams(store: &Store) -> Vec<Named> {
    let row = |stream: &crate::store::ChangeStream| {
        vec![
            ("change_stream_name", Datum::text(stream.name.as_str())),
            ("all", flag(store, watches_all(store))),
        ]
    };
    store.stream.iter().map(row).collect()
}

fn change_stream_options(store: &Store) -> Vec<Named> {
    let Some(stream) = &store.stream else { return Vec::new() };
    let mode = if stream.is_mutable { "MUTABLE_KEY_RANGE" } else { "IMMUTABLE_KEY_RANGE" };
    let options = [
        ("value_capture_type", stream.capture.name().to_owned()),
        ("retention_period", format!("{}s", Duration::as_secs(&stream.retention))),
        ("partition_mode", mode.to_owned()),
    ];
    let row = |(name, value): (&str, String)| {
        vec![
            ("change_stream_name", Datum::text(stream.name.as_str())),
            ("option_name", Datum::text(name)),
            ("option_value", Datum::Text(value)),
        ]
    };
    options.into_iter().map(row).collect()
}

fn change_stream_tables(store: &Store) -> Vec<Named> {
    let Some(stream) = store.stream.as_ref().filter(|_| !watches_all(store)) else {
        return Vec::new();
    };
    let watched = store.tables.iter().filter(|rows| rows.table.is_watched);
    let row = |rows: &Rows| {
        vec![
            ("change_stream_name", Datum::text(stream.name.as_str())),
            ("table_schema", schema(store)),
            ("table_name", Datum::text(rows.table.name.as_str())),
            ("all_columns", flag(store, true)),
        ]
    };
    watched.map(row).collect()
}

fn index_columns(store: &Store) -> Vec<Named> {
    let of_table = |rows: &Rows| -> Vec<Named> {
        let row = |(ordinal, place): (usize, usize)| {
            vec![
                ("table_schema", schema(store)),
                ("table_name", Datum::text(rows.table.name.as_str())),
                ("column_name", Datum::text(rows.table.columns[place].name.as_str())),
                ("column_ordering", Datum::text("ASC")),
                ("ordinal_position", Datum::text((ordinal + 1).to_string())),
            ]
        };
        rows.key().enumerate().map(row).collect()
    };
    store.tables.iter().flat_map(of_table).collect()
}

fn table_columns(store: &Store) -> Vec<Named> {
    let of_table = |rows: &Rows| -> Vec<Named> {
        let row = |column: &crate::schema::Column| {
            vec![
                ("table_schema", schema(store)),
                ("table_name", Datum::text(rows.table.name.as_str())),
                ("column_name", Datum::text(column.name.as_str())),
                ("spanner_type", Datum::Text(column.kind.declared(store.dialect))),
                ("is_generated", Datum::text("NEVER")),
            ]
        };
        rows.table.columns.iter().map(row).collect()
    };
    store.tables.iter().flat_map(of_table).collect()
}

/// Keys of a table, in their order: all of a small one, and as many as are asked for of another.
fn sample(store: &Store, sql: &str) -> Option<Vec<Bytes>> {
    let (columns, _) = selected(sql)?;
    let (before, after) = sql.split_once(" TABLESAMPLE RESERVOIR (")?;
    let table = before.rsplit(' ').next()?.replace('`', "");
    let size: usize = after.split_whitespace().next()?.parse().ok()?;
    let rows = store.table(&table).ok()?;
    let places = columns.iter().map(|name| {
        let names = rows.table.columns.iter().map(|column| column.name.to_lowercase());
        names.into_iter().position(|own| own == *name)
    });
    let places = places.collect::<Option<Vec<_>>>()?;
    let all: Vec<&Row> = rows.at(jiff::Timestamp::MAX).map(|(_, row)| row).collect();
    let step = all.len().div_ceil(size).max(1);
    let keys: Vec<_> = match all.len() > size {
        true => (0..size).map(|index| values(all[index * all.len() / size], &places)).collect(),
        false => all.iter().step_by(step).map(|row| values(row, &places)).collect(),
    };
    Some(frames(&keys, &row_of(rows.fields(&places, store.dialect))))
}
