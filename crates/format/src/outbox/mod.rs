//! The format `outbox`: the messages of an outbox table, as Debezium's Outbox Event Router makes
//! them.
//!
//! Each row that was inserted (or read by a snapshot) is a message:
//!
//! - its topic is `outbox.event.` and the row's `aggregatetype`,
//! - its key is the row's `aggregateid`, null if that is null,
//! - its value is the row's `payload`,
//! - its header `id` is the row's `id`, by which a consumer knows what it has seen,
//! - its time is that of processing, unless a column is named,
//! - the entries of `tracingspancontext`, a text of Java properties such as `traceparent=00-…`,
//!   are headers before all others.
//!
//! Deletes, truncates and marks are left out, so that a row may be deleted as soon as it is
//! inserted. An update is left out too, with a line in the log. A row that lacks a column or a
//! value that is needed is refused.
//!
//! Settings are Debezium's, option for option and default for default:
//!
//! | in Debezium | here | default |
//! |---|---|---|
//! | `table.field.event.id` | `id_column` | `id` |
//! | `table.field.event.key` | `key_column` | `aggregateid` |
//! | `table.field.payload` | `payload_column` | `payload` |
//! | `table.field.event.timestamp` | `timestamp_column` | unset |
//! | `table.field.event.type` | none: it has no effect; place the column instead | |
//! | `table.field.event.schema.version` | none: messages carry no schemas | |
//! | `table.fields.additional.placement` | `place`, a list of `column:header`, `column:envelope` or `column:partition`, and here `column:headers`, each with `:alias` or without | empty |
//! | `table.field.additional.missing`, `table.fields.additional.error.on.missing` | `on_missing_column` = `error`, `ignore` | `error` |
//! | `table.op.invalid.behavior` | `on_update` = `warn`, `error`, `fatal` | `warn` |
//! | `table.expand.json.payload` | `expand_payload` | `false` |
//! | `table.json.payload.null.behavior` = `ignore`, `optional_bytes` | `expand_null` = `drop`, `keep` | `drop` |
//! | `table.json.payload.empty.array.behavior` = `ignore`, `optional_string` | `expand_empty_array` = `drop`, `keep` | `drop` |
//! | `route.by.field` | `route_column` | `aggregatetype` |
//! | `route.topic.regex` | `topic_regex` | `(?<routedByValue>.*)` |
//! | `route.topic.replacement` | `topic_replacement` | `outbox.event.${routedByValue}` |
//! | `route.tombstone.on.empty.payload` | `tombstone_on_empty_payload` | `false` |
//! | `tracing.span.context.field` | `trace_column` | `tracingspancontext` |
//! | `tracing.operation.name`, `tracing.with.context.field.only` | none: there are no spans of our own, so that a consumer's span is a child of the writer's | |
//! | the worker's converters for keys and values | `strings` = `plain` (its `StringConverter`), `json` (its `JsonConverter` without schemas) | `plain` |
//!
//! In a pipeline's file `${` is written `$${`, as for any text there. Regular expressions have no
//! look-around and no back references.
//!
//! - With `strings = "plain"` a key or payload that is a text or a JSON document is itself, bytes
//!   are themselves, and anything else is as in the format `debezium`, without quotes. A null
//!   payload is an empty value: only `tombstone_on_empty_payload` makes tombstones.
//! - With `strings = "json"` it is as in `debezium`, quotes included; a null payload is `null`.
//! - With `expand_payload` a text that begins with `{` or `[` and is JSON becomes that JSON; one
//!   that is not stays as it is, with a line in the log.
//! - With a column in the envelope the value is `{"payload":…,"alias":…}`, texts being JSON strings.
//! - A column placed as the partition must hold an integer of 32 bits, or null for none. A
//!   timestamp column holds timestamps, dates and times in UTC, or texts of either; with a null, or
//!   without such a column, a broker's own client gives the message the time of its delivery.
//! - A header is as a plain key is, but bytes are base64. A column placed as headers holds a JSON
//!   object, whose members are a header each: texts as they are, anything else as JSON.
//! - A line sink writes the value alone. There a text with line breaks or other control characters
//!   is a JSON string, and what is no text is base64 in quotes.

mod expansion;
mod message;
mod placement;
mod properties;
mod route;

use std::collections::HashMap;

use rowtide_core::{Change, Operation, Table};

pub use self::{
    placement::{Place, Placement},
    route::Route,
};
use crate::{
    OnUpdate, Outbox, encoder::Output, messages::Draft, outbox::message::Columns, plans::Plans,
    refusals::Refused,
};

/// More values than tables are routed by; the topics of the others are made again and again.
const TOPICS_MAX: usize = 1024;

pub(crate) struct OutboxEncoder {
    settings: Outbox,
    plans: Plans<Columns>,
    topics: HashMap<String, String>,
    routed: Vec<u8>,
    draft: Draft,
}

impl OutboxEncoder {
    pub(crate) fn new(settings: &Outbox) -> Self {
        let of_plans = settings.clone();
        Self {
            settings: settings.clone(),
            plans: Plans::new(move |table: &Table| Columns::new(table, &of_plans)),
            topics: HashMap::new(),
            routed: Vec::new(),
            draft: Draft::default(),
        }
    }

    pub(crate) fn encode(
        &mut self,
        changes: &[Change],
        output: &mut impl Output,
        refused: &mut Vec<Refused>,
    ) {
        for (index, change) in changes.iter().enumerate() {
            match self.draft(change) {
                Ok(true) => output.draft(index, &self.draft),
                Ok(false) => {}
                Err(reason) => refused.push(Refused { index, reason }),
            }
        }
    }

    /// Makes the message of a change, and returns whether there is one.
    fn draft(&mut self, change: &Change) -> Result<bool, String> {
        match change.operation {
            Operation::Insert | Operation::Read => {}
            Operation::Update => return self.meet_update(change),
            _ => return Ok(false),
        }
        let Self { settings, plans, topics, routed, draft, .. } = self;
        draft.clear();
        let columns = plans.of(&change.table);
        let message = message::Source::new(settings, columns, change)?;
        routed.clear();
        message.write_route(routed)?;
        route(&settings.route, topics, routed, &mut draft.topic)?;
        message.write(draft)?;
        Ok(true)
    }

    fn meet_update(&self, change: &Change) -> Result<bool, String> {
        let table = &change.table.name;
        match self.settings.on_update {
            OnUpdate::Warn => {
                tracing::warn!(%table, id = %change.id, "left out an update of an outbox");
            }
            OnUpdate::Error => {
                tracing::error!(%table, id = %change.id, "left out an update of an outbox");
            }
            OnUpdate::Fatal => return Err(format!("a row of the outbox `{table}` was updated")),
        }
        Ok(false)
    }
}

/// Appends the topic of a value.
fn route(
    route: &Route,
    topics: &mut HashMap<String, String>,
    routed: &[u8],
    topic: &mut String,
) -> Result<(), String> {
    let value = std::str::from_utf8(routed)
        .map_err(|_| "the value that the topic is made of is not a text".to_owned())?;
    if let Some(known) = topics.get(value) {
        topic.push_str(known);
        return Ok(());
    }
    topic.push_str(&route.topic(value));
    if topic.is_empty() {
        return Err("the topic is empty".to_owned());
    }
    if topics.len() == TOPICS_MAX {
        topics.clear();
    }
    topics.insert(value.to_owned(), topic.clone());
    Ok(())
}
