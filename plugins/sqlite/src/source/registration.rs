//! The pipelines that read a log, as they are written down beside it.

use rowtide_core::{Error, Result};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{capture::names::Names, connection::failure};

/// The statement that makes the table of pipelines.
pub(crate) fn create_statement(names: &Names) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {} (name TEXT NOT NULL PRIMARY KEY, \
         started INTEGER NOT NULL, acknowledged INTEGER, \
         finished INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID",
        names.pipeline()
    )
}

/// How far a pipeline has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub(crate) id: i64,
    /// Whether the pipeline has ended for good and needs no further row.
    pub(crate) is_finished: bool,
}

/// The pipeline that is furthest behind, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slowest {
    pub(crate) pipeline: String,
    pub(crate) id: i64,
}

/// Writes down that `pipeline` starts after the log row `id`. A part of the write transaction in
/// which that row was read, so that nothing after it is pruned.
///
/// # Errors
/// `PositionLost` if the pipeline has acknowledged before: its checkpoint is gone, and what it
/// did not deliver since would be skipped.
pub(crate) fn register(
    connection: &Connection,
    names: &Names,
    pipeline: &str,
    id: i64,
) -> Result<()> {
    let table = names.pipeline();
    let doing = |error| failure(format!("failed to register pipeline `{pipeline}`"), error);
    let acknowledged: Option<Option<i64>> = connection
        .query_row(&format!("SELECT acknowledged FROM {table} WHERE name = ?"), [pipeline], |row| {
            row.get(0)
        })
        .optional()
        .map_err(doing)?;
    if acknowledged.flatten().is_some() {
        let message =
            format!("pipeline `{pipeline}` has read this log before, but its checkpoint is gone");
        return Err(Error::position_lost(message).help(
            "restore the checkpoint; or start anew with `rowtide checkpoint reset`, \
             which skips what was not delivered",
        ));
    }
    let insert = format!("INSERT OR REPLACE INTO {table} (name, started) VALUES (?, ?)");
    connection.execute(&insert, params![pipeline, id]).map_err(doing)?;
    Ok(())
}

/// Makes sure that `pipeline`, which goes on after the row `id`, keeps others from pruning what it
/// needs: a teardown took it out, it had ended, or its checkpoint was rolled back. Writes only then.
pub(crate) fn resume(
    connection: &Connection,
    names: &Names,
    pipeline: &str,
    id: i64,
) -> Result<()> {
    let table = names.pipeline();
    let doing = |error| failure(format!("failed to register pipeline `{pipeline}`"), error);
    let select = format!(
        "SELECT NOT finished AND coalesce(acknowledged, started) <= ?2 FROM {table} WHERE name = ?1"
    );
    let is_kept: Option<bool> = connection
        .query_row(&select, params![pipeline, id], |row| row.get(0))
        .optional()
        .map_err(doing)?;
    if is_kept == Some(true) {
        return Ok(());
    }
    let insert =
        format!("INSERT OR REPLACE INTO {table} (name, started, acknowledged) VALUES (?1, ?2, ?2)");
    connection.execute(&insert, params![pipeline, id]).map_err(doing)?;
    Ok(())
}

/// Removes the pipeline, so that it can start from nothing.
pub(crate) fn forget(connection: &Connection, names: &Names, pipeline: &str) -> Result<()> {
    let table = names.pipeline();
    let doing = |error| failure(format!("failed to forget pipeline `{pipeline}`"), error);
    let is_there: bool = connection
        .query_row(
            "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?",
            [names.plain("pipeline")],
            |row| row.get(0),
        )
        .map_err(doing)?;
    if is_there {
        let delete = format!("DELETE FROM {table} WHERE name = ?");
        connection.execute(&delete, [pipeline]).map_err(doing)?;
    }
    Ok(())
}

/// Writes down what `pipeline` has acknowledged. This goes back only with a checkpoint that was
/// rolled back, and then must: what was delivered since is read again.
pub(crate) fn acknowledge(
    connection: &Connection,
    names: &Names,
    pipeline: &str,
    acknowledged: Acknowledged,
) -> Result<()> {
    let update =
        format!("UPDATE {} SET acknowledged = ?2, finished = ?3 WHERE name = ?1", names.pipeline());
    let fields = params![pipeline, acknowledged.id, acknowledged.is_finished];
    connection.execute(&update, fields).map_err(|error| {
        failure(format!("failed to write down how far pipeline `{pipeline}` is"), error)
    })?;
    Ok(())
}

