//! What a pipeline saw, step by step.

use std::fmt::Write;

use jiff::Timestamp;
use rowtide_core::{Change, Operation, Row, Value};
use rowtide_fake_spanner::Told;
use serde_json::Value as Json;

/// One step of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// A partition is read from a position on, or from its start.
    Opened {
        partition: String,
        from: Option<String>,
    },
    Changed {
        partition: String,
        change: Seen,
    },
    /// Everything of the partition so far is covered by a position.
    Placed {
        partition: String,
        position: String,
        attested: Option<Timestamp>,
    },
    Finished {
        partition: String,
    },
    /// These are saved as finished from now on.
    Saved {
        finished: Vec<String>,
    },
}

/// What tells a changed row from all others.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) at: Timestamp,
    pub(crate) transaction: String,
    pub(crate) sequence: String,
    pub(crate) number: usize,
}

/// A change as it was delivered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) name: Name,
    /// The table and the key.
    pub(crate) row: String,
    /// What happened to the row, as the server would say it.
    pub(crate) said: String,
    /// All of it.
    pub(crate) whole: String,
}

impl Seen {
    /// # Panics
    /// If the change lacks what each has to have.
    pub(crate) fn of(change: &Change) -> Self {
        let metadata = change.metadata.as_ref().expect("metadata");
        let text = |name: &str| match metadata.get(name) {
            Some(Value::Text(text)) => text.to_string(),
            other => panic!("{name} is {other:?}"),
        };
        let number = match metadata.get("mod_number") {
            Some(Value::Int(number)) => usize::try_from(*number).expect("a number"),
            other => panic!("mod_number is {other:?}"),
        };
        let name = Name {
            at: change.committed_at.expect("a time"),
            transaction: text("server_transaction_id"),
            sequence: text("record_sequence"),
            number,
        };
        let keys = object(change, change.image().expect("a row"), Columns::OfKey);
        let others = |row: &Option<Row>| match row {
            Some(row) => object(change, row, Columns::Others),
            None => "{}".to_owned(),
        };
        let (mod_type, new, old) = match change.operation {
            Operation::Insert => ("INSERT", others(&change.after), "{}".to_owned()),
            Operation::Update => ("UPDATE", others(&change.after), others(&change.before)),
            Operation::Delete => ("DELETE", "{}".to_owned(), others(&change.before)),
            other => panic!("{other:?} is not told by a change stream"),
        };
        let row = format!("{} {keys}", change.table.name);
        Self {
            name,
            said: format!("{mod_type} {row} {new} {old}"),
            row,
            whole: format!("{change:?}"),
        }
    }
}

/// What the server says of the change.
pub(crate) fn said(told: &Told) -> String {
    let Told { mod_type, table, keys, new_values, old_values, .. } = told;
    format!("{mod_type} {table} {keys} {new_values} {old_values}")
}

impl From<&Told> for Name {
    fn from(told: &Told) -> Self {
        Self {
            at: told.committed_at,
            transaction: told.transaction.clone(),
            sequence: told.sequence.clone(),
            number: told.number,
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Columns {
    OfKey,
    Others,
}

/// The known values of a row as the JSON that they were told in.
fn object(change: &Change, row: &Row, wanted: Columns) -> String {
    let columns = change.table.columns.iter().zip(row.values());
    let mut members = String::new();
    for (column, value) in columns {
        let of_key = if column.key.is_some() { Columns::OfKey } else { Columns::Others };
        if of_key != wanted || !value.is_known() {
            continue;
        }
        let value = match value {
            Value::Null => Json::Null,
            Value::Int(number) => Json::from(number.to_string()),
            Value::Text(text) => Json::from(&**text),
            other => panic!("{other:?} is in no table of these tests"),
        };
        let comma = if members.is_empty() { "" } else { "," };
        let _ = write!(members, "{comma}{}:{value}", Json::from(&*column.name));
    }
    format!("{{{members}}}")
}
