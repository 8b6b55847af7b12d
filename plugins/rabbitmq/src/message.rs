use std::hash::{DefaultHasher, Hash, Hasher};

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, LongString, ShortString},
};
use rowtide_core::Change;
use rowtide_format::Message;

/// Survives a restart of the broker.
const PERSISTENT: u8 = 2;

/// What of a frame is left to the properties, roughly: a frame's own bytes, those of the header,
/// and the properties of a fixed size.
const FRAME_OVERHEAD: usize = 64;

/// What is published.
pub(crate) struct Outgoing<'a> {
    /// The index of its change in the span.
    pub(crate) index: usize,
    pub(crate) exchange: ShortString,
    pub(crate) routing_key: ShortString,
    pub(crate) properties: BasicProperties,
    pub(crate) payload: &'a [u8],
}

impl Outgoing<'_> {
    /// The memory that the message takes until it is confirmed.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.payload.len()
    }

    /// By what a message that comes back is known again.
    pub(crate) fn fingerprint(&self) -> u64 {
        fingerprint(&self.exchange, &self.routing_key, &self.properties, self.payload)
    }
}

/// See [`Outgoing::fingerprint`]. Messages that have the same are routed alike, and are of one
/// change.
pub(crate) fn fingerprint(
    exchange: &ShortString,
    routing_key: &ShortString,
    properties: &BasicProperties,
    payload: &[u8],
) -> u64 {
    let mut hasher = DefaultHasher::new();
    exchange.hash(&mut hasher);
    routing_key.hash(&mut hasher);
    match properties.message_id() {
        Some(id) => id.hash(&mut hasher),
        None => payload.hash(&mut hasher),
    }
    hasher.finish()
}

/// Makes the properties of messages.
pub(crate) struct Stamp {
    common: BasicProperties,
    /// The header that gets the key; none if it is empty.
    key_header: ShortString,
    bytes_max: usize,
}

impl Stamp {
    pub(crate) fn new(
        content_type: Option<ShortString>,
        app_id: ShortString,
        key_header: ShortString,
        frame_bytes_max: usize,
    ) -> Self {
        let mut common =
            BasicProperties::default().with_delivery_mode(PERSISTENT).with_app_id(app_id);
        if let Some(content_type) = content_type {
            common = common.with_content_type(content_type);
        }
        let bytes_max = match frame_bytes_max {
            0 => usize::MAX,
            frame => frame.saturating_sub(FRAME_OVERHEAD),
        };
        Self { common, key_header, bytes_max }
    }

    /// The properties of `message`, which is one of `change`.
    ///
    /// # Errors
    /// Why it can have none, as a lower-case fragment without a value.
    pub(crate) fn properties(
        &self,
        change: &Change,
        message: &Message<'_>,
    ) -> Result<BasicProperties, String> {
        let mut properties = self.common.clone();
        let mut bytes = 0;
        // An id beyond 255 bytes has no place; the message itself loses nothing by that.
        if let Ok(id) = ShortString::try_new(change.id().to_string()) {
            bytes += id.as_str().len();
            properties = properties.with_message_id(id);
        }
        let time = message.timestamp.or(change.committed_at);
        if let Some(seconds) = time.and_then(|time| u64::try_from(time.as_second()).ok()) {
            properties = properties.with_timestamp(seconds);
        }
        let mut headers = FieldTable::default();
        if let Some(key) = message.key.filter(|_| !self.key_header.as_str().is_empty()) {
            bytes += self.key_header.as_str().len() + key.len();
            headers.insert(self.key_header.clone(), text(key));
        }
        for header in message.headers() {
            let name = ShortString::try_new(header.name)
                .map_err(|_| "the name of a header is longer than 255 bytes".to_owned())?;
            bytes += header.name.len() + header.value.map_or(0, <[u8]>::len) + 6;
            headers.insert(name, header.value.map_or(AMQPValue::Void, text));
        }
        if bytes > self.bytes_max {
            return Err(format!("its headers are larger than the broker's {}", self.bytes_max));
        }
        if !headers.inner().is_empty() {
            properties = properties.with_headers(headers);
        }
        Ok(properties)
    }
}

fn text(bytes: &[u8]) -> AMQPValue {
    AMQPValue::LongString(LongString::from(bytes))
}
