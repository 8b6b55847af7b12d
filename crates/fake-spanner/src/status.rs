//! Errors in the words of the real server.

use std::time::Duration;

use fastrand::Rng;
use jiff::Timestamp;
use prost::Message;
use tonic::{Code, Status};

use crate::messages::{RetryInfo, RpcStatus};

/// What the server says when a start is older than what it keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LostWording {
    /// "Specified start_timestamp is too far in the past …".
    #[default]
    TooFarInThePast,
    /// The partition itself is not known any more, as `OUT_OF_RANGE`.
    PartitionExpired,
    /// The same, as `INVALID_ARGUMENT`.
    TokenInvalid,
}

impl LostWording {
    pub(crate) fn status(self, earliest: Timestamp, start: Timestamp, token: &str) -> Status {
        match self {
            LostWording::TooFarInThePast => too_old(earliest, start),
            LostWording::PartitionExpired => Status::out_of_range(format!(
                "Specified partition is no longer valid, its records have expired. Received \
                 partition_token: {token}."
            )),
            LostWording::TokenInvalid => foreign_token(token),
        }
    }
}

pub(crate) fn too_old(earliest: Timestamp, start: Timestamp) -> Status {
    Status::out_of_range(format!(
        "Specified start_timestamp is too far in the past. Please specify a start_timestamp \
         within the earliest read timestamp: {earliest}. Received start_timestamp: {start}."
    ))
}

pub(crate) fn foreign_token(token: &str) -> Status {
    Status::invalid_argument(format!(
        "Specified partition_token is invalid, as it does not belong to the Change Stream \
         associated with the TVF. Received partition_token: {token}."
    ))
}

pub(crate) fn session_not_found(name: &str) -> Status {
    Status::not_found(format!("Session not found: {name}"))
}

/// An error that passes by itself, one of those that break a query.
pub(crate) fn broken(chance: &mut Rng) -> Status {
    let (code, message) = match chance.u32(0..10) {
        0 => (Code::Internal, "stream terminated by RST_STREAM"),
        1 => (Code::Internal, "Received unexpected EOS on DATA frame from server"),
        2 => (Code::Internal, "HTTP/2 error code: INTERNAL_ERROR"),
        3 => (Code::Cancelled, "The operation was cancelled."),
        4 => (Code::ResourceExhausted, "Too many requests."),
        5 => (Code::DeadlineExceeded, "Deadline expired before operation could complete."),
        6 => (Code::Aborted, "Transaction was aborted."),
        _ => return unavailable(),
    };
    with_retry_info(code, message)
}

pub(crate) fn unavailable() -> Status {
    with_retry_info(Code::Unavailable, "The service is currently unavailable.")
}

/// Lets the client try again soon; left to itself it waits for a second or more.
const RETRY_AFTER: Duration = Duration::from_millis(5);

pub(crate) fn with_retry_info(code: Code, message: &str) -> Status {
    let delay = prost_types::Duration {
        seconds: 0,
        nanos: i32::try_from(RETRY_AFTER.as_nanos()).unwrap_or_default(),
    };
    let info = RetryInfo { retry_delay: Some(delay) };
    let details = RpcStatus {
        code: code as i32,
        message: message.to_owned(),
        details: vec![prost_types::Any {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
            value: info.encode_to_vec(),
        }],
    };
    Status::with_details(code, message, details.encode_to_vec().into())
}
