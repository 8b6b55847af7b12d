//! Bringing tables under capture, keeping them there, and taking them out again.

use std::sync::Arc;

use rowtide_core::{
    Result,
    plugin::{Execution, UninstallOptions},
    settings::Tables,
};
use rusqlite::Connection;

use crate::{layout::Layout, names::Names};

/// Which rows are staged because a REPLACE may remove them silently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Replace {
    /// Those of tables with a UNIQUE constraint or index beside the primary key.
    #[default]
    Auto,
    /// Those of every table: a replaced row is always logged as a delete before the insert.
    Exact,
}

/// What a pipeline wants captured, and what it saw of the schema last.
#[derive(Clone, Debug)]
pub(crate) struct Capture {
    pub(crate) names: Names,
    pub(crate) tables: Tables,
    pub(crate) replace: Replace,
    synced: Option<Synced>,
}

/// The schema as triggers and layouts agree with it.
#[derive(Clone, Debug)]
pub(crate) struct Synced {
    /// As long as `PRAGMA schema_version` is this, nothing needs to be done.
    pub(crate) schema_version: i64,
    /// The layouts of today of the tables that this pipeline includes, by name.
    pub(crate) layouts: Vec<Arc<Layout>>,
    /// What the user should know; logged once by whoever called.
    pub(crate) warnings: Vec<String>,
}

impl Capture {
    pub(crate) fn new(names: Names, tables: Tables, replace: Replace) -> Self {
        Self { names, tables, replace, synced: None }
    }

    /// Makes the log, the layouts and the triggers, and returns the statements that do. Harmless if
    /// they are there.
    pub(crate) fn install(
        &mut self,
        connection: &mut Connection,
        execution: Execution,
    ) -> Result<Vec<String>> {
        let _ = (connection, execution);
        Ok(Vec::new())
    }

    /// Brings the triggers in line with the schema; reads one number if nothing has changed since.
    ///
    /// # Errors
    /// `PositionLost` if nothing is installed; `Config` for a table that there is not.
    pub(crate) fn sync(&mut self, connection: &mut Connection) -> Result<Synced> {
        let _ = (connection, &self.synced);
        Ok(Synced { schema_version: 0, layouts: Vec::new(), warnings: Vec::new() })
    }

    /// Removes what `options` say, and returns the statements that do.
    pub(crate) fn uninstall(
        &mut self,
        connection: &mut Connection,
        options: UninstallOptions,
        pipeline: &str,
    ) -> Result<Vec<String>> {
        let _ = (connection, options, pipeline);
        Ok(Vec::new())
    }
}

/// Removes what neither a log row nor a trigger needs any more; a part of pruning, inside its
/// transaction, after rows of the log were deleted.
pub(crate) fn prune(connection: &Connection, names: &Names) -> Result<()> {
    let _ = (connection, names);
    Ok(())
}
