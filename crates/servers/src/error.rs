use std::{error, fmt, io, num};

pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// Why there is no server to test against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// It cannot be had here: not installed, or not in the test's hands.
    Missing(String),
    /// It should be there and is not.
    Failed(String),
}

impl Error {
    pub fn is_missing(&self) -> bool {
        matches!(self, Error::Missing(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Missing(reason) | Error::Failed(reason) => formatter.write_str(reason),
        }
    }
}

impl error::Error for Error {}

impl From<String> for Error {
    fn from(reason: String) -> Self {
        Error::Failed(reason)
    }
}

impl From<&str> for Error {
    fn from(reason: &str) -> Self {
        Error::Failed(reason.to_owned())
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::Failed(error.to_string())
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Error::Failed(error.to_string())
    }
}

impl From<num::ParseIntError> for Error {
    fn from(error: num::ParseIntError) -> Self {
        Error::Failed(error.to_string())
    }
}
