use proptest::prelude::*;
use prost::Message as _;
use rowtide_core::{ErrorKind, settings::Settings};

use super::{batch::Time, *};
use crate::keys::Key;

/// The three variants of the table that are in use.
const VARIANTS: [&[&str]; 3] = [
    &[
        "batch_id",
        "in_flight",
        "message_count",
        "write_retries",
        "last_write_error",
        "raw_data",
        "seq",
    ],
    &["batch_id", "message_count", "raw_data", "seq"],
    &["batch_id", "message_count", "raw_data", "insert_time", "seq"],
];

fn layout(columns: &[&str]) -> Result<StreamsEgress> {
    let text = |text: &str| Settings::Text(text.to_owned());
    let config = Settings::Table(vec![
        ("database".to_owned(), text("sqlite:x")),
        ("layout".to_owned(), text("streams_egress")),
    ]);
    let found: Vec<_> = columns.iter().map(|name| Column::new(*name, ColumnType::Any)).collect();
    StreamsEgress::new(&config.parse::<OutboxConfig>()?, &found)
}

fn row(id: &str, data: Vec<u8>, count: i64) -> FoundRow {
    let values = [Value::from(id), Value::from(data), Value::from(count)];
    FoundRow { key: Key::Seq(1), values: values.into() }
}

fn message(id: &str, key: &str) -> TransportMessage {
    TransportMessage {
        message_id: id.to_owned(),
        stream_name: "orders".to_owned(),
        stream_key: key.to_owned(),
        headers: [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into(),
        content_type: "application/json".to_owned(),
        data: b"{}".to_vec(),
        time: Some(Time { seconds: 5, nanos: 7 }),
    }
}

fn batch(messages: Vec<TransportMessage>) -> Vec<u8> {
    TransportMessageBatch { messages }.encode_to_vec()
}

fn read(row: FoundRow) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    layout(VARIANTS[1])?.append(row, &mut changes)?;
    Ok(changes)
}

#[test]
fn every_variant_of_the_table_has_what_it_takes() {
    for variant in VARIANTS {
        assert_eq!(
            layout(variant).unwrap().selection(),
            ["batch_id", "raw_data", "message_count"].map(Box::<str>::from)
        );
    }
    let error = layout(&["id", "payload"]).err().unwrap();
    assert_eq!(error.kind(), &ErrorKind::Config);
    assert!(error.message().contains("`batch_id`"), "{error}");
}

#[test]
fn messages_come_in_the_order_of_their_batch_with_all_they_have() {
    let data = batch(vec![message("m2", "k"), message("m1", "")]);
    let changes = read(row("b1   ", data, 2)).unwrap();
    let ids: Vec<_> = changes.iter().map(|change| change.id.to_string()).collect();
    assert_eq!(ids, ["m2", "m1"]);
    let values = changes[0].after.as_ref().unwrap().values();
    assert_eq!(values.len(), changes[0].table.columns.len());
    assert_eq!(
        values,
        [
            Value::from("m2"),
            Value::from("orders"),
            Value::from("k"),
            Value::from(b"{}".to_vec()),
            Value::Timestamp(Timestamp::new(5, 7).unwrap()),
            Value::from("application/json"),
            Value::Json(r#"{"a":"1","b":"2"}"#.into()),
        ]
    );
    assert_eq!(changes[1].after.as_ref().unwrap()[2], Value::Null);
}

#[test]
fn a_message_without_an_id_is_known_by_its_place() {
    let data = batch(vec![message("", "k"), message("", "k")]);
    let ids: Vec<_> =
        read(row("b1", data, 2)).unwrap().iter().map(|it| it.id.to_string()).collect();
    assert_eq!(ids, ["b1:0", "b1:1"]);
}

#[test]
fn a_damaged_batch_is_named_and_nothing_of_it_is_delivered() {
    let whole = batch(vec![message("hush", "k"), message("m2", "k")]);
    let first = batch(vec![message("hush", "k")]).len();
    let mut not_text = batch(vec![message("m", "k")]);
    not_text[4] = 0xff;
    for (data, reason) in [
        (b"nonsense".to_vec(), "Protobuf"),
        (whole[..whole.len() - 1].to_vec(), "Protobuf"),
        // Between two messages.
        (whole[..first].to_vec(), "it holds 1 of 2 messages"),
        (not_text, "UTF-8"),
    ] {
        let error = read(row("b1", data, 2)).unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Fatal);
        let text = error.to_string();
        assert!(text.contains("`b1`") && text.contains(reason), "{text}");
        assert!(!text.contains("hush"), "{text}");
    }
}

#[test]
fn a_count_that_nobody_wrote_says_nothing() {
    assert_eq!(read(row("b1", batch(vec![message("m", "k")]), 0)).unwrap().len(), 1);
    assert!(read(row("b1", Vec::new(), 0)).unwrap().is_empty());
}

#[test]
fn a_time_out_of_this_world_is_none() {
    let time = Some(Time { seconds: i64::MAX, nanos: i32::MIN });
    let data = batch(vec![TransportMessage { time, ..message("m", "k") }]);
    let changes = read(row("b1", data, 1)).unwrap();
    assert_eq!(changes[0].after.as_ref().unwrap()[4], Value::Null);
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(row("b1", bytes, 0));
    }

    #[test]
    fn a_batch_with_any_byte_changed_is_survived(at in any::<prop::sample::Index>(), byte: u8) {
        let mut data = batch(vec![message("m", "k"), message("n", "k")]);
        let at = at.index(data.len());
        data[at] = byte;
        let _ = read(row("b1", data, 2));
    }
}
