//! A database with a metadata table.

use jiff::Timestamp;
use rowtide_conformance::Storage;
use rowtide_core::{
    CheckpointStore, Context, Partition, PartitionId, Position, Result, Shutdown, async_trait,
    plugin::{CheckpointFactory, Execution, InstallOptions, UninstallOptions, UninstallScope},
    registry,
    settings::Settings,
};
use serde_json::json;

use super::{Database, Dialect, Emulator};

/// The pipeline whose table it is.
pub(crate) const PIPELINE: &str = "orders";

pub(crate) struct Metadata {
    pub(crate) database: Database,
    more: String,
}

impl Metadata {
    pub(crate) async fn make(dialect: Dialect) -> Result<Self> {
        Self::defined(dialect, &[]).await
    }

    /// One that other programs began with these definitions.
    pub(crate) async fn defined(dialect: Dialect, definitions: &[String]) -> Result<Self> {
        let database = Emulator::Calm.database(dialect, definitions).await?;
        Ok(Self { database, more: String::new() })
    }

    /// With more settings.
    pub(crate) fn with(&self, more: &str) -> Self {
        Self { database: self.database.clone(), more: more.to_owned() }
    }

    pub(crate) fn factory(&self) -> Result<CheckpointFactory> {
        let settings: toml::Table = self.settings().parse().expect("settings");
        let settings: serde_json::Value = settings.try_into().expect("settings");
        registry::checkpoint("spanner", &Settings::from(settings))
    }

    pub(crate) async fn install(&self) -> Result<Vec<String>> {
        let options = InstallOptions { execution: Execution::Apply, confirmed: false };
        self.factory()?.install(&context(), options).await
    }

    /// What would be installed.
    pub(crate) async fn installation(&self) -> Result<Vec<String>> {
        let options = InstallOptions { execution: Execution::DryRun, confirmed: false };
        self.factory()?.install(&context(), options).await
    }

    pub(crate) async fn uninstall(&self, execution: Execution) -> Result<Vec<String>> {
        let options = UninstallOptions { execution, scope: UninstallScope::Pipeline };
        self.factory()?.uninstall(&context(), options).await
    }

    pub(crate) async fn open(&self) -> Result<Box<dyn CheckpointStore>> {
        self.factory()?.open(&context()).await
    }
}

#[async_trait]
impl Storage for Metadata {
    fn settings(&self) -> String {
        let Database { name, endpoint, .. } = &self.database;
        format!("database = '{name}'\nendpoint = '{endpoint}'\ntable = 'Metadata'\n{}", self.more)
    }
}

pub(crate) fn context() -> Context {
    Context::new(PIPELINE, Shutdown::never())
}

/// A partition of the source that begins at a second.
pub(crate) fn partition(id: &str, start: i64) -> Partition {
    let mut partition = Partition::new(id);
    partition.start = Some(position(start, 0));
    partition
}

pub(crate) fn child(id: &str, start: i64, parents: &[&str]) -> Partition {
    let mut partition = partition(id, start);
    partition.parents = parents.iter().map(|parent| PartitionId::new(*parent)).collect();
    partition
}

/// A position of the source from which on nothing is delivered.
pub(crate) fn position(second: i64, nanosecond: i32) -> Position {
    let at = Timestamp::new(second, nanosecond).expect("a time");
    let before = at.checked_sub(jiff::SignedDuration::from_nanos(1)).expect("a time");
    Position::encode(&json!({ "at": at })).expect("a position").as_of(before)
}
