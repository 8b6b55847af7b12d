//! What holds for every settings tree and every position.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rowtide_core::{
    ErrorKind, Position,
    settings::{ByteSize, Period, Secret, Settings, Snapshot, Tables},
};
use serde::Deserialize;

/// Settings with everything that a plugin's settings are made of.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Everything {
    a: bool,
    b: i64,
    c: u8,
    d: f64,
    e: String,
    f: Option<u64>,
    g: Vec<u16>,
    h: BTreeMap<String, i32>,
    i: Option<Box<Everything>>,
    period: Period,
    bytes: ByteSize,
    secret: Option<Secret>,
    tables: Option<Tables>,
    snapshot: Snapshot,
    shape: Shape,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "reading them is the test")]
enum Shape {
    #[default]
    None,
    One(u8),
    Named {
        a: bool,
    },
}

impl Default for Everything {
    fn default() -> Self {
        Self {
            a: false,
            b: 0,
            c: 0,
            d: 0.0,
            e: String::new(),
            f: None,
            g: Vec::new(),
            h: BTreeMap::new(),
            i: None,
            period: Period::from_secs(1),
            bytes: ByteSize(1),
            secret: None,
            tables: None,
            snapshot: Snapshot::Initial,
            shape: Shape::None,
        }
    }
}

const KEYS: [&str; 19] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "period", "bytes", "secret", "tables", "snapshot",
    "shape", "include", "file", "one", "named",
];

fn text() -> impl Strategy<Value = String> {
    const WORDS: [&str; 10] =
        ["1h", "250ms", "16MiB", "initial", "1,2,,3", "-0", "1e999", "\u{0}", "", "${X}"];
    prop_oneof![proptest::sample::select(&WORDS[..]).prop_map(str::to_owned), ".{0,12}"]
}

fn settings() -> impl Strategy<Value = Settings> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Settings::Bool),
        any::<i64>().prop_map(Settings::Int),
        any::<f64>().prop_map(Settings::Float),
        text().prop_map(Settings::Text),
        text().prop_map(Settings::Override),
    ];
    let key = prop_oneof![
        9 => proptest::sample::select(&KEYS[..]).prop_map(str::to_owned),
        1 => ".{0,4}",
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Settings::List),
            prop::collection::vec((key.clone(), inner), 0..5).prop_map(Settings::Table),
        ]
    })
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        ".{0,20}".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::btree_map(".{0,4}", inner, 0..4)
                .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reading_settings_never_panics_and_every_error_is_about_the_settings(tree in settings()) {
        if let Err(error) = tree.parse::<Everything>() {
            prop_assert_eq!(error.kind(), &ErrorKind::Config);
            prop_assert!(!error.message().is_empty());
        }
        for result in [
            tree.parse::<Tables>().map(drop),
            tree.parse::<Period>().map(drop),
            tree.parse::<ByteSize>().map(drop),
            tree.parse::<Secret>().map(drop),
            tree.parse::<Vec<Everything>>().map(drop),
        ] {
            prop_assert!(result.map_or_else(|error| *error.kind() == ErrorKind::Config, |()| true));
        }
    }

    #[test]
    fn a_position_comes_back_as_it_was(data in json(), seconds in 0_i64..4_000_000_000) {
        let as_of = jiff::Timestamp::from_second(seconds).unwrap();
        let position = Position::encode(&data).unwrap().as_of(as_of);
        prop_assert_eq!(&position.decode::<serde_json::Value>().unwrap(), &data);
        let stored = serde_json::to_string(&position).unwrap();
        let loaded: Position = serde_json::from_str(&stored).unwrap();
        prop_assert_eq!(&loaded, &position);
        prop_assert!(Position::from_text(position.text()).is_same_place(&position));
    }

    #[test]
    fn a_text_that_is_no_position_is_lost_and_never_a_panic(text in ".{0,40}") {
        if let Err(error) = Position::from_text(&text).decode::<(u64, Vec<String>)>() {
            prop_assert_eq!(error.kind(), &ErrorKind::PositionLost);
        }
    }
}
