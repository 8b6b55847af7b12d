/// A table as the upstream described it when its changes were made.
///
/// Rows carry values only; the names are here, once, however many rows there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The schema, database or dataset the table belongs to, if the upstream has one.
    pub namespace: Option<Box<str>>,
    /// The name, without the namespace.
    pub name: Box<str>,
    /// The columns, in the order of the values of a [`Row`](crate::Row).
    pub columns: Vec<Column>,
}

/// A column of a [`Table`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name, as the upstream spells it.
    pub name: Box<str>,
    /// What its values are declared to be.
    pub column_type: ColumnType,
    /// The type's name in the upstream's own words, such as `VARCHAR(32)`; empty if there is none.
    pub declared: Box<str>,
    /// The place of this column in the key, from 0; `None` outside the key.
    pub key: Option<u16>,
    /// Whether the upstream keeps this column without the user having declared it (SQLite's
    /// rowid). It identifies a row, and is not part of the row's image.
    pub hidden: bool,
}

/// What values a [`Column`] is declared to hold. Single values may differ where the upstream
/// allows it, as SQLite does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColumnType {
    /// Anything: the upstream declares no type, or one without a counterpart here.
    Any,
    /// True or false.
    Bool,
    /// Whole numbers of up to 64 bits, signed.
    Int,
    /// Single-precision floats.
    Float32,
    /// Double-precision floats.
    Float,
    /// Decimal numbers with all their digits.
    Decimal,
    /// Text in UTF-8.
    Text,
    /// Bytes.
    Bytes,
    /// JSON documents.
    Json,
    /// UUIDs.
    Uuid,
    /// Days of the calendar.
    Date,
    /// Times of the day, without a day or a zone.
    Time,
    /// Days with a time, without a zone.
    DateTime,
    /// Points in time.
    Timestamp,
    /// Lists of values of one type.
    Array(Box<ColumnType>),
}

impl Table {
    /// Makes a table without namespace.
    pub fn new(name: impl Into<Box<str>>, columns: Vec<Column>) -> Self {
        Self { namespace: None, name: name.into(), columns }
    }

    /// The indexes of the key's columns, in the order of the key; empty for a table without key.
    pub fn key(&self) -> Vec<usize> {
        let mut indexes: Vec<usize> =
            (0..self.columns.len()).filter(|&index| self.columns[index].key.is_some()).collect();
        indexes.sort_by_key(|&index| self.columns[index].key);
        indexes
    }
}

impl Column {
    /// Makes a column outside the key.
    pub fn new(name: impl Into<Box<str>>, column_type: ColumnType) -> Self {
        let declared = Box::default();
        Self { name: name.into(), column_type, declared, key: None, hidden: false }
    }

    /// Puts the column into the key, at `ordinal` from 0.
    #[must_use]
    pub fn in_key(mut self, ordinal: u16) -> Self {
        self.key = Some(ordinal);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_in_its_own_order() {
        let table = Table::new(
            "t",
            vec![
                Column::new("b", ColumnType::Int).in_key(1),
                Column::new("x", ColumnType::Text),
                Column::new("a", ColumnType::Int).in_key(0),
            ],
        );
        assert_eq!(table.key(), [2, 0]);
    }
}
