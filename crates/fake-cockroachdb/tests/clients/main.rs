//! Clients that are not ours, on the program: what they take for a server is one.

mod process;

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
};

use libtest_mimic::{Arguments, Failed, Trial};

use process::{Fake, provide, run};

fn main() -> ExitCode {
    let trials = vec![
        trial("psql_follows_a_changefeed", psql_program(), psql),
        trial("asyncpg_follows_a_changefeed", asyncpg(), follow_with_asyncpg),
        trial("node_pg_follows_a_changefeed", node_pg(), follow_with_node_pg),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A test of a client that may not be had here, which in CI is a failure.
fn trial(
    name: &str,
    client: Result<PathBuf, String>,
    test: fn(&Path) -> Result<(), String>,
) -> Trial {
    match client {
        Ok(client) => Trial::test(name, move || test(&client).map_err(Failed::from)),
        Err(reason) if env::var_os("CI").is_some() => {
            Trial::test(name, move || Err(Failed::from(reason)))
        }
        Err(reason) => {
            println!("{name} is ignored: {reason}");
            Trial::test(name, || Ok(())).with_ignored_flag(true)
        }
    }
}

fn psql_program() -> Result<PathBuf, String> {
    provide("psql", &["postgresql-client"]).map(|()| PathBuf::from("psql"))
}

/// A Python with asyncpg, made once in the folder of the build.
fn asyncpg() -> Result<PathBuf, String> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("asyncpg");
    let python = folder.join("bin/python").display().to_string();
    let has_it = || run(&python, &["-c", "import asyncpg"], &[]);
    if has_it().is_err() {
        provide("python3", &["python3", "python3-venv"])?;
        run("python3", &["-m", "venv", &folder.display().to_string()], &[])?;
        run(&python, &["-m", "pip", "install", "--quiet", "asyncpg"], &[])?;
    }
    has_it().map(|_| PathBuf::from(&python))
}

/// A folder with the package `pg`, made once in the folder of the build.
fn node_pg() -> Result<PathBuf, String> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("node-pg");
    provide("node", &["nodejs"])?;
    if !folder.join("node_modules/pg").is_dir() {
        provide("npm", &["npm"])?;
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let prefix = folder.display().to_string();
        run("npm", &["install", "--silent", "--no-audit", "--prefix", &prefix, "pg"], &[])?;
    }
    Ok(folder)
}

const TABLE: &str = "CREATE TABLE t (id INT8 PRIMARY KEY, s STRING); INSERT INTO t VALUES (1, 'a')";

fn psql(program: &Path) -> Result<(), String> {
    let fake = Fake::start(TABLE)?;
    let psql = |sql: &str| {
        let arguments = ["-v", "ON_ERROR_STOP=1", "-AtX", &fake.url, "-c", sql];
        run(&program.display().to_string(), &arguments, &[("PGPASSWORD", "secret")])
    };
    psql("UPSERT INTO t VALUES (2, 'b')")?;
    let end = psql("SELECT cluster_logical_timestamp()")?;
    let feed = format!(
        "CREATE CHANGEFEED FOR TABLE t WITH updated, resolved, min_checkpoint_frequency = '10ms', \
         end_time = '{}'",
        end.trim()
    );
    let text = psql(&feed)?;
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    for wanted in [format!("t|\\x{}", hex("[2]")), hex("\"s\": \"b\""), hex("{\"resolved\":")] {
        if !text.contains(&wanted) {
            return Err(format!("`{wanted}` is not in {text}"));
        }
    }
    match psql("CREATE CHANGEFEED FOR TABLE t WITH resolved, initial_scan = 'only'") {
        Err(message) if message.contains("initial_scan='only'") => Ok(()),
        other => Err(format!("a changefeed that cannot be was answered with {other:?}")),
    }
}

const ASYNCPG: &str = "
import asyncio, os, asyncpg
async def main():
    connection = await asyncpg.connect(os.environ['FAKE_URL'])
    assert await connection.fetchval('SELECT count(*) FROM t') == '1'
    await connection.execute(\"UPSERT INTO t VALUES (2, 'b')\")
    end = await connection.fetchval('SELECT cluster_logical_timestamp()')
    rows = await connection.fetch(
        \"CREATE CHANGEFEED FOR TABLE t WITH updated, resolved, \"
        f\"min_checkpoint_frequency = '10ms', end_time = '{end}'\")
    keys = [row['key'] for row in rows]
    assert keys[:2] == [b'[1]', b'[2]'], keys
    assert keys[-1] is None and rows[-1]['value'].startswith(b'{\"resolved\":'), rows[-1]
    feed = asyncio.create_task(connection.fetch('CREATE CHANGEFEED FOR TABLE t'))
    await asyncio.sleep(0)
    try:
        await asyncio.wait_for(feed, 0.5)
        raise AssertionError('it ended')
    except asyncio.TimeoutError:
        pass
    # It was cancelled, so that the connection can go on.
    assert await connection.fetchval('SELECT count(*) FROM t') == '2'
    await connection.close()
asyncio.run(main())
";

fn follow_with_asyncpg(python: &Path) -> Result<(), String> {
    let fake = Fake::start(TABLE)?;
    let python = python.display().to_string();
    run(&python, &["-c", ASYNCPG], &[("FAKE_URL", &fake.url_with_password())]).map(drop)
}

const NODE_PG: &str = "
const { Client, Query } = require('pg');
(async () => {
  const client = new Client({ connectionString: process.env.FAKE_URL });
  client.on('error', () => {});
  await client.connect();
  const count = await client.query('SELECT count(*) FROM t');
  if (count.rows[0].count !== '1') throw new Error('count');
  await client.query(\"UPSERT INTO t VALUES (2, 'b')\");
  const feed = client.query(new Query(\"CREATE CHANGEFEED FOR TABLE t WITH updated, resolved, min_checkpoint_frequency = '10ms'\"));
  const keys = [];
  feed.on('row', (row) => {
    if (row.table !== null) { keys.push(row.key.toString()); return; }
    if (keys.join() !== '[1],[2]') { console.error(keys); process.exit(1); }
    process.exit(0);
  });
  feed.on('error', (error) => { console.error(error); process.exit(1); });
})().catch((error) => { console.error(error); process.exit(1); });
";

fn follow_with_node_pg(folder: &Path) -> Result<(), String> {
    let fake = Fake::start(TABLE)?;
    let modules = folder.join("node_modules").display().to_string();
    let variables = [("FAKE_URL", &*fake.url_with_password()), ("NODE_PATH", &modules)];
    run("node", &["-e", NODE_PG], &variables).map(drop)
}
