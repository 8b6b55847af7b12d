use std::sync::Arc;

use jiff::Timestamp;
use rowtide_core::{Change, ChangeId, ColumnType, Metadata, Row, Table, Transaction, Value};

use super::value;
use crate::{
    Integers, Json,
    encoder::Output,
    plans::Plans,
    text::{self, PRINTER},
};

pub(crate) struct JsonEncoder {
    integers: Integers,
    plans: Plans<Plan>,
    latest_time: Option<(Timestamp, Vec<u8>)>,
    said: Said,
}

/// What the latest changes had in common beyond their rows, as it is written.
#[derive(Default)]
struct Said(Option<(Arc<Metadata>, Vec<SaidMember>)>);

struct SaidMember {
    name: Box<str>,
    /// The name in quotes, a colon, and the value.
    text: Vec<u8>,
}

/// What is the same in all lines of a table.
struct Plan {
    /// From after the operation to before the key.
    head: Vec<u8>,
    columns: Vec<Member>,
    key: Vec<Member>,
}

struct Member {
    index: usize,
    /// The name in quotes, and a colon.
    name: Vec<u8>,
    column_type: ColumnType,
}

impl JsonEncoder {
    pub(crate) fn new(settings: &Json) -> Self {
        let plans = Plans::new(Plan::new);
        Self { integers: settings.integers, plans, latest_time: None, said: Said::default() }
    }

    pub(crate) fn encode(&mut self, changes: &[Change], output: &mut impl Output) {
        for (index, change) in changes.iter().enumerate() {
            let Self { integers, plans, latest_time, said } = self;
            let plan = plans.of(&change.table);
            output.message(
                index,
                |out| plan.has_key(change) && plan.write_key(out, change, *integers),
                |out| {
                    plan.write_images(out, change, *integers);
                    write_time(out, change.committed_at, latest_time);
                    write_rest(out, change, said, *integers);
                },
            );
        }
    }
}

impl Plan {
    fn new(table: &Table) -> Self {
        let mut head = Vec::new();
        if let Some(namespace) = &table.namespace {
            head.extend_from_slice(b",\"namespace\":");
            text::string(&mut head, namespace);
        }
        head.extend_from_slice(b",\"table\":");
        text::string(&mut head, &table.name);
        head.extend_from_slice(b",\"key\":");
        let shown = (0..table.columns.len()).filter(|&index| !table.columns[index].hidden);
        let columns = shown.map(|index| Member::new(table, index)).collect();
        let key = table.key().into_iter().map(|index| Member::of_key(table, index)).collect();
        Self { head, columns, key }
    }

    fn has_key(&self, change: &Change) -> bool {
        !self.key.is_empty() && change.image().is_some()
    }

    /// Appends the key, or null, and returns whether there is one.
    fn write_key(&self, out: &mut Vec<u8>, change: &Change, integers: Integers) -> bool {
        let image = if self.key.is_empty() { None } else { change.image() };
        write_row(out, &self.key, image, integers);
        image.is_some()
    }

    fn write_images(&self, out: &mut Vec<u8>, change: &Change, integers: Integers) {
        out.extend_from_slice(b"{\"id\":\"");
        write_id(out, &change.id);
        out.extend_from_slice(b"\",\"op\":\"");
        out.extend_from_slice(change.operation.name().as_bytes());
        out.push(b'"');
        out.extend_from_slice(&self.head);
        self.write_key(out, change, integers);
        out.extend_from_slice(b",\"before\":");
        write_row(out, &self.columns, change.before.as_ref(), integers);
        out.extend_from_slice(b",\"after\":");
        write_row(out, &self.columns, change.after.as_ref(), integers);
    }
}

impl Member {
    fn new(table: &Table, index: usize) -> Self {
        let column = &table.columns[index];
        Self::named(&column.name, index, &column.column_type)
    }

    /// As [`new`](Self::new), but a hidden column has the one name that a reader can rely on.
    fn of_key(table: &Table, index: usize) -> Self {
        let column = &table.columns[index];
        let is_alone = table.key().len() == 1;
        match column.hidden {
            true if is_alone => Self::named("$rowid", index, &column.column_type),
            true => Self::named(&format!("${}", column.name), index, &column.column_type),
            false => Self::new(table, index),
        }
    }

