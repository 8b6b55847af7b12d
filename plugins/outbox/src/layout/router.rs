use std::sync::Arc;

use rowtide_core::{Change, ChangeId, Column, Error, Operation, Result, Row, Table, Value};
use uuid::Uuid;

use crate::{config::OutboxConfig, keys::Key, layout::FoundRow};

/// One message a row, in the columns of Debezium's Outbox Event Router.
pub(crate) struct Router {
    selection: Vec<Box<str>>,
    table: Arc<Table>,
    id: usize,
}

/// A column of the router: its name, the one that the settings give it, and whether it must be.
struct Named<'a> {
    canonical: &'static str,
    given: Option<&'a str>,
    is_needed: bool,
}

impl Router {
    pub(crate) fn new(config: &OutboxConfig, found: &[Column]) -> Result<Self> {
        let named = named(config);
        for named in &named {
            named.check(config, found)?;
        }
        let canonical = |column: &Column| {
            named
                .iter()
                .find(|named| named.upstream() == &*column.name)
                .map(|named| named.canonical)
        };
        let taken = |column: &Column| named.iter().any(|named| named.canonical == &*column.name);
        let mut columns = Vec::new();
        let mut selection = Vec::new();
        for column in found {
            let name = match canonical(column) {
                Some(name) => name,
                None if is_bookkeeping(config, column) => continue,
                None if taken(column) => {
                    tracing::warn!(
                        column = %column.name,
                        "left out a column of the outbox whose name another one has taken"
                    );
                    continue;
                }
                None => &column.name,
            };
            let key = (name == "id").then_some(0);
            columns.push(Column { name: name.into(), key, ..column.clone() });
            selection.push(column.name.clone());
        }
        let id = columns.iter().position(|column| &*column.name == "id").unwrap_or_default();
        let name = config.table()?;
        let mut table = Table::new(name.name(), columns);
        table.namespace = name.schema().map(Into::into);
        Ok(Self { selection, table: Arc::new(table), id })
    }

    pub(crate) fn selection(&self) -> &[Box<str>] {
        &self.selection
    }

    pub(crate) fn message(&self, row: FoundRow) -> Change {
        let id = match (&row.values[self.id], &row.key) {
            (Value::Text(text), _) => ChangeId::new(&**text),
            (Value::Uuid(bytes), _) => {
                let mut text = Uuid::encode_buffer();
                ChangeId::new(&*Uuid::from_bytes_ref(bytes).hyphenated().encode_lower(&mut text))
            }
            (_, Key::Id(id)) => ChangeId::new(&**id),
            (_, Key::Seq(seq)) => ChangeId::new("seq").major(seq.unsigned_abs()),
        };
        let mut change = Change::new(id, Arc::clone(&self.table), Operation::Insert);
        change.after = Some(Row::new(row.values));
        change
    }
}

impl Named<'_> {
    fn upstream(&self) -> &str {
        self.given.unwrap_or(self.canonical)
    }

    fn check(&self, config: &OutboxConfig, found: &[Column]) -> Result<()> {
        let is_there = found.iter().any(|column| *column.name == *self.upstream());
        if is_there || !(self.is_needed || self.given.is_some()) {
            return Ok(());
        }
        let table = config.table()?;
        let message = format!("the outbox `{table}` has no column `{}`", self.upstream());
        let help = format!(
            "name the column in `columns.{}`, or set `layout`; `rowtide setup` makes a table that \
             is not there yet",
            self.canonical
        );
        Err(Error::config(message).key(format!("columns.{}", self.canonical)).help(help))
    }
}

fn named(config: &OutboxConfig) -> [Named<'_>; 7] {
    let columns = &config.columns;
    [
        needed("id", columns.id.as_deref()),
        needed("aggregatetype", columns.aggregatetype.as_deref()),
        needed("aggregateid", columns.aggregateid.as_deref()),
        needed("payload", columns.payload.as_deref()),
        optional("type", columns.kind.as_deref()),
        optional("timestamp", columns.timestamp.as_deref()),
        optional("tracingspancontext", columns.tracingspancontext.as_deref()),
    ]
}

fn needed<'a>(canonical: &'static str, given: Option<&'a str>) -> Named<'a> {
    Named { canonical, given, is_needed: true }
}

fn optional<'a>(canonical: &'static str, given: Option<&'a str>) -> Named<'a> {
    Named { canonical, given, is_needed: false }
}

/// Whether the column is there for the relay alone.
fn is_bookkeeping(config: &OutboxConfig, column: &Column) -> bool {
    [&config.order_column, &config.transaction_column, &config.done_column]
        .into_iter()
        .any(|name| **name == *column.name)
}
