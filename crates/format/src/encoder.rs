use std::{fmt, ops::Range};

use jiff::Timestamp;
use rowtide_core::Change;

use crate::{
    Format, Messages, changefeed_publisher::ChangefeedPublisherEncoder,
    cloudevents::CloudEventsEncoder, debezium::DebeziumEncoder, json::encoder::JsonEncoder,
    messages::Draft, outbox::OutboxEncoder, refusals::Refused, spream::SpreamEncoder,
    sqlite_cdc::SqliteCdcEncoder, text,
};

/// Writes changes down in one [`Format`].
///
/// It keeps what it has worked out about each table, so a sink makes one and keeps it.
pub struct Encoder {
    form: Form,
    refused: Vec<Refused>,
}

enum Form {
    Json(JsonEncoder),
    Debezium(Box<DebeziumEncoder>),
    SqliteCdc(SqliteCdcEncoder),
    CloudEvents(Box<CloudEventsEncoder>),
    Outbox(Box<OutboxEncoder>),
    ChangefeedPublisher(ChangefeedPublisherEncoder),
    Spream(SpreamEncoder),
}

/// Which changes a message holds, by their indexes: one of them, or a range.
pub(crate) struct Contents(pub(crate) Range<usize>);

impl From<usize> for Contents {
    fn from(index: usize) -> Self {
        Self(index..index + 1)
    }
}

impl From<Range<usize>> for Contents {
    fn from(indexes: Range<usize>) -> Self {
        Self(indexes)
    }
}

/// Where a format puts its messages.
pub(crate) trait Output {
    /// Adds a message of the changes at these indexes. Both functions append to the buffer; a key
    /// that is not wanted is not made, and `key` returns whether there is one.
    fn message(
        &mut self,
        changes: impl Into<Contents>,
        key: impl FnOnce(&mut Vec<u8>) -> bool,
        value: impl FnOnce(&mut Vec<u8>),
    );

    /// Adds a message without value, if there is a key.
    fn tombstone(&mut self, index: usize, key: impl FnOnce(&mut Vec<u8>) -> bool);

    /// Adds a message that has more than a key and a value.
    fn draft(&mut self, index: usize, draft: &Draft);
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
            Format::CloudEvents(settings) => {
                Form::CloudEvents(Box::new(CloudEventsEncoder::new(settings, pipeline, clock)))
            }
            Format::Outbox(settings) => Form::Outbox(Box::new(OutboxEncoder::new(settings))),
            Format::ChangefeedPublisher => {
                Form::ChangefeedPublisher(ChangefeedPublisherEncoder::new())
            }
            Format::Spream => Form::Spream(SpreamEncoder::new()),
        };
        Self { form, refused: Vec::new() }
    }

    /// Replaces what is in `messages` by the messages of `changes`, in order.
    pub fn messages(&mut self, changes: &[Change], messages: &mut Messages) {
        messages.clear();
        self.encode(changes, messages);
    }

    /// Appends the values of `changes` to `out`, each with a line break. A line has no place for a
    /// key, a header or a tombstone.
    pub fn lines(&mut self, changes: &[Change], out: &mut Vec<u8>) {
        self.encode(changes, &mut Lines(out));
    }

    /// The changes of the latest call that this format cannot write down. A sink must say so in its
    /// next flush, for which there is [`Refusals`](crate::Refusals).
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    fn encode(&mut self, changes: &[Change], output: &mut impl Output) {
        self.refused.clear();
        match &mut self.form {
            Form::Json(json) => json.encode(changes, output),
            Form::Debezium(debezium) => debezium.encode(changes, output),
            Form::SqliteCdc(sqlite_cdc) => sqlite_cdc.encode(changes, output),
            Form::CloudEvents(cloudevents) => cloudevents.encode(changes, output),
            Form::Outbox(outbox) => outbox.encode(changes, output, &mut self.refused),
            Form::ChangefeedPublisher(publisher) => publisher.encode(changes, output),
            Form::Spream(spream) => spream.encode(changes, output, &mut self.refused),
        }
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Encoder").finish_non_exhaustive()
    }
}

struct Lines<'a>(&'a mut Vec<u8>);

impl Output for Lines<'_> {
    fn message(
        &mut self,
        _changes: impl Into<Contents>,
        _key: impl FnOnce(&mut Vec<u8>) -> bool,
        value: impl FnOnce(&mut Vec<u8>),
    ) {
        value(self.0);
        self.0.push(b'\n');
    }

    fn tombstone(&mut self, _index: usize, _key: impl FnOnce(&mut Vec<u8>) -> bool) {}

    fn draft(&mut self, _index: usize, draft: &Draft) {
        if draft.has_value {
            write_in_line(self.0, &draft.value);
            self.0.push(b'\n');
        }
    }
}

/// A value that is not of this crate's making is a line only if it is a text without control
/// characters. Otherwise it is a JSON string, or base64 in quotes if it is no text.
fn write_in_line(out: &mut Vec<u8>, value: &[u8]) {
    match std::str::from_utf8(value) {
        Ok(text) if !value.iter().any(|&byte| byte < 0x20 && byte != b'\t') => {
            out.extend_from_slice(text.as_bytes());
        }
        Ok(text) => text::string(out, text),
        Err(_) => text::base64(out, value),
    }
}
