mod batch;

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use rowtide_core::{
    Change, ChangeId, Column, ColumnType, Error, Operation, Result, Row, Table, Value,
};

use crate::{
    config::OutboxConfig,
    layout::{
        FoundRow,
        streams_egress::batch::{TransportMessage, TransportMessageBatch},
    },
};

/// A batch of messages a row, as the SQL driver of streams writes it.
///
/// All variants of the table have the columns of its batches; the others are for nobody. A message
/// has the columns of the layout `router`, so that a format needs no settings of its own, and two
/// more.
pub(crate) struct StreamsEgress {
    selection: Vec<Box<str>>,
    table: Arc<Table>,
}

const BATCH: &str = "batch_id";
const DATA: &str = "raw_data";
const COUNT: &str = "message_count";

impl StreamsEgress {
    /// # Errors
    /// `Config`, if the table has no batches.
    pub(crate) fn new(config: &OutboxConfig, found: &[Column]) -> Result<Self> {
        let name = config.table()?;
        let is_there = |wanted: &&str| found.iter().any(|column| &*column.name == *wanted);
        if let Some(missing) = [BATCH, DATA].iter().find(|wanted| !is_there(wanted)) {
            let message = format!("the outbox `{name}` has no column `{missing}`");
            let help = "name the table of the streams driver in `table`, or leave out `layout`";
            return Err(Error::config(message).key("layout").help(help));
        }
        let selection = [BATCH, DATA, COUNT].iter().filter(|wanted| is_there(wanted));
        let mut table = Table::new(name.name(), columns());
        table.namespace = name.schema().map(Into::into);
        Ok(Self { selection: selection.map(|&name| name.into()).collect(), table: Arc::new(table) })
    }

    pub(crate) fn selection(&self) -> &[Box<str>] {
        &self.selection
    }

    /// Appends all messages of a batch, or none.
    ///
    /// # Errors
    /// `Fatal`, with the id of the batch, if it is damaged. Nothing of it is delivered, and it stays
    /// where it is.
    pub(crate) fn append(&self, row: FoundRow, changes: &mut Vec<Change>) -> Result<()> {
        let id = match row.values.first() {
            // PostgreSQL fills a CHAR up with blanks.
            Some(Value::Text(id)) => id.trim_end().to_owned(),
            _ => return Err(self.damaged("without a text as its id", "its id is no text")),
        };
        let damaged = |reason: String| self.damaged(&format!("`{id}`"), &reason);
        let data = match row.values.get(1) {
            Some(Value::Bytes(data)) => data,
            _ => return Err(damaged(format!("`{DATA}` holds no bytes"))),
        };
        let batch =
            TransportMessageBatch::read(data).map_err(|error| damaged(error.to_string()))?;
        let count = batch.messages.len();
        // Bytes that were cut between two messages are a batch, too. A count of 0 is the column's
        // default.
        if let Some(Value::Int(told @ 1..)) = row.values.get(2)
            && usize::try_from(*told) != Ok(count)
        {
            return Err(damaged(format!("it holds {count} of {told} messages")));
        }
        let messages = batch.messages.into_iter().zip(0..);
        changes.extend(messages.map(|(message, index)| self.change(&id, index, message)));
        Ok(())
    }

    fn change(&self, batch: &str, index: u64, message: TransportMessage) -> Change {
        let id = match &*message.message_id {
            "" => ChangeId::new(batch).major(index),
            id => ChangeId::new(id),
        };
        let mut change = Change::new(id.clone(), Arc::clone(&self.table), Operation::Insert);
        let key = Some(message.stream_key).filter(|key| !key.is_empty());
        let time = message.time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
        change.after = Some(Row::new([
            Value::from(id.to_string()),
            Value::from(message.stream_name),
            Value::from(key),
            Value::from(message.data),
            time.map_or(Value::Null, Value::Timestamp),
            Value::from(Some(message.content_type).filter(|kind| !kind.is_empty())),
            headers(&message.headers),
        ]));
        change
    }

    fn damaged(&self, batch: &str, reason: &str) -> Error {
        let message =
            format!("the batch {batch} of `{}` cannot be read: {reason}", self.table.name);
        Error::fatal(message)
            .help("nothing of it was delivered; repair the row, or take it out of the table")
    }
}

/// The columns of a message, as [`StreamsEgress::change`] fills them.
fn columns() -> Vec<Column> {
    vec![
        Column::new("id", ColumnType::Text).in_key(0),
        Column::new("aggregatetype", ColumnType::Text),
        Column::new("aggregateid", ColumnType::Text),
        Column::new("payload", ColumnType::Bytes),
        Column::new("timestamp", ColumnType::Timestamp),
        Column::new("contenttype", ColumnType::Text),
        Column::new("headers", ColumnType::Json),
    ]
}

fn headers(headers: &BTreeMap<String, String>) -> Value {
    // A map of texts is always JSON.
    serde_json::to_string(headers).map_or(Value::Null, |json| Value::Json(json.into()))
}

#[cfg(test)]
mod tests;
