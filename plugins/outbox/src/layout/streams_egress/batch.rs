//! What the column `raw_data` holds: Protocol Buffers of the package `streams`.

use std::collections::BTreeMap;

use prost::{DecodeError, Message};

#[derive(Clone, PartialEq, Message)]
pub(super) struct TransportMessageBatch {
    #[prost(message, repeated, tag = "1")]
    pub(super) messages: Vec<TransportMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TransportMessage {
    #[prost(string, tag = "1")]
    pub(super) message_id: String,
    #[prost(string, tag = "2")]
    pub(super) stream_name: String,
    #[prost(string, tag = "3")]
    pub(super) stream_key: String,
    #[prost(btree_map = "string, string", tag = "4")]
    pub(super) headers: BTreeMap<String, String>,
    #[prost(string, tag = "5")]
    pub(super) content_type: String,
    #[prost(bytes = "vec", tag = "6")]
    pub(super) data: Vec<u8>,
    #[prost(message, optional, tag = "7")]
    pub(super) time: Option<Time>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Time {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

impl TransportMessageBatch {
    /// # Errors
    /// The bytes are something else.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode(bytes)
    }
}