/// The pipeline that needs the oldest row; none if all have ended.
pub(crate) fn slowest(connection: &Connection, names: &Names) -> Result<Option<Slowest>> {
    let select = format!(
        "SELECT name, coalesce(acknowledged, started) FROM {} WHERE NOT finished \
         ORDER BY 2, 1 LIMIT 1",
        names.pipeline()
    );
    connection
        .query_row(&select, [], |row| Ok(Slowest { pipeline: row.get(0)?, id: row.get(1)? }))
        .optional()
        .map_err(|error| failure("failed to read which pipelines there are", error))
}

#[cfg(test)]
mod tests {
    use rowtide_core::ErrorKind;

    use super::*;

    fn table() -> (Connection, Names) {
        let connection = Connection::open_in_memory().unwrap();
        let names = Names::new("_r");
        connection.execute_batch(&create_statement(&names)).unwrap();
        (connection, names)
    }

    fn at(id: i64) -> Acknowledged {
        Acknowledged { id, is_finished: false }
    }

    #[test]
    fn a_pipeline_that_has_acknowledged_refuses_to_start_from_nothing() {
        let (connection, names) = table();
        register(&connection, &names, "p", 3).unwrap();
        register(&connection, &names, "p", 4).unwrap();
        acknowledge(&connection, &names, "p", at(5)).unwrap();
        let error = register(&connection, &names, "p", 9).unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::PositionLost);
        assert!(error.remedy().unwrap().contains("checkpoint reset"));
        forget(&connection, &names, "p").unwrap();
        register(&connection, &names, "p", 9).unwrap();
    }

    #[test]
    fn the_slowest_is_the_one_that_needs_the_oldest_row() {
        let (connection, names) = table();
        assert_eq!(slowest(&connection, &names).unwrap(), None);
        register(&connection, &names, "a", 3).unwrap();
        register(&connection, &names, "b", 4).unwrap();
        let expect = |pipeline: &str, id| {
            let found = slowest(&connection, &names).unwrap().unwrap();
            assert_eq!((found.pipeline.as_str(), found.id), (pipeline, id));
        };
        expect("a", 3);
        acknowledge(&connection, &names, "a", at(8)).unwrap();
        expect("b", 4);
        acknowledge(&connection, &names, "b", at(9)).unwrap();
        expect("a", 8);
        acknowledge(&connection, &names, "a", Acknowledged { id: 8, is_finished: true }).unwrap();
        expect("b", 9);
    }

    #[test]
    fn a_pipeline_that_goes_on_is_registered_again() {
        let (connection, names) = table();
        resume(&connection, &names, "p", 7).unwrap();
        assert_eq!(slowest(&connection, &names).unwrap().unwrap().id, 7);
        resume(&connection, &names, "p", 9).unwrap();
        assert_eq!(slowest(&connection, &names).unwrap().unwrap().id, 7);
        acknowledge(&connection, &names, "p", Acknowledged { id: 8, is_finished: true }).unwrap();
        resume(&connection, &names, "p", 8).unwrap();
        assert_eq!(slowest(&connection, &names).unwrap().unwrap().id, 8);
    }

    #[test]
    fn a_pipeline_whose_checkpoint_was_rolled_back_needs_the_rows_again() {
        let (connection, names) = table();
        let needs = |id| assert_eq!(slowest(&connection, &names).unwrap().unwrap().id, id);
        register(&connection, &names, "p", 3).unwrap();
        acknowledge(&connection, &names, "p", at(20)).unwrap();
        resume(&connection, &names, "p", 12).unwrap();
        needs(12);
        acknowledge(&connection, &names, "p", at(20)).unwrap();
        // A pruner may be sooner than the reader.
        acknowledge(&connection, &names, "p", at(12)).unwrap();
        needs(12);
    }

    #[test]
    fn nobody_is_forgotten_where_nothing_is_installed() {
        let connection = Connection::open_in_memory().unwrap();
        forget(&connection, &Names::new("_r"), "p").unwrap();
    }
}
