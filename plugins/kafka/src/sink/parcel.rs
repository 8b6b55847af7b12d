//! What librdkafka is handed.

use rdkafka::{
    Message as _,
    message::{Header, OwnedHeaders, OwnedMessage},
    producer::BaseRecord,
};
use rowtide_format::Message;

use crate::producer::Ticket;

/// A message on its way to a producer, which copies it.
pub(crate) type Parcel<'a> = BaseRecord<'a, [u8], [u8], usize>;

/// What a message costs beside its bytes, in librdkafka and in the report of its delivery.
const OVERHEAD: usize = 256;

/// The memory that a message holds while it is under way.
pub(super) fn bytes(message: &Message<'_>) -> usize {
    let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let headers = message.headers().map(|header| header.name.len() + length(header.value));
    OVERHEAD + length(message.key) + length(message.value) + headers.sum::<usize>()
}

pub(super) fn pack<'a>(message: &Message<'a>, topic: &'a str, ticket: Ticket) -> Parcel<'a> {
    BaseRecord {
        topic,
        partition: message.partition,
        payload: message.value,
        key: message.key,
        timestamp: time(message),
        headers: headers(message),
        delivery_opaque: ticket.pack(),
    }
}

/// The time that the row gives a message, in milliseconds. To librdkafka the first one of all is
/// none.
pub(super) fn time(message: &Message<'_>) -> Option<i64> {
    let time = message.timestamp.map(|timestamp| timestamp.as_millisecond());
    time.filter(|milliseconds| *milliseconds != 0)
}

/// One that came back, without its time. It goes to the partition that it was meant for.
pub(super) fn pack_again(message: &OwnedMessage, time: Option<i64>, ticket: Ticket) -> Parcel<'_> {
    BaseRecord {
        topic: message.topic(),
        partition: partition(message),
        payload: message.payload(),
        key: message.key(),
        timestamp: time,
        headers: message.headers().cloned(),
        delivery_opaque: ticket.pack(),
    }
}

/// The partition of a message that came back, if one was chosen already.
pub(super) fn partition(message: &OwnedMessage) -> Option<i32> {
    Some(message.partition()).filter(|partition| *partition >= 0)
}

fn headers(message: &Message<'_>) -> Option<OwnedHeaders> {
    let headers = message.headers();
    if headers.len() == 0 {
        return None;
    }
    let empty = OwnedHeaders::new_with_capacity(headers.len());
    let with = |all: OwnedHeaders, header: rowtide_format::Header<'_>| {
        all.insert(Header { key: header.name, value: header.value })
    };
    Some(headers.fold(empty, with))
}
