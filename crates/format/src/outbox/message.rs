use std::collections::BTreeMap;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use rowtide_core::{Change, Row, Table, Value};
use serde_json::value::RawValue;

use super::{Place, Placement, expansion::Expander, properties};
use crate::{OnMissingColumn, Outbox, Strings, debezium::write_value, messages::Draft, text};

/// Where the columns of the settings are in a table.
pub(super) struct Columns {
    id: Option<usize>,
    key: Option<usize>,
    payload: Option<usize>,
    timestamp: Option<usize>,
    route: Option<usize>,
    trace: Option<usize>,
    /// Aligned with the placements of the settings.
    placed: Vec<Option<usize>>,
}

/// A row of an outbox, and how it is read.
pub(super) struct Source<'a> {
    settings: &'a Outbox,
    columns: &'a Columns,
    table: &'a Table,
    row: &'a Row,
}

impl Columns {
    pub(super) fn new(table: &Table, settings: &Outbox) -> Self {
        let find = |name: &str| table.columns.iter().position(|column| *column.name == *name);
        let timestamp = settings.timestamp_column.as_deref();
        Self {
            id: find(&settings.id_column),
            key: find(&settings.key_column),
            payload: find(&settings.payload_column),
            timestamp: timestamp.and_then(find),
            route: find(&settings.route_column),
            trace: find(&settings.trace_column),
            placed: settings.place.iter().map(|placement| find(&placement.column)).collect(),
        }
    }
}

impl<'a> Source<'a> {
    pub(super) fn new(
        settings: &'a Outbox,
        columns: &'a Columns,
        change: &'a Change,
    ) -> Result<Self, String> {
        let table = &*change.table;
        let row = change.after.as_ref();
        let row = row.ok_or_else(|| format!("an insert into `{}` has no row", table.name))?;
        Ok(Self { settings, columns, table, row })
    }

    /// Appends the value that the topic is made of.
    pub(super) fn write_route(&self, out: &mut Vec<u8>) -> Result<(), String> {
        match self.needed(self.columns.route, &self.settings.route_column)? {
            Value::Null => Err(self.wrong(&self.settings.route_column, "is null")),
            value => {
                write_plain(out, value);
                Ok(())
            }
        }
    }

    /// Fills what the message has beside its topic.
    pub(super) fn write(&self, draft: &mut Draft) -> Result<(), String> {
        let settings = self.settings;
        if let Some(column) = &settings.timestamp_column {
            match self.needed(self.columns.timestamp, column)? {
                Value::Null => {}
                value => draft.timestamp = Some(self.time(column, value)?),
            }
        }
        let key = self.needed(self.columns.key, &settings.key_column)?;
        draft.has_key = *key != Value::Null;
        if draft.has_key {
            self.write_own(&mut draft.key, key);
        }
        if let Some(Value::Text(text)) = self.value(self.columns.trace) {
            for (name, value) in properties::parse(text) {
                draft.header(&name, |out| write_bytes(out, value.as_bytes()));
            }
        }
        let id = self.needed(self.columns.id, &settings.id_column)?;
        draft.header("id", |out| write_header(out, id));
        self.write_value(draft)?;
        self.place(draft)
    }

    fn write_value(&self, draft: &mut Draft) -> Result<(), String> {
        let settings = self.settings;
        let payload = self.needed(self.columns.payload, &settings.payload_column)?;
        draft.has_value = !(settings.tombstone_on_empty_payload && is_empty(payload));
        if !draft.has_value {
            return Ok(());
        }
        let out = &mut draft.value;
        if !settings.has_envelope() {
            if !self.expand(out, payload) {
                self.write_own(out, payload);
            }
            return Ok(());
        }
        out.extend_from_slice(b"{\"payload\":");
        if !self.expand(out, payload) {
            write_value(out, payload);
        }
        for (placement, value) in self.placed(Place::Envelope) {
            let Some(value) = value? else { continue };
            out.push(b',');
            text::string(out, &placement.alias);
            out.push(b':');
            write_value(out, value);
        }
        out.push(b'}');
        Ok(())
    }

    /// Appends the JSON that the payload is the text of, if that is wanted and it is.
    fn expand(&self, out: &mut Vec<u8>, payload: &Value) -> bool {
        if !self.settings.expand_payload {
            return false;
        }
        let Outbox { expand_null: null, expand_empty_array: empty_array, .. } = *self.settings;
        let is_expanded = match payload {
            Value::Text(text) | Value::Json(text) => {
                Expander { null, empty_array }.expand(text, out)
            }
            _ => false,
        };
        if !is_expanded {
            tracing::warn!(table = %self.table.name, "a payload is not JSON, and stays as it is");
        }
        is_expanded
    }

