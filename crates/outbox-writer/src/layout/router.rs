use std::time::SystemTime;

use uuid::Uuid;

use crate::{Error, Layout, Result, Value, insert::Rows, layout::properties};

/// A row a message, in the columns of Debezium's Outbox Event Router.
///
/// Each field is the name of a column. Columns that order the table (`seq`, and `xid` on
/// PostgreSQL) fill themselves and are not written.
#[derive(Clone, Debug)]
pub struct Router {
    /// Where the id of a message is: `id`.
    pub id: String,
    /// Where the kind of the aggregate is, of which the topic is made: `aggregatetype`.
    pub aggregate_type: String,
    /// Where the aggregate's own id is, which becomes the key: `aggregateid`.
    pub aggregate_id: String,
    /// Where the type of the message is: `type`.
    pub message_type: String,
    /// Where the message itself is: `payload`.
    pub payload: String,
    /// Where trace contexts are: `tracingspancontext`. Written for messages that have one.
    pub trace: String,
    /// Where the time of a message is, if the table has such a column; none by default.
    pub time: Option<String>,
    /// How ids are made.
    pub ids: Ids,
}

/// How the id of a message is written that was given none: as a UUID of version 7.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ids {
    /// With hyphens, for a column of text or of UUIDs.
    #[default]
    Text,
    /// As 16 bytes, for a column such as MySQL's `BINARY(16)`.
    Bytes,
}

/// A message of the layout [`Router`].
#[derive(Clone, Debug)]
pub struct Message {
    id: Option<Value>,
    aggregate_type: String,
    aggregate_id: String,
    message_type: String,
    payload: Value,
    time: Option<SystemTime>,
    trace: Vec<(String, String)>,
    columns: Vec<(String, Value)>,
}

impl Default for Router {
    fn default() -> Self {
        Self {
            id: "id".to_owned(),
            aggregate_type: "aggregatetype".to_owned(),
            aggregate_id: "aggregateid".to_owned(),
            message_type: "type".to_owned(),
            payload: "payload".to_owned(),
            trace: "tracingspancontext".to_owned(),
            time: None,
            ids: Ids::default(),
        }
    }
}

impl Message {
    /// A message about an aggregate; those of one aggregate are published in order.
    pub fn new(
        aggregate_type: impl Into<String>,
        aggregate_id: impl Into<String>,
        message_type: impl Into<String>,
        payload: impl Into<Value>,
    ) -> Self {
        Self {
            id: None,
            aggregate_type: aggregate_type.into(),
            aggregate_id: aggregate_id.into(),
            message_type: message_type.into(),
            payload: payload.into(),
            time: None,
            trace: Vec::new(),
            columns: Vec::new(),
        }
    }

    /// Gives the message an id of its own, by which consumers know what they have seen.
    #[must_use]
    pub fn id(mut self, id: impl Into<Value>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Gives the message a time other than that of the call. Needs [`Router::time`].
    #[must_use]
    pub fn time(mut self, time: SystemTime) -> Self {
        self.time = Some(time);
        self
    }

    /// Adds an entry of the trace context, such as `traceparent`, which becomes a header.
    #[must_use]
    pub fn trace(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.trace.push((name.into(), value.into()));
        self
    }

    /// Adds the value of a further column of the table.
    #[must_use]
    pub fn column(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.columns.push((name.into(), value.into()));
        self
    }
}

impl Layout for Router {
    type Message = Message;

