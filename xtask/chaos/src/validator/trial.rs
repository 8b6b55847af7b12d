//! Histories for the tests of the validators.

use super::{Validator, timeline};
use crate::history::{Begun, Entry, Fate, Message, MessageKind, ProcessEvent, Scope, What};

pub(crate) fn begun() -> Begun {
    Begun {
        seed: 1,
        pipeline: "sqlite-file".to_owned(),
        settings: [("flush_after".to_owned(), "10".to_owned())].into(),
        scope: Scope::Stream,
        instances: 1,
        memory_max: 1_000,
        drain_max: 1_000,
    }
}

/// Each a millisecond after the one before.
pub(crate) fn entries(all: impl IntoIterator<Item = What>) -> Vec<Entry> {
    (0..).zip(all).map(|(at, what)| Entry { at, what }).collect()
}

pub(crate) fn change(key: &str, step: u64) -> Message {
    Message {
        id: format!("{key}:{step}"),
        kind: MessageKind::Change,
        table: "t".to_owned(),
        key: Some(key.to_owned()),
        step: Some(step),
        place: Some(step),
        partition: None,
        digest: step,
        row: Some(step),
    }
}

pub(crate) fn delivered(number: u64, message: Message) -> What {
    What::Delivered { stream: 0, number, message }
}

pub(crate) fn committed(key: &str, step: u64) -> What {
    What::Committed { key: key.to_owned(), step }
}

pub(crate) fn reached(length: u64) -> What {
    What::Reached { streams: vec![length] }
}

pub(crate) fn saved(place: u64) -> What {
    What::Saved { partition: "p".to_owned(), place }
}

pub(crate) fn process(event: ProcessEvent) -> What {
    What::Process { instance: 0, event, memory: 10 }
}

pub(crate) fn ended(instance: usize, code: Option<i32>) -> What {
    What::Process { instance, event: ProcessEvent::Ended { code }, memory: 10 }
}

pub(crate) fn stopped(fate: Fate) -> What {
    process(ProcessEvent::Stopped { code: Some(0), fate })
}

/// The messages in the order in which they are delivered.
pub(crate) fn stream(messages: impl IntoIterator<Item = Message>) -> Vec<What> {
    (0..).zip(messages).map(|(number, message)| delivered(number, message)).collect()
}

/// Two keys, a kill, a run again, a clean stop.
pub(crate) fn good() -> Vec<Entry> {
    let (a, b, c) = (change("a", 1), change("b", 2), change("a", 3));
    let read = Message {
        kind: MessageKind::Read,
        step: None,
        place: None,
        id: "read".to_owned(),
        ..change("c", 9)
    };
    let row = |key: &str, digest| What::Row { table: "t".into(), key: key.into(), digest };
    let mut all = vec![
        What::Begun(begun()),
        process(ProcessEvent::Started),
        reached(3),
        saved(1),
        process(ProcessEvent::Killed),
        process(ProcessEvent::Started),
        What::Calm,
        reached(5),
        What::Drained,
        saved(3),
        stopped(Fate::Exact),
        committed("a", 1),
        committed("b", 2),
        committed("a", 3),
        row("a", 3),
        row("b", 2),
        row("c", 9),
    ];
    all.extend(stream([read, a, b.clone(), b, c]));
    entries(all)
}

/// What one rule alone says of a history.
pub(crate) fn verdict(
    mut validator: impl Validator,
    all: impl IntoIterator<Item = What>,
) -> Result<(), String> {
    let entries = entries(all);
    timeline(&entries).into_iter().try_for_each(|entry| validator.note(entry))?;
    validator.conclude()
}

/// That a rule refuses a history, for this reason.
pub(crate) fn refused(result: Result<(), String>, word: &str) {
    let reason = result.expect_err("it was let through");
    assert!(reason.contains(word), "refused because {reason}");
}
