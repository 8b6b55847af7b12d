//! What the settings of every plugin must do.

use std::sync::Arc;

use rowtide_core::registry::Role;

use crate::{CheckpointHarness, SinkHarness, SourceHarness, scenario::Scenario};

/// What a scenario of settings works on: a plugin, and settings that a user would write.
pub(crate) struct SettingsCase {
    role: Role,
    harness: Harness,
}

enum Harness {
    Source(Arc<dyn SourceHarness>),
    Sink(Arc<dyn SinkHarness>),
    Checkpoint(Arc<dyn CheckpointHarness>),
}

impl SettingsCase {
    pub(crate) fn source(harness: Arc<dyn SourceHarness>) -> Self {
        Self { role: Role::Source, harness: Harness::Source(harness) }
    }

    pub(crate) fn sink(harness: Arc<dyn SinkHarness>) -> Self {
        Self { role: Role::Sink, harness: Harness::Sink(harness) }
    }

    pub(crate) fn checkpoint(harness: Arc<dyn CheckpointHarness>) -> Self {
        Self { role: Role::Checkpoint, harness: Harness::Checkpoint(harness) }
    }
}

pub(crate) fn scenarios() -> Vec<Scenario<SettingsCase>> {
    vec![]
}