    fn rows(&self, messages: &[Message]) -> Result<Vec<Rows>> {
        let mut runs: Vec<Rows> = Vec::new();
        for (index, message) in messages.iter().enumerate() {
            let cells = self.cells(message).map_err(|reason| Error::Message { index, reason })?;
            let (columns, row): (Vec<_>, Vec<_>) = cells.into_iter().unzip();
            match runs.last_mut().filter(|run| run.columns == columns) {
                Some(run) => run.rows.push(row),
                None => runs.push(Rows { columns, rows: vec![row] }),
            }
        }
        Ok(runs)
    }
}

impl Router {
    fn cells(&self, message: &Message) -> Result<Vec<(String, Value)>, String> {
        if message.time.is_some() && self.time.is_none() {
            return Err("it has a time, and the outbox no column for one".to_owned());
        }
        let id = message.id.clone().unwrap_or_else(|| self.ids.next());
        let mut cells = vec![
            (self.id.clone(), id),
            (self.aggregate_type.clone(), Value::from(&*message.aggregate_type)),
            (self.aggregate_id.clone(), Value::from(&*message.aggregate_id)),
            (self.message_type.clone(), Value::from(&*message.message_type)),
            (self.payload.clone(), message.payload.clone()),
        ];
        if let Some(column) = &self.time {
            let time = message.time.unwrap_or_else(SystemTime::now);
            cells.push((column.clone(), Value::Time(time)));
        }
        if !message.trace.is_empty() {
            let text = properties::write(&message.trace);
            cells.push((self.trace.clone(), Value::Text(text)));
        }
        cells.extend(message.columns.iter().cloned());
        match named_twice(&cells) {
            Some(column) => Err(format!("column `{column}` has two values")),
            None => Ok(cells),
        }
    }
}

fn named_twice(cells: &[(String, Value)]) -> Option<&str> {
    let mut names: Vec<_> = cells.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

impl Ids {
    fn next(self) -> Value {
        let id = Uuid::now_v7();
        match self {
            Ids::Text => Value::Text(id.hyphenated().to_string()),
            Ids::Bytes => Value::Bytes(id.into_bytes().to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        Message::new("order", "7", "placed", "{}")
    }

    fn columns(router: &Router, messages: &[Message]) -> Vec<(usize, String)> {
        let runs = router.rows(messages).unwrap();
        runs.iter().map(|run| (run.rows.len(), run.columns.join(" "))).collect()
    }

    #[test]
    fn neighbours_of_one_shape_are_written_together_and_none_overtakes() {
        let plain = "id aggregatetype aggregateid type payload";
        let traced = format!("{plain} tracingspancontext");
        let messages =
            [message(), message(), message().trace("traceparent", "00-1-2-01"), message()];
        assert_eq!(
            columns(&Router::default(), &messages),
            [(2, plain.to_owned()), (1, traced), (1, plain.to_owned())]
        );
    }

    #[test]
    fn every_column_has_the_name_that_was_given() {
        let router = Router {
            id: "a".to_owned(),
            aggregate_type: "b".to_owned(),
            aggregate_id: "c".to_owned(),
            message_type: "d".to_owned(),
            payload: "e".to_owned(),
            trace: "g".to_owned(),
            time: Some("f".to_owned()),
            ids: Ids::Bytes,
        };
        let message = message().trace("x", "y").column("h", true);
        assert_eq!(columns(&router, &[message]), [(1, "a b c d e f g h".to_owned())]);
    }

    #[test]
    fn a_message_that_cannot_be_written_is_named() {
        let timed = message().time(SystemTime::now());
        let twice = message().column("type", "x");
        for (wrong, reason) in [(timed, "no column"), (twice, "column `type` has two values")] {
            let error = Router::default().rows(&[message(), wrong]).unwrap_err();
            assert!(matches!(error, Error::Message { index: 1, .. }), "{error:?}");
            assert!(error.to_string().contains(reason), "{error}");
        }
    }

    #[test]
    fn ids_are_all_different_and_grow() {
        let ids: Vec<_> = (0..1_000).map(|_| Ids::Bytes.next()).collect();
        let bytes = ids.iter().map(|id| match id {
            Value::Bytes(bytes) => bytes.clone(),
            other => panic!("{other:?}"),
        });
        assert!(bytes.collect::<Vec<_>>().is_sorted_by(|a, b| a < b));
    }
}
