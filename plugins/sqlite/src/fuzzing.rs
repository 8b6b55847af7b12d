//! What a test that feeds foreign bytes gets at.

use std::cell::RefCell;

use rowtide_core::{Position, Result, plugin::Execution, settings::Tables};
use rusqlite::{Connection, params_from_iter, types::Value};

use crate::{
    capture::{
        Capture, Replace,
        layout::Layouts,
        log::{self, Span},
        names::Names,
    },
    connection::failure,
    source::position::LogPosition,
};

/// How many values the rows have.
const WIDTH: usize = 4;

/// Reads a log: the definition of a table in the first line, rows behind it.
pub fn log(bytes: &[u8]) -> String {
    thread_local! {
        static DATABASE: RefCell<Option<Connection>> = const { RefCell::new(None) };
    }
    DATABASE.with_borrow_mut(|kept| {
        let connection = match kept.take().map_or_else(installed, Ok) {
            Ok(connection) => kept.insert(connection),
            Err(error) => return error.to_string(),
        };
        read(connection, bytes).unwrap_or_else(|error| error.to_string())
    })
}

/// Reads a position.
pub fn position(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match LogPosition::decode(&Position::from_text(&text)) {
        Ok(position) => {
            let next = position.next_table().map(|table| position.selection.matches(table));
            format!("a position {next:?} {}", position.encode().is_ok())
        }
        Err(error) => why(&error),
    }
}

/// A database in memory with a log as wide as a table of ours.
fn installed() -> Result<Connection> {
    let mut connection = Connection::open_in_memory().map_err(doing)?;
    let table = "CREATE TABLE t (a INTEGER PRIMARY KEY, b, c, d)";
    connection.execute_batch(table).map_err(doing)?;
    let mut capture = Capture::new(Names::new("_r"), Tables::all(), Replace::default());
    capture.install(&mut connection, Execution::Apply)?;
    Ok(connection)
}

fn read(connection: &mut Connection, bytes: &[u8]) -> Result<String> {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let names = Names::new("_r");
    let transaction = connection.transaction().map_err(doing)?;
    transaction.execute(&format!("DELETE FROM {}", names.log()), []).map_err(doing)?;
    let definition = String::from_utf8_lossy(&bytes[..end]);
    transaction
        .execute(
            &format!("INSERT OR REPLACE INTO {} (id, definition) VALUES (2, ?)", names.layout()),
            [&*definition],
        )
        .map_err(doing)?;
    let mut rest = Rest(bytes.get(end + 1..).unwrap_or_default());
    let places = ["?"; 4 + WIDTH].join(", ");
    let columns: String = (0..WIDTH).map(|index| format!(", v{index}")).collect();
    let insert = format!(
        "INSERT INTO {} (id, layout, operation, at{columns}) VALUES ({places})",
        names.log()
    );
    let (mut id, first) = (100, 100);
    while let Some(row) = rest.row(&mut id) {
        // What the table itself refuses cannot be read.
        let _ = transaction.execute(&insert, params_from_iter(row));
    }
    let tables = Tables::all();
    let mut layouts = Layouts::open(&transaction, names.clone(), tables)?;
    let span = Span { after: first, up_to: id, bytes_max: 1 << 16, rows_max: 100 };
    let batch = log::read(&transaction, &mut layouts, span)?;
    log::digest(&transaction, &names, batch.last)?;
    let told = batch.changes.iter().map(|change| {
        let time = change.committed_at.is_some();
        format!("{}{}{time}", change.operation.name(), change.id().to_string().len() > 40)
    });
    Ok(format!("{:?} {}", batch.captured.is_some(), told.collect::<String>()))
}

fn doing(error: rusqlite::Error) -> rowtide_core::Error {
    failure("failed to make a log", error)
}

/// Bytes that are not made use of yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn row(&mut self, id: &mut i64) -> Option<Vec<Value>> {
        let (step, layout, operation) = (self.byte()?, self.byte()?, self.byte()?);
        // Mostly the next one.
        *id += if step < 250 { 1 } else { i64::from(step) - 249 };
        let mut row = vec![
            Value::Integer(*id),
            Value::Integer(i64::from(layout % 4)),
            Value::Integer(i64::from(operation) % 9),
        ];
        for _ in 0..=WIDTH {
            row.push(self.value());
        }
        Some(row)
    }

    fn value(&mut self) -> Value {
        match self.byte().unwrap_or_default() % 6 {
            0 => Value::Null,
            1 => Value::Integer(i64::from_be_bytes(self.eight())),
            2 => Value::Real(f64::from_be_bytes(self.eight())),
            3 => Value::Text(String::from_utf8_lossy(&self.some()).into_owned()),
            4 => Value::Blob(self.some()),
            _ => Value::Integer(i64::from(self.byte().unwrap_or_default())),
        }
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn eight(&mut self) -> [u8; 8] {
        std::array::from_fn(|_| self.byte().unwrap_or_default())
    }

    fn some(&mut self) -> Vec<u8> {
        let length = self.byte().unwrap_or_default() % 32;
        (0..length).map_while(|_| self.byte()).collect()
    }
}

/// Why a position cannot be read; the message itself shows all of it.
fn why(error: &rowtide_core::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