    fn named(name: &str, index: usize, column_type: &ColumnType) -> Self {
        let mut quoted = Vec::new();
        text::string(&mut quoted, name);
        quoted.push(b':');
        Self { index, name: quoted, column_type: column_type.clone() }
    }
}

fn write_row(out: &mut Vec<u8>, members: &[Member], row: Option<&Row>, integers: Integers) {
    let Some(row) = row else { return text::null(out) };
    let values = row.values();
    let mut separator = b'{';
    for member in members {
        let value = values.get(member.index).unwrap_or(&Value::Unknown);
        if value.is_known() {
            out.push(separator);
            separator = b',';
            out.extend_from_slice(&member.name);
            value::write(out, &member.column_type, value, integers);
        }
    }
    if separator == b'{' {
        out.push(b'{');
    }
    out.push(b'}');
}

/// The text form of an id, without quotes.
pub(crate) fn write_id(out: &mut Vec<u8>, id: &ChangeId) {
    text::escaped(out, id.scope());
    for number in id.numbers() {
        out.push(b':');
        text::integer(out, number);
    }
}

/// Changes that were committed together have one time; its text is made once.
fn write_time(
    out: &mut Vec<u8>,
    time: Option<Timestamp>,
    latest: &mut Option<(Timestamp, Vec<u8>)>,
) {
    out.extend_from_slice(b",\"committed_at\":");
    let Some(time) = time else { return text::null(out) };
    if let Some((known, printed)) = latest
        && *known == time
    {
        return out.extend_from_slice(printed);
    }
    let start = out.len();
    out.push(b'"');
    // Writing to a vector cannot fail.
    let _ = PRINTER.print_timestamp(&time, &mut *out);
    out.push(b'"');
    *latest = Some((time, out[start..].to_vec()));
}

fn write_rest(out: &mut Vec<u8>, change: &Change, said: &mut Said, integers: Integers) {
    out.extend_from_slice(b",\"transaction\":");
    match &change.transaction {
        Some(transaction) => write_transaction(out, transaction),
        None => text::null(out),
    }
    if let Some(metadata) = &change.metadata {
        out.extend_from_slice(b",\"metadata\":");
        said.write(out, metadata, integers);
    }
    out.push(b'}');
}

fn write_transaction(out: &mut Vec<u8>, transaction: &Transaction) {
    out.extend_from_slice(b"{\"id\":");
    text::string(out, &transaction.id);
    if let Some(changes) = transaction.changes {
        out.extend_from_slice(b",\"changes\":");
        text::integer(out, changes);
    }
    out.push(b'}');
}

impl Said {
    fn write(&mut self, out: &mut Vec<u8>, metadata: &Metadata, integers: Integers) {
        let shared = match metadata.shared() {
            Some(shared) => self.written(shared, integers),
            None => &[],
        };
        let mut shared = shared.iter().peekable();
        let mut separator = b'{';
        let mut begin = |out: &mut Vec<u8>| {
            out.push(separator);
            separator = b',';
        };
        for (name, value) in metadata.own() {
            while let Some(member) = shared.next_if(|member| *member.name < *name) {
                begin(out);
                out.extend_from_slice(&member.text);
            }
            // What a change says itself stands for what is shared.
            shared.next_if(|member| *member.name == *name);
            begin(out);
            write_member(out, name, value, integers);
        }
        for member in shared {
            begin(out);
            out.extend_from_slice(&member.text);
        }
        if separator == b'{' {
            out.push(b'{');
        }
        out.push(b'}');
    }

    fn written(&mut self, shared: &Arc<Metadata>, integers: Integers) -> &[SaidMember] {
        let latest = self.0.take().filter(|(of, _)| Arc::ptr_eq(of, shared));
        let member = |(name, value): (&str, &Value)| {
            let mut text = Vec::new();
            write_member(&mut text, name, value, integers);
            SaidMember { name: name.into(), text }
        };
        let latest =
            latest.unwrap_or_else(|| (Arc::clone(shared), shared.iter().map(member).collect()));
        &self.0.insert(latest).1
    }
}

fn write_member(out: &mut Vec<u8>, name: &str, value: &Value, integers: Integers) {
    text::string(out, name);
    out.push(b':');
    value::write(out, &ColumnType::Any, value, integers);
}
