use std::collections::BTreeMap;

use rowtide_core::{Position, Result, settings::Tables};
use rusqlite::{
    ToSql,
    types::{ToSqlOutput, ValueRef},
};
use serde::{Deserialize, Serialize};

/// What a position of this source holds.
///
/// The digest of the row at `id` tells this log from another one with the same ids: a backup that
/// was restored and written to since.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogPosition {
    /// Names the installation of the log.
    pub(crate) incarnation: String,
    /// The last row of the log that was read.
    pub(crate) id: i64,
    /// A digest of that row.
    pub(crate) digest: String,
    /// The setting `tables` that the pipeline ran with, by which an added table is recognised.
    pub(crate) selection: Selection,
    /// How far each table that this pipeline knows is read.
    pub(crate) tables: BTreeMap<String, Progress>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Selection {
    include: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    exclude: Vec<String>,
}

/// How far the rows that were already in a table are read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Progress {
    /// All of them, or none is wanted.
    Done,
    /// None yet. Whether what was read of the table before is replaced by them.
    Pending {
        replaces: bool,
    },
    Reading(Place),
}

/// A place inside a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    /// The key of the last row read.
    pub(crate) after: Vec<Cell>,
    /// The schema under which reading began: rowids hold for one schema only, unless declared.
    pub(crate) schema_version: i64,
    pub(crate) replaces: bool,
}

/// One value of SQLite, exactly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cell {
    Null,
    Int(i64),
    /// The bits of a double: JSON has no infinity, and its numbers lose digits.
    Real(u64),
    Text(String),
    /// The bytes of a text that is not UTF-8.
    RawText(Vec<u8>),
    Blob(Vec<u8>),
}

impl LogPosition {
    pub(crate) fn decode(position: &Position) -> Result<Self> {
        position.decode()
    }

    pub(crate) fn encode(&self) -> Result<Position> {
        Position::encode(self)
    }

    /// The table whose rows are to be read next: the one begun, else the first by name.
    pub(crate) fn next_table(&self) -> Option<&str> {
        let begun = self.tables.iter().find(|(_, progress)| progress.is_reading());
        let next = begun.or_else(|| {
            self.tables.iter().find(|(_, progress)| !matches!(progress, Progress::Done))
        });
        next.map(|(name, _)| name.as_str())
    }
}

impl Progress {
    fn is_reading(&self) -> bool {
        matches!(self, Progress::Reading(_))
    }
}

impl Selection {
    pub(crate) fn matches(&self, table: &str) -> bool {
        let Self { include, exclude } = self.clone();
        Tables { include, exclude }.matches(table)
    }
}

impl From<&Tables> for Selection {
    fn from(tables: &Tables) -> Self {
        Self { include: tables.include.clone(), exclude: tables.exclude.clone() }
    }
}

impl Cell {
    pub(crate) fn text_bytes(&self) -> Option<&[u8]> {
        match self {
            Cell::Text(text) => Some(text.as_bytes()),
            Cell::RawText(bytes) => Some(bytes),
            _ => None,
        }
    }
}

impl From<ValueRef<'_>> for Cell {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Cell::Null,
            ValueRef::Integer(number) => Cell::Int(number),
            ValueRef::Real(number) => Cell::Real(number.to_bits()),
            ValueRef::Text(bytes) => match str::from_utf8(bytes) {
                Ok(text) => Cell::Text(text.to_owned()),
                Err(_) => Cell::RawText(bytes.to_vec()),
            },
            ValueRef::Blob(bytes) => Cell::Blob(bytes.to_vec()),
        }
    }
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Cell::Null => ValueRef::Null,
            Cell::Int(number) => ValueRef::Integer(*number),
            Cell::Real(bits) => ValueRef::Real(f64::from_bits(*bits)),
            Cell::Text(text) => ValueRef::Text(text.as_bytes()),
            Cell::RawText(bytes) => ValueRef::Text(bytes),
            Cell::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

#[cfg(test)]
mod tests {
    use rowtide_core::ErrorKind;
    use rusqlite::Connection;

    use super::*;

    fn position(tables: &[(&str, Progress)]) -> LogPosition {
        LogPosition {
            incarnation: "i".to_owned(),
            id: i64::MAX,
            digest: "d".to_owned(),
            selection: Selection::from(&Tables::all()),
            tables: tables.iter().map(|(name, it)| ((*name).to_owned(), it.clone())).collect(),
        }
    }

    #[test]
    fn every_value_of_a_key_survives_the_checkpoint_and_sqlite() {
        let connection = Connection::open_in_memory().unwrap();
        let cells = [
            Cell::Null,
            Cell::Int(i64::MIN),
            Cell::Int((1 << 53) + 1),
            Cell::Real(f64::INFINITY.to_bits()),
            Cell::Real((0.1_f64 + 0.2).to_bits()),
            Cell::Text("grö\0ße".to_owned()),
            Cell::RawText(vec![0xff, 0]),
            Cell::Blob(vec![]),
        ];
        for cell in cells {
            let read: Cell = connection
                .query_row("SELECT ?", [&cell], |row| Ok(row.get_ref(0)?.into()))
                .unwrap();
            assert_eq!(read, cell);
            let place = Place { after: vec![cell], schema_version: 7, replaces: true };
            let position = position(&[("t", Progress::Reading(place))]);
            let decoded = LogPosition::decode(&position.encode().unwrap()).unwrap();
            assert_eq!(decoded, position);
        }
    }

    #[test]
    fn a_table_that_was_begun_is_finished_first() {
        let place = Place { after: vec![], schema_version: 0, replaces: false };
        let mut position = position(&[
            ("a", Progress::Done),
            ("b", Progress::Pending { replaces: false }),
            ("c", Progress::Reading(place)),
        ]);
        assert_eq!(position.next_table(), Some("c"));
        position.tables.insert("c".to_owned(), Progress::Done);
        assert_eq!(position.next_table(), Some("b"));
        position.tables.insert("b".to_owned(), Progress::Done);
        assert_eq!(position.next_table(), None);
    }

    #[test]
    fn what_another_version_wrote_is_lost_and_not_the_beginning() {
        for text in ["", "{}", "17", r#"{"incarnation":"i","id":1,"digest":"d"}"#] {
            let error = LogPosition::decode(&Position::from_text(text)).unwrap_err();
            assert_eq!(error.kind(), &ErrorKind::PositionLost);
        }
    }
}
