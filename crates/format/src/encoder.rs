use std::{fmt, ops::Range};

use jiff::Timestamp;
use rowtide_core::Change;

use crate::{
    Format, debezium::DebeziumEncoder, json::encoder::JsonEncoder, sqlite_cdc::SqliteCdcEncoder,
};

/// Writes changes down in one [`Format`].
///
/// It keeps what it has worked out about each table, so a sink makes one and keeps it.
pub struct Encoder {
    form: Form,
}

enum Form {
    Json(JsonEncoder),
    Debezium(Box<DebeziumEncoder>),
    SqliteCdc(SqliteCdcEncoder),
}

/// Encoded changes, in one buffer that is used again and again.
#[derive(Debug, Default)]
pub struct Messages {
    buffer: Vec<u8>,
    spans: Vec<Span>,
}

/// One encoded change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The index of its change, or of the first of them, in the changes that were encoded.
    pub index: usize,
    /// What tells which row this is about; messages of one key must stay in order.
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone: a real null, which lets a log forget the key.
    pub value: Option<&'a [u8]>,
}

#[derive(Debug)]
struct Span {
    index: usize,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
}

/// Where a format puts its messages.
pub(crate) trait Output {
    /// Adds a message. Both functions append to the buffer; a key that is not wanted is not made,
    /// and `key` returns whether there is one.
    fn message(
        &mut self,
        index: usize,
        key: impl FnOnce(&mut Vec<u8>) -> bool,
        value: impl FnOnce(&mut Vec<u8>),
    );

    /// Adds a message without value, if there is a key.
    fn tombstone(&mut self, index: usize, key: impl FnOnce(&mut Vec<u8>) -> bool);
}

impl Encoder {
    /// Makes the encoder of `format` for a pipeline, whose name some formats write.
    pub fn new(format: &Format, pipeline: &str) -> Self {
        Self::with_clock(format, pipeline, Timestamp::now)
    }

    /// As [`new`](Self::new), with another clock than the system's for the time of processing.
    pub fn with_clock(format: &Format, pipeline: &str, clock: fn() -> Timestamp) -> Self {
        let form = match format {
            Format::Json(settings) => Form::Json(JsonEncoder::new(settings)),
            Format::Debezium(settings) => {
                Form::Debezium(Box::new(DebeziumEncoder::new(settings, pipeline, clock)))
            }
            Format::SqliteCdc(settings) => Form::SqliteCdc(SqliteCdcEncoder::new(settings)),
        };
        Self { form }
    }

    /// Replaces what is in `messages` by the messages of `changes`, in order.
    pub fn messages(&mut self, changes: &[Change], messages: &mut Messages) {
        messages.buffer.clear();
        messages.spans.clear();
        self.encode(changes, messages);
    }

    /// Appends the values of `changes` to `out`, each with a line break. A line has no place for a
    /// key or a tombstone.
    pub fn lines(&mut self, changes: &[Change], out: &mut Vec<u8>) {
        self.encode(changes, &mut Lines(out));
    }

    fn encode(&mut self, changes: &[Change], output: &mut impl Output) {
        match &mut self.form {
            Form::Json(json) => json.encode(changes, output),
            Form::Debezium(debezium) => debezium.encode(changes, output),
            Form::SqliteCdc(sqlite_cdc) => sqlite_cdc.encode(changes, output),
        }
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Messages {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// The messages, in the order of their changes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Message<'_>> {
        let bytes = |range: &Range<usize>| &self.buffer[range.clone()];
        self.spans.iter().map(move |span| Message {
            index: span.index,
            key: span.key.as_ref().map(bytes),
            value: span.value.as_ref().map(bytes),
        })
    }

    fn append_key(&mut self, key: impl FnOnce(&mut Vec<u8>) -> bool) -> Option<Range<usize>> {
        let start = self.buffer.len();
        let is_there = key(&mut self.buffer);
        is_there.then_some(start..self.buffer.len())
    }
}

impl Output for Messages {
    fn message(
        &mut self,
        index: usize,
        key: impl FnOnce(&mut Vec<u8>) -> bool,
        value: impl FnOnce(&mut Vec<u8>),
    ) {
        let key = self.append_key(key);
        let start = self.buffer.len();
        value(&mut self.buffer);
        let value = Some(start..self.buffer.len());
        self.spans.push(Span { index, key, value });
    }

    fn tombstone(&mut self, index: usize, key: impl FnOnce(&mut Vec<u8>) -> bool) {
        if let Some(key) = self.append_key(key) {
            self.spans.push(Span { index, key: Some(key), value: None });
        }
    }
}

struct Lines<'a>(&'a mut Vec<u8>);

impl Output for Lines<'_> {
    fn message(
        &mut self,
        _index: usize,
        _key: impl FnOnce(&mut Vec<u8>) -> bool,
        value: impl FnOnce(&mut Vec<u8>),
    ) {
        value(self.0);
        self.0.push(b'\n');
    }

    fn tombstone(&mut self, _index: usize, _key: impl FnOnce(&mut Vec<u8>) -> bool) {}
}
