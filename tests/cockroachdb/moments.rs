//! Kills at moments that a random one rarely meets.

use std::collections::BTreeSet;

use rowtide_fake_cockroachdb::{Options, Server};

use crate::{Outcome, pipeline::Pipeline};

const TABLE: &str = "CREATE TABLE t (id INT8 PRIMARY KEY, s STRING);
    INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'), (5, 'e')";

/// After its first row the server is silent, so that the process is killed right there.
pub(crate) fn in_a_scan() -> Outcome<()> {
    let server = Server::start(Options::default())?;
    server.execute(TABLE)?;
    let folder = tempfile::tempdir()?;
    let mut pipeline = Pipeline::new(folder.path(), "p", &server, "tables = [\"t\"]")?;
    server.execute("SET CLUSTER SETTING fake.stall_after = 1")?;
    pipeline.start()?;
    pipeline.await_rows("the first row of the scan", |rows| rows == [("read".to_owned(), 1)])?;
    pipeline.kill()?;
    if let Some(saved) = pipeline.saved()?
        && !saved.tables.is_empty()
    {
        return Err(format!("{saved:?} was saved in the middle of a scan").into());
    }
    server.execute("SET CLUSTER SETTING fake.stall_after = 'never'")?;
    // What is gone meanwhile is told nevertheless: as it was, and that it is gone.
    server.execute("DELETE FROM t WHERE id = 3; UPSERT INTO t VALUES (6, 'f')")?;
    pipeline.drain()?;
    let rows = pipeline.rows()?;
    let again: BTreeSet<_> =
        rows[1..].iter().filter(|(said, _)| said == "read").map(|(_, key)| *key).collect();
    if again != BTreeSet::from([1, 2, 3, 4, 5]) {
        return Err(format!("the second scan told {again:?}").into());
    }
    for wanted in [("delete".to_owned(), 3), ("insert".to_owned(), 6)] {
        if !rows.contains(&wanted) {
            return Err(format!("{wanted:?} is not in {rows:?}").into());
        }
    }
    Ok(())
}

pub(crate) fn in_a_transaction() -> Outcome<()> {
    let server = Server::start(Options::default())?;
    server.execute(TABLE)?;
    let folder = tempfile::tempdir()?;
    let source = "tables = [\"t\"]\nsnapshot = \"never\"";
    let mut pipeline = Pipeline::new(folder.path(), "p", &server, source)?;
    pipeline.drain()?;
    let before = pipeline.saved()?.ok_or("nothing was saved")?;
    server.execute("SET CLUSTER SETTING fake.stall_after = 1")?;
    server
        .execute("BEGIN; UPSERT INTO t VALUES (6, 'x'); UPSERT INTO t VALUES (7, 'y'); COMMIT")?;
    pipeline.start()?;
    pipeline.await_rows("the first row", |rows| rows == [("insert".to_owned(), 6)])?;
    pipeline.kill()?;
    let saved = pipeline.saved()?.ok_or("nothing was saved")?;
    if saved != before {
        return Err(format!("{saved:?} was saved in the middle of a transaction").into());
    }
    server.execute("SET CLUSTER SETTING fake.stall_after = 'never'")?;
    pipeline.drain()?;
    let rows = pipeline.rows()?;
    let wanted = [("insert".to_owned(), 6), ("insert".to_owned(), 6), ("insert".to_owned(), 7)];
    if rows != wanted { Err(format!("{rows:?} came").into()) } else { Ok(()) }
}
