//! Upstreams for the suite: an outbox in each database.

pub(crate) mod postgres;

use rowtide_core::Error;

/// Something that the test itself needs has failed.
pub(crate) fn failed(error: impl std::fmt::Display) -> Error {
    Error::fatal(error.to_string())
}
