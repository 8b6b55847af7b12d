//! What writes to the server: transactions over few keys, and changes of the schema.

use fastrand::Rng;
use rowtide_core::{Error, Result};
use rowtide_fake_cockroachdb::{Server, SqlError};

/// Few, so that each has many versions.
const KEYS: i64 = 4;
/// The columns that are added and dropped, at most.
const COLUMNS_MAX: usize = 10;

pub(crate) const TABLES: [&str; 2] = ["plain", "split"];

/// Writes to two tables, one of which has two families.
pub(crate) struct Writer<'s> {
    server: &'s Server,
    columns: Vec<usize>,
    next_column: usize,
}

impl<'s> Writer<'s> {
    pub(crate) fn new(server: &'s Server) -> Self {
        let sql = "CREATE TABLE plain (id INT8 PRIMARY KEY, n INT8);
                   CREATE TABLE split (id INT8 PRIMARY KEY, n INT8, m INT8, FAMILY f1 (id, n), FAMILY f2 (m))";
        server.execute(sql).expect("the tables");
        Self { server, columns: Vec::new(), next_column: 0 }
    }

    /// A transaction of a few rows.
    pub(crate) fn write(&mut self, chance: &mut Rng) -> Result<()> {
        let statements: Vec<_> = (0..chance.usize(1..5)).map(|_| statement(chance)).collect();
        let sql = format!("BEGIN; {}; COMMIT", statements.join("; "));
        self.server.execute(&sql).map_err(broken).map(drop)
    }

    pub(crate) fn change_the_schema(&mut self, chance: &mut Rng) -> Result<()> {
        let drops = self.columns.len() >= COLUMNS_MAX || chance.bool() && !self.columns.is_empty();
        let sql = if drops {
            let column = self.columns.swap_remove(chance.usize(..self.columns.len()));
            format!("ALTER TABLE plain DROP COLUMN c{column}")
        } else {
            self.columns.push(self.next_column);
            self.next_column += 1;
            format!("ALTER TABLE plain ADD COLUMN c{} INT8 DEFAULT 7", self.next_column - 1)
        };
        self.server.execute(&sql).map_err(broken).map(drop)
    }
}

fn statement(chance: &mut Rng) -> String {
    let (key, value) = (chance.i64(0..KEYS), chance.i64(..));
    match chance.u32(..20) {
        0 => format!("DELETE FROM plain WHERE id = {key}"),
        1 => format!("DELETE FROM split WHERE id = {key}"),
        2..11 => format!("UPSERT INTO plain (id, n) VALUES ({key}, {value})"),
        11..16 => format!("UPSERT INTO split VALUES ({key}, {value}, {})", chance.i64(..)),
        _ => format!("UPDATE split SET m = {value} WHERE id = {key}"),
    }
}

pub(crate) fn broken(error: SqlError) -> Error {
    Error::fatal("the server failed").because(error)
}
