//! What the transactions that read and write have read.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use prost::bytes::Bytes;
use tonic::{Code, Status};

use crate::{status, store::Store};

/// A transaction is known by the time that it reads at, which no other has.
#[derive(Default)]
pub(crate) struct Transactions {
    /// The tables that each has read.
    read: HashMap<Bytes, HashSet<String>>,
}

pub(crate) fn id(at: Timestamp) -> Bytes {
    Bytes::from(at.to_string())
}

/// The time that a transaction reads at.
pub(crate) fn time(id: &Bytes) -> Result<Timestamp, Status> {
    let text = std::str::from_utf8(id).unwrap_or_default();
    text.parse().map_err(|_| Status::not_found("Transaction not found"))
}

impl Transactions {
    pub(crate) fn note(&mut self, id: &Bytes, table: &str) {
        self.read.entry(id.clone()).or_default().insert(table.to_owned());
    }

    /// Ends a transaction, which may be committed if nothing that it read has changed since. The
    /// real server locks rows; here somebody who reads has to begin anew if the table has changed.
    pub(crate) fn end(&mut self, id: &Bytes, store: &Store) -> Result<(), Status> {
        let Some(tables) = self.read.remove(id) else { return Ok(()) };
        let begun = time(id)?;
        for table in tables {
            if store.table(&table)?.changed_at > begun {
                return Err(status::with_retry_info(Code::Aborted, "Transaction was aborted."));
            }
        }
        Ok(())
    }
}
