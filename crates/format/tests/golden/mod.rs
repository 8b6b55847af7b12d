//! Compares messages with a file: one line a message. Run with `UPDATE_GOLDEN=1` to write the files
//! anew, and look at what has changed.

use std::{env, fs, path::Path, sync::Arc};

use jiff::Timestamp;
use rowtide_core::{Change, ChangeId, Operation, Row, Table};
use rowtide_format::{Encoder, Format, Message, Messages};

pub(crate) fn clock() -> Timestamp {
    Timestamp::new(1_800_000_000, 123_456_789).unwrap()
}

#[track_caller]
pub(crate) fn check(name: &str, format: Format, changes: &[Change]) {
    let mut encoder = Encoder::with_clock(&format, "shop", clock);
    let mut messages = Messages::new();
    encoder.messages(changes, &mut messages);
    let mut lines: String = messages.iter().map(|message| line(&message)).collect();
    for refused in encoder.refused() {
        lines.push_str(&format!("{} refused: {}\n", refused.index, refused.reason));
    }
    let lines = lines.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.txt"));
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &lines).unwrap();
    }
    assert_eq!(lines, fs::read_to_string(&path).unwrap());
}

fn line(message: &Message<'_>) -> String {
    let headers: Vec<_> = message
        .headers()
        .map(|header| format!("{}={}", header.name, shown(header.value)))
        .collect();
    let mut line =
        format!("{} key {} value {}", message.index, shown(message.key), shown(message.value));
    if let Some(topic) = message.topic {
        line.push_str(&format!(" topic {topic}"));
    }
    if let Some(partition) = message.partition {
        line.push_str(&format!(" partition {partition}"));
    }
    if let Some(timestamp) = message.timestamp {
        line.push_str(&format!(" at {timestamp}"));
    }
    if !headers.is_empty() {
        line.push_str(&format!(" headers {}", headers.join(", ")));
    }
    line + "\n"
}

/// A text as it is between bars, so that it is not mistaken for null.
fn shown(bytes: Option<&[u8]>) -> String {
    match bytes.map(std::str::from_utf8) {
        None => "null".to_owned(),
        Some(Ok(text)) => format!("|{}|", text.replace('\n', "⏎")),
        Some(Err(_)) => format!("bytes {bytes:?}"),
    }
}

pub(crate) fn change(table: &Arc<Table>, operation: Operation, rows: [Option<Row>; 2]) -> Change {
    let id = ChangeId::new("s").major(3).minor(0);
    let mut change = Change::new(id, Arc::clone(table), operation);
    change.committed_at = Timestamp::new(1_700_000_000, 987_654_321).ok();
    [change.before, change.after] = rows;
    change
}
