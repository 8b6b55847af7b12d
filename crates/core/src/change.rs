use std::{borrow::Cow, fmt, ops::Index, sync::Arc};

use jiff::Timestamp;

use crate::{Table, Value};

/// One change of one row, or a mark between changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Names this change; the same at each redelivery. A snapshot row that is read again may be
    /// newer, and then has another id.
    pub id: ChangeId,
    /// The table, as it was when the change was made.
    pub table: Arc<Table>,
    /// What happened to the row.
    pub operation: Operation,
    /// The row before the change, where the upstream tells it.
    pub before: Option<Row>,
    /// The row after the change; `None` for a delete and for marks.
    pub after: Option<Row>,
    /// When the change was committed, by the upstream's clock, as near as the upstream knows it.
    pub committed_at: Option<Timestamp>,
    /// The upstream's transaction, if it tells.
    pub transaction: Option<Arc<Transaction>>,
    /// What else the upstream said, shared by the changes it was said of.
    pub metadata: Option<Arc<Metadata>>,
}

/// What happened to the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// The row was there when a snapshot was taken.
    Read,
    /// The row was added.
    Insert,
    /// The row was given other values.
    Update,
    /// The row was removed.
    Delete,
    /// All rows of the table were removed at once.
    Truncate,
    /// A mark: the rows of a snapshot of this table follow.
    SnapshotBegin,
    /// A mark: the snapshot of this table is complete.
    SnapshotEnd,
}

/// A stable name of a change: a scope of the upstream, and up to two numbers in it.
///
/// Its text form is `scope`, `scope:major` or `scope:major:minor`. The scope is shared, so that a
/// million ids do not carry a million copies of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChangeId {
    scope: Arc<str>,
    major: Option<u64>,
    minor: Option<u64>,
}

/// The values of a row, aligned with the columns of its [`Table`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row(Box<[Value]>);

/// The upstream's transaction of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The name that the upstream gave the transaction.
    pub id: Box<str>,
    /// How many changes it has in all, if known.
    pub changes: Option<u64>,
}

/// What an upstream said beyond the row, by name.
///
/// What it says again and again can be held once, [below](Metadata::over) what is new.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    shared: Option<Arc<Metadata>>,
    /// By name in ascending order, each name once.
    own: Vec<(Cow<'static, str>, Value)>,
}

impl Change {
    /// Makes a change of `table` with nothing but an id and an operation.
    pub fn new(id: ChangeId, table: Arc<Table>, operation: Operation) -> Self {
        Self {
            id,
            table,
            operation,
            before: None,
            after: None,
            committed_at: None,
            transaction: None,
            metadata: None,
        }
    }

    /// The stable name of this change; a consumer may drop what it has seen under the same id.
    pub fn id(&self) -> &ChangeId {
        &self.id
    }

    /// The image that tells which row this is: the row after the change, else the one before.
    pub fn image(&self) -> Option<&Row> {
        self.after.as_ref().or(self.before.as_ref())
    }

    /// The memory this change holds, in bytes; what it shares with others is not counted.
    pub fn bytes(&self) -> usize {
        let row = |row: &Option<Row>| row.as_ref().map_or(0, Row::bytes);
        size_of::<Change>() + row(&self.before) + row(&self.after)
    }
}

impl Operation {
    /// Whether this is a mark between changes, which has no row.
    pub fn is_mark(self) -> bool {
        matches!(self, Operation::SnapshotBegin | Operation::SnapshotEnd)
    }

    /// The name in snake case, as the `json` format writes it.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Read => "read",
            Operation::Insert => "insert",
            Operation::Update => "update",
            Operation::Delete => "delete",
            Operation::Truncate => "truncate",
            Operation::SnapshotBegin => "snapshot_begin",
            Operation::SnapshotEnd => "snapshot_end",
        }
    }
}

impl ChangeId {
    /// An id that is all in its scope, such as an outbox message's uuid.
    pub fn new(scope: impl Into<Arc<str>>) -> Self {
        Self { scope: scope.into(), major: None, minor: None }
    }

