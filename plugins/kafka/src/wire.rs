//! How large a message is in a broker's eyes.

use rowtide_format::Message;

/// What a batch has before its first message.
const BATCH_HEADER: usize = 61;
/// The attributes, and the differences in time and in place to the batch: each of one byte in a
/// batch of one message.
const FIXED: usize = 3;

/// The bytes of a batch of this message alone, uncompressed: what a topic's `max.message.bytes` is
/// the limit of.
pub(crate) fn batch_bytes(message: &Message<'_>) -> usize {
    let headers = message.headers();
    let mut body = FIXED + sized(message.key) + sized(message.value) + varint(headers.len());
    for header in headers {
        body += sized(Some(header.name.as_bytes())) + sized(header.value);
    }
    BATCH_HEADER + varint(body) + body
}

/// Bytes behind their length; a null is a length of -1.
fn sized(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint(bytes.len()) + bytes.len())
}

/// The bytes of a length. It is written in steps of seven bits, the lowest of which is its sign.
fn varint(length: usize) -> usize {
    let bits = usize::BITS - length.leading_zeros() + 1;
    bits.div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_takes_a_byte_for_each_seven_bits() {
        let lengths = [0, 63, 64, 8191, 8192, 1 << 20];
        assert_eq!(lengths.map(varint), [1, 1, 2, 2, 3, 4]);
    }
}
