//! The messages of a query, put together from parts that are encoded already.

use fastrand::Rng;
use prost::{
    Message,
    bytes::{BufMut, Bytes, BytesMut},
    encoding::{WireType, encode_key, encode_varint},
};
use prost_types::{ListValue, Value, value::Kind};

use crate::messages::{PartialResultSet, ResultSetMetadata};

/// A message that is to be sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frame {
    /// Encoded values.
    pub(crate) values: Vec<Bytes>,
    pub(crate) is_chunked: bool,
    /// Whether its first value goes on with the last one of the message before.
    pub(crate) is_continued: bool,
    /// Whether some children are told already, and the others have to follow.
    pub(crate) follows_children: bool,
    pub(crate) token: Bytes,
    pub(crate) is_last: bool,
}

impl Frame {
    /// Whether a query may end too early instead of sending this: not within a value, which would
    /// be a broken message, and not where the other children have to follow.
    pub(crate) fn may_be_the_end(&self) -> bool {
        !self.is_continued && !self.follows_children
    }

    pub(crate) fn encode(&self, metadata: Option<&ResultSetMetadata>) -> Bytes {
        let mut buffer = BytesMut::new();
        if let Some(metadata) = metadata {
            put(&mut buffer, 1, &metadata.encode_to_vec());
        }
        for value in &self.values {
            put(&mut buffer, 2, value);
        }
        let rest = PartialResultSet {
            chunked_value: self.is_chunked,
            resume_token: self.token.clone(),
            last: self.is_last,
            ..PartialResultSet::default()
        };
        buffer.put_slice(&rest.encode_to_vec());
        buffer.freeze()
    }

    /// The same in several messages: its last value is cut. Only the last of them can be resumed
    /// behind.
    pub(crate) fn cut(self, chance: &mut Rng) -> Vec<Frame> {
        let mut frames = Vec::new();
        let Some(Ok(mut rest)) = self.values.last().map(|value| Value::decode(value.clone()))
        else {
            return vec![self];
        };
        if !is_divisible(&rest) {
            return vec![self];
        }
        let mut values = self.values.clone();
        values.pop();
        for _ in 0..chance.usize(1..4) {
            let (head, tail) = cut_value(rest, chance);
            values.push(head.encode_to_vec().into());
            let values = std::mem::take(&mut values);
            let is_continued = !frames.is_empty();
            frames.push(Frame { values, is_chunked: true, is_continued, ..Frame::default() });
            rest = tail;
        }
        let values = vec![rest.encode_to_vec().into()];
        frames.push(Frame { values, is_chunked: false, is_continued: true, ..self });
        frames
    }
}

/// One row of a single column that is an array of these.
pub(crate) fn array_of(elements: &[Bytes]) -> Bytes {
    let mut list = BytesMut::new();
    for element in elements {
        put(&mut list, 1, element);
    }
    let mut value = BytesMut::new();
    put(&mut value, 6, &list);
    value.freeze()
}

fn put(buffer: &mut BytesMut, field: u32, bytes: &[u8]) {
    encode_key(field, WireType::LengthDelimited, buffer);
    encode_varint(bytes.len() as u64, buffer);
    buffer.put_slice(bytes);
}

fn is_divisible(value: &Value) -> bool {
    matches!(value.kind, Some(Kind::StringValue(_) | Kind::ListValue(_)))
}

/// Cuts a value in two that are merged by the rules of the protocol: texts are joined, lists too,
/// and so is the last element of the one with the first of the other, where those can be.
fn cut_value(value: Value, chance: &mut Rng) -> (Value, Value) {
    let (head, tail) = match value.kind {
        Some(Kind::StringValue(text)) => {
            let (head, tail) = cut_text(&text, chance);
            (Kind::StringValue(head), Kind::StringValue(tail))
        }
        Some(Kind::ListValue(list)) => {
            let (head, tail) = cut_list(list.values, chance);
            let list = |values| Kind::ListValue(ListValue { values });
            (list(head), list(tail))
        }
        // Nothing else is ever cut.
        other => return (Value { kind: other }, Value { kind: None }),
    };
    (Value { kind: Some(head) }, Value { kind: Some(tail) })
}

