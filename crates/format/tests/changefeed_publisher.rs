//! What the format `changefeed-publisher` writes, compared with files in `golden`.

#![expect(clippy::unwrap_used, reason = "what is missing fails the test")]

mod golden;
mod operations;

use std::sync::Arc;

use rowtide_core::{Column, ColumnType, Operation, Row, Table, Value};
use rowtide_format::{Encoder, Format};

#[test]
fn every_change_is_a_message() {
    golden::check(
        "changefeed_publisher",
        Format::ChangefeedPublisher,
        &operations::every_operation(),
    );
}

#[test]
fn the_programs_own_example_is_written_byte_for_byte() {
    // The columns are not in the order of their names, in which a changefeed has them.
    let columns =
        vec![Column::new("b", ColumnType::Int), Column::new("a", ColumnType::Int).in_key(0)];
    let table = Arc::new(Table::new("foo", columns));
    let row = Some(Row::new([Value::Null, Value::Int(54)]));
    let changes = [
        golden::change(&table, Operation::Insert, [None, row.clone()]),
        golden::change(&table, Operation::Delete, [row, None]),
    ];
    let mut out = Vec::new();
    Encoder::new(&Format::ChangefeedPublisher, "p").lines(&changes, &mut out);
    let expected = concat!(
        r#"{"table":"foo","key":"[54]","value":{"after": {"a": 54, "b": null}}}"#,
        "\n",
        r#"{"table":"foo","key":"[54]","value":{"after": null}}"#,
        "\n",
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn a_key_of_texts_is_json_within_json() {
    let columns = vec![
        Column::new("region", ColumnType::Text).in_key(0),
        Column::new("id", ColumnType::Int).in_key(1),
    ];
    let table = Arc::new(Table::new("t\"1", columns));
    let row = Some(Row::new([Value::from("eu\"ü"), Value::Int(1)]));
    golden::check(
        "changefeed_publisher_key",
        Format::ChangefeedPublisher,
        &[golden::change(&table, Operation::Insert, [None, row])],
    );
}
