//! What goes wrong around a pipeline, and what it says and ends with then.

use std::{collections::BTreeMap, thread, time::Duration};

use rowtide_fake_cockroachdb::{Options, Server};

use crate::{Outcome, pipeline::Pipeline};

const TABLES: &str = "CREATE TABLE t (id INT8 PRIMARY KEY); CREATE TABLE u (id INT8 PRIMARY KEY);
    INSERT INTO t VALUES (1), (2); INSERT INTO u VALUES (11)";
const SOURCE: &str = "tables = [\"t\", \"u\"]";

fn scene() -> Outcome<(Server, tempfile::TempDir)> {
    let server = Server::start(Options::default())?;
    server.execute(TABLES)?;
    Ok((server, tempfile::tempdir()?))
}

fn expect(is_so: bool, otherwise: impl FnOnce() -> String) -> Outcome<()> {
    if is_so { Ok(()) } else { Err(otherwise().into()) }
}

fn keys(pipeline: &Pipeline) -> Outcome<Vec<i64>> {
    let mut keys: Vec<_> = pipeline.rows()?.into_iter().map(|(_, key)| key).collect();
    keys.sort_unstable();
    Ok(keys)
}

/// Two pipelines over the same tables: one after the other, and both at once.
pub(crate) fn share_a_store() -> Outcome<()> {
    let (server, folder) = scene()?;
    let mut one = Pipeline::new(folder.path(), "one", &server, SOURCE)?;
    let mut two = Pipeline::new(folder.path(), "two", &server, SOURCE)?;
    one.drain()?;
    let saved = one.saved()?.ok_or("nothing was saved of the one")?;
    expect(two.saved()?.is_none(), || "the other has a position before it ran".to_owned())?;
    server.execute("INSERT INTO t VALUES (3)")?;
    two.drain()?;
    expect(keys(&two)? == [1, 2, 3, 11], || "the other did not scan all".to_owned())?;
    let is_kept = one.saved()?.as_ref() == Some(&saved);
    expect(is_kept, || format!("{saved:?} was moved by the other pipeline"))?;

    one.start()?;
    two.start()?;
    server.execute("INSERT INTO t VALUES (4); INSERT INTO u VALUES (12)")?;
    let arrived = |rows: &[(String, i64)]| {
        [4, 12].iter().all(|wanted| rows.contains(&("insert".to_owned(), *wanted)))
    };
    one.await_rows("what both are told, in the one", arrived)?;
    two.await_rows("what both are told, in the other", arrived)?;
    one.stop()?;
    two.stop()?;
    expect(server.feeds() == 0, || format!("{} changefeeds still run", server.feeds()))?;
    expect(keys(&one)? == [1, 2, 3, 4, 11, 12], || format!("{:?}", one.rows()))?;
    expect(keys(&two)? == [1, 2, 3, 4, 11, 12], || format!("{:?}", two.rows()))
}

/// Settings that cannot work end a run at once with 2, and say what is to be done.
pub(crate) fn be_wrong() -> Outcome<()> {
    let users = BTreeMap::from([("root".to_owned(), "right".to_owned())]);
    let locked = Server::start(Options { users, ..Options::default() })?;
    let (server, folder) = scene()?;
    server.execute("CREATE VIEW v AS SELECT id FROM t; REVOKE SELECT ON TABLE u FROM cdc")?;
    let with_password = locked.url().replace("root@", "root:wr0ng-secret@");
    let cases = [
        (with_password, "t", vec!["password authentication failed", "check user and password"]),
        (server.url(), "nowhere", vec!["no table `nowhere`", "source.tables"]),
        (server.url(), "v", vec!["`v` is no table"]),
        (server.url(), "u", vec!["may not read `public.u`", "GRANT SELECT ON TABLE public.u"]),
        (server.url().replace("defaultdb", "shop"), "t", vec!["database \"shop\""]),
    ];
    for (number, (database, table, says)) in cases.into_iter().enumerate() {
        let name = format!("wrong{number}");
        let source = format!("database = \"{database}\"\ntables = [\"{table}\"]");
        let sink = format!("type = \"file\"\npath = \"{name}.jsonl\"");
        let pipeline = Pipeline::with_sink(folder.path(), &name, &source, &sink)?;
        let code = pipeline.run(&["run"])?;
        let log = pipeline.log();
        expect(code == Some(2), || format!("{table} at {database} ended with {code:?}:\n{log}"))?;
        for text in says {
            expect(log.contains(text), || format!("`{text}` is not in\n{log}"))?;
        }
        expect(!log.contains("wr0ng-secret"), || format!("a password is in\n{log}"))?;
    }
    server.execute("SET CLUSTER SETTING kv.rangefeed.enabled = false")?;
    let pipeline = Pipeline::new(folder.path(), "off", &server, SOURCE)?;
    let (code, helps) =
        (pipeline.run(&["run"])?, "SET CLUSTER SETTING kv.rangefeed.enabled = true");
    let log = pipeline.log();
    expect(code == Some(2) && log.contains(helps), || format!("{code:?}:\n{log}"))
}

