//! What the format `json` writes, and that every value can be rebuilt from it.

#![expect(clippy::unwrap_used, reason = "what is missing fails the test")]

use std::sync::Arc;

use jiff::{Timestamp, civil};
use proptest::prelude::*;
use rowtide_core::{
    Change, ChangeId, Column, ColumnType, Metadata, Operation, Row, Table, Transaction, Value,
};
use rowtide_format::{Encoder, Format, Integers, Json, Messages, decoder};

fn line(change: &Change, integers: Integers) -> String {
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&Format::Json(Json { integers }), "p");
    encoder.lines(std::slice::from_ref(change), &mut out);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    text.trim_end_matches('\n').to_owned()
}

fn of_one_column(column_type: ColumnType, value: Value) -> Change {
    let table = Table::new("t", vec![Column::new("v", column_type)]);
    let mut change = Change::new(ChangeId::new("s"), Arc::new(table), Operation::Insert);
    change.after = Some(Row::new([value]));
    change
}

#[track_caller]
fn check(column_type: ColumnType, value: Value, integers: Integers, expected: &str) {
    let change = of_one_column(column_type, value);
    let line = line(&change, integers);
    let (_, after) = line.split_once("\"after\":{\"v\":").unwrap();
    let (written, _) = after.split_once("},\"committed_at\"").unwrap();
    assert_eq!(written, expected);
    let back = decoder::change(&line, &change.table, integers).unwrap();
    assert!(is_same(&change.after.as_ref().unwrap()[0], &back.after.unwrap()[0]), "{line}");
}

/// Equal bit for bit, NaN included.
fn is_same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Float(left), Value::Float(right)) => left.to_bits() == right.to_bits(),
        (Value::Float32(left), Value::Float32(right)) => left.to_bits() == right.to_bits(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| is_same(l, r))
        }
        _ => left == right,
    }
}

#[test]
fn a_line_has_all_that_is_known() {
    let mut rowid = Column::new("rowid", ColumnType::Int).in_key(0);
    rowid.hidden = true;
    let columns = vec![rowid, Column::new("näme", ColumnType::Text)];
    let mut table = Table::new("t\"1", columns);
    let id = ChangeId::new("s").major(7).minor(0);
    let mut change = Change::new(id, Arc::new(table.clone()), Operation::Update);
    change.before = Some(Row::new([Value::Int(5), Value::Unknown]));
    change.after = Some(Row::new([Value::Int(5), Value::from("x\n")]));
    assert_eq!(
        line(&change, Integers::Number),
        r#"{"id":"s:7:0","op":"update","table":"t\"1","key":{"$rowid":5},"before":{},"after":{"näme":"x\n"},"committed_at":null,"transaction":null}"#
    );

    table.namespace = Some("main".into());
    change.table = Arc::new(table);
    change.committed_at = "2026-11-21T10:00:00.5Z".parse().ok();
    change.transaction = Some(Arc::new(Transaction { id: "9".into(), changes: Some(2) }));
    change.metadata = Some(Arc::new(Metadata::default().with("a", 1).with("b", vec![0])));
    change.before = None;
    assert_eq!(
        line(&change, Integers::Number),
        r#"{"id":"s:7:0","op":"update","namespace":"main","table":"t\"1","key":{"$rowid":5},"before":null,"after":{"näme":"x\n"},"committed_at":"2026-11-21T10:00:00.5Z","transaction":{"id":"9","changes":2},"metadata":{"a":1,"b":{"$blob":"AA=="}}}"#
    );
    let alone = line(&change, Integers::Number);
    let shared = Arc::new(Metadata::default().with("b", vec![0]).with("a", 2));
    change.metadata = Some(Arc::new(Metadata::over(shared).with("a", 1)));
    assert_eq!(line(&change, Integers::Number), alone, "what is shared is written the same way");
    let back = decoder::change(&alone, &change.table, Integers::Number);
    change.id = ChangeId::new("s:7:0");
    assert_eq!(back.unwrap(), change);
}

#[test]
fn marks_and_truncates_have_lines_without_rows() {
    let table = Arc::new(Table::new("t", vec![Column::new("id", ColumnType::Int).in_key(0)]));
    for operation in [Operation::Truncate, Operation::SnapshotBegin, Operation::SnapshotEnd] {
        let change = Change::new(ChangeId::new("s"), Arc::clone(&table), operation);
        let expected = format!(
            r#"{{"id":"s","op":"{}","table":"t","key":null,"before":null,"after":null,"committed_at":null,"transaction":null}}"#,
            operation.name()
        );
        assert_eq!(line(&change, Integers::Number), expected);
    }
}

