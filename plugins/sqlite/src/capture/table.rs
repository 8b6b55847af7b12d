//! What a table of the user's looks like, as far as capturing it needs to know.

use rowtide_core::{Column, ColumnType, Table};
use serde::{Deserialize, Serialize};

use crate::capture::names::quoted;

/// A table's shape; a layout is this, written down under a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Definition {
    pub(crate) name: String,
    pub(crate) identity: Identity,
    pub(crate) columns: Vec<Shape>,
    /// The sets of columns that no two rows share, beside the identity.
    pub(crate) uniques: Vec<Unique>,
    /// Whether rows that a REPLACE may remove are staged.
    pub(crate) staged: bool,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    pub(crate) name: String,
    pub(crate) declared: String,
    /// Its place in the declared key, from 0.
    pub(crate) key: Option<u16>,
    pub(crate) generated: bool,
    /// What a REPLACE puts in the place of a NULL: the literal default of a NOT NULL column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) instead_of_null: Option<String>,
}

/// What tells one row from another inside SQLite, whatever the declared key is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Identity {
    /// The rowid, under a name that no column takes away.
    Rowid(String),
    /// An `INTEGER PRIMARY KEY`, which is the rowid.
    Integer(usize),
    /// The declared key.
    Key(Unique),
}

/// Columns that together are unique.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unique {
    pub(crate) primary: bool,
    /// Each column's index, and the built-in collation it is compared by.
    pub(crate) columns: Vec<(usize, String)>,
}

impl Definition {
    /// Whether the table declares no key, so that the rowid is its key.
    pub(crate) fn is_keyless(&self) -> bool {
        self.columns.iter().all(|column| column.key.is_none())
    }

    /// Whether a REPLACE could remove a row whose key is not, byte for byte, that of the new one:
    /// by another unique key, or because the primary one takes `a` for `A` or 1 for 1.0.
    pub(crate) fn needs_staging(&self) -> bool {
        let is_exact = |index: usize| {
            self.key_collation(index) == "BINARY" && !self.columns[index].keeps_any_class()
        };
        let key = || (0..self.columns.len()).filter(|&index| self.columns[index].key.is_some());
        self.uniques.iter().any(|unique| !unique.primary) || !key().all(is_exact)
    }

    /// The expressions of a whole row's image, each after `row`, which is `new`, `old` or an alias.
    pub(crate) fn image(&self, row: &str) -> Vec<String> {
        let rowid = self.hidden_rowid().map(|alias| format!("{row}.{alias}"));
        let columns = self.columns.iter().map(|column| format!("{row}.{}", quoted(&column.name)));
        rowid.into_iter().chain(columns).collect()
    }

    /// The rowid's name where it is logged as the key.
    pub(crate) fn hidden_rowid(&self) -> Option<&str> {
        match &self.identity {
            Identity::Rowid(alias) if self.is_keyless() => Some(alias),
            _ => None,
        }
    }

    /// Where the values of the column at `index` stand in an image.
    pub(crate) fn place(&self, index: usize) -> usize {
        index + usize::from(self.hidden_rowid().is_some())
    }

    /// How many values an image has.
    pub(crate) fn width(&self) -> usize {
        self.place(self.columns.len())
    }

    /// The table as changes carry it.
    pub(crate) fn table(&self) -> Table {
        let rowid = self.hidden_rowid().map(|alias| {
            let mut column = Column::new(alias, ColumnType::Int).in_key(0);
            column.hidden = true;
            column
        });
        let columns = self.columns.iter().map(Shape::column);
        Table::new(self.name.as_str(), rowid.into_iter().chain(columns).collect())
    }

    /// The collation by which SQLite finds a row by this column of its key.
    pub(crate) fn key_collation(&self, index: usize) -> &str {
        let own = match &self.identity {
            Identity::Key(unique) => Some(unique),
            _ => None,
        };
        let primary = self.uniques.iter().filter(|unique| unique.primary).chain(own);
        let mut columns = primary.flat_map(|unique| &unique.columns);
        columns.find(|(column, _)| *column == index).map_or("BINARY", |(_, collation)| collation)
    }

    /// Whether this is `older` after columns were renamed or added at its end, and nothing else.
    pub(crate) fn continues(&self, older: &Definition) -> bool {
        let same = |new: &Shape, old: &Shape| {
            (&new.declared, new.key, new.generated) == (&old.declared, old.key, old.generated)
        };
        self.identity == older.identity
            && self.columns.len() >= older.columns.len()
            && self.columns.iter().zip(&older.columns).all(|(new, old)| same(new, old))
    }

    /// `older` under the names of today, as SQLite rewrites a trigger at a RENAME.
    pub(crate) fn renamed(&self, older: &Definition) -> Definition {
        let mut renamed = older.clone();
        renamed.name.clone_from(&self.name);
        for (column, now) in renamed.columns.iter_mut().zip(&self.columns) {
            column.name.clone_from(&now.name);
        }
        renamed
    }
}

impl Shape {
    /// Whether the column stores an integer and an equal real as they come.
    fn keeps_any_class(&self) -> bool {
        let declared = self.declared.to_ascii_uppercase();
        declared.is_empty() || declared == "ANY" || column_type(&declared) == ColumnType::Bytes
    }

    fn column(&self) -> Column {
        let mut column = Column::new(self.name.as_str(), column_type(&self.declared));
        column.declared = self.declared.as_str().into();
        column.key = self.key;
        column
    }
}

/// The type that SQLite itself makes of a declared one: its affinity.
fn column_type(declared: &str) -> ColumnType {
    let declared = declared.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    if has(&["INT"]) {
        ColumnType::Int
    } else if has(&["CHAR", "CLOB", "TEXT"]) {
        ColumnType::Text
    } else if has(&["BLOB"]) {
        ColumnType::Bytes
    } else if has(&["REAL", "FLOA", "DOUB"]) {
        ColumnType::Float
    } else {
        ColumnType::Any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declared_type_gives_the_affinity() {
        let cases = [
            ("", ColumnType::Any),
            ("bigint", ColumnType::Int),
            ("VARCHAR(32)", ColumnType::Text),
            ("Blob", ColumnType::Bytes),
            ("DOUBLE PRECISION", ColumnType::Float),
            ("DECIMAL(10,2)", ColumnType::Any),
        ];
        for (declared, expected) in cases {
            assert_eq!(column_type(declared), expected, "{declared}");
        }
    }
}
