//! What capturing costs the application: the same statements without triggers, with the shipped
//! ones, and with triggers that log the same things as JSON.

mod json;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::{Connection, params_from_iter};

use crate::{
    ROUNDS, Result,
    measure::{median, thread_time},
    report::{Bar, Report},
    rowtide::Rowtide,
};

/// The columns of a table, and how many rows are written: in one transaction, and one a commit.
struct Size {
    columns: usize,
    /// Each of so many columns has a text; the others are NULL.
    filled: usize,
    batch: usize,
    singles: usize,
    /// The most that a batch may cost, as a part of what it costs with JSON.
    bar: Option<f64>,
    /// Measured when the log was designed, in percent: insert, update, delete.
    reference: Option<[f64; 3]>,
    reference_singles: Option<[f64; 3]>,
}

const SIZES: [Size; 5] = [
    Size {
        columns: 2,
        filled: 1,
        batch: 100_000,
        singles: 2_000,
        bar: Some(0.6),
        reference: Some([139.0, 96.0, 101.0]),
        reference_singles: None,
    },
    Size {
        columns: 8,
        filled: 1,
        batch: 100_000,
        singles: 2_000,
        bar: Some(0.4),
        reference: Some([89.0, 121.0, 125.0]),
        reference_singles: Some([67.0, 38.0, 83.0]),
    },
    Size {
        columns: 64,
        filled: 1,
        batch: 20_000,
        singles: 1_000,
        bar: Some(0.4),
        reference: Some([65.0, 167.0, 201.0]),
        reference_singles: None,
    },
    // Rows so wide are sparse, and a sparse one fits a page.
    Size {
        columns: 1_000,
        filled: 4,
        batch: 1_000,
        singles: 300,
        bar: Some(0.4),
        reference: None,
        reference_singles: None,
    },
    // One that does not fit has no bar: SQLite fetches each old value from the overflow pages by
    // itself, for any trigger that looks at it, and that is nearly all of a delete's cost.
    Size {
        columns: 1_000,
        filled: 1,
        batch: 1_000,
        singles: 300,
        bar: None,
        reference: None,
        reference_singles: None,
    },
];

impl Size {
    fn name(&self) -> String {
        match self.filled {
            1 => format!("{} columns", self.columns),
            filled => format!("{} columns, 1 in {filled} filled", self.columns),
        }
    }
}

const OPERATIONS: [&str; 3] = ["insert", "update", "delete"];
const VARIANTS: [&str; 3] = ["plain", "shipped", "json"];

/// Seconds of insert, update and delete: of the batch, by the processor's clock, and of the single
/// rows, by the one on the wall.
type Times = [f64; 6];

/// Measures the triggers, and adds what it finds to `report`.
pub(crate) fn measure(rowtide: &Rowtide, columns: &[usize], report: &mut Report) -> Result {
    let is_wanted = |size: &&Size| columns.is_empty() || columns.contains(&size.columns);
    for size in SIZES.iter().filter(is_wanted) {
        let folder = tempfile::tempdir()?;
        for variant in VARIANTS {
            prepare(rowtide, folder.path(), variant, size.columns)?;
        }
        let mut rounds: [Vec<Times>; 3] = Default::default();
        for round in 1..=ROUNDS {
            eprintln!("triggers, {}, round {round}", size.name());
            for (times, variant) in rounds.iter_mut().zip(VARIANTS) {
                times.push(round_of(folder.path(), variant, size)?);
            }
        }
        describe(size, &rounds, report);
    }
    Ok(())
}

/// Neighbours on the machine slow down all three of a round, so each round is compared by itself.
fn describe(size: &Size, [plain, shipped, json]: &[Vec<Times>; 3], report: &mut Report) {
    for index in 0..6 {
        let overheads = |variant: &[Times]| -> Vec<f64> {
            let pairs = variant.iter().zip(plain);
            pairs.map(|(times, plain)| (times[index] / plain[index] - 1.0) * 100.0).collect()
        };
        let (shipped, json) = (overheads(shipped), overheads(json));
        let ratios = shipped.iter().zip(&json).map(|(shipped, json)| shipped / json).collect();
        let (kind, reference) = match index {
            0..3 => ("batch", size.reference),
            _ => ("single", size.reference_singles),
        };
        let operation = OPERATIONS[index % 3];
        let name = format!("{}, {kind} {operation}", size.name());
        report.add(format!("{name}: overhead"), median(shipped), "%");
        report.beside(reference.map(|figures| figures[index % 3]));
        report.add("  with JSON", median(json), "%");
        report.add("  ratio, of each round", median(ratios), "");
        if let Some(bar) = size.bar.filter(|_| kind == "batch") {
            report.bar(Bar::AtMost(bar));
        }
    }
}

