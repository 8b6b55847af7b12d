//! How the rows of an outbox become changes.

mod router;
mod streams_egress;

use rowtide_core::{Change, Column, Result, Value};

use crate::{
    config::{Layout, OutboxConfig},
    keys::Key,
    layout::{router::Router, streams_egress::StreamsEgress},
};

/// The messages of an outbox table: which columns they are in, and how they are read out of a row.
pub(crate) enum Messages {
    Router(Router),
    StreamsEgress(StreamsEgress),
}

/// A row that was read: the values of the columns that [`Messages::selection`] names, in its order.
#[derive(Debug)]
pub(crate) struct FoundRow {
    pub(crate) key: Key,
    pub(crate) values: Box<[Value]>,
}

impl Messages {
    /// `found` are the columns of the table as they are upstream.
    ///
    /// # Errors
    /// `Config`, if a column is missing that the layout needs.
    pub(crate) fn new(config: &OutboxConfig, found: &[Column]) -> Result<Self> {
        match config.layout {
            Layout::Router => Router::new(config, found).map(Messages::Router),
            Layout::StreamsEgress => StreamsEgress::new(config, found).map(Messages::StreamsEgress),
        }
    }

    /// The columns to read, by their names upstream.
    pub(crate) fn selection(&self) -> &[Box<str>] {
        match self {
            Messages::Router(router) => router.selection(),
            Messages::StreamsEgress(batches) => batches.selection(),
        }
    }

    /// Appends the messages of a row. They are resumed after as one.
    pub(crate) fn append(&self, row: FoundRow, changes: &mut Vec<Change>) -> Result<()> {
        match self {
            Messages::Router(router) => {
                changes.push(router.message(row));
                Ok(())
            }
            Messages::StreamsEgress(batches) => batches.append(row, changes),
        }
    }
}

/// The column that a row without a number is known by, by its name upstream.
pub(crate) fn id_column(config: &OutboxConfig) -> &str {
    match config.layout {
        Layout::Router => config.columns.id.as_deref().unwrap_or("id"),
        Layout::StreamsEgress => "batch_id",
    }
}
