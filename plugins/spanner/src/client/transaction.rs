//! Reads and writes that are committed together.

use rowtide_core::{Result, async_trait};

use super::{Cell, Failure};

/// What is done in one transaction.
#[async_trait]
pub(crate) trait Work: Send + Sync {
    /// Reads what it needs, and says what is to be written. Runs again, from the beginning, if the
    /// transaction is aborted, and nothing is written if it fails.
    async fn run(&self, reads: &mut dyn Reads) -> Result<Vec<Write>>;
}

/// What a transaction reads; nobody else can change it until the transaction has ended.
#[async_trait]
pub(crate) trait Reads: Send {
    /// The rows of a table that have one of these keys; a key without a row is left out.
    async fn rows(&mut self, lookup: Lookup<'_>) -> Result<Vec<Vec<Cell>>, Failure>;
}

/// Which rows to read.
#[derive(Clone, Debug)]
pub(crate) struct Lookup<'a> {
    pub(crate) table: &'a str,
    pub(crate) columns: &'a [&'static str],
    pub(crate) keys: Keys,
}

/// The keys of rows; each is one text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    All,
    These(Vec<String>),
}

/// A change of one row, or of some.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Write {
    /// Adds a row, which must not be there.
    Insert { table: String, values: Vec<(&'static str, Cell)> },
    /// Changes these columns of a row, which must be there.
    Update { table: String, values: Vec<(&'static str, Cell)> },
    /// Removes rows, those that there are.
    Delete { table: String, keys: Vec<String> },
}

/// The value of a column that takes the time of the commit.
pub(crate) fn commit_timestamp() -> Cell {
    Cell::Text("spanner.commit_timestamp()".to_owned())
}
