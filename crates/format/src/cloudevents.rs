//! The format `cloudevents`: CloudEvents 1.0, as Debezium makes them.
//!
//! ```json
//! {"id":"name:orders;commitTs:1700000000987654321;txId:t1;seq:s:3;mod:0",
//!  "source":"/debezium/rowtide/orders","specversion":"1.0",
//!  "type":"io.debezium.connector.rowtide.DataChangeEvent","time":"2023-11-14T22:13:20.987Z",
//!  "datacontenttype":"application/json","iodebeziumop":"c","iodebeziumversion":"0.1.0",…,
//!  "data":{"before":null,"after":{"id":7}}}
//! ```
//!
//! (in one line).
//!
//! - `id` is the same at each redelivery: the pipeline's name (or `name`), the time of the commit in
//!   nanoseconds and the transaction if the upstream tells them, and the id of the change, whose
//!   last number is `mod` if it has two.
//! - `time` is that of the commit; of processing if the upstream does not tell, as for a row that a
//!   snapshot read. It has milliseconds.
//! - The extension attributes are the operation and the members of the envelope's `source` in the
//!   format `debezium`, with `iodebezium` before the name and without what is not a letter or a
//!   digit. One that has no value is absent, which by the specification is the same as null. Numbers
//!   are strings, since an integer of CloudEvents has 32 bits. Names are in lower case, as the
//!   specification demands; with `extension_case = "keep"` they are as Debezium's
//!   (`iodebeziumtxId`). With `extensions = false` there are none.
//! - `data` is `{"before":…,"after":…}`, with values as in `debezium`.
//! - The key, tombstones, and what has no form are as in `debezium`, too.
//! - The header `content-type` is `application/cloudevents+json; charset=UTF-8`.
//!
//! With `mode = "binary"` the value is `data` alone, the attributes are headers with `ce_` before
//! their names (`header_prefix`), and `content-type` is that of the data. A line sink then writes
//! the data alone. A tombstone has no headers.

use std::{fmt, io::Write};

use jiff::Timestamp;
use rowtide_core::{Change, Operation};

use crate::{
    CloudEvents, CloudEventsMode, ExtensionCase,
    debezium::{Plan, operation, write_plain_row},
    encoder::Output,
    messages::Draft,
    plans::Plans,
    text,
};

const CONTENT_TYPE: &str = "content-type";
const STRUCTURED_TYPE: &[u8] = b"application/cloudevents+json; charset=UTF-8";
const DATA_TYPE: &[u8] = b"application/json";

pub(crate) struct CloudEventsEncoder {
    settings: CloudEvents,
    clock: fn() -> Timestamp,
    name: String,
    source: String,
    event_type: String,
    names: Vec<(&'static str, String)>,
    plans: Plans<Plan>,
    draft: Draft,
    attribute: Vec<u8>,
}

/// The members of a source that become extension attributes, after the operation, in order.
const EXTENSIONS: [&str; 13] = [
    "op",
    "version",
    "connector",
    "name",
    "ts_ms",
    "snapshot",
    "db",
    "sequence",
    "ts_us",
    "ts_ns",
    "schema",
    "table",
    "txId",
];

impl CloudEventsEncoder {
    pub(crate) fn new(settings: &CloudEvents, pipeline: &str, clock: fn() -> Timestamp) -> Self {
        let name = settings.name.as_deref().unwrap_or(pipeline).to_owned();
        let source = format!("/debezium/{}/{name}", settings.connector);
        let event_type = format!("io.debezium.connector.{}.DataChangeEvent", settings.connector);
        let extensions = EXTENSIONS.iter().filter(|_| settings.extensions);
        let names = extensions.map(|name| (*name, extension(name, settings.extension_case)));
        Self {
            settings: settings.clone(),
            clock,
            name,
            source,
            event_type,
            names: names.collect(),
            plans: Plans::new(Plan::new),
            draft: Draft::default(),
            attribute: Vec::new(),
        }
    }

    pub(crate) fn encode(&mut self, changes: &[Change], output: &mut impl Output) {
        let now = (self.clock)();
        for (index, change) in changes.iter().enumerate() {
            let Some(operation) = operation(change.operation) else { continue };
            self.draft.clear();
            self.write_key(change);
            self.write_attributes(change, operation, now);
            self.write_data(change);
            output.draft(index, &self.draft);
            if self.settings.tombstones && change.operation == Operation::Delete {
                output.tombstone(index, |out| {
                    out.extend_from_slice(&self.draft.key);
                    self.draft.has_key
                });
            }
        }
    }

    fn write_key(&mut self, change: &Change) {
        let plan = self.plans.of(&change.table);
        let image = change.image().filter(|_| !plan.key.is_empty());
        self.draft.has_key = image.is_some();
        if image.is_some() {
            write_plain_row(&mut self.draft.key, &plan.key, image);
        }
    }

