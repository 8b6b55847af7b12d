//! The writes of a commit.

use prost_types::ListValue;
use tonic::Status;

use crate::{
    datum::Datum,
    messages::{CommitRequest, DeleteMessage, MutationKind, WriteMessage},
    store::{Transaction, Write, WriteOperation},
};

/// How many values a commit writes at most; a row that is removed counts as one.
const MUTATIONS_MAX: usize = 80_000;

/// The writes that a commit asks for. Of deletions, single keys are understood.
pub(crate) fn transaction(request: CommitRequest) -> Result<Transaction, Status> {
    let tag = request.request_options.map(|options| options.transaction_tag).unwrap_or_default();
    let mut writes = Vec::new();
    for mutation in request.mutations {
        match mutation.kind {
            Some(MutationKind::Insert(write)) => add(&mut writes, WriteOperation::Insert, write),
            Some(MutationKind::Update(write)) => add(&mut writes, WriteOperation::Update, write),
            Some(MutationKind::InsertOrUpdate(write)) => {
                add(&mut writes, WriteOperation::Upsert, write);
            }
            Some(MutationKind::Replace(write)) => add(&mut writes, WriteOperation::Replace, write),
            Some(MutationKind::Delete(delete)) => remove(&mut writes, delete),
            None => {}
        }
    }
    if writes.iter().map(|write| write.columns.len().max(1)).sum::<usize>() > MUTATIONS_MAX {
        return Err(Status::invalid_argument(
            "The transaction contains too many mutations. Insert and update operations count with \
             the multiplicity of the number of columns they affect.",
        ));
    }
    Ok(Transaction { writes, tag })
}

fn add(writes: &mut Vec<Write>, operation: WriteOperation, message: WriteMessage) {
    let WriteMessage { table, columns, values } = message;
    writes.extend(values.into_iter().map(|row| Write {
        table: table.clone(),
        operation,
        columns: columns.clone(),
        values: Datum::all(row),
    }));
}

fn remove(writes: &mut Vec<Write>, message: DeleteMessage) {
    let keys = message.key_set.map(|set| set.keys).unwrap_or_default();
    let write = |key: ListValue| Write {
        table: message.table.clone(),
        operation: WriteOperation::Delete,
        columns: Vec::new(),
        values: Datum::all(key),
    };
    writes.extend(keys.into_iter().map(write));
}
