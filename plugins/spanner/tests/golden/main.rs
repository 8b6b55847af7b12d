//! A row of every type that the emulator takes, written, changed and removed, as lines of the
//! formats `spream` and `json`.
//!
//! What differs from run to run is replaced: the time of the commit, the transaction, the partition.

#[path = "../emulator/mod.rs"]
mod emulator;

use std::process::ExitCode;

use google_cloud_spanner::{
    key::{Key, KeySet},
    mutation::Mutation,
    value::Value as Wire,
};
use jiff::Timestamp;
use rowtide_core::{Change, Result};
use rowtide_format::{Encoder, Format};
use rowtide_servers::{Kind, trials};
use rowtide_spanner as _;

use emulator::{Database, Dialect, Emulator, failed, run, world::connect};

fn main() -> ExitCode {
    trials::main(
        &[Kind::Spanner],
        rowtide_servers::trials![
            every_type_is_written_as_in_the_golden_lines_of_googlesql,
            every_type_is_written_as_in_the_golden_lines_of_postgresql,
        ],
    )
}

fn every_type_is_written_as_in_the_golden_lines_of_googlesql() -> Result<()> {
    let spream = include_str!("googlesql.spream.jsonl");
    check(Dialect::GoogleSql, [spream, include_str!("googlesql.json.jsonl")])
}

fn every_type_is_written_as_in_the_golden_lines_of_postgresql() -> Result<()> {
    let spream = include_str!("postgresql.spream.jsonl");
    check(Dialect::Postgres, [spream, include_str!("postgresql.json.jsonl")])
}

fn check(dialect: Dialect, expected: [&str; 2]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let changes = runtime.expect("a runtime").block_on(changes(dialect))?;
    for (format, expected) in ["spream", "json"].into_iter().zip(expected) {
        let lines = lines(&changes, format)?;
        assert_eq!(lines.len(), expected.lines().count(), "{format}");
        for (line, expected) in lines.iter().zip(expected.lines()) {
            assert_eq!(line, expected, "{format}");
        }
    }
    Ok(())
}

/// The columns, each with its type in both dialects and a value as it is sent.
fn columns() -> Vec<(&'static str, &'static str, &'static str, Wire)> {
    let list = |values: &[&str]| {
        let values = values.iter().map(|value| Wire::from(*value));
        Wire::from(values.collect::<Vec<_>>())
    };
    let at = "2026-11-21T10:00:05Z";
    let document = r#"{"a":[1,null,"ü"]}"#;
    let numeric = "-99999999999999999999999999999.999999999";
    let floats = || Wire::from(vec![Wire::from(0.5), Wire::from(-1e300)]);
    vec![
        ("c_bool", "BOOL", "boolean", Wire::from(true)),
        ("c_bytes", "BYTES(MAX)", "bytea", Wire::from("AP8=")),
        ("c_date", "DATE", "date", Wire::from("2026-11-21")),
        ("c_float32", "FLOAT32", "real", Wire::from(1.5)),
        ("c_float64", "FLOAT64", "double precision", Wire::from(0.1 + 0.2)),
        ("c_int64", "INT64", "bigint", Wire::from("-9223372036854775808")),
        ("c_json", "JSON", "jsonb", Wire::from(document)),
        ("c_numeric", "NUMERIC", "numeric", Wire::from(numeric)),
        ("c_string", "STRING(MAX)", "varchar", Wire::from("\"ü\u{1f980}\n")),
        ("c_timestamp", "TIMESTAMP", "timestamptz", Wire::from(at)),
        ("a_bool", "ARRAY<BOOL>", "boolean[]", Wire::from(vec![Wire::from(false)])),
        ("a_bytes", "ARRAY<BYTES(MAX)>", "bytea[]", list(&["", "AP8="])),
        ("a_date", "ARRAY<DATE>", "date[]", list(&["0001-01-01"])),
        ("a_float32", "ARRAY<FLOAT32>", "real[]", Wire::from(vec![Wire::from(-0.25)])),
        ("a_float64", "ARRAY<FLOAT64>", "double precision[]", floats()),
        ("a_int64", "ARRAY<INT64>", "bigint[]", list(&["9223372036854775807", "0"])),
        ("a_json", "ARRAY<JSON>", "jsonb[]", list(&[document, "null"])),
        ("a_numeric", "ARRAY<NUMERIC>", "numeric[]", list(&["1.5"])),
        ("a_string", "ARRAY<STRING(MAX)>", "varchar[]", list(&["", "NULL"])),
        ("a_timestamp", "ARRAY<TIMESTAMP>", "timestamptz[]", list(&[at])),
        ("nothing", "STRING(MAX)", "varchar", Wire::null()),
    ]
}

