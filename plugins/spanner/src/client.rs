//! What is asked of Spanner, in words of our own: the client's library is known in `google` alone.

mod google;
mod transaction;

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use rowtide_core::{Error, Result, async_trait, settings::Secret};

use serde::{Deserialize, Serialize};

use crate::config::Priority;
pub(crate) use google::{Look, Raw};
pub(crate) use transaction::{Keys, Lookup, Reads, Work, Write, commit_timestamp};

/// One database of Spanner.
#[async_trait]
pub(crate) trait Client: Send + Sync {
    /// Runs a query by itself, strong and read-only. Its rows come as they are made.
    async fn query(&self, statement: Statement) -> Result<Box<dyn Rows>, Failure>;

    /// Reads rows of a table as they were at a time, in the order of their key.
    async fn read(&self, request: ReadRequest) -> Result<Box<dyn Rows>, Failure>;

    /// A time that no commit seen so far is after, by the clock of the database.
    async fn now(&self) -> Result<Timestamp, Failure>;

    /// Does `work` in one transaction, again if it is aborted. The inner error is the work's own.
    async fn transact(&self, work: Arc<dyn Work>) -> Result<Result<()>, Failure>;

    /// Runs definitions of tables, and returns once they hold.
    async fn define(&self, statements: Vec<String>) -> Result<(), Failure>;
}

/// The rows that a query returns. Dropping them ends the query.
#[async_trait]
pub(crate) trait Rows: Send {
    /// The columns of each row.
    fn columns(&self) -> &[(String, Type)];

    /// The next row; `None` at the end. Once this was dropped unfinished, so must be the rows.
    async fn next(&mut self) -> Result<Option<Vec<Raw>>, Failure>;
}

/// Where a database is, and how requests are made.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) database: String,
    pub(crate) endpoint: Option<String>,
    pub(crate) credentials: Option<Secret>,
    pub(crate) role: Option<String>,
    pub(crate) priority: Option<Priority>,
    pub(crate) request_tag: Option<String>,
}

/// A query and its parameters.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) parameters: Vec<(&'static str, Parameter)>,
}

/// The value of a parameter, with its type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Parameter {
    Timestamp(Option<Timestamp>),
    Text(Option<String>),
    Int(i64),
}

/// What to read of a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ReadRequest {
    pub(crate) table: String,
    pub(crate) columns: Vec<String>,
    pub(crate) range: KeyRange,
    pub(crate) rows_max: i64,
    pub(crate) at: Timestamp,
}

/// The rows from one key to another.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KeyRange {
    pub(crate) from: Bound,
    pub(crate) to: Bound,
}

/// An end of a range of keys.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Bound {
    Unbounded,
    Included(Vec<Cell>),
    Excluded(Vec<Cell>),
}

/// A value that is kept or made, before its type is looked at. What comes is [`Raw`] first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cell {
    #[default]
    Null,
    Bool(bool),
    /// Kept by its bits, since a number in JSON may lose the last one.
    #[serde(with = "bits")]
    Number(f64),
    Text(String),
    List(Vec<Cell>),
}

/// What a value is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Type {
    Bool,
    Int64,
    Float32,
    Float64,
    Timestamp,
    Date,
    String,
    Bytes,
    Numeric,
    Json,
    Proto(String),
    Enum(String),
    Uuid,
    Array(Box<Type>),
    Struct(Vec<(String, Type)>),
    /// One without a counterpart here, such as an interval; its values come as text.
    Other,
}

/// What Spanner refused, or could not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// The start of a query cannot be served.
    OutOfRange,
    InvalidArgument,
    FailedPrecondition,
    NotFound,
    /// Missing rights, or no valid credentials.
    Denied,
    /// What the server cannot do at all.
    Unimplemented,
    /// Everything that passes: transport, deadlines, rebalancing.
    Unavailable,
}

/// Connects to a database; nothing is read yet.
///
/// # Errors
/// `Config` for credentials that cannot be used.
pub(crate) async fn connect(address: &Address) -> Result<Arc<dyn Client>> {
    google::connect(address).await
}

/// All rows, from the first to the last.
pub(crate) async fn all(mut rows: Box<dyn Rows>) -> Result<Vec<Vec<Cell>>, Failure> {
    let mut all = Vec::new();
    while let Some(row) = rows.next().await? {
        all.push(row.into_iter().map(Cell::from).collect());
    }
    Ok(all)
}

impl Statement {
    pub(crate) fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), parameters: Vec::new() }
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, parameter: Parameter) -> Self {
        self.parameters.push((name, parameter));
        self
    }
}

impl Cell {
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Cell::Text(text) => Some(text),
            _ => None,
        }
    }

    /// An integer comes as text.
    pub(crate) fn integer(&self) -> Option<i64> {
        self.text().and_then(|text| text.parse().ok())
    }

    /// A column of the information schema says yes in one dialect and true in the other.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Cell::Bool(value) => *value,
            Cell::Text(text) => text.eq_ignore_ascii_case("yes") || text == "true",
            _ => false,
        }
    }

    pub(crate) fn into_text(self) -> Option<String> {
        match self {
            Cell::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl Failure {
    /// What the engine does about it, where nothing else is known of it.
    pub(crate) fn error(self, doing: impl Into<String>) -> Error {
        let doing = doing.into();
        match self.code {
            Code::Unavailable => Error::transient(doing).because(self),
            Code::Denied => Error::fatal(doing).because(self).help(
                "the account needs the role `roles/spanner.databaseReader`; a database role \
                 needs SELECT on the change stream and EXECUTE on its read function",
            ),
            _ => Error::fatal(doing).because(self),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

mod bits {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde demands it")]
    pub(super) fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        number.to_bits().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        u64::deserialize(deserializer).map(f64::from_bits)
    }
}