    fn place(&self, draft: &mut Draft) -> Result<(), String> {
        for (placement, value) in self.placed(Place::Header) {
            let Some(value) = value? else { continue };
            draft.header(&placement.alias, |out| write_header(out, value));
        }
        for (placement, value) in self.placed(Place::Headers) {
            let Some(value) = value? else { continue };
            let members = members(value)
                .ok_or_else(|| self.wrong(&placement.column, "is not a JSON object"))?;
            for (name, value) in members {
                draft.header(&name, |out| write_member(out, &value));
            }
        }
        for (placement, value) in self.placed(Place::Partition) {
            draft.partition = match value? {
                None | Some(Value::Null) => None,
                Some(Value::Int(number)) if i32::try_from(*number).is_ok_and(|n| n >= 0) => {
                    i32::try_from(*number).ok()
                }
                Some(_) => {
                    let reason = "is not the number of a partition";
                    return Err(self.wrong(&placement.column, reason));
                }
            };
        }
        Ok(())
    }

    /// The placements of one kind, each with its value unless it may go without.
    fn placed(
        &self,
        place: Place,
    ) -> impl Iterator<Item = (&'a Placement, Result<Option<&'a Value>, String>)> {
        let placed = self.settings.place.iter().zip(&self.columns.placed);
        placed.filter(move |(placement, _)| placement.place == place).map(|(placement, index)| {
            let value = match self.settings.on_missing_column {
                OnMissingColumn::Error => self.needed(*index, &placement.column).map(Some),
                OnMissingColumn::Ignore => Ok(self.value(*index)),
            };
            (placement, value)
        })
    }

    fn value(&self, index: Option<usize>) -> Option<&'a Value> {
        self.row.values().get(index?).filter(|value| value.is_known())
    }

    fn needed(&self, index: Option<usize>, column: &str) -> Result<&'a Value, String> {
        self.value(index).ok_or_else(|| match index {
            Some(_) => self.wrong(column, "was not sent by the upstream"),
            None => format!("the outbox `{}` has no column `{column}`", self.table.name),
        })
    }

    fn time(&self, column: &str, value: &Value) -> Result<Timestamp, String> {
        let of_civil = |time: DateTime| TimeZone::UTC.to_timestamp(time).ok();
        let time = match value {
            Value::Timestamp(time) => Some(*time),
            Value::DateTime(time) => of_civil(*time),
            Value::Text(text) => text
                .parse::<Timestamp>()
                .ok()
                .or_else(|| text.parse::<DateTime>().ok().and_then(of_civil)),
            _ => None,
        };
        time.ok_or_else(|| self.wrong(column, "is not a time"))
    }

    fn wrong(&self, column: &str, reason: &str) -> String {
        format!("the column `{column}` of the outbox `{}` {reason}", self.table.name)
    }

    /// A key or a payload as `strings` says.
    fn write_own(&self, out: &mut Vec<u8>, value: &Value) {
        match self.settings.strings {
            Strings::Plain => write_plain(out, value),
            Strings::Json => write_value(out, value),
        }
    }
}

fn is_empty(payload: &Value) -> bool {
    match payload {
        Value::Null => true,
        Value::Text(text) | Value::Json(text) => text.trim().is_empty(),
        Value::Bytes(bytes) | Value::RawText(bytes) => bytes.trim_ascii().is_empty(),
        _ => false,
    }
}

/// The value without quotes; a null is nothing.
fn write_plain(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => {}
        Value::Text(text) | Value::Decimal(text) | Value::Json(text) => {
            out.extend_from_slice(text.as_bytes());
        }
        Value::Bytes(bytes) | Value::RawText(bytes) => out.extend_from_slice(bytes),
        other => write_unquoted(out, other),
    }
}

/// A header's value without quotes, and whether there is one.
/// The members of a JSON object, each as JSON; null has none.
fn members(value: &Value) -> Option<BTreeMap<String, Box<RawValue>>> {
    match value {
        Value::Null => Some(BTreeMap::new()),
        Value::Json(text) | Value::Text(text) => serde_json::from_str(text).ok(),
        _ => None,
    }
}

/// Texts as they are, anything else as JSON.
fn write_member(out: &mut Vec<u8>, json: &RawValue) -> bool {
    match serde_json::from_str::<String>(json.get()) {
        Ok(text) => write_bytes(out, text.as_bytes()),
        Err(_) => write_bytes(out, json.get().as_bytes()),
    }
}

fn write_header(out: &mut Vec<u8>, value: &Value) -> bool {
    match value {
        Value::Bytes(_) => write_unquoted(out, value),
        value => write_plain(out, value),
    }
    *value != Value::Null
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    out.extend_from_slice(bytes);
    true
}

/// The value in JSON, without the quotes of one that has nothing to escape.
fn write_unquoted(out: &mut Vec<u8>, value: &Value) {
    let start = out.len();
    write_value(out, value);
    if out.get(start) == Some(&b'"') {
        out.remove(start);
        out.pop();
    }
}