/// Makes the database that each round of `variant` begins with.
fn prepare(rowtide: &Rowtide, folder: &Path, variant: &str, columns: usize) -> Result {
    let path = folder.join(format!("{variant}.db"));
    let names: Vec<_> = (1..columns).map(|number| format!("c{number} TEXT")).collect();
    let connection = Connection::open(&path)?;
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; CREATE TABLE items (id INTEGER PRIMARY KEY, {})",
        names.join(", ")
    ))?;
    match variant {
        "json" => connection.execute_batch(&json::triggers(columns))?,
        "shipped" => {
            let pipeline = folder.join("pipeline.toml");
            let text = format!(
                "name = \"bench\"\n\
                 [source]\ntype = \"sqlite\"\npath = {path:?}\ntables = [\"items\"]\n\
                 [sink]\ntype = \"stdout\"\n\
                 [checkpoint]\ntype = \"sqlite\"\npath = {:?}\n",
                folder.join("checkpoint.db"),
            );
            fs::write(&pipeline, text)?;
            rowtide.check(&["setup"], &pipeline)?;
        }
        _ => {}
    }
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(())
}

/// Runs the statements of one round on a fresh copy.
fn round_of(folder: &Path, variant: &str, size: &Size) -> Result<Times> {
    let path = folder.join("round.db");
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(folder.join(format!("round.db{suffix}")));
    }
    fs::copy(folder.join(format!("{variant}.db")), &path)?;
    let application = Application { connection: Connection::open(&path)?, size };
    application.connection.execute_batch("PRAGMA synchronous = NORMAL")?;
    let mut times = Times::default();
    for (index, operation) in OPERATIONS.iter().enumerate() {
        times[index] = application.batch(operation, size.batch)?.as_secs_f64();
    }
    for (index, operation) in OPERATIONS.iter().enumerate() {
        times[3 + index] = application.singles(operation, size.singles)?.as_secs_f64();
    }
    application.check_log(variant)?;
    Ok(times)
}

/// The program whose writes are slowed down.
struct Application<'a> {
    connection: Connection,
    size: &'a Size,
}

impl Application<'_> {
    /// The rows in one transaction, by the processor's clock.
    fn batch(&self, operation: &str, rows: usize) -> Result<Duration> {
        let begin = thread_time();
        self.connection.execute_batch("BEGIN")?;
        self.change(operation, rows)?;
        self.connection.execute_batch("COMMIT")?;
        Ok(thread_time() - begin)
    }

    /// The rows in a transaction each, by the clock on the wall.
    fn singles(&self, operation: &str, rows: usize) -> Result<Duration> {
        let begin = Instant::now();
        self.change(operation, rows)?;
        Ok(begin.elapsed())
    }

    /// One statement a row, by its key.
    fn change(&self, operation: &str, rows: usize) -> Result {
        let places: Vec<_> = (2..=self.size.columns).map(|place| format!("?{place}")).collect();
        let sql = match operation {
            "insert" => format!("INSERT INTO items VALUES (?1, {})", places.join(", ")),
            "update" => "UPDATE items SET c1 = ?2 WHERE id = ?1".to_owned(),
            _ => "DELETE FROM items WHERE id = ?1".to_owned(),
        };
        let mut statement = self.connection.prepare(&sql)?;
        let values = statement.parameter_count() - 1;
        // An update to the same value writes nothing.
        let first = usize::from(operation == "update");
        for row in 1..=i64::try_from(rows)? {
            let texts = (first..first + values).map(|at| match (at - first) % self.size.filled {
                0 => Parameter::Text(TEXTS[at % TEXTS.len()]),
                _ => Parameter::Null,
            });
            statement
                .execute(params_from_iter(std::iter::once(Parameter::Key(row)).chain(texts)))?;
        }
        Ok(())
    }

    /// Triggers that log nothing cost nothing: each change must have left its rows in the log.
    fn check_log(&self, variant: &str) -> Result {
        let changes = self.size.batch + self.size.singles;
        let (table, expected) = match variant {
            "plain" => return Ok(()),
            "json" => ("json_log", 3 * changes),
            // Those of installation, and the first image of an update, are of other operations.
            _ => ("_rowtide_log WHERE operation IN (1, 3, 4)", 3 * changes),
        };
        let sql = format!("SELECT count(*) FROM {table}");
        let logged: i64 = self.connection.query_row(&sql, [], |row| row.get(0))?;
        let logged = usize::try_from(logged)?;
        match logged == expected {
            true => Ok(()),
            false => Err(format!("{variant}: {logged} rows in the log, not {expected}").into()),
        }
    }
}

/// Of the same length, so that an update does not move the row.
const TEXTS: [&str; 4] = ["a short text", "another text", "text as ever", "and one more"];

enum Parameter {
    Key(i64),
    Text(&'static str),
    Null,
}

impl rusqlite::ToSql for Parameter {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        match self {
            Parameter::Key(key) => key.to_sql(),
            Parameter::Text(text) => text.to_sql(),
            Parameter::Null => rusqlite::types::Null.to_sql(),
        }
    }
}
