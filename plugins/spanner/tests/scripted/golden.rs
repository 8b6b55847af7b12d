//! A row of every type that the emulator does not take, or not with such values, as lines of the
//! formats `spream` and `json`. What differs from run to run is replaced.

use futures_util::StreamExt;
use rowtide_core::{Change, Error, Event, Result, Value};
use rowtide_fake_spanner::{
    Capture, Column, Datum, Dialect, Faults, Kind, Options, Table, Write, WriteOperation,
};
use rowtide_format::{Encoder, Format};

use crate::{pipeline::open, scene};

pub(crate) async fn every_other_type_is_written_as_in_the_golden_lines() -> Result<()> {
    let goldens = [
        (Dialect::GoogleSql, "spream", include_str!("golden/googlesql.spream.jsonl")),
        (Dialect::GoogleSql, "json", include_str!("golden/googlesql.json.jsonl")),
        (Dialect::Postgres, "spream", include_str!("golden/postgresql.spream.jsonl")),
        (Dialect::Postgres, "json", include_str!("golden/postgresql.json.jsonl")),
    ];
    for (dialect, format, expected) in goldens {
        let changes = changes(dialect).await?;
        let found = lines(&changes, format)?;
        assert_eq!(found.lines().count(), 3, "{format}");
        for (found, expected) in found.lines().zip(expected.lines()) {
            assert_eq!(found, expected, "{dialect:?} {format}");
        }
        assert_eq!(expected.lines().count(), 3, "{format}");
    }
    Ok(())
}

/// The columns, each with its type and a value.
fn columns(dialect: Dialect) -> Vec<(&'static str, Kind, Datum)> {
    let list = |values: &[Datum]| Datum::List(values.to_vec());
    let (text, null) = (|text: &str| Datum::text(text), Datum::Null);
    let array = |kind| Kind::Array(Box::new(kind));
    let id = "0f8fad5b-d9cb-469f-a165-70867728950e";
    let nanoseconds = "2026-11-21T10:00:05.123456789Z";
    let mut columns = vec![
        ("c_uuid", Kind::Uuid, text(id)),
        ("c_interval", Kind::Interval, text("P1Y2M3DT4H5M6.5S")),
        ("c_timestamp", Kind::Timestamp, text(nanoseconds)),
        ("c_nan", Kind::Float64, text("NaN")),
        ("c_infinity", Kind::Float32, text("-Infinity")),
        ("a_uuid", array(Kind::Uuid), list(&[text(id), null.clone()])),
        ("a_bool", array(Kind::Bool), list(&[Datum::Bool(true), null.clone()])),
        ("a_float64", array(Kind::Float64), list(&[text("Infinity"), null.clone()])),
        ("a_string", array(Kind::String), list(&[null.clone(), text("NULL")])),
        ("a_bytes", array(Kind::Bytes), list(&[null.clone(), text("AP8=")])),
        ("a_timestamp", array(Kind::Timestamp), list(&[text(nanoseconds), null.clone()])),
        ("a_empty", array(Kind::Int64), list(&[])),
    ];
    if dialect == Dialect::GoogleSql {
        let message = || Kind::Proto("shop.Order".to_owned());
        let number = || Kind::Enum("shop.State".to_owned());
        columns.extend([
            ("c_proto", message(), text("CAESA2FiYw==")),
            ("c_proto_empty", message(), text("")),
            ("c_enum", number(), text("2")),
            ("a_proto", array(message()), list(&[text("CAE="), null.clone()])),
            ("a_enum", array(number()), list(&[text("0"), null])),
        ]);
    }
    columns
}

/// The row inserted with all values, then with some of them null, then deleted.
async fn changes(dialect: Dialect) -> Result<Vec<Change>> {
    let columns = columns(dialect);
    let mut defined = vec![Column::key("id", Kind::Uuid)];
    defined.extend(columns.iter().map(|(name, kind, _)| Column::new(name, kind.clone())));
    let server = scene::start(Options {
        capture: Capture::OldAndNewValues,
        tables: vec![Table::new("every", defined)],
        ..scene::options(dialect, Faults::none())
    })?;
    let id = ("id", Datum::text("00000000-0000-0000-0000-00000000002a"));
    let mut all = vec![id.clone()];
    all.extend(columns.iter().map(|(name, _, value)| (*name, value.clone())));
    let some = [id.clone(), ("c_uuid", Datum::Null), ("a_bool", Datum::Null)];
    let writes = [
        Write::new("every", WriteOperation::Insert, &all),
        Write::new("every", WriteOperation::Update, &some),
        Write::new("every", WriteOperation::Delete, &[id]),
    ];
    for write in writes {
        server.commit(vec![write]).map_err(scene::failed)?;
    }
    let source = open(&scene::settings(&server)).await?;
    let mut changes = Vec::new();
    let mut streams = futures_util::stream::SelectAll::new();
    for partition in source.partitions().await? {
        streams.push(source.read(&partition, None));
    }
    while changes.len() < 3 {
        let event = streams.next().await.ok_or_else(|| Error::fatal("all has ended"))?;
        match event? {
            Event::Changes { changes: told, .. } => changes.extend(told),
            Event::Children { partitions } => {
                streams.extend(partitions.iter().map(|partition| source.read(partition, None)));
            }
            Event::Idle { .. } | Event::Finished => {}
        }
    }
    Ok(changes)
}

fn lines(changes: &[Change], format: &str) -> Result<String> {
    let format: Format = serde_json::from_value(format.into()).expect("a format");
    let mut encoder = Encoder::new(&format, "golden");
    let mut lines = String::new();
    for change in changes {
        let mut written = Vec::new();
        encoder.lines(std::slice::from_ref(change), &mut written);
        lines.push_str(&constant(&String::from_utf8_lossy(&written), change));
    }
    Ok(lines)
}

fn constant(line: &str, change: &Change) -> String {
    let metadata = change.metadata.as_ref().expect("metadata");
    let text = |name: &str| match metadata.get(name) {
        Some(Value::Text(text)) => text.to_string(),
        other => panic!("{name} is {other:?}"),
    };
    let at = change.committed_at.expect("a time").to_string();
    line.replace(&at, "COMMITTED")
        .replace(&text("partition_token"), "TOKEN")
        .replace(&text("server_transaction_id"), "TRANSACTION")
}