    /// Appends every attribute: to the headers, or to the value up to the data.
    fn write_attributes(&mut self, change: &Change, operation: u8, now: Timestamp) {
        let time = change.committed_at.unwrap_or(now);
        let content_type = match self.settings.mode {
            CloudEventsMode::Structured => STRUCTURED_TYPE,
            CloudEventsMode::Binary => DATA_TYPE,
        };
        self.draft.header(CONTENT_TYPE, |out| {
            out.extend_from_slice(content_type);
            true
        });
        let mut attributes = Attributes {
            settings: &self.settings,
            draft: &mut self.draft,
            text: &mut self.attribute,
        };
        attributes.add("id", |out| write_event_id(out, &self.name, change));
        attributes.add("source", |out| out.extend_from_slice(self.source.as_bytes()));
        attributes.add("specversion", |out| out.extend_from_slice(b"1.0"));
        attributes.add("type", |out| out.extend_from_slice(self.event_type.as_bytes()));
        attributes.add("time", |out| write_time(out, time));
        if self.settings.mode == CloudEventsMode::Structured {
            attributes.add("datacontenttype", |out| out.extend_from_slice(DATA_TYPE));
        }
        let extensions = Extensions { name: &self.name, change, operation, time };
        for (member, name) in &self.names {
            let database = &self.settings.database;
            if extensions.has(member) && !(*member == "db" && database.is_empty()) {
                let connector = &self.settings.connector;
                attributes.add(name, |out| match *member {
                    "connector" => out.extend_from_slice(connector.as_bytes()),
                    "db" => out.extend_from_slice(database.as_bytes()),
                    member => extensions.write(out, member),
                });
            }
        }
    }

    fn write_data(&mut self, change: &Change) {
        let plan = self.plans.of(&change.table);
        let out = &mut self.draft.value;
        self.draft.has_value = true;
        let is_structured = self.settings.mode == CloudEventsMode::Structured;
        if is_structured {
            out.extend_from_slice(b",\"data\":");
        }
        out.extend_from_slice(b"{\"before\":");
        write_plain_row(out, &plan.columns, change.before.as_ref());
        out.extend_from_slice(b",\"after\":");
        write_plain_row(out, &plan.columns, change.after.as_ref());
        out.extend_from_slice(if is_structured { b"}}" } else { b"}" });
    }
}

/// Where attributes go.
struct Attributes<'a> {
    settings: &'a CloudEvents,
    draft: &'a mut Draft,
    /// The value of one attribute.
    text: &'a mut Vec<u8>,
}

impl Attributes<'_> {
    fn add(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
        let Self { settings, draft, text } = self;
        text.clear();
        value(text);
        // What is no text in a text would be a defect, and is not worth a panic.
        let value = String::from_utf8_lossy(text);
        match settings.mode {
            CloudEventsMode::Binary => {
                draft.prefixed_header(&settings.header_prefix, name, |out| {
                    out.extend_from_slice(value.as_bytes());
                    true
                });
            }
            CloudEventsMode::Structured => {
                let out = &mut draft.value;
                out.push(if out.is_empty() { b'{' } else { b',' });
                text::string(out, name);
                out.push(b':');
                text::string(out, &value);
            }
        }
    }
}

/// What the extension attributes say of one change.
struct Extensions<'a> {
    name: &'a str,
    change: &'a Change,
    operation: u8,
    time: Timestamp,
}

impl Extensions<'_> {
    /// Whether the attribute has a value.
    fn has(&self, member: &str) -> bool {
        match member {
            "schema" => self.change.table.namespace.is_some(),
            "txId" => self.change.transaction.is_some(),
            _ => true,
        }
    }

    fn write(&self, out: &mut Vec<u8>, member: &str) {
        let change = self.change;
        let is_read = change.operation == Operation::Read;
        match member {
            "op" => out.push(self.operation),
            "version" => out.extend_from_slice(env!("CARGO_PKG_VERSION").as_bytes()),
            "name" => out.extend_from_slice(self.name.as_bytes()),
            "ts_ms" => text::integer(out, self.time.as_millisecond()),
            "snapshot" => out.extend_from_slice(if is_read { b"true" } else { b"false" }),
            "sequence" => write(out, format_args!("{}", change.id)),
            "ts_us" => text::integer(out, self.time.as_microsecond()),
            "ts_ns" => text::integer(out, self.time.as_nanosecond()),
            "schema" => {
                let namespace = change.table.namespace.as_deref().unwrap_or_default();
                out.extend_from_slice(namespace.as_bytes());
            }
            "table" => out.extend_from_slice(change.table.name.as_bytes()),
            "txId" => {
                let id = change.transaction.as_ref().map(|transaction| &*transaction.id);
                out.extend_from_slice(id.unwrap_or_default().as_bytes());
            }
            _ => {}
        }
    }
}

fn extension(member: &str, case: ExtensionCase) -> String {
    let letters = member.chars().filter(char::is_ascii_alphanumeric);
    let name = format!("iodebezium{}", letters.collect::<String>());
    match case {
        ExtensionCase::Lower => name.to_ascii_lowercase(),
        ExtensionCase::Keep => name,
    }
}

fn write_event_id(out: &mut Vec<u8>, name: &str, change: &Change) {
    out.extend_from_slice(b"name:");
    out.extend_from_slice(name.as_bytes());
    if let Some(time) = change.committed_at {
        out.extend_from_slice(b";commitTs:");
        text::integer(out, time.as_nanosecond());
    }
    if let Some(transaction) = &change.transaction {
        out.extend_from_slice(b";txId:");
        out.extend_from_slice(transaction.id.as_bytes());
    }
    out.extend_from_slice(b";seq:");
    out.extend_from_slice(change.id.scope().as_bytes());
    for (number, name) in change.id.numbers().zip([":", ";mod:"]) {
        out.extend_from_slice(name.as_bytes());
        text::integer(out, number);
    }
}

/// Always with three digits behind the point.
fn write_time(out: &mut Vec<u8>, time: Timestamp) {
    write(out, format_args!("{time:.3}"));
}

fn write(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    // Writing to a vector cannot fail.
    let _ = out.write_fmt(text);
}
