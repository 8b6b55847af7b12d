//! Bringing tables under capture, keeping them there, and taking them out again.

pub(crate) mod introspection;
pub(crate) mod layout;
pub(crate) mod log;
pub(crate) mod names;
pub(crate) mod plan;
pub(crate) mod schema;
pub(crate) mod table;
#[cfg(test)]
mod tests;
pub(crate) mod triggers;

use std::sync::Arc;

use rowtide_core::{
    Result,
    plugin::{Execution, UninstallOptions, UninstallScope},
    settings::Tables,
};
use rowtide_failpoint::reach;
use rusqlite::{Connection, TransactionBehavior};

use crate::{
    capture::{
        layout::{Layout, incarnation, no_log},
        names::{Names, literal, quoted},
        plan::{Plan, Wish},
        schema::{Schema, query, schema_version},
        table::Definition,
    },
    connection::failure,
};

/// Which rows are staged because a REPLACE may remove them silently.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
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
    /// The last log row at which the schema still was as synced.
    agreed: i64,
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
        Self { names, tables, replace, synced: None, agreed: 0 }
    }

    /// Makes the log, the layouts and the triggers, and returns the statements that do. Harmless if
    /// they are there.
    ///
    /// # Errors
    /// `Config` for a table that there is not, or that cannot be captured.
    pub(crate) fn install(
        &mut self,
        connection: &mut Connection,
        execution: Execution,
    ) -> Result<Vec<String>> {
        if execution == Execution::DryRun {
            return Ok(self.look(connection)?.1.statements);
        }
        Ok(self.bring_in_line(connection)?.1)
    }

    /// What the user should know of the schema as it was brought in line with.
    pub(crate) fn warnings(&self) -> &[String] {
        self.synced.as_ref().map_or(&[], |synced| synced.warnings.as_slice())
    }

    /// Brings the triggers in line with the schema. Reads two numbers if nothing has changed since
    /// the last call, and writes only if something must.
    ///
    /// Must be called before rows are read that were logged after the schema's version moved: what
    /// it writes may have to be understood first.
    ///
    /// # Errors
    /// `PositionLost` if nothing is installed; `Config` as [`install`](Self::install).
    pub(crate) fn sync(&mut self, connection: &mut Connection) -> Result<Synced> {
        if let Some(synced) = &self.synced {
            let (version, last) = glance(connection, &self.names)?;
            if version == synced.schema_version {
                self.agreed = last;
                return Ok(Synced { warnings: Vec::new(), ..synced.clone() });
            }
        }
        if incarnation(connection, &self.names)?.is_none() {
            return Err(no_log(&self.names));
        }
        Ok(self.bring_in_line(connection)?.0)
    }

    fn bring_in_line(&mut self, connection: &mut Connection) -> Result<(Synced, Vec<String>)> {
        let (schema, plan) = self.look(connection)?;
        if plan.statements.is_empty() {
            return Ok((self.note(schema.version, plan), Vec::new()));
        }
        let doing = |error| failure("failed to bring the triggers in line", error);
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(doing)?;
        let mut plan =
            plan::make(&transaction, &Schema::read(&transaction, &self.names)?, self.wish())?;
        for statement in &plan.statements {
            transaction.execute_batch(statement).map_err(|error| {
                failure(format!("failed to run `{}`", shortened(statement)), error)
            })?;
        }
        let version = schema_version(&transaction)?;
        reach!("sqlite: triggers made, not committed");
        transaction.commit().map_err(doing)?;
        let statements = std::mem::take(&mut plan.statements);
        Ok((self.note(version, plan), statements))
    }

    /// The schema and the plan for it, of one moment.
    fn look(&self, connection: &mut Connection) -> Result<(Schema, Plan)> {
        let doing = |error| failure("failed to read the schema", error);
        let transaction = connection.transaction().map_err(doing)?;
        let schema = Schema::read(&transaction, &self.names)?;
        let plan = plan::make(&transaction, &schema, self.wish())?;
        Ok((schema, plan))
    }

    fn wish(&self) -> Wish<'_> {
        let Self { names, tables, replace, agreed, .. } = self;
        Wish { names, tables, replace: *replace, agreed: *agreed }
    }

    fn note(&mut self, schema_version: i64, plan: Plan) -> Synced {
        let included = |definition: &Definition| self.tables.matches(&definition.name);
        let layouts = plan.layouts.into_iter().filter(|(_, definition)| included(definition));
        let layouts = layouts
            .map(|(id, definition)| Arc::new(Layout::new(id, definition, &self.tables)))
            .collect();
        let synced = Synced { schema_version, layouts, warnings: plan.warnings };
        self.synced = Some(synced.clone());
        synced
    }

    /// Removes what `options` say, and returns the statements that do.
    pub(crate) fn uninstall(
        &mut self,
        connection: &mut Connection,
        options: UninstallOptions,
        pipeline: &str,
    ) -> Result<Vec<String>> {
        let doing = |error| failure("failed to remove the triggers", error);
        let behavior = match options.execution {
            Execution::Apply => TransactionBehavior::Immediate,
            Execution::DryRun => TransactionBehavior::Deferred,
        };
        let transaction = connection.transaction_with_behavior(behavior).map_err(doing)?;
        let statements = self.removal(&transaction, options.scope, pipeline)?;
        if options.execution == Execution::Apply {
            for statement in &statements {
                transaction.execute_batch(statement).map_err(doing)?;
            }
            transaction.commit().map_err(doing)?;
            self.synced = None;
        }
        Ok(statements)
    }

    fn removal(
        &self,
        connection: &Connection,
        scope: UninstallScope,
        pipeline: &str,
    ) -> Result<Vec<String>> {
        let names = &self.names;
        schema::refuse_taken(connection, names)?;
        let tables = schema::tables(connection)?;
        let has = |object: &str| tables.contains(&names.plain(object));
        if scope == UninstallScope::Pipeline && has("pipeline") {
            let sql = format!("SELECT name FROM {}", names.pipeline());
            let registered: Vec<String> = query(connection, &sql, |row| row.get(0))?;
            if registered.iter().any(|name| name != pipeline) {
                let name = literal(pipeline);
                return Ok(vec![format!("DELETE FROM {} WHERE name = {name}", names.pipeline())]);
            }
        }
        let sql = "SELECT name FROM sqlite_master WHERE type = 'trigger' ORDER BY name";
        let triggers: Vec<String> = query(connection, sql, |row| row.get(0))?;
        let ours = triggers.iter().filter(|name| names.trigger_layout(name).is_some());
        let mut statements: Vec<String> =
            ours.map(|name| format!("DROP TRIGGER {}", quoted(name))).collect();
        let stages = schema::stages(connection, names)?;
        statements.extend(stages.iter().map(|(table, _)| format!("DROP TABLE {}", quoted(table))));
        if scope != UninstallScope::Triggers {
            let rest = ["log", "layout", "pipeline", "meta"].into_iter().filter(|name| has(name));
            statements.extend(rest.map(|x| format!("DROP TABLE {}", quoted(&names.plain(x)))));
        }
        Ok(statements)
    }
}

