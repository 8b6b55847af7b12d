//! What the format `cloudevents` writes, compared with files in `golden`.

#![expect(clippy::unwrap_used, reason = "what is missing fails the test")]

mod golden;
mod operations;

use std::collections::HashSet;

use rowtide_format::{CloudEvents, CloudEventsMode, Encoder, ExtensionCase, Format, Messages};

fn format(settings: CloudEvents) -> Format {
    Format::CloudEvents(settings)
}

#[test]
fn every_operation_is_an_event() {
    let changes = operations::every_operation();
    golden::check("cloudevents", format(CloudEvents::default()), &changes);
    let mode = CloudEventsMode::Binary;
    golden::check(
        "cloudevents_binary",
        format(CloudEvents { mode, ..Default::default() }),
        &changes,
    );
}

#[test]
fn names_and_attributes_are_as_the_settings_say() {
    let settings = CloudEvents {
        mode: CloudEventsMode::Structured,
        name: Some("größe".to_owned()),
        connector: "sqlite".to_owned(),
        database: "shop.db".to_owned(),
        extensions: true,
        extension_case: ExtensionCase::Keep,
        header_prefix: "cloudEvents:".to_owned(),
        tombstones: false,
    };
    let changes = &operations::every_operation()[4..7];
    golden::check("cloudevents_settings", format(settings.clone()), changes);
    let bare = CloudEvents { extensions: false, mode: CloudEventsMode::Binary, ..settings };
    golden::check("cloudevents_bare", format(bare), changes);
}

#[test]
fn an_event_is_json_whose_attributes_have_lawful_names_once() {
    let mut encoder = Encoder::new(&format(CloudEvents::default()), "p");
    let mut out = Vec::new();
    encoder.lines(&operations::every_operation(), &mut out);
    let mut events = 0;
    for line in String::from_utf8(out).unwrap().lines() {
        let event: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        for (name, value) in &event {
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{name}");
            assert!(value.is_string() || name == "data");
        }
        let (attributes, _) = line.split_once(",\"data\":").unwrap();
        assert_eq!(attributes.matches("\":\"").count(), event.len() - 1);
        events += 1;
    }
    assert_eq!(events, 8);
}

#[test]
fn an_id_is_the_same_each_time_and_no_other_events() {
    let mut changes = operations::every_operation();
    for (number, change) in changes.iter_mut().enumerate() {
        change.id = change.id.clone().minor(number as u64);
    }
    let ids = || {
        let mode = CloudEventsMode::Binary;
        let mut encoder = Encoder::new(&format(CloudEvents { mode, ..Default::default() }), "p");
        let mut messages = Messages::new();
        encoder.messages(&changes, &mut messages);
        let id = |header: rowtide_format::Header<'_>| header.value.map(<[u8]>::to_vec);
        let ids = messages.iter().filter_map(|message| {
            message.headers().find(|header| header.name == "ce_id").and_then(id)
        });
        ids.collect::<Vec<_>>()
    };
    assert_eq!(ids(), ids());
    assert_eq!((ids().len(), ids().into_iter().collect::<HashSet<_>>().len()), (8, 8));
}
