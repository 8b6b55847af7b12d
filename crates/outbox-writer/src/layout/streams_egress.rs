use std::{collections::BTreeMap, time::SystemTime};

use prost::Message as _;
use uuid::Uuid;

use crate::{Error, Layout, Result, Value, insert::Rows, layout::ksuid};

/// A row a call, with its messages in one batch of Protocol Buffers: the outbox `streams_egress` of
/// the streams driver, in each variant of that table.
///
/// Written are `batch_id` (a new one for each call, so that a transaction may have several),
/// `message_count` and `raw_data`; columns beside these have defaults.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamsEgress;

/// A message of the layout [`StreamsEgress`].
#[derive(Clone, Debug)]
pub struct StreamMessage(TransportMessage);

/// What the column `raw_data` holds.
#[derive(Clone, PartialEq, prost::Message)]
struct TransportMessageBatch {
    #[prost(message, repeated, tag = "1")]
    messages: Vec<TransportMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TransportMessage {
    #[prost(string, tag = "1")]
    message_id: String,
    #[prost(string, tag = "2")]
    stream_name: String,
    #[prost(string, tag = "3")]
    stream_key: String,
    #[prost(btree_map = "string, string", tag = "4")]
    headers: BTreeMap<String, String>,
    #[prost(string, tag = "5")]
    content_type: String,
    #[prost(bytes = "vec", tag = "6")]
    data: Vec<u8>,
    #[prost(message, optional, tag = "7")]
    time: Option<Timestamp>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

impl StreamMessage {
    /// A message to the stream `stream_name`; those of one key are published in order.
    ///
    /// Its time is now, and its id a UUID of version 7.
    pub fn new(
        stream_name: impl Into<String>,
        stream_key: impl Into<String>,
        content_type: impl Into<String>,
        data: impl Into<Vec<u8>>,
    ) -> Self {
        let message = TransportMessage {
            message_id: Uuid::now_v7().hyphenated().to_string(),
            stream_name: stream_name.into(),
            stream_key: stream_key.into(),
            headers: BTreeMap::new(),
            content_type: content_type.into(),
            data: data.into(),
            time: None,
        };
        Self(message).time(SystemTime::now())
    }

    /// Gives the message an id of its own, by which consumers know what they have seen.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.0.message_id = id.into();
        self
    }

    /// Gives the message another time.
    #[must_use]
    pub fn time(mut self, time: SystemTime) -> Self {
        self.0.time = jiff::Timestamp::try_from(time).ok().map(|time| {
            let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
            // Nanoseconds are counted forwards, before 1970 too.
            match nanos {
                ..0 => Timestamp { seconds: seconds - 1, nanos: nanos + 1_000_000_000 },
                _ => Timestamp { seconds, nanos },
            }
        });
        self
    }

    /// Adds a header, or replaces the one of that name.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.headers.insert(name.into(), value.into());
        self
    }
}

impl Layout for StreamsEgress {
    type Message = StreamMessage;

    fn rows(&self, messages: &[StreamMessage]) -> Result<Vec<Rows>> {
        let unnamed = messages.iter().position(|message| message.0.stream_name.is_empty());
        if let Some(index) = unnamed {
            return Err(Error::Message { index, reason: "it names no stream".to_owned() });
        }
        let count = i64::try_from(messages.len()).unwrap_or(i64::MAX);
        let messages = messages.iter().map(|message| message.0.clone()).collect();
        let data = TransportMessageBatch { messages }.encode_to_vec();
        let row = vec![Value::Text(ksuid::next()), Value::Int(count), Value::Bytes(data)];
        let columns = ["batch_id", "message_count", "raw_data"].map(str::to_owned).to_vec();
        Ok(vec![Rows { columns, rows: vec![row] }])
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_batch_has_the_bytes_that_the_driver_reads() {
        let message = StreamMessage::new("s", "k", "t", "d")
            .id("i")
            .header("b", "2")
            .header("a", "1")
            .time(SystemTime::UNIX_EPOCH + Duration::new(5, 7));
        let rows = StreamsEgress.rows(&[message]).unwrap();
        let [Value::Text(id), Value::Int(1), Value::Bytes(bytes)] = &rows[0].rows[0][..] else {
            panic!("{rows:?}");
        };
        assert_eq!(id.len(), 27);
        let message = b"\x0a\x01i\x12\x01s\x1a\x01k\x22\x06\x0a\x01a\x12\x011\
            \x22\x06\x0a\x01b\x12\x012\x2a\x01t\x32\x01d\x3a\x04\x08\x05\x10\x07";
        assert_eq!(bytes[..2], [0x0a, u8::try_from(message.len()).unwrap()]);
        assert_eq!(bytes[2..], message[..]);
    }

    #[test]
    fn a_time_before_1970_counts_forwards() {
        let time = SystemTime::UNIX_EPOCH - Duration::from_millis(1);
        let message = StreamMessage::new("s", "k", "t", "d").time(time);
        let expected = Timestamp { seconds: -1, nanos: 999_000_000 };
        assert_eq!(message.0.time, Some(expected));
    }

    #[test]
    fn a_message_without_a_stream_is_refused() {
        let [good, bad] = ["s", ""].map(|stream| StreamMessage::new(stream, "k", "t", "d"));
        let error = StreamsEgress.rows(&[good, bad]).unwrap_err();
        assert!(matches!(error, Error::Message { index: 1, .. }), "{error:?}");
    }
}
