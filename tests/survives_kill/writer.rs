//! The application: another process that writes to the captured database as hard as it can.

use std::{
    error::Error,
    io::{self, BufRead, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use fastrand::Rng;
use rusqlite::{Connection, TransactionBehavior, params};

use crate::{schema, values};

/// Few keys, so that each of them changes often.
const KEYS: i64 = 8;

/// Makes the tables, with some rows that only a snapshot can deliver.
pub(crate) fn create(path: &Path, journal_mode: &str) -> Result<(), rusqlite::Error> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", journal_mode)?;
    connection.execute_batch(schema::TABLES)?;
    connection.execute_batch(
        "INSERT INTO orders VALUES (-5, 0, 1.0, 'before capture', x'', x'00ff');
         WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
         INSERT INTO orders SELECT i, 0, i / 7.0, 'old ' || i, randomblob(20), NULL FROM n;",
    )
}

/// Writes until standard input ends. Prints one line for each version that was committed.
pub(crate) fn run(path: &Path, seed: u64) -> Result<(), Box<dyn Error>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    thread::spawn(move || {
        let ended = io::stdin().lock().lines().count();
        flag.store(true, Ordering::Relaxed);
        ended
    });
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(60))?;
    let mut writer = Writer { random: Rng::with_seed(seed), version: 0 };
    while !stop.load(Ordering::Relaxed) {
        writer.transact(&mut connection)?;
    }
    Ok(())
}

struct Writer {
    random: Rng,
    version: i64,
}

impl Writer {
    fn transact(&mut self, connection: &mut Connection) -> Result<(), Box<dyn Error>> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let large = self.random.u32(0..200) == 0;
        let statements = if large { 2_000 } else { self.random.u32(1..6) };
        let mut written = Vec::new();
        for _ in 0..statements {
            self.version += 1;
            if self.statement(&transaction)? {
                written.push(self.version);
            }
        }
        if self.random.u32(0..10) == 0 {
            transaction.rollback()?;
            return Ok(());
        }
        transaction.commit()?;
        let mut output = io::stdout().lock();
        for version in written {
            writeln!(output, "{version}")?;
        }
        // Leaves the database alone now and then, so that an idle pipeline is killed as well.
        if self.random.u32(0..300) == 0 {
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Runs one statement; whether it left a row of this version behind.
    fn statement(&mut self, connection: &Connection) -> Result<bool, rusqlite::Error> {
        let (key, version) = (self.random.i64(1..=KEYS), self.version);
        let region = ["north", "größe", "o'hara"][self.random.usize(0..3)];
        let changed = match self.random.u32(0..10) {
            0 => {
                return connection.execute("DELETE FROM orders WHERE id = ?", [key]).map(|_| false);
            }
            1 => {
                let sql = "DELETE FROM customers WHERE region = ?";
                return connection.execute(sql, [region]).map(|_| false);
            }
            2 => connection.execute(
                "UPDATE OR IGNORE orders SET id = ?, version = ? WHERE id = ?",
                [self.random.i64(1..=KEYS), version, key],
            )?,
            3..=6 => connection.execute(
                "INSERT INTO orders VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (id) DO UPDATE SET version = ?2, amount = ?3, note = ?4,
                     data = ?5, anything = ?6",
                params![
                    key,
                    version,
                    values::real(&mut self.random),
                    values::any(&mut self.random),
                    values::any(&mut self.random),
                    values::any(&mut self.random)
                ],
            )?,
            _ => connection.execute(
                "INSERT OR REPLACE INTO customers VALUES (?, ?, ?, ?)",
                params![format!("name {key}"), region, version, values::any(&mut self.random)],
            )?,
        };
        Ok(changed > 0)
    }
}
