use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::Position;

/// A name of a partition, unique in its pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PartitionId(Arc<str>);

/// A part of the upstream that is read independently and in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// The name, under which a checkpoint keeps it.
    pub id: PartitionId,
    /// The partitions that must be saved as finished before this one starts. A source leaves out
    /// those that ended before the pipeline began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<PartitionId>,
    /// Where reading begins while nothing of this partition is saved; `None` is its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Position>,
}

/// A partition and how far it is delivered, as a checkpoint store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionState {
    /// What is read.
    pub partition: Partition,
    /// How far.
    pub progress: Progress,
}

/// How far a partition is delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Known, and nothing of it is delivered.
    Waiting,
    /// Everything up to the position is durable downstream.
    Delivered(Position),
    /// All of it is durable downstream. The last position is kept, since it too is acknowledged.
    Finished(Option<Position>),
}

impl PartitionId {
    /// Makes an id of a text that stays the same for as long as the partition is there.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The text of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Partition {
    /// The one partition of an upstream that is not divided.
    pub fn whole() -> Self {
        Self::new("whole")
    }

    /// A partition without parents, read from its beginning.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self { id: PartitionId::new(id), parents: Vec::new(), start: None }
    }
}

impl PartitionState {
    /// The state of a partition of which nothing is delivered yet.
    pub fn waiting(partition: Partition) -> Self {
        Self { partition, progress: Progress::Waiting }
    }
}

impl Progress {
    /// The last position that is durable downstream.
    pub fn position(&self) -> Option<&Position> {
        match self {
            Progress::Waiting => None,
            Progress::Delivered(position) => Some(position),
            Progress::Finished(position) => position.as_ref(),
        }
    }

    /// Whether nothing more of the partition is to come.
    pub fn is_finished(&self) -> bool {
        matches!(self, Progress::Finished(_))
    }
}