#[test]
fn a_message_has_the_key_of_its_change() {
    let columns = vec![
        Column::new("b", ColumnType::Text).in_key(1),
        Column::new("a", ColumnType::Int).in_key(0),
    ];
    let table = Arc::new(Table::new("t", columns));
    let mut delete = Change::new(ChangeId::new("s"), table, Operation::Delete);
    delete.before = Some(Row::new([Value::from("x"), Value::Int(1)]));
    let mark = Change::new(ChangeId::new("s"), Arc::clone(&delete.table), Operation::Truncate);
    let mut messages = Messages::new();
    Encoder::new(&Format::default(), "p").messages(&[delete, mark], &mut messages);
    let keys: Vec<_> = messages.iter().map(|message| (message.index, message.key)).collect();
    assert_eq!(keys, [(0, Some(&br#"{"a":1,"b":"x"}"#[..])), (1, None)]);
}

#[test]
fn a_value_of_the_columns_own_type_is_plain() {
    use ColumnType as Type;
    use Integers::Number;
    check(Type::Int, Value::Int(i64::MIN), Number, "-9223372036854775808");
    check(Type::Float, Value::Float(1.0), Number, "1.0");
    check(Type::Float, Value::Float(-0.0), Number, "-0.0");
    check(Type::Float32, Value::Float32(0.1), Number, "0.1");
    check(Type::Bytes, Value::Bytes([0, 255].into()), Number, "\"AP8=\"");
    check(Type::Decimal, Value::Decimal("1.20".into()), Number, "\"1.20\"");
    check(Type::Json, Value::Json("{\"a\": 1e999}".into()), Number, "{\"a\": 1e999}");
    check(Type::Date, Value::Date(civil::date(2026, 1, 2)), Number, "\"2026-01-02\"");
    let uuid = "\"00010203-0405-0607-0809-0a0b0c0d0e0f\"";
    check(Type::Uuid, Value::Uuid(std::array::from_fn(|index| index as u8)), Number, uuid);
    let array = Value::Array([Value::Int(1), Value::Null].into());
    check(Type::Array(Box::new(Type::Int)), array, Number, "[1,null]");
}

#[test]
fn what_json_cannot_carry_is_an_object() {
    use ColumnType as Type;
    use Integers::{Number, String};
    check(Type::Text, Value::Bytes([0].into()), Number, r#"{"$blob":"AA=="}"#);
    check(Type::Text, Value::RawText([0xff].into()), Number, r#"{"$text":"/w=="}"#);
    check(Type::Bytes, Value::from("a"), Number, r#"{"$text":"YQ=="}"#);
    check(Type::Any, Value::Float(f64::NEG_INFINITY), Number, r#"{"$float":"-Infinity"}"#);
    check(Type::Any, Value::Float(f64::NAN), Number, r#"{"$float":"NaN"}"#);
    let other = f64::from_bits(0xfff8_0000_0000_0001);
    check(Type::Any, Value::Float(other), Number, r#"{"$float":"NaN(0xfff8000000000001)"}"#);
    check(Type::Float32, Value::Float32(f32::INFINITY), Number, r#"{"$float":"Infinity"}"#);
    check(Type::Any, Value::Decimal("1.0".into()), Number, r#"{"$decimal":"1.0"}"#);
    check(Type::Int, Value::Int(1 << 53), String, "9007199254740992");
    check(Type::Int, Value::Int((1 << 53) + 1), String, "\"9007199254740993\"");
    check(
        Type::Int,
        Value::from("9007199254740993"),
        String,
        r#"{"$text":"OTAwNzE5OTI1NDc0MDk5Mw=="}"#,
    );
    check(Type::Text, Value::from("9007199254740993"), String, "\"9007199254740993\"");
    check(Type::Text, Value::Int(i64::MIN), String, r#"{"$int":"-9223372036854775808"}"#);
}

#[test]
fn a_document_is_never_mistaken_for_a_value() {
    use ColumnType as Type;
    use Integers::Number;
    for (document, expected) in [
        (r#"{"$blob":"AA=="}"#, r#"{"$json":"{\"$blob\":\"AA==\"}"}"#),
        (r#"{ "$blob":1}"#, r#"{"$json":"{ \"$blob\":1}"}"#),
        (r#"{"\u0024blob":1}"#, r#"{"$json":"{\"\\u0024blob\":1}"}"#),
        ("null", r#"{"$json":"null"}"#),
        ("{\n}", r#"{"$json":"{\n}"}"#),
        (" 1", r#"{"$json":" 1"}"#),
        ("no", r#"{"$json":"no"}"#),
        (r#"{"a":{"$blob":1}}"#, r#"{"a":{"$blob":1}}"#),
        ("\"text\"", "\"text\""),
        ("1", "1"),
    ] {
        check(Type::Json, Value::Json(document.into()), Number, expected);
    }
    check(Type::Json, Value::Null, Number, "null");
    check(Type::Json, Value::Int(1), Number, r#"{"$int":"1"}"#);
    check(Type::Json, Value::from("x"), Number, r#"{"$text":"eA=="}"#);
    check(Type::Any, Value::Json("{}".into()), Number, r#"{"$json":"{}"}"#);
}

fn any_float() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        any::<f64>(),
        any::<i32>().prop_map(f64::from)
    ]
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), any::<i64>().prop_map(|number| number.to_string()), ".{0,40}"]
}

fn any_document() -> impl Strategy<Value = String> {
    let object = ("[$\\\\]?[a-z]{1,4}", any::<i32>()).prop_map(|(name, number)| {
        serde_json::json!({ name: [number, {"$blob": "x"}] }).to_string()
    });
    let spaced = object.clone().prop_map(|text| text.replace(':', ": ").replace('[', "[\n"));
    prop_oneof![any_text(), object, spaced, any_float().prop_map(|number| number.to_string())]
}

fn any_value() -> impl Strategy<Value = Value> {
    let invalid = prop::collection::vec(any::<u8>(), 0..12).prop_map(|mut bytes| {
        bytes.push(0xff);
        Value::RawText(bytes.into())
    });
    let second = Timestamp::MIN.as_second()..Timestamp::MAX.as_second();
    let time = (second, 0..1_000_000_000)
        .prop_map(|(second, nanos)| Timestamp::new(second, nanos).unwrap_or(Timestamp::MIN));
    let at = time.clone().prop_map(|time| jiff::tz::TimeZone::UTC.to_datetime(time));
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        prop_oneof![any::<i64>(), -3_i64..3].prop_map(Value::Int),
        any_float().prop_map(Value::Float),
        any::<u32>().prop_map(|bits| Value::Float32(f32::from_bits(bits))),
        any_text().prop_map(|text| Value::Decimal(text.into())),
        any_text().prop_map(Value::from),
        invalid,
        prop::collection::vec(any::<u8>(), 0..12).prop_map(Value::from),
        any_document().prop_map(|text| Value::Json(text.into())),
        any::<[u8; 16]>().prop_map(Value::Uuid),
        at.clone().prop_map(|at| Value::Date(at.date())),
        at.clone().prop_map(|at| Value::Time(at.time())),
        at.prop_map(Value::DateTime),
        time.prop_map(Value::Timestamp),
    ];
    leaf.prop_recursive(2, 8, 4, |value| {
        prop::collection::vec(value, 0..4).prop_map(|values| Value::Array(values.into()))
    })
}

fn any_type() -> impl Strategy<Value = ColumnType> {
    use ColumnType as Type;
    let leaf = prop::sample::select(vec![
        Type::Any,
        Type::Bool,
        Type::Int,
        Type::Float32,
        Type::Float,
        Type::Decimal,
        Type::Text,
        Type::Bytes,
        Type::Json,
        Type::Uuid,
        Type::Date,
        Type::Time,
        Type::DateTime,
        Type::Timestamp,
    ]);
    leaf.prop_recursive(2, 3, 1, |element| {
        element.prop_map(|element| Type::Array(Box::new(element)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn every_value_in_every_column_is_rebuilt(
        column_type in any_type(),
        value in any_value(),
        integers in prop::sample::select(vec![Integers::Number, Integers::String]),
    ) {
        let change = of_one_column(column_type, value);
        let line = line(&change, integers);
        let json: Result<serde_json::Value, _> = serde_json::from_str(&line);
        // A document may hold a number that serde_json has no room for.
        prop_assert!(json.is_ok() || json.unwrap_err().to_string().contains("out of range"));
        let back = decoder::change(&line, &change.table, integers).unwrap();
        let (value, back) = (&change.after.as_ref().unwrap()[0], &back.after.as_ref().unwrap()[0]);
        prop_assert!(is_same(value, back), "{value:?} became {back:?} by {line}");
    }
}
