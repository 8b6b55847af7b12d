use std::{sync::Arc, time::Duration};

use rowtide_core::{
    Change, ChangeId, Column, ColumnType, Operation, Row, Sink, Table, Value, registry,
};

use super::{Delivered, Downstream, SinkHarness};
use crate::{
    Verdict, opening,
    scenario::{made, within},
};

/// What a scenario of a sink works on.
pub(crate) struct SinkCase {
    harness: Arc<dyn SinkHarness>,
}

/// A downstream made for one scenario, and how to open a sink on it.
pub(crate) struct World {
    plugin: String,
    pub(crate) downstream: Arc<dyn Downstream>,
    patience: Duration,
}

impl SinkCase {
    pub(crate) fn new(harness: Arc<dyn SinkHarness>) -> Self {
        Self { harness }
    }

    pub(crate) async fn world(&self) -> Verdict<World> {
        let patience = self.harness.patience();
        let downstream = made("a downstream", self.harness.downstream()).await??;
        Ok(World { plugin: self.harness.plugin().to_owned(), downstream, patience })
    }
}

impl World {
    /// Opens a sink through the registry.
    pub(crate) async fn open(&self) -> Verdict<Box<dyn Sink>> {
        let settings = opening::settings(&self.downstream.settings())?;
        let factory = registry::sink(&self.plugin, &settings)?;
        let context = opening::context(opening::PIPELINE);
        Ok(self.within("the sink to open", factory.open(&context)).await??)
    }

    pub(crate) async fn within<T>(
        &self,
        what: &str,
        future: impl Future<Output = T>,
    ) -> Verdict<T> {
        within(self.patience, what, future).await
    }

    pub(crate) async fn delivered(&self) -> Verdict<Vec<Delivered>> {
        Ok(self.within("the independent reader", self.downstream.delivered()).await??)
    }

    pub(crate) async fn write(&self, sink: &mut dyn Sink, changes: &[Change]) -> Verdict {
        Ok(self.within("a write", sink.write(changes)).await??)
    }

    pub(crate) async fn flush(&self, sink: &mut dyn Sink) -> Verdict {
        Ok(self.within("a flush", sink.flush()).await??)
    }
}

/// The table of the suite: a key and a text.
pub(crate) fn items() -> Arc<Table> {
    let key = Column::new("key", ColumnType::Int).in_key(0);
    Arc::new(Table::new("items", vec![key, Column::new("value", ColumnType::Text)]))
}

/// Change number `number`: an insert of the row `key`, or an update if it is not the first.
pub(crate) fn item(number: u64, key: i64, operation: Operation) -> Change {
    let id = ChangeId::new("conformance").major(number);
    let mut change = Change::new(id, items(), operation);
    change.after = Some(Row::new([Value::Int(key), Value::from(format!("value {number}"))]));
    change
}

pub(crate) fn inserts(numbers: std::ops::Range<u64>) -> Vec<Change> {
    let insert = |number: u64| item(number, number.cast_signed(), Operation::Insert);
    numbers.map(insert).collect()
}

pub(crate) fn ids<'c>(changes: impl IntoIterator<Item = &'c Change>) -> Vec<String> {
    changes.into_iter().map(|change| change.id().to_string()).collect()
}
