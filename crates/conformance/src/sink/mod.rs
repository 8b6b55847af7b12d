//! What every sink must do.

mod case;
mod delivery;
mod line;
mod stall;
mod trouble;
mod values;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use rowtide_core::{Change, Error, Operation, Result};
use serde_json::{Map, Value as Json};

use crate::{Capability, Waiver, scenario::Scenario};

pub(crate) use case::SinkCase;

/// How the suite gets at a sink's downstream.
#[async_trait]
pub trait SinkHarness: Send + Sync {
    /// What a pipeline file says as `type`.
    fn plugin(&self) -> &str;

    /// What neither the downstream nor the test can do, each with the reason, which is shown.
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

    /// Whether the sink writes to the stdout of its process. Each scenario then runs in a process
    /// of its own, whose stdout is the file [`stdout_file`](crate::stdout_file).
    fn writes_to_stdout(&self) -> bool {
        false
    }

    /// Makes an empty downstream for one scenario. Dropping it must remove it.
    async fn downstream(&self) -> Result<Arc<dyn Downstream>>;
}

/// A downstream with an independent reader.
#[async_trait]
pub trait Downstream: Send + Sync {
    /// The settings a user would write to write to this downstream, as TOML, without `type`.
    fn settings(&self) -> String;

    /// What an independent reader, which shares no code with the sink, finds now: in order, and
    /// with all duplicates.
    async fn delivered(&self) -> Result<Vec<Delivered>>;

    /// The operations that this sink's format has no form for, and leaves out.
    fn leaves_out(&self) -> Vec<Operation> {
        Vec::new()
    }

    /// Makes `change` into one that the downstream refuses for good.
    fn poison(&self, change: Change) -> Change {
        change
    }

    /// Restarts the downstream; returns when it answers again.
    async fn restart(&self) -> Result<()> {
        Err(unable("restart"))
    }

    /// Makes the downstream apply the next write and lose its answer.
    async fn lose_response(&self) -> Result<()> {
        Err(unable("lose a response"))
    }

    /// Makes the next write be lost on its way to the downstream, which gets nothing of it.
    async fn lose_request(&self) -> Result<()> {
        Err(unable("lose a request"))
    }

    /// Whether what [`lose_response`](Self::lose_response) or [`lose_request`](Self::lose_request)
    /// arranged has happened; a scenario in which nothing is lost shows nothing.
    async fn has_lost(&self) -> Result<bool> {
        Err(unable("tell what was lost"))
    }

    /// How many bytes of changes a sink with these [`settings`](Self::settings) takes at most while
    /// nothing of them is durable. Some tens of kilobytes make a quick test.
    fn bytes_max(&self) -> Result<usize> {
        Err(unable("bound what a sink takes"))
    }

    /// Makes the downstream take nothing until [`resume`](Self::resume).
    async fn stall(&self) -> Result<()> {
        Err(unable("stall"))
    }

    /// Waits until a sink is being held up by [`stall`](Self::stall).
    async fn stalled(&self) -> Result<()> {
        Err(unable("tell that it stalls"))
    }

    /// Ends a [`stall`](Self::stall).
    async fn resume(&self) -> Result<()> {
        Err(unable("resume"))
    }

    /// How many things are held for sinks: connections, tasks, files.
    async fn held(&self) -> Result<usize> {
        Err(unable("count what it holds"))
    }
}

/// What an independent reader finds of one change.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivered {
    /// The text of the change's id.
    pub id: String,
    /// What it arrived as.
    pub operation: Operation,
    /// The row by column: the row after the change, or before it for a delete. A column that is
    /// unknown is absent. Values are in the form that JSON has for them: a number or text, base64
    /// for bytes, RFC 3339 for times; `{"$name": text}` stands for the text in it.
    pub row: Map<String, Json>,
}

fn unable(what: &str) -> Error {
    Error::fatal(format!("this downstream cannot {what}; the harness must say that it lacks that"))
}

pub(crate) fn scenarios() -> Vec<Scenario<SinkCase>> {
    [delivery::scenarios(), trouble::scenarios(), stall::scenarios()]
        .into_iter()
        .flatten()
        .collect()
}
