/// What a message carries through librdkafka and back: its place in the span, and what it costs.
///
/// It travels as a pointer, so that no message needs an allocation for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// The number of the message in the span that the next flush covers.
    pub(crate) message: usize,
    /// The memory it holds meanwhile.
    pub(crate) bytes: usize,
}

const _: () = assert!(usize::BITS == 64, "two halves of a pointer are numbers of 32 bits");
const HALF: usize = u32::MAX as usize;

impl Ticket {
    pub(crate) fn pack(self) -> usize {
        (self.message & HALF) << 32 | self.bytes.min(HALF)
    }

    pub(crate) fn unpack(packed: usize) -> Self {
        Self { message: packed >> 32, bytes: packed & HALF }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_comes_back_as_it_was() {
        for ticket in [(0, 1), (7, HALF), (HALF, 0)] {
            let ticket = Ticket { message: ticket.0, bytes: ticket.1 };
            assert_eq!(Ticket::unpack(ticket.pack()), ticket);
        }
    }
}
