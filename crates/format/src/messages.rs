use std::ops::Range;

use jiff::Timestamp;

use crate::encoder::{Contents, Output};

/// Encoded changes, in one buffer that is used again and again.
#[derive(Debug, Default)]
pub struct Messages {
    buffer: Vec<u8>,
    spans: Vec<Span>,
    rests: Vec<Rest>,
    headers: Vec<HeaderSpan>,
}

/// One encoded change, or several that the format joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The index of its change, or of the first of them, in the changes that were encoded.
    pub index: usize,
    /// How many changes it stands for; see [`changes`](Self::changes).
    count: usize,
    /// What tells which row this is about; messages of one key must stay in order.
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone: a real null, which lets a log forget the key.
    pub value: Option<&'a [u8]>,
    /// Where the format wants this message to go, whatever the sink's own rule is.
    pub topic: Option<&'a str>,
    /// The partition of the topic that the format wants.
    pub partition: Option<i32>,
    /// The time that the row gives the message; without one it bears that of its delivery.
    pub timestamp: Option<Timestamp>,
    headers: &'a [HeaderSpan],
    buffer: &'a [u8],
}

/// A header of a [`Message`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    pub name: &'a str,
    /// `None` is a null, which is not an empty value.
    pub value: Option<&'a [u8]>,
}

/// A message being made by a format that routes, stamps or adds headers.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// Empty if the sink decides.
    pub(crate) topic: String,
    pub(crate) partition: Option<i32>,
    pub(crate) timestamp: Option<Timestamp>,
    /// Whether `key` is one, which may be empty.
    pub(crate) has_key: bool,
    pub(crate) key: Vec<u8>,
    /// Whether `value` is one; a tombstone has none.
    pub(crate) has_value: bool,
    pub(crate) value: Vec<u8>,
    buffer: Vec<u8>,
    headers: Vec<HeaderSpan>,
}

#[derive(Debug)]
struct Span {
    changes: Range<usize>,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    /// The index of what only some formats have.
    rest: Option<usize>,
}

#[derive(Debug)]
struct Rest {
    topic: Option<Range<usize>>,
    partition: Option<i32>,
    timestamp: Option<Timestamp>,
    headers: Range<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct HeaderSpan {
    name: Range<usize>,
    value: Option<Range<usize>>,
}

impl Messages {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// The messages, in the order of their changes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Message<'_>> {
        let bytes = |range: &Range<usize>| &self.buffer[range.clone()];
        self.spans.iter().map(move |span| {
            let rest = span.rest.and_then(|rest| self.rests.get(rest));
            let topic = rest.and_then(|rest| rest.topic.as_ref());
            Message {
                index: span.changes.start,
                count: span.changes.len(),
                key: span.key.as_ref().map(bytes),
                value: span.value.as_ref().map(bytes),
                topic: topic.map(|range| text(bytes(range))),
                partition: rest.and_then(|rest| rest.partition),
                timestamp: rest.and_then(|rest| rest.timestamp),
                headers: rest.map_or(&[], |rest| &self.headers[rest.headers.clone()]),
                buffer: &self.buffer,
            }
        })
    }

    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
        self.spans.clear();
        self.rests.clear();
        self.headers.clear();
    }

    fn append_key(&mut self, key: impl FnOnce(&mut Vec<u8>) -> bool) -> Option<Range<usize>> {
        let start = self.buffer.len();
        let is_there = key(&mut self.buffer);
        is_there.then_some(start..self.buffer.len())
    }

    fn append(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        start..self.buffer.len()
    }
}

impl<'a> Message<'a> {
    /// The indexes of the changes that it holds: a sink that refuses it refuses them all.
    pub fn changes(&self) -> Range<usize> {
        self.index..self.index + self.count
    }

    /// The headers, in order; a name may be there more than once.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = Header<'a>> + use<'a> {
        let buffer = self.buffer;
        self.headers.iter().map(move |span| Header {
            name: text(&buffer[span.name.clone()]),
            value: span.value.clone().map(|range| &buffer[range]),
        })
    }
}

impl Draft {
    pub(crate) fn clear(&mut self) {
        self.topic.clear();
        self.key.clear();
        self.value.clear();
        self.buffer.clear();
        self.headers.clear();
        (self.partition, self.timestamp, self.has_key, self.has_value) = (None, None, false, false);
    }

    /// Adds a header. The function appends its value, and returns whether there is one.
    pub(crate) fn header(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>) -> bool) {
        self.prefixed_header("", name, value);
    }

    /// As [`header`](Self::header), with a name of two parts.
    pub(crate) fn prefixed_header(
        &mut self,
        prefix: &str,
        name: &str,
        value: impl FnOnce(&mut Vec<u8>) -> bool,
    ) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(prefix.as_bytes());
        self.buffer.extend_from_slice(name.as_bytes());
        let name = start..self.buffer.len();
        let start = self.buffer.len();
        let value = value(&mut self.buffer).then_some(start..self.buffer.len());
        self.headers.push(HeaderSpan { name, value });
    }
}

impl Output for Messages {
    fn message(
        &mut self,
        changes: impl Into<Contents>,
        key: impl FnOnce(&mut Vec<u8>) -> bool,
        value: impl FnOnce(&mut Vec<u8>),
    ) {
        let key = self.append_key(key);
        let start = self.buffer.len();
        value(&mut self.buffer);
        let value = Some(start..self.buffer.len());
        let Contents(changes) = changes.into();
        self.spans.push(Span { changes, key, value, rest: None });
    }

    fn tombstone(&mut self, index: usize, key: impl FnOnce(&mut Vec<u8>) -> bool) {
        if let Some(key) = self.append_key(key) {
            let Contents(changes) = index.into();
            self.spans.push(Span { changes, key: Some(key), value: None, rest: None });
        }
    }

    fn draft(&mut self, index: usize, draft: &Draft) {
        let key = draft.has_key.then(|| self.append(&draft.key));
        let value = draft.has_value.then(|| self.append(&draft.value));
        let topic = (!draft.topic.is_empty()).then(|| self.append(draft.topic.as_bytes()));
        let shift = self.append(&draft.buffer).start;
        let shifted = |range: &Range<usize>| range.start + shift..range.end + shift;
        let first = self.headers.len();
        self.headers.extend(draft.headers.iter().map(|span| HeaderSpan {
            name: shifted(&span.name),
            value: span.value.as_ref().map(shifted),
        }));
        let headers = first..self.headers.len();
        let Draft { partition, timestamp, .. } = *draft;
        let Contents(changes) = index.into();
        self.spans.push(Span { changes, key, value, rest: Some(self.rests.len()) });
        self.rests.push(Rest { topic, partition, timestamp, headers });
    }
}

/// What was appended as text is text.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}