/// A server that is gone is waited for, when a run begins as well as in the middle of one.
pub(crate) fn be_away(duration: Duration) -> Outcome<()> {
    let (server, folder) = scene()?;
    server.stop();
    let mut pipeline = Pipeline::new(folder.path(), "p", &server, SOURCE)?;
    pipeline.start()?;
    let place = server.address().to_string();
    pipeline.wait("a word of the server that is gone", |own| Ok(own.log().contains(&place)))?;
    server.resume()?;
    pipeline.await_rows("the scan", |rows| rows.len() == 3)?;
    server.drain();
    server.stop();
    thread::sleep(duration);
    pipeline.check()?;
    server.execute("INSERT INTO t VALUES (3)")?;
    server.resume()?;
    pipeline.await_rows("what was written meanwhile", |rows| {
        rows.contains(&("insert".to_owned(), 3))
    })?;
    pipeline.stop()?;
    let log = pipeline.log();
    expect(log.contains("shutting down") || log.contains("failed"), || {
        format!("nobody was told why nothing came:\n{log}")
    })
}

/// A connection that stays and brings nothing is given up, and all that was held back comes.
pub(crate) fn fall_silent() -> Outcome<()> {
    let (server, folder) = scene()?;
    server.execute("SET CLUSTER SETTING fake.stall_after = 1")?;
    let mut pipeline = Pipeline::new(folder.path(), "p", &server, SOURCE)?;
    pipeline.start()?;
    pipeline.await_rows("the first row", |rows| rows.len() == 1)?;
    server.execute("SET CLUSTER SETTING fake.stall_after = 'never'")?;
    pipeline.await_rows("the whole scan", |rows| {
        [1, 2, 11].iter().all(|wanted| rows.contains(&("read".to_owned(), *wanted)))
    })?;
    pipeline.stop()?;
    let log = pipeline.log();
    expect(log.contains("was silent for 30s"), || format!("nobody was told:\n{log}"))
}

/// A position may become half as old as the cluster keeps versions before somebody is told.
pub(crate) fn grow_old() -> Outcome<()> {
    let (server, folder) = scene()?;
    server.execute("ALTER TABLE t CONFIGURE ZONE USING gc.ttlseconds = 20")?;
    let mut pipeline = Pipeline::new(folder.path(), "p", &server, SOURCE)?;
    pipeline.drain()?;
    expect(!pipeline.log().contains("gc.ttlseconds"), || "warned of a new position".to_owned())?;
    thread::sleep(Duration::from_millis(10_500));
    pipeline.start()?;
    pipeline.wait("a warning", |own| Ok(own.log().contains("(`gc.ttlseconds`)")))?;
    pipeline.stop()?;
    for wording in ["batch", "targets", "cursor"] {
        server.execute(&format!("SET CLUSTER SETTING fake.gc_wording = '{wording}'"))?;
        server.collect_garbage();
        let code = pipeline.run(&["run"])?;
        let log = pipeline.log();
        expect(code == Some(3), || format!("{wording}: ended with {code:?}:\n{log}"))?;
        expect(log.contains("on_lost = \"rescan\""), || format!("no help in\n{log}"))?;
    }
    server.execute("DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (3)")?;
    let rescan = format!("{SOURCE}\non_lost = \"rescan\"");
    let pipeline = Pipeline::new(folder.path(), "p", &server, &rescan)?;
    let before = pipeline.rows()?.len();
    pipeline.drain()?;
    let mut again: Vec<_> = pipeline.rows()?.split_off(before);
    again.sort_by_key(|(_, key)| *key);
    let wanted = [2, 3, 11].map(|key| ("read".to_owned(), key));
    expect(again == wanted, || format!("the new scan told {again:?}"))
}
