//! What the format `outbox` writes, compared with files in `golden`.

#![expect(clippy::unwrap_used, reason = "what is missing fails the test")]

mod golden;

use std::sync::Arc;

use jiff::civil::date;
use proptest::prelude::*;
use rowtide_core::{Change, Column, ColumnType, Operation, Row, Table, Value};
use rowtide_format::{
    Encoder, Expansion, Format, LineKind, Messages, OnMissingColumn, OnUpdate, Outbox, Strings,
    outbox::{Placement, Route},
};

fn table() -> Arc<Table> {
    let columns = [
        ("seq", ColumnType::Int),
        ("id", ColumnType::Uuid),
        ("aggregatetype", ColumnType::Text),
        ("aggregateid", ColumnType::Text),
        ("type", ColumnType::Text),
        ("payload", ColumnType::Json),
        ("tracingspancontext", ColumnType::Text),
        ("at", ColumnType::Timestamp),
        ("shard", ColumnType::Int),
    ];
    let columns = columns.map(|(name, column_type)| Column::new(name, column_type));
    Arc::new(Table::new("outbox", columns.into()))
}

fn row() -> Vec<Value> {
    vec![
        Value::Int(1),
        Value::Uuid([0xab; 16]),
        Value::from("order"),
        Value::from("größe 1"),
        Value::from("OrderCreated"),
        Value::Json(r#"{"a": 1.50, "note": "😀", "none": null, "list": []}"#.into()),
        Value::Null,
        Value::Null,
        Value::Int(3),
    ]
}

fn insert(values: Vec<Value>) -> Change {
    golden::change(&table(), Operation::Insert, [None, Some(Row::new(values))])
}

/// A row with another value in a column.
fn with(column: &str, value: Value) -> Change {
    let mut values = row();
    let index = table().columns.iter().position(|other| *other.name == *column).unwrap();
    values[index] = value;
    insert(values)
}

fn format(settings: Outbox) -> Format {
    Format::Outbox(Box::new(settings))
}

fn place(placements: &[&str]) -> Vec<Placement> {
    placements.iter().map(|text| Placement::parse(text).unwrap()).collect()
}

/// Payloads of all kinds.
fn payloads() -> Vec<Change> {
    let payloads = [
        Value::Json(r#"{"a": 1.50, "note": "😀", "none": null, "list": []}"#.into()),
        Value::from("{\"a\":\n [1, \"ü\"]}"),
        Value::from("{not json"),
        Value::from("plain größe"),
        Value::Bytes([0, 255].into()),
        Value::Int(7),
        Value::from(" \n"),
        Value::Null,
    ];
    payloads.map(|payload| with("payload", payload)).into()
}

#[test]
fn inserted_rows_are_messages_and_nothing_else_is() {
    let row = || Some(Row::new(row()));
    let change = |operation, rows| golden::change(&table(), operation, rows);
    let changes = [
        change(Operation::SnapshotBegin, [None, None]),
        change(Operation::Read, [None, row()]),
        change(Operation::SnapshotEnd, [None, None]),
        change(Operation::Insert, [None, row()]),
        change(Operation::Update, [row(), row()]),
        change(Operation::Delete, [row(), None]),
        change(Operation::Truncate, [None, None]),
        with("aggregateid", Value::Null),
        with("aggregateid", Value::Int(9)),
        with("aggregatetype", Value::from("größe")),
        with("id", Value::Bytes([1, 255].into())),
        with("id", Value::Null),
    ];
    golden::check("outbox", format(Outbox::default()), &changes);
    let on_update = OnUpdate::Fatal;
    golden::check(
        "outbox_fatal",
        format(Outbox { on_update, ..Outbox::default() }),
        &changes[3..6],
    );
    let on_update = OnUpdate::Error;
    golden::check(
        "outbox_error",
        format(Outbox { on_update, ..Outbox::default() }),
        &changes[3..6],
    );
}

#[test]
fn a_payload_is_as_it_is_or_json_or_expanded() {
    let default = Outbox::default;
    golden::check("outbox_plain", format(default()), &payloads());
    let json = Outbox { strings: Strings::Json, ..default() };
    golden::check("outbox_json", format(json), &payloads());
    let expanded = Outbox { expand_payload: true, ..default() };
    golden::check("outbox_expanded", format(expanded), &payloads());
    let (expand_null, expand_empty_array) = (Expansion::Keep, Expansion::Keep);
    let kept = Outbox { expand_payload: true, expand_null, expand_empty_array, ..default() };
    golden::check("outbox_kept", format(kept), &payloads());
    let tombstones = Outbox { tombstone_on_empty_payload: true, ..default() };
    golden::check("outbox_tombstones", format(tombstones), &payloads());
}

#[test]
fn further_columns_go_where_they_are_placed() {
    let placements = ["type:header:eventType", "seq:header", "at:header", "shard:partition"];
    let headers = Outbox { place: place(&placements), ..Outbox::default() };
    let changes = [
        insert(row()),
        with("shard", Value::Null),
        with("shard", Value::Int(1 << 40)),
        with("shard", Value::from("3")),
        with("type", Value::Unknown),
    ];
    golden::check("outbox_headers", format(headers.clone()), &changes);
    let ignored = Outbox { on_missing_column: OnMissingColumn::Ignore, ..headers };
    golden::check("outbox_ignored", format(ignored), &changes[4..]);

    let envelope =
        Outbox { place: place(&["type:envelope", "seq:envelope:näme"]), ..Outbox::default() };
    golden::check("outbox_envelope", format(envelope.clone()), &payloads());
    let expanded = Outbox { expand_payload: true, ..envelope.clone() };
    golden::check("outbox_envelope_expanded", format(expanded), &payloads());
    let tombstones = Outbox { tombstone_on_empty_payload: true, ..envelope };
    golden::check("outbox_envelope_tombstones", format(tombstones), &payloads()[6..]);
}

#[test]
fn topics_times_columns_and_traces_are_as_the_settings_say() {
    let settings = Outbox {
        id_column: "seq".to_owned(),
        key_column: "type".to_owned(),
        payload_column: "aggregateid".to_owned(),
        timestamp_column: Some("at".to_owned()),
        route_column: "aggregatetype".to_owned(),
        trace_column: "payload".to_owned(),
        route: Route::new("(?<kind>[a-z]+)(-v[0-9]+)?", "events.${kind}").unwrap(),
        ..Outbox::default()
    };
    let trace = "#comment\ntraceparent=00-0af7-b7ad-01\ntracestate=a\\=b\n";
    let changes = [
        insert(row()),
        with("aggregatetype", Value::from("order-v2")),
        with("aggregatetype", Value::from("ORDER")),
        with("at", Value::Timestamp("2026-01-02T03:04:05.6Z".parse().unwrap())),
        with("at", Value::DateTime(date(2026, 1, 2).at(3, 4, 5, 0))),
        with("at", Value::from("2026-01-02 03:04:05")),
        with("at", Value::from("2026-01-02T03:04:05+01:00")),
        with("at", Value::Int(5)),
        with("payload", Value::from(trace)),
    ];
    golden::check("outbox_settings", format(settings), &changes);
}

#[test]
fn what_cannot_be_a_message_is_refused_by_its_index() {
    let other = Arc::new(Table::new("other", vec![Column::new("id", ColumnType::Int)]));
    let foreign = Some(Row::new([Value::Int(1)]));
    let changes = [
        insert(row()),
        with("payload", Value::Unknown),
        with("aggregatetype", Value::Null),
        with("aggregatetype", Value::Bytes([255].into())),
        golden::change(&table(), Operation::Insert, [None, None]),
        golden::change(&other, Operation::Insert, [None, foreign]),
        insert(row()),
    ];
    golden::check("outbox_refused", format(Outbox::default()), &changes);
    let empty = Outbox { route: Route::new(".*", "").unwrap(), ..Outbox::default() };
    golden::check("outbox_no_topic", format(empty), &changes[..1]);
}

#[test]
fn a_line_is_the_value_alone_and_one_line() {
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&format(Outbox::default()), "p");
    encoder.lines(&payloads(), &mut out);
    let lines = String::from_utf8(out).unwrap();
    let expected = concat!(
        r#"{"a": 1.50, "note": "😀", "none": null, "list": []}"#,
        "\n",
        r#""{\"a\":\n [1, \"ü\"]}""#,
        "\n{not json\nplain größe\n\"AP8=\"\n7\n\" \\n\"\n\n",
    );
    assert_eq!(lines, expected);
}

#[test]
fn a_line_is_an_object_only_in_an_envelope() {
    assert_eq!(format(Outbox::default()).line_kind(), LineKind::Text);
    let place = place(&["type:envelope"]);
    let envelope = format(Outbox { place, ..Outbox::default() });
    assert_eq!(envelope.line_kind(), LineKind::Object);
    let mut out = Vec::new();
    Encoder::new(&envelope, "p").lines(&payloads(), &mut out);
    assert!(out.split(|&byte| byte == b'\n').all(|line| line.is_empty() || line[0] == b'{'));
}

#[test]
fn refusals_are_those_of_the_latest_call() {
    let mut encoder = Encoder::new(&format(Outbox::default()), "p");
    let mut out = Vec::new();
    encoder.lines(&[with("payload", Value::Unknown)], &mut out);
    assert_eq!((encoder.refused().len(), out.len()), (1, 0));
    encoder.lines(&[insert(row())], &mut out);
    assert_eq!(encoder.refused(), []);
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Unknown),
        Just(Value::Null),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_map(Value::Float),
        "\\PC{0,12}".prop_map(Value::from),
        "[ \\t\\n{}\\[\\]\":,a1]{0,12}".prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..12).prop_map(Value::from),
        any::<[u8; 16]>().prop_map(Value::Uuid),
    ]
}