/// Removes what neither a log row nor a trigger needs any more; a part of pruning, inside its
/// transaction, after rows of the log were deleted. Between two statements of the application no
/// staged row is needed: it is still there, or was logged.
pub(crate) fn prune(connection: &Connection, names: &Names) -> Result<()> {
    let doing = |error| failure("failed to prune", error);
    for (stage, _) in schema::stages(connection, names)? {
        connection.execute(&format!("DELETE FROM {}", quoted(&stage)), []).map_err(doing)?;
    }
    // The newest layout of a table stays: it is how a table is known to have been captured.
    let sql = format!(
        "DELETE FROM {layout} WHERE until < (SELECT min(id) FROM {log}) AND id < \
         (SELECT max(id) FROM {layout} AS newer WHERE newer.table_name = {layout}.table_name)",
        layout = names.layout(),
        log = names.log()
    );
    connection.execute(&sql, []).map_err(doing)?;
    Ok(())
}

/// The schema's version and the last log row, of one moment.
fn glance(connection: &Connection, names: &Names) -> Result<(i64, i64)> {
    let sql = format!(
        "SELECT (SELECT schema_version FROM pragma_schema_version), (SELECT max(id) FROM {})",
        names.log()
    );
    let read = || -> rusqlite::Result<(i64, i64)> {
        connection
            .prepare_cached(&sql)?
            .query_row([], |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?.unwrap_or(0))))
    };
    match read() {
        Ok(numbers) => Ok(numbers),
        Err(error) if error.to_string().contains("no such table") => Err(no_log(names)),
        Err(error) => Err(failure("failed to read the log", error)),
    }
}

/// The beginning of a statement: the text of a trigger on a wide table is long.
fn shortened(statement: &str) -> String {
    statement.chars().take(120).collect()
}
