use std::{error::Error as StdError, fmt};

/// A result whose error is an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why nothing, or not everything, was written. The transaction should be rolled back.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// There is no message to publish, which is more often a mistake than a wish.
    NoMessages,
    /// A message cannot be written.
    Message {
        /// Its place in the call, from 0.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The database took the statement, and did not write every row: a trigger or a rule is in the
    /// way.
    NotWritten {
        /// How many rows were to be written.
        expected: u64,
        /// How many were.
        written: u64,
    },
    /// The database refused the statement.
    Database(sqlx::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoMessages => formatter.write_str("there is no message to publish"),
            Error::Message { index, reason } => {
                write!(formatter, "message {index} cannot be published: {reason}")
            }
            Error::NotWritten { expected, written } => {
                write!(formatter, "the outbox took {written} of {expected} rows")
            }
            Error::Database(_) => formatter.write_str("failed to write to the outbox"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Error::Database(error) => Some(error),
            _ => None,
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Error::Database(error)
    }
}