fn cut_text(text: &str, chance: &mut Rng) -> (String, String) {
    let mut at = chance.usize(0..=text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    (text[..at].to_owned(), text[at..].to_owned())
}

fn cut_list(mut values: Vec<Value>, chance: &mut Rng) -> (Vec<Value>, Vec<Value>) {
    if values.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let at = chance.usize(0..values.len());
    let mut tail = values.split_off(at);
    if is_divisible(&tail[0]) {
        let (head, rest) = cut_value(tail.remove(0), chance);
        values.push(head);
        tail.insert(0, rest);
        return (values, tail);
    }
    values.push(tail.remove(0));
    (values, tail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datum::Datum;

    /// As every client does it.
    fn merge(target: &mut Value, source: Value) {
        match (&mut target.kind, source.kind) {
            (Some(Kind::StringValue(text)), Some(Kind::StringValue(more))) => text.push_str(&more),
            (Some(Kind::ListValue(list)), Some(Kind::ListValue(more))) => {
                let mut more = more.values.into_iter();
                if let Some(first) = more.next() {
                    match (list.values.last_mut(), &first.kind) {
                        (
                            Some(last @ Value { kind: Some(Kind::StringValue(_)) }),
                            Some(Kind::StringValue(_)),
                        )
                        | (
                            Some(last @ Value { kind: Some(Kind::ListValue(_)) }),
                            Some(Kind::ListValue(_)),
                        ) => merge(last, first),
                        _ => list.values.push(first),
                    }
                }
                list.values.extend(more);
            }
            (left, right) => panic!("{left:?} cannot be merged with {right:?}"),
        }
    }

    #[test]
    fn pieces_are_what_was_cut() {
        let inner = Datum::List(vec![Datum::text("aü"), Datum::text(""), Datum::Bool(true)]);
        let value = Datum::List(vec![inner.clone(), Datum::Null, Datum::text("xyz"), inner]);
        let whole = value.value();
        for seed in 0..500 {
            let values = vec![whole.encode_to_vec().into()];
            let frame = Frame { values, token: Bytes::from_static(b"t"), ..Frame::default() };
            let mut chance = Rng::with_seed(seed);
            let frames = frame.cut(&mut chance);
            let mut merged: Option<Value> = None;
            for frame in &frames {
                let piece = Value::decode(frame.values[0].clone()).unwrap();
                match &mut merged {
                    None => merged = Some(piece),
                    Some(merged) => merge(merged, piece),
                }
            }
            assert_eq!(merged.as_ref(), Some(&whole), "seed {seed}");
            assert!(frames.iter().rev().skip(1).all(|frame| frame.is_chunked));
            assert_eq!(
                frames.last().map(|frame| (frame.is_chunked, &*frame.token)),
                Some((false, &b"t"[..]))
            );
        }
    }

    #[test]
    fn a_frame_is_a_partial_result_set() {
        let element: Bytes = Datum::text("x").value().encode_to_vec().into();
        let values = vec![array_of(&[element.clone(), element])];
        let frame =
            Frame { values, token: Bytes::from_static(b"t"), is_last: true, ..Frame::default() };
        let metadata = ResultSetMetadata::default();
        let decoded = PartialResultSet::decode(frame.encode(Some(&metadata))).unwrap();
        let list = Datum::List(vec![Datum::text("x"), Datum::text("x")]);
        let expected = PartialResultSet {
            metadata: Some(metadata),
            values: vec![list.value()],
            chunked_value: false,
            resume_token: Bytes::from_static(b"t"),
            last: true,
        };
        assert_eq!(decoded, expected);
    }
}
