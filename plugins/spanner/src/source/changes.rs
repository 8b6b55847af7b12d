//! What a record says, as changes.

use std::{mem::take, sync::Arc};

use rowtide_core::{Change, ChangeId, Metadata, Operation, Result, Row, Transaction, Value};

use crate::{
    catalog::Layout,
    record::{DataRecord, Mod},
};

/// Where a record comes from.
pub(super) struct Origin<'a> {
    /// The full name of the change stream.
    pub(super) stream: &'a str,
    pub(super) token: &'a str,
}

/// What the records of a partition say again and again beyond their rows.
#[derive(Default)]
pub(super) struct Said(Option<Latest>);

struct Latest {
    layout: Arc<Layout>,
    capture_type: String,
    tag: String,
    is_system: bool,
    metadata: Arc<Metadata>,
}

/// The changes of a record, one for each row.
pub(super) fn of_record(
    record: &DataRecord,
    layout: &Layout,
    shared: &Arc<Metadata>,
) -> Result<Vec<Change>> {
    let scope = scope(record);
    let transaction =
        Arc::new(Transaction { id: record.transaction.as_str().into(), changes: None });
    let mut metadata = metadata(record, shared);
    let last = record.mods.len().saturating_sub(1);
    let sequence = record.sequence.parse::<u64>().unwrap_or_default();
    let change = |(number, row): (usize, &Mod)| {
        let id = ChangeId::new(Arc::clone(&scope)).major(sequence).minor(number as u64);
        let mut change = Change::new(id, Arc::clone(&layout.table), record.operation);
        (change.before, change.after) = images(record, layout, row)?;
        change.committed_at = Some(record.committed_at);
        change.transaction = Some(Arc::clone(&transaction));
        // Nobody needs it any more behind the last one, which most often is the first.
        let shared = if number == last { take(&mut metadata) } else { metadata.clone() };
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        change.metadata = Some(Arc::new(shared.with("mod_number", number)));
        Ok(change)
    };
    record.mods.iter().enumerate().map(change).collect()
}

/// A sequence is a number, and unique within its transaction.
fn scope(record: &DataRecord) -> Arc<str> {
    let (at, transaction) = (record.committed_at, &record.transaction);
    match record.sequence.parse::<u64>() {
        Ok(_) => format!("{at}/{transaction}").into(),
        Err(_) => format!("{at}/{transaction}/{}", record.sequence).into(),
    }
}

/// The row before and after. The values before are told by two of the four capture types only, and
/// those of a deleted row's key always.
fn images(record: &DataRecord, layout: &Layout, row: &Mod) -> Result<(Option<Row>, Option<Row>)> {
    let has_old = record.capture_type.contains("OLD");
    let before = || layout.row([&row.keys, &row.old_values]);
    let after = || layout.row([&row.keys, &row.new_values]);
    Ok(match record.operation {
        Operation::Delete => (Some(before()?), None),
        Operation::Update if has_old => (Some(before()?), Some(after()?)),
        _ => (None, Some(after()?)),
    })
}

fn metadata(record: &DataRecord, shared: &Arc<Metadata>) -> Metadata {
    Metadata::over(Arc::clone(shared))
        .with("is_last_record_in_transaction_in_partition", record.is_last_in_partition)
        .with("number_of_partitions_in_transaction", record.partitions_in_transaction)
        .with("number_of_records_in_transaction", record.records_in_transaction)
        .with("record_sequence", record.sequence.as_str())
        .with("server_transaction_id", record.transaction.as_str())
}

impl Said {
    /// What this record says as the ones before it did.
    pub(super) fn by(
        &mut self,
        record: &DataRecord,
        layout: &Arc<Layout>,
        origin: &Origin<'_>,
    ) -> &Arc<Metadata> {
        let latest = self.0.take().filter(|latest| latest.is_of(record, layout));
        let latest = latest.unwrap_or_else(|| Latest::new(record, layout, origin));
        &self.0.insert(latest).metadata
    }
}

impl Latest {
    fn new(record: &DataRecord, layout: &Arc<Layout>, origin: &Origin<'_>) -> Self {
        let metadata = Metadata::default()
            .with("change_stream", origin.stream)
            .with("partition_token", origin.token)
            .with("transaction_tag", record.transaction_tag.as_str())
            .with("is_system_transaction", record.is_system_transaction)
            .with("value_capture_type", record.capture_type.as_str())
            .with("column_types", Value::Json(layout.columns_json.clone()));
        Self {
            layout: Arc::clone(layout),
            capture_type: record.capture_type.clone(),
            tag: record.transaction_tag.clone(),
            is_system: record.is_system_transaction,
            metadata: Arc::new(metadata),
        }
    }

    fn is_of(&self, record: &DataRecord, layout: &Arc<Layout>) -> bool {
        Arc::ptr_eq(&self.layout, layout)
            && self.capture_type == record.capture_type
            && self.tag == record.transaction_tag
            && self.is_system == record.is_system_transaction
    }
}