fn any_settings() -> impl Strategy<Value = Outbox> {
    let places = prop::sample::subsequence(
        vec!["type:header:kind", "seq:envelope", "at:header", "shard:partition"],
        0..=4,
    );
    (any::<[bool; 5]>(), places).prop_map(|(flags, places)| {
        let [expand_payload, tombstone_on_empty_payload, is_json, ignores, has_time] = flags;
        Outbox {
            expand_payload,
            tombstone_on_empty_payload,
            strings: if is_json { Strings::Json } else { Strings::Plain },
            on_missing_column: if ignores {
                OnMissingColumn::Ignore
            } else {
                OnMissingColumn::Error
            },
            timestamp_column: has_time.then(|| "at".to_owned()),
            place: place(&places),
            ..Outbox::default()
        }
    })
}

proptest! {
    #[test]
    fn every_row_is_one_message_or_refused_and_one_line_or_none(
        rows in prop::collection::vec(prop::collection::vec(any_value(), 9), 1..5),
        settings in any_settings(),
    ) {
        let changes: Vec<_> = rows.into_iter().map(insert).collect();
        let mut encoder = Encoder::with_clock(&format(settings), "p", golden::clock);
        let mut messages = Messages::new();
        encoder.messages(&changes, &mut messages);
        let mut indexes: Vec<_> = messages.iter().map(|message| message.index).collect();
        indexes.extend(encoder.refused().iter().map(|refused| refused.index));
        indexes.sort_unstable();
        prop_assert_eq!(indexes, (0..changes.len()).collect::<Vec<_>>());
        for message in messages.iter() {
            prop_assert!(message.topic.is_some_and(|topic| !topic.is_empty()));
            prop_assert_eq!(message.headers().filter(|header| header.name == "id").count(), 1);
        }
        let mut out = Vec::new();
        encoder.lines(&changes, &mut out);
        let lines = String::from_utf8(out).unwrap();
        let values = messages.iter().filter(|message| message.value.is_some());
        prop_assert_eq!(lines.matches('\n').count(), values.count());
        prop_assert!(!lines.contains('\r') && (lines.is_empty() || lines.ends_with('\n')));
    }
}

#[test]
fn an_object_placed_as_headers_is_a_header_for_each_member() {
    let settings = Outbox { place: place(&["payload:headers"]), ..Outbox::default() };
    let headers = |value: Value| {
        let mut encoder = Encoder::new(&format(settings.clone()), "pipeline");
        let mut messages = Messages::new();
        encoder.messages(&[with("payload", value)], &mut messages);
        let headers = messages.iter().next()?.headers().filter(|header| header.name != "id");
        let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap()).into_owned();
        Some(headers.map(|it| format!("{}={}", it.name, text(it.value))).collect::<Vec<_>>())
    };
    let object = Value::Json(r#"{"b":"ü \"x\"","a":1.50,"c":null}"#.into());
    let expected = ["a=1.50", "b=ü \"x\"", "c=null"];
    assert_eq!(headers(object), Some(expected.map(str::to_owned).to_vec()));
    assert_eq!(headers(Value::Null), Some(Vec::new()));
    // Refused, and not left out.
    for value in [Value::from("[]"), Value::Int(1), Value::Bytes([0].into())] {
        assert_eq!(headers(value), None);
    }
}
