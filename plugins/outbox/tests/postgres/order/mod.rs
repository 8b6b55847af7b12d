//! Nothing is skipped and nothing overtakes, whoever commits late; and each scheme that looks as if
//! it did the same, and does not, is caught.

pub(crate) mod crash;
pub(crate) mod interleavings;
pub(crate) mod load;
pub(crate) mod relays;
pub(crate) mod standby;
