mod ksuid;
mod properties;
pub(crate) mod router;
pub(crate) mod streams_egress;

use crate::{Result, insert::Rows};

/// How messages lie in an outbox table: [`Router`](crate::Router) or
/// [`StreamsEgress`](crate::StreamsEgress).
pub trait Layout: sealed::Sealed + Send + Sync {
    /// What is published.
    type Message: Sync;

    /// The rows of `messages`, in order, neighbours of one shape together.
    #[doc(hidden)]
    fn rows(&self, messages: &[Self::Message]) -> Result<Vec<Rows>>;
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for crate::Router {}
    impl Sealed for crate::StreamsEgress {}
}
