pub(crate) mod position;
pub(crate) mod pruning;
pub(crate) mod reader;
pub(crate) mod registration;
pub(crate) mod snapshot;
pub(crate) mod wake;

use std::collections::BTreeMap;

use futures_util::stream;
use rowtide_core::{
    Error, EventStream, Partition, PartitionId, Position, Result, Source, async_trait,
    plugin::Execution, settings::Snapshot,
};
use rowtide_failpoint::reach;
use rusqlite::{Connection, TransactionBehavior};

use crate::{
    capture::{
        Capture, Synced,
        layout::{self, Layouts},
        log,
    },
    config::{Install, SqliteConfig},
    connection::{blocking, failure},
    source::{
        position::{LogPosition, Progress, Selection},
        pruning::{Pruner, Pruning},
        registration::Acknowledged,
    },
};

/// A database file as one partition.
pub(crate) struct SqliteSource {
    config: SqliteConfig,
    pipeline: String,
    pruner: Pruner,
}

impl SqliteSource {
    pub(crate) fn open(config: SqliteConfig, pipeline: String) -> Result<Self> {
        config.database().connect()?;
        let pruner = Pruner::start(Pruning {
            database: config.database(),
            names: config.names(),
            pipeline: pipeline.clone(),
            every: config.prune_every.0,
            log_bytes_warn: config.log_bytes_warn,
        });
        Ok(Self { config, pipeline, pruner })
    }
}

#[async_trait]
impl Source for SqliteSource {
    async fn partitions(&self) -> Result<Vec<Partition>> {
        let (config, pipeline) = (self.config.clone(), self.pipeline.clone());
        let start = blocking(move || first_position(&config, &pipeline)).await?;
        Ok(vec![Partition { start: Some(start), ..Partition::whole() }])
    }

    fn read(&self, partition: &Partition, from: Option<Position>) -> EventStream<'_> {
        match from.or_else(|| partition.start.clone()) {
            Some(from) => reader::start(self.config.clone(), self.pipeline.clone(), from),
            None => {
                let message = format!("partition `{}` has no position to start at", partition.id);
                let error = Error::position_lost(message)
                    .help("start the pipeline anew with `rowtide checkpoint reset`");
                Box::pin(stream::iter([Err(error)]))
            }
        }
    }

    async fn acknowledge(&self, positions: &[(PartitionId, Position)]) -> Result<()> {
        for (_, position) in positions {
            let position = LogPosition::decode(position)?;
            let is_read = position.tables.values().all(|progress| *progress == Progress::Done);
            let is_finished = is_read && self.config.snapshot == Snapshot::Only;
            self.pruner.note(Acknowledged { id: position.id, is_finished });
        }
        Ok(())
    }
}

/// Registers the pipeline at the end of the log, in one short transaction.
fn first_position(config: &SqliteConfig, pipeline: &str) -> Result<Position> {
    let mut connection = config.database().connect()?;
    let mut capture = config.capture();
    if config.install == Install::Auto {
        capture.install(&mut connection, Execution::Apply)?;
    }
    loop {
        let synced = synced(config, &mut capture, &mut connection)?;
        reach!("sqlite: triggers made, not registered");
        if let Some(position) = register(config, pipeline, &mut connection, &synced)? {
            return position.encode();
        }
    }
}

/// `None` if the schema has changed meanwhile.
fn register(
    config: &SqliteConfig,
    pipeline: &str,
    connection: &mut Connection,
    synced: &Synced,
) -> Result<Option<LogPosition>> {
    let doing = |error| failure(format!("failed to register pipeline `{pipeline}`"), error);
    let names = config.names();
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(doing)?;
    if schema_version(&transaction)? != synced.schema_version {
        return Ok(None);
    }
    let layouts = Layouts::open(&transaction, names.clone(), config.tables.clone())?;
    let gone = || layout::no_log(&names);
    let id = log::last(&transaction, &names)?.ok_or_else(gone)?;
    let digest = log::digest(&transaction, &names, id)?.ok_or_else(gone)?;
    registration::register(&transaction, &names, pipeline, id)?;
    reach!("sqlite: registered, not committed");
    transaction.commit().map_err(doing)?;
    reach!("sqlite: registered");

    let progress = match config.snapshot {
        Snapshot::Never => Progress::Done,
        Snapshot::Initial | Snapshot::Only => Progress::Pending { replaces: false },
    };
    let tables: BTreeMap<_, _> = synced
        .layouts
        .iter()
        .map(|layout| (layout.definition.name.clone(), progress.clone()))
        .collect();
    Ok(Some(LogPosition {
        incarnation: layouts.incarnation().to_string(),
        id,
        digest,
        selection: Selection::from(&config.tables),
        tables,
    }))
}

/// Triggers and schema in agreement: made so, or with `install = "manual"` demanded.
pub(crate) fn synced(
    config: &SqliteConfig,
    capture: &mut Capture,
    connection: &mut Connection,
) -> Result<Synced> {
    if config.install == Install::Manual {
        let missing = capture.install(connection, Execution::DryRun)?;
        if !missing.is_empty() {
            let message = format!(
                "the triggers in `{}` are not those that the tables need",
                config.path.display()
            );
            return Err(Error::config(message)
                .key("install")
                .help("run `rowtide setup`, or set install = \"auto\""));
        }
    }
    let synced = capture.sync(connection)?;
    for warning in &synced.warnings {
        tracing::warn!("{warning}");
    }
    Ok(synced)
}

pub(crate) fn schema_version(connection: &Connection) -> Result<i64> {
    pragma(connection, "schema_version")
}

/// Changes with each commit of another connection.
pub(crate) fn data_version(connection: &Connection) -> Result<i64> {
    pragma(connection, "data_version")
}

fn pragma(connection: &Connection, name: &str) -> Result<i64> {
    connection
        .prepare_cached(&format!("PRAGMA {name}"))
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(|error| failure(format!("failed to read the {name}"), error))
}
