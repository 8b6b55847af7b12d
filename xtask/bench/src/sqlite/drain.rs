//! How fast a backlog of logged changes reaches a file, beside what any program would need to read
//! that log and to write those bytes.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, params, types::ValueRef};

use crate::{
    ROUNDS, Result,
    measure::median,
    report::{Bar, Report},
    rowtide::{Rowtide, Run},
};

// One million changes: 1.3 million rows of the log, since an update has two images.
const INSERTS: i64 = 600_000;
const UPDATES: i64 = 300_000;
const DELETES: i64 = 100_000;
const ROWS_IN_A_TRANSACTION: i64 = 500;
const WRITE_BYTES: usize = 256 * 1024;

const SCHEMA: &str = "PRAGMA journal_mode = WAL; CREATE TABLE items (id INTEGER PRIMARY KEY, \
     name TEXT, place TEXT, amount INTEGER, price REAL, note TEXT, state INTEGER, updated TEXT)";

/// A folder with a pipeline and its backlog, and a copy of both to begin each round with.
struct Backlog {
    folder: tempfile::TempDir,
    pipeline: PathBuf,
    output: PathBuf,
}

/// Measures the drain, and adds what it finds to `report`.
pub(crate) fn measure(rowtide: &Rowtide, report: &mut Report) -> Result {
    let backlog = Backlog::make(rowtide)?;
    let (mut runs, mut bare, mut firsts) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        backlog.restore()?;
        let mut first_output = None;
        let run = rowtide.drain(&backlog.pipeline, |time| {
            let has_output = || fs::metadata(&backlog.output).is_ok_and(|file| file.len() > 0);
            if first_output.is_none() && has_output() {
                first_output = Some(time);
            }
        })?;
        firsts.push(first_output.ok_or("the drain wrote nothing")?.as_secs_f64() * 1e3);
        let bytes = backlog.check_output()?;
        let floor = backlog.bare(&bytes)?;
        let seconds = (run.time.as_secs_f64(), floor.as_secs_f64());
        eprintln!("drain, round {round}: {:.2} s, bare {:.2} s", seconds.0, seconds.1);
        runs.push(run);
        bare.push(floor.as_secs_f64());
    }
    describe(&runs, &bare, report);
    report.add("  start to first change", median(firsts), "ms");
    report.bar(Bar::AtMost(200.0));
    Ok(())
}

fn describe(runs: &[Run], bare: &[f64], report: &mut Report) {
    let ratios = bare.iter().zip(runs).map(|(bare, run)| bare / run.time.as_secs_f64()).collect();
    let bare = median(bare.to_vec());
    let middle = |of: fn(&Run) -> f64| median(runs.iter().map(of).collect());
    let time = middle(|run| run.time.as_secs_f64());
    let changes = (INSERTS + UPDATES + DELETES) as f64;
    report.add("drain of 1,000,000 changes", changes / time, "changes/s");
    report.add("  bare cursor + write of the same bytes", changes / bare, "changes/s");
    // Neighbours on the machine slow down both runs of a round.
    report.add("  ratio, of each round", median(ratios), "");
    report.bar(Bar::AtLeast(0.3));
    report.add("  peak memory", middle(|run| run.memory), "MB");
    report.bar(Bar::AtMost(64.0));
}

impl Backlog {
    fn make(rowtide: &Rowtide) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join("now").join(name);
        fs::create_dir(folder.path().join("now"))?;
        let (pipeline, output) = (path("pipeline.toml"), path("changes.jsonl"));
        let text = format!(
            "name = \"bench\"\n\
             [source]\ntype = \"sqlite\"\npath = {:?}\ntables = [\"items\"]\nsnapshot = \"never\"\n\
             [sink]\ntype = \"file\"\npath = {output:?}\n\
             [checkpoint]\ntype = \"sqlite\"\npath = {:?}\n",
            path("app.db"),
            path("checkpoint.db"),
        );
        fs::write(&pipeline, text)?;
        let mut application = Connection::open(path("app.db"))?;
        application.execute_batch(SCHEMA)?;
        rowtide.check(&["setup"], &pipeline)?;
        // The first run takes the position that the backlog will be behind.
        rowtide.check(&["run", "--drain"], &pipeline)?;
        fill(&mut application)?;
        application.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        drop(application);
        copy(&folder.path().join("now"), &folder.path().join("backlog"))?;
        Ok(Self { pipeline, output, folder })
    }

    fn restore(&self) -> Result {
        fs::remove_dir_all(self.folder.path().join("now"))?;
        copy(&self.folder.path().join("backlog"), &self.folder.path().join("now"))?;
        // A first run without changes may have made it.
        fs::write(&self.output, [])?;
        Ok(())
    }

    /// The bytes that were written, one line a change.
    fn check_output(&self) -> Result<Vec<u8>> {
        let bytes = fs::read(&self.output)?;
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        let expected = usize::try_from(INSERTS + UPDATES + DELETES)?;
        match lines == expected {
            true => Ok(bytes),
            false => Err(format!("the drain wrote {lines} changes, not {expected}").into()),
        }
    }

    /// The time of a cursor over the log, every value looked at, and of writing `bytes` durably.
    fn bare(&self, bytes: &[u8]) -> Result<Duration> {
        let now = self.folder.path().join("now");
        let start = Instant::now();
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(now.join("app.db"), flags)?;
        let mut statement = connection.prepare("SELECT * FROM _rowtide_log ORDER BY id")?;
        let columns = statement.column_count();
        let (mut rows, mut size) = (statement.query([])?, 0);
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                size += match row.get_ref(column)? {
                    ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
                    _ => 8,
                };
            }
        }
        std::hint::black_box(size);
        let mut file = fs::File::create(now.join("bare.jsonl"))?;
        for part in bytes.chunks(WRITE_BYTES) {
            file.write_all(part)?;
        }
        file.sync_all()?;
        Ok(start.elapsed())
    }
}

fn copy(from: &Path, to: &Path) -> Result {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// What the application does: inserts, then updates of every second row, then deletes.
fn fill(application: &mut Connection) -> Result {
    in_transactions(application, INSERTS, |connection, number| {
        let mut insert = connection
            .prepare_cached("INSERT INTO items VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
        let (name, note) = (format!("item {number}"), format!("delivered by hand, run {number}"));
        let price = number as f64 / 7.0;
        let place = ["Lisbon", "Oslo", "Graz", "Turku"][(number % 4) as usize];
        let updated = "2026-01-01T00:00:00Z";
        insert.execute(params![number, name, place, number * 3, price, note, number % 5, updated])
    })?;
    in_transactions(application, UPDATES, |connection, number| {
        let sql = "UPDATE items SET amount = amount + 1, updated = ?2 WHERE id = ?1";
        connection.prepare_cached(sql)?.execute(params![number * 2, "2026-01-02T00:00:00Z"])
    })?;
    in_transactions(application, DELETES, |connection, number| {
        connection.prepare_cached("DELETE FROM items WHERE id = ?1")?.execute([number * 6])
    })
}

fn in_transactions(
    connection: &mut Connection,
    rows: i64,
    change: impl Fn(&Connection, i64) -> rusqlite::Result<usize>,
) -> Result {
    for begin in (0..rows).step_by(usize::try_from(ROWS_IN_A_TRANSACTION)?) {
        let transaction = connection.transaction()?;
        for number in begin..rows.min(begin + ROWS_IN_A_TRANSACTION) {
            if change(&transaction, number + 1)? != 1 {
                return Err("a statement of the benchmark changed no row".into());
            }
        }
        transaction.commit()?;
    }
    Ok(())
}
