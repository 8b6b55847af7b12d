//! Values as the library has them, which are taken apart without a copy.

use std::mem::take;

use google_cloud_spanner::value::{Kind, Value};

use crate::client::Cell;

/// A value of a row.
#[derive(Debug, Default)]
pub(crate) struct Raw(pub(super) Value);

/// A look at one.
#[derive(Clone, Copy)]
pub(crate) struct Look<'a>(&'a Value);

impl Raw {
    pub(crate) fn look(&self) -> Look<'_> {
        Look(&self.0)
    }

    pub(crate) fn into_text(self) -> Option<String> {
        self.0.into_string()
    }

    /// The elements of a list; nothing has none.
    pub(crate) fn into_items(self) -> impl ExactSizeIterator<Item = Raw> {
        self.into_values().into_iter().map(Raw)
    }

    /// The fields of a struct that stand at these places.
    pub(crate) fn into_fields<const N: usize>(self, places: [usize; N]) -> [Raw; N] {
        let mut values = self.into_values();
        places.map(|place| Raw(values.get_mut(place).map(take).unwrap_or_default()))
    }

    fn into_values(self) -> Vec<Value> {
        self.0.into_list().map(|list| list.into_values()).unwrap_or_default()
    }
}

impl<'a> Look<'a> {
    pub(crate) fn text(self) -> Option<&'a str> {
        self.0.as_str()
    }

    /// An integer comes as text.
    pub(crate) fn integer(self) -> Option<i64> {
        self.text()?.parse().ok()
    }

    pub(crate) fn is_true(self) -> bool {
        self.0.as_bool() == Some(true)
    }

    /// How many elements a list has.
    pub(crate) fn items(self) -> usize {
        self.0.as_list().map_or(0, |list| list.len())
    }

    /// An element of a list, or a field of a struct.
    pub(crate) fn item(self, index: usize) -> Option<Look<'a>> {
        self.0.as_list()?.get(index).map(Look)
    }
}

impl From<Raw> for Cell {
    fn from(raw: Raw) -> Self {
        let value = raw.0;
        match value.kind() {
            Kind::Bool => Cell::Bool(value.as_bool().unwrap_or_default()),
            Kind::Number => Cell::Number(value.as_f64().unwrap_or_default()),
            Kind::String => Cell::Text(value.into_string().unwrap_or_default()),
            Kind::List => Cell::List(Raw(value).into_items().map(Cell::from).collect()),
            Kind::Null | Kind::Unknown => Cell::Null,
        }
    }
}

impl From<Cell> for Raw {
    fn from(cell: Cell) -> Self {
        Raw(match cell {
            Cell::Null => Value::null(),
            Cell::Bool(value) => Value::from(value),
            Cell::Number(value) => Value::from(value),
            Cell::Text(value) => Value::from(value),
            Cell::List(cells) => {
                Value::from(cells.into_iter().map(|cell| Raw::from(cell).0).collect::<Vec<_>>())
            }
        })
    }
}