    /// The id numbered `major` in its scope.
    #[must_use]
    pub fn major(mut self, major: u64) -> Self {
        self.major = Some(major);
        self
    }

    /// One of several changes of the same `major`. Written only after it.
    #[must_use]
    pub fn minor(mut self, minor: u64) -> Self {
        self.minor = Some(minor);
        self
    }

    /// The scope alone.
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// The numbers in the scope: none, the major one, or both.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        [self.major, self.minor].into_iter().flatten()
    }
}

impl fmt::Display for ChangeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.scope)?;
        for number in self.numbers() {
            write!(formatter, ":{number}")?;
        }
        Ok(())
    }
}

impl Row {
    /// Makes a row of values, one a column of its table.
    pub fn new(values: impl Into<Box<[Value]>>) -> Self {
        Self(values.into())
    }

    /// The values, one a column of the table.
    pub fn values(&self) -> &[Value] {
        &self.0
    }

    /// The memory this row's values hold, in bytes.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(Value::bytes).sum()
    }
}

impl Index<usize> for Row {
    type Output = Value;

    fn index(&self, index: usize) -> &Value {
        &self.0[index]
    }
}

impl FromIterator<Value> for Row {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl Metadata {
    /// Begins with what is the same for many changes. A source should make it once: a format may
    /// write it once for all that share it.
    pub fn over(shared: Arc<Metadata>) -> Self {
        Self { shared: Some(shared), own: Vec::new() }
    }

    /// Adds or replaces what is known under `name`.
    #[must_use]
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        let (name, value) = (name.into(), value.into());
        match self.place(&name) {
            Ok(place) => self.own[place].1 = value,
            Err(place) => self.own.insert(place, (name, value)),
        }
        self
    }

    /// What is known under `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match (self.place(name), &self.shared) {
            (Ok(place), _) => Some(&self.own[place].1),
            (Err(_), Some(shared)) => shared.get(name),
            (Err(_), None) => None,
        }
    }

    /// What this has in common with other changes, if anything was made so.
    pub fn shared(&self) -> Option<&Arc<Metadata>> {
        self.shared.as_ref()
    }

    /// What is known of this alone, by name in ascending order. It comes before what is shared.
    pub fn own(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.own.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// All that is known, by name in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        let mut known: Vec<_> = self.own().collect();
        let mut shared = self.shared();
        while let Some(metadata) = shared {
            for (name, value) in metadata.own() {
                if let Err(place) = known.binary_search_by_key(&name, |(name, _)| name) {
                    known.insert(place, (name, value));
                }
            }
            shared = metadata.shared();
        }
        known.into_iter()
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.own.binary_search_by_key(&name, |(name, _)| name)
    }
}

impl PartialEq for Metadata {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_with_the_numbers_it_has() {
        assert_eq!(ChangeId::new("s").to_string(), "s");
        assert_eq!(ChangeId::new("s").major(1).to_string(), "s:1");
        assert_eq!(ChangeId::new("s").major(1).minor(0).to_string(), "s:1:0");
    }

    #[test]
    fn bytes_grow_with_the_rows() {
        let table = Arc::new(Table::new("t", vec![]));
        let mut change = Change::new(ChangeId::new("s"), table, Operation::Insert);
        let empty = change.bytes();
        change.after = Some(Row::new([Value::from("0123456789")]));
        assert_eq!(change.bytes(), empty + size_of::<Value>() + 10);
    }

    #[test]
    fn what_is_shared_is_known_until_it_is_replaced() {
        let shared = Metadata::default().with("b", 1).with("d", 2);
        let metadata = Metadata::over(Arc::new(shared)).with("c", 3).with("b", 4).with("a", 5);
        let alone =
            Metadata::default().with("d", 2).with("a", 0).with("b", 4).with("c", 3).with("a", 5);
        assert_eq!(metadata, alone);
        assert!(metadata.iter().map(|(name, _)| name).eq(["a", "b", "c", "d"]));
        assert_eq!((metadata.get("b"), metadata.get("d")), (alone.get("b"), alone.get("d")));
        assert_eq!(metadata.get("e"), None);
        assert_ne!(metadata, alone.with("e", 6));
    }
}
