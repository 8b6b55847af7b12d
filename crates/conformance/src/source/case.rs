use std::{sync::Arc, time::Duration};

use rowtide_core::{Operation, Result, Source, Value, registry};

use super::{SourceHarness, Upstream, Write, reading::Reading};
use crate::{
    Capability, Failure, Verdict, opening,
    scenario::{made, within},
};

/// What a scenario of a source works on.
pub(crate) struct SourceCase {
    harness: Arc<dyn SourceHarness>,
}

/// An upstream made for one scenario, and how to open a source on it.
pub(crate) struct World {
    plugin: String,
    pub(crate) upstream: Arc<dyn Upstream>,
    pub(crate) patience: Duration,
    lacks: Vec<Capability>,
}

impl SourceCase {
    pub(crate) fn new(harness: Arc<dyn SourceHarness>) -> Self {
        Self { harness }
    }

    pub(crate) async fn world(&self) -> Verdict<World> {
        let patience = self.harness.patience();
        let upstream = made("an upstream", self.harness.upstream()).await??;
        let lacks = self.harness.lacks().into_iter().map(|(capability, _)| capability).collect();
        Ok(World { plugin: self.harness.plugin().to_owned(), upstream, patience, lacks })
    }
}

impl World {
    pub(crate) fn has(&self, capability: Capability) -> bool {
        !self.lacks.contains(&capability)
    }

    pub(crate) fn can(&self, operation: Operation) -> bool {
        self.upstream.operations().contains(&operation)
    }

    /// Opens a source through the registry.
    pub(crate) async fn open(&self) -> Verdict<Box<dyn Source>> {
        Ok(self.try_open().await??)
    }

    /// Opens a source whose opening may fail.
    pub(crate) async fn try_open(&self) -> Verdict<Result<Box<dyn Source>>> {
        let settings = opening::settings(&self.upstream.settings())?;
        let factory = registry::source(&self.plugin, &settings)?;
        let context = opening::context(opening::PIPELINE);
        self.within("the source to open", factory.open(&context)).await
    }

    pub(crate) async fn within<T>(
        &self,
        what: &str,
        future: impl Future<Output = T>,
    ) -> Verdict<T> {
        within(self.patience, what, future).await
    }

    /// Commits those of `writes` that the upstream can do, in one transaction.
    pub(crate) async fn commit(&self, writes: &[Write]) -> Verdict {
        let able: Vec<_> =
            writes.iter().filter(|write| self.can(write.operation())).cloned().collect();
        Ok(self.within("a commit upstream", self.upstream.commit(&able)).await??)
    }

    /// Reads from the very beginning.
    pub(crate) async fn begin<'a>(&self, source: &'a dyn Source) -> Verdict<Reading<'a>> {
        let partitions = self.within("the partitions", source.partitions()).await??;
        if partitions.is_empty() {
            return Err(Failure::broken("there is no partition, which is not an error either"));
        }
        Ok(Reading::new(source, partitions, self.patience))
    }
}

pub(crate) fn insert(key: i64, text: &str) -> Write {
    Write::Insert { key, value: Value::from(text) }
}

pub(crate) fn update(key: i64, text: &str) -> Write {
    Write::Update { key, value: Value::from(text) }
}