/// The row inserted with all values, then with some of them null, then deleted.
async fn changes(dialect: Dialect) -> Result<Vec<Change>> {
    let is_postgres = dialect == Dialect::Postgres;
    let defined = columns().into_iter();
    let defined =
        defined.map(|(name, sql, pg, _)| format!("{name} {}", if is_postgres { pg } else { sql }));
    let defined = defined.collect::<Vec<_>>().join(", ");
    let table = match is_postgres {
        true => format!("CREATE TABLE every (id bigint PRIMARY KEY, {defined})"),
        false => format!("CREATE TABLE every (id INT64 NOT NULL, {defined}) PRIMARY KEY (id)"),
    };
    let stream = "CREATE CHANGE STREAM changes FOR ALL".to_owned();
    let database = Emulator::Calm.database(dialect, &[table, stream]).await?;
    let start = Timestamp::now();
    write(&database).await?;
    // A commit can be ahead of the clock.
    let end = Timestamp::now() + jiff::SignedDuration::from_millis(50);
    let settings = format!(
        "database = '{}'\nendpoint = '{}'\nchange_stream = 'changes'\nheartbeat_every = '100ms'\n\
         start = '{start}'\nend = '{end}'\n",
        database.name, database.endpoint
    );
    let read = run::run(&settings).await?;
    database.drop().await?;
    Ok(read.changes)
}

async fn write(database: &Database) -> Result<()> {
    let client = connect(database).await?;
    let set = |mutation: google_cloud_spanner::mutation::WriteBuilder, cells: Vec<(_, Wire)>| {
        let mutation = mutation.set("id").to(1);
        cells.into_iter().fold(mutation, |row, (name, value): (&str, _)| row.set(name).to(value))
    };
    let all = columns().into_iter().map(|(name, _, _, value)| (name, value)).collect();
    let some = [("c_int64", Wire::null()), ("c_bool", Wire::from(false))].to_vec();
    let mutations = [
        set(Mutation::new_insert_builder("every"), all).build(),
        set(Mutation::new_update_builder("every"), some).build(),
        Mutation::delete("every", KeySet::from(Key::new(vec![Wire::from(1)]))),
    ];
    for mutation in mutations {
        let written = client.write_only_transaction().build().write(vec![mutation]).await;
        written.map_err(|error| failed("writing")(error.into()))?;
    }
    Ok(())
}

fn lines(changes: &[Change], format: &str) -> Result<Vec<String>> {
    let format: Format = serde_json::from_value(format.into()).expect("a format");
    let mut encoder = Encoder::new(&format, "golden");
    let mut lines = Vec::new();
    for change in changes {
        let mut written = Vec::new();
        encoder.lines(std::slice::from_ref(change), &mut written);
        let written = String::from_utf8_lossy(&written).into_owned();
        lines.extend(written.lines().map(|line| constant(line, change)));
    }
    Ok(lines)
}

/// The line without what differs from run to run.
fn constant(line: &str, change: &Change) -> String {
    let metadata = change.metadata.as_ref().expect("metadata");
    let text = |name: &str| match metadata.get(name) {
        Some(rowtide_core::Value::Text(text)) => text.to_string(),
        other => panic!("{name} is {other:?}"),
    };
    let transaction = text("server_transaction_id");
    let at = change.committed_at.expect("a time").to_string();
    let path = text("change_stream");
    line.replace(&at, "COMMITTED")
        .replace(&text("partition_token"), "TOKEN")
        .replace(&path, "STREAM")
        .replace(&format!("/{transaction}"), "/TRANSACTION")
        .replace(&format!("\"{transaction}\""), "\"TRANSACTION\"")
}
