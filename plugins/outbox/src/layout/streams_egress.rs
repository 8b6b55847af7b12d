use rowtide_core::{Change, Column, Error, Result};

use crate::{config::OutboxConfig, layout::FoundRow};

/// A batch of messages a row, as the SQL driver of streams writes it.
pub(crate) struct StreamsEgress {
    selection: Vec<Box<str>>,
}

impl StreamsEgress {
    pub(crate) fn new(_config: &OutboxConfig, _found: &[Column]) -> Result<Self> {
        Err(Error::config("the layout `streams_egress` is not built yet").key("layout"))
    }

    pub(crate) fn selection(&self) -> &[Box<str>] {
        &self.selection
    }

    pub(crate) fn append(&self, _row: FoundRow, _changes: &mut Vec<Change>) -> Result<()> {
        Ok(())
    }
}
