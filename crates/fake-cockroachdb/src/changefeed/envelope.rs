use std::{fmt::Write, sync::Arc};

use super::{Families, Plan, Projection, Shape};
use crate::{
    Hlc,
    datum::write_text,
    store::{Image, RowCommit, Schema, fulfils},
};

/// What surrounds a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Envelope {
    Wrapped,
    Bare,
    KeyOnly,
    Row,
}

/// A line of a changefeed: a row, or a resolved timestamp, which has no table and no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) table: Option<Arc<str>>,
    pub(crate) key: Option<Arc<str>>,
    pub(crate) value: Arc<str>,
}

impl Message {
    /// A resolved timestamp, as the envelope has it.
    pub(crate) fn resolved(at: Hlc, envelope: Envelope) -> Self {
        let value = match envelope {
            Envelope::Wrapped => format!("{{\"resolved\":\"{at}\"}}"),
            _ => format!("{{\"__crdb__\":{{\"resolved\":\"{at}\"}}}}"),
        };
        Self { table: None, key: None, value: value.into() }
    }
}

/// The messages of a commit: one, or one a family.
pub(crate) fn messages(plan: &Plan, name: &Arc<str>, row: &RowCommit) -> Vec<Message> {
    let Some(schema) = row.after.as_ref().or(row.before.as_ref()).map(|image| &image.schema) else {
        return Vec::new();
    };
    let fulfils = |query: &Projection| match &row.after {
        Some(image) => fulfils(image, &query.condition),
        None => true,
    };
    if !plan.query.as_ref().is_none_or(fulfils) {
        return Vec::new();
    }
    if plan.shape.families == Families::One || !schema.has_families() {
        return vec![message(plan, Arc::clone(name), row, None)];
    }
    let told = (0..schema.families.len()).filter(|&family| is_told(row, family));
    let name = |family: usize| format!("{name}.{}", schema.families[family]);
    told.map(|family| message(plan, name(family).into(), row, Some(family))).collect()
}

/// Whether anything of a family changed, or all of the row.
fn is_told(row: &RowCommit, family: usize) -> bool {
    let (Some(before), Some(after)) = (&row.before, &row.after) else { return true };
    let of = |image: &Image| {
        let columns = image.schema.columns.iter().zip(image.values.iter());
        let own = columns.filter(|(column, _)| column.family == family);
        own.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    row.updated != row.mvcc || of(before) != of(after)
}

fn message(plan: &Plan, table: Arc<str>, row: &RowCommit, family: Option<usize>) -> Message {
    let shown = Shown { family, query: plan.query.as_ref() };
    let mut value = String::with_capacity(256);
    match plan.shape.envelope {
        Envelope::Wrapped => wrapped(&mut value, &plan.shape, row, &shown, &table),
        Envelope::Bare => bare(&mut value, &plan.shape, row, &shown),
        Envelope::Row => shown.write(&mut value, row.after.as_ref()),
        Envelope::KeyOnly => {}
    }
    Message { table: Some(table), key: Some(Arc::clone(&row.key)), value: value.into() }
}

/// Which columns of a row are shown.
struct Shown<'p> {
    family: Option<usize>,
    query: Option<&'p Projection>,
}

impl Shown<'_> {
    /// The columns in the order of their names.
    fn columns(&self, schema: &Schema) -> Vec<usize> {
        let is_shown = |&index: &usize| {
            let column = &schema.columns[index];
            let of_query = self.query.is_none_or(|query| {
                query.columns.is_empty() || query.columns.contains(&column.name)
            });
            of_query && self.family.is_none_or(|family| family == column.family)
        };
        let mut columns: Vec<_> = (0..schema.columns.len()).filter(is_shown).collect();
        columns.sort_by_key(|&index| &schema.columns[index].name);
        columns
    }

    fn write(&self, out: &mut String, image: Option<&Image>) {
        let Some(image) = image else { return out.push_str("null") };
        out.push('{');
        for (count, index) in self.columns(&image.schema).into_iter().enumerate() {
            if count > 0 {
                out.push_str(", ");
            }
            write_column(out, image, index);
        }
        out.push('}');
    }
}

fn wrapped(out: &mut String, shape: &Shape, row: &RowCommit, shown: &Shown<'_>, topic: &str) {
    out.push_str("{\"after\": ");
    shown.write(out, row.after.as_ref());
    if shape.has_diff {
        out.push_str(", \"before\": ");
        shown.write(out, row.before.as_ref());
    }
    if shape.key_in_value {
        out.push_str(", \"key\": ");
        out.push_str(&row.key);
    }
    if shape.has_mvcc_timestamp {
        let _ = write!(out, ", \"mvcc_timestamp\": \"{}\"", row.mvcc);
    }
    if shape.topic_in_value {
        out.push_str(", \"topic\": ");
        write_text(topic, out);
    }
    if shape.has_updated {
        let _ = write!(out, ", \"updated\": \"{}\"", row.updated);
    }
    out.push('}');
}

fn bare(out: &mut String, shape: &Shape, row: &RowCommit, shown: &Shown<'_>) {
    let time = |shown: bool, name: &str, at: Hlc| shown.then(|| format!("\"{name}\": \"{at}\""));
    let mvcc = time(shape.has_mvcc_timestamp, "mvcc_timestamp", row.mvcc);
    let updated = time(shape.has_updated, "updated", row.updated);
    let times: Vec<_> = mvcc.into_iter().chain(updated).collect();
    let _ = write!(out, "{{\"__crdb__\": {{{}}}", times.join(", "));
    if let Some(image) = &row.after {
        for index in shown.columns(&image.schema) {
            out.push_str(", ");
            write_column(out, image, index);
        }
    }
    out.push('}');
}

fn write_column(out: &mut String, image: &Image, index: usize) {
    write_text(&image.schema.columns[index].name, out);
    out.push_str(": ");
    image.values[index].write_json(out);
}
