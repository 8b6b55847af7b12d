use std::{
    hash::{DefaultHasher, Hash, Hasher},
    ops::Range,
};

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, LongString, ShortString},
};
use rowtide_core::Change;
use rowtide_format::Message;

/// Survives a restart of the broker.
const PERSISTENT: u8 = 2;

/// What of a frame is not for headers, at most: its own bytes, and three short properties.
const FRAME_OVERHEAD: usize = 1024;

/// Headers by which the broker routes; it closes the channel on one that is not a list.
pub(crate) const LISTS: [&str; 2] = ["CC", "BCC"];

/// What is published.
pub(crate) struct Outgoing<'a> {
    /// The changes in it, by their indexes in the span.
    pub(crate) contents: Range<usize>,
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
            // A name is there once. The key comes first, and then what the format itself adds:
            // what a row names alike must not take the place of either.
            if headers.contains_key(name.as_str()) {
                continue;
            }
            bytes += header.name.len() + header.value.map_or(0, <[u8]>::len) + 6;
            headers.insert(name, header.value.map_or(AMQPValue::Void, text));
        }
        if let Some(name) = LISTS.iter().find(|name| headers.contains_key(name)) {
            return Err(format!("to the broker its header `{name}` is a list of routing keys"));
        }
        if bytes > self.bytes_max {
            return Err(format!(
                "its headers are larger than the broker's {} bytes",
                self.bytes_max
            ));
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rowtide_core::{ChangeId, Column, ColumnType, Operation, Row, Table, Value};
    use rowtide_format::{Encoder, Format, Messages};

    use super::*;

    fn properties(id: &str, key: &str) -> Result<BasicProperties, String> {
        let column = Column::new("key", ColumnType::Text).in_key(0);
        let table = Arc::new(Table::new("t", vec![column]));
        let mut change = Change::new(ChangeId::new(id), table, Operation::Insert);
        change.after = Some(Row::new([Value::from(key)]));
        let mut messages = Messages::new();
        let changes = [change];
        Encoder::new(&Format::default(), "p").messages(&changes, &mut messages);
        let stamp = Stamp::new(None, "p".into(), "key".into(), 8_192);
        stamp.properties(&changes[0], &messages.iter().next().unwrap())
    }

    #[test]
    fn an_id_that_is_too_long_is_left_out() {
        let id = |length| properties(&"i".repeat(length), "k").unwrap().message_id().clone();
        assert_eq!(id(255).unwrap().as_str().len(), 255);
        assert_eq!(id(256), None);
    }

    #[test]
    fn headers_that_no_frame_holds_are_a_reason_without_the_value() {
        assert!(properties("i", &"k".repeat(7_000)).is_ok());
        let reason = properties("i", &"k".repeat(8_000)).unwrap_err();
        assert_eq!(reason, "its headers are larger than the broker's 7168 bytes");
    }
    fn of_outbox(headers: &str) -> Result<FieldTable, String> {
        let names = ["id", "aggregatetype", "aggregateid", "payload", "meta"];
        let columns = names.map(|name| Column::new(name, ColumnType::Text));
        let table = Arc::new(Table::new("t", columns.to_vec()));
        let mut change = Change::new(ChangeId::new("i"), table, Operation::Insert);
        change.after = Some(Row::new(["7", "a", "k", "p", headers].map(Value::from)));
        let format = serde_json::json!({"type": "outbox", "place": ["meta:headers"]});
        let format: Format = serde_json::from_value(format).unwrap();
        let mut messages = Messages::new();
        let changes = [change];
        Encoder::new(&format, "p").messages(&changes, &mut messages);
        let stamp = Stamp::new(None, "p".into(), "key".into(), 8_192);
        let properties = stamp.properties(&changes[0], &messages.iter().next().unwrap())?;
        Ok(properties.headers().clone().unwrap())
    }

    #[test]
    fn a_header_of_a_row_takes_the_place_of_no_other() {
        let headers = of_outbox(r#"{"key":"x","id":"x","own":"x"}"#).unwrap();
        let value = |name: &str| headers.inner().get(name).cloned();
        for (name, wanted) in [("key", "k"), ("id", "7"), ("own", "x")] {
            assert_eq!(value(name), Some(text(wanted.as_bytes())), "{name}");
        }
    }

    #[test]
    fn a_header_that_the_broker_takes_for_routing_is_a_reason() {
        for name in LISTS {
            let reason = of_outbox(&format!(r#"{{"{name}":"hush"}}"#)).unwrap_err();
            assert!(reason.contains(name) && !reason.contains("hush"), "{reason}");
        }
        assert!(of_outbox(r#"{"cc":"x"}"#).is_ok());
    }
}
