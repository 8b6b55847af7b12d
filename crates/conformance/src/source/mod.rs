//! What every source must do.

mod case;
mod delivery;
mod reading;
mod recovery;
mod typing;
mod upheaval;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use rowtide_core::{Change, Error, Operation, Result, Value};

use crate::{Capability, Waiver, scenario::Scenario};

pub(crate) use case::SourceCase;

/// How the suite gets at a source's upstream.
#[async_trait]
pub trait SourceHarness: Send + Sync {
    /// What a pipeline file says as `type`.
    fn plugin(&self) -> &str;

    /// What neither the upstream nor the test can do, each with the reason, which is shown.
    fn lacks(&self) -> Vec<(Capability, &'static str)> {
        Vec::new()
    }

    /// The scenarios that are known to fail.
    fn waivers(&self) -> Vec<Waiver> {
        Vec::new()
    }

    /// How long a scenario waits for something that must happen.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// Makes an upstream of its own for one scenario, with a table of no rows.
    ///
    /// The table has an integer key and whatever columns [`Upstream::values`] need, all of which
    /// may be null. Dropping the upstream must remove it.
    async fn upstream(&self) -> Result<Arc<dyn Upstream>>;
}

/// An upstream with a table that a scenario writes to.
#[async_trait]
pub trait Upstream: Send + Sync {
    /// The settings a user would write to read the table, as TOML, without `type`.
    fn settings(&self) -> String;

    /// The operations that [`commit`](Self::commit) knows.
    fn operations(&self) -> Vec<Operation> {
        vec![Operation::Insert, Operation::Update, Operation::Delete]
    }

    /// Values of every type of the upstream, extremes included, as the source should deliver them.
    fn values(&self) -> Vec<Value> {
        Vec::new()
    }

    /// Applies `writes` in one transaction.
    async fn commit(&self, writes: &[Write]) -> Result<()> {
        let _ = writes;
        Err(unable("commit"))
    }

    /// The key and the value of a change's row; `None` for a mark or a truncate.
    ///
    /// By default the key is the first key column, and the value is the one other column that is
    /// not null, or else null. It is unknown if any column is: null and unknown must not be taken
    /// for each other, so an upstream that tells of a part of a row has to know which part. Of a
    /// deleted row the value does not matter.
    fn row(&self, change: &Change) -> Option<(i64, Value)> {
        read_row(change)
    }

    /// Writes something that is not captured by this pipeline, or that falls into a partition other
    /// than that of the last [`commit`](Self::commit), so that the quiet one has to keep up.
    async fn commit_elsewhere(&self) -> Result<()> {
        Err(unable("commit elsewhere"))
    }

    /// Makes a partition end and go on in children.
    async fn split(&self) -> Result<()> {
        Err(unable("split"))
    }

    /// Restarts the upstream; returns when it answers again.
    async fn restart(&self) -> Result<()> {
        Err(unable("restart"))
    }

    /// The ways in which what a saved position needs can get lost, such as "the log was emptied".
    fn losses(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// Loses history in one of those ways, while no source is open.
    async fn lose(&self, loss: &str) -> Result<()> {
        let _ = loss;
        Err(unable("lose"))
    }

    /// Waits until an acknowledgement just made has had its effect, if it takes effect later.
    async fn settle(&self) -> Result<()> {
        Ok(())
    }

    /// How many things the upstream or the process holds for readers: connections, transactions,
    /// locks, files. What an open source holds without a stream counts too.
    async fn held(&self) -> Result<usize> {
        Err(unable("count what it holds"))
    }
}

/// One write to the table of the suite.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Adds the row `key`, with `value` in the column for its type and null in all others.
    Insert {
        /// The key of the row.
        key: i64,
        /// The value in the column for its type.
        value: Value,
    },
    /// Gives the row `key` another value.
    Update {
        /// The key of the row.
        key: i64,
        /// The value that replaces what was there.
        value: Value,
    },
    /// Removes the row `key`.
    Delete {
        /// The key of the row.
        key: i64,
    },
    /// Removes all rows at once.
    Truncate,
}

impl Write {
    /// What a source should say of this write.
    pub fn operation(&self) -> Operation {
        match self {
            Write::Insert { .. } => Operation::Insert,
            Write::Update { .. } => Operation::Update,
            Write::Delete { .. } => Operation::Delete,
            Write::Truncate => Operation::Truncate,
        }
    }
}

fn unable(what: &str) -> Error {
    Error::fatal(format!("this upstream cannot {what}; the harness must say that it lacks that"))
}

fn read_row(change: &Change) -> Option<(i64, Value)> {
    let row = change.image()?;
    let key = *change.table.key().first()?;
    let Value::Int(number) = row[key] else { return None };
    let others = row.values().iter().enumerate().filter(|&(index, _)| index != key);
    let others: Vec<_> = others.map(|(_, value)| value).collect();
    let unknown = others.iter().find(|value| !value.is_known());
    let value = unknown.or_else(|| others.iter().find(|value| ***value != Value::Null));
    Some((number, value.map_or(Value::Null, |value| Value::clone(value))))
}

pub(crate) fn scenarios() -> Vec<Scenario<SourceCase>> {
    [delivery::scenarios(), recovery::scenarios(), upheaval::scenarios(), typing::scenarios()]
        .into_iter()
        .flatten()
        .collect()
}
