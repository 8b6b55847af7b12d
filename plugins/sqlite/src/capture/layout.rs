//! Layouts: what the values of a log row mean.

use std::{collections::HashMap, sync::Arc};

use rowtide_core::{Error, Result, Table, settings::Tables};
use rusqlite::{Connection, OptionalExtension};

use crate::{
    capture::{names::Names, table::Definition},
    connection::failure,
};

/// The shape of a table at the time its rows were logged.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) id: i64,
    pub(crate) table: Arc<Table>,
    pub(crate) definition: Definition,
    /// The indexes of the key's columns, in the order of the key.
    pub(crate) key: Box<[usize]>,
    /// Whether this pipeline's `tables` include the table.
    pub(crate) included: bool,
}

/// The layouts read so far, by number.
#[derive(Debug)]
pub(crate) struct Layouts {
    names: Names,
    tables: Tables,
    incarnation: Arc<str>,
    known: HashMap<i64, Arc<Layout>>,
    /// How many values the widest of them has; the log is read that wide.
    width: usize,
}

impl Layouts {
    /// The layouts of the log of this incarnation, none of them read yet.
    ///
    /// # Errors
    /// `PositionLost` if there is no log.
    pub(crate) fn open(connection: &Connection, names: Names, tables: Tables) -> Result<Self> {
        let incarnation = incarnation(connection, &names)?.ok_or_else(|| no_log(&names))?.into();
        Ok(Self { names, tables, incarnation, known: HashMap::new(), width: 2 })
    }

    pub(crate) fn incarnation(&self) -> &Arc<str> {
        &self.incarnation
    }

    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The layout numbered `id`.
    ///
    /// # Errors
    /// `PositionLost` if there is none: the rows that refer to it cannot be understood.
    pub(crate) fn get(&mut self, connection: &Connection, id: i64) -> Result<Arc<Layout>> {
        if let Some(layout) = self.known.get(&id) {
            return Ok(Arc::clone(layout));
        }
        let definition = definition(connection, &self.names, id)?;
        let layout = Arc::new(Layout::new(id, definition, &self.tables));
        self.width = self.width.max(layout.table.columns.len());
        self.known.insert(id, Arc::clone(&layout));
        Ok(layout)
    }
}

impl Layout {
    pub(crate) fn new(id: i64, definition: Definition, tables: &Tables) -> Self {
        let included = tables.matches(&definition.name);
        let table = Arc::new(definition.table());
        let key = table.key().into();
        Self { id, table, definition, key, included }
    }
}

/// What the database calls the log of today; none where nothing is installed.
pub(crate) fn incarnation(connection: &Connection, names: &Names) -> Result<Option<String>> {
    meta(connection, names, "incarnation")
}

/// An entry of the meta table.
pub(crate) fn meta<T: rusqlite::types::FromSql>(
    connection: &Connection,
    names: &Names,
    key: &str,
) -> Result<Option<T>> {
    let there: bool = connection
        .query_row(
            "SELECT count(*) = 2 FROM sqlite_master WHERE type = 'table' AND name IN (?1, ?2)",
            [names.plain("meta"), names.plain("log")],
            |row| row.get(0),
        )
        .map_err(|error| failure("failed to look for the log", error))?;
    if !there {
        return Ok(None);
    }
    let sql = format!("SELECT value FROM {} WHERE key = ?1", names.meta());
    connection
        .query_row(&sql, [key], |row| row.get(0))
        .optional()
        .map_err(|error| failure(format!("failed to read {}", names.meta()), error))
}

fn definition(connection: &Connection, names: &Names, id: i64) -> Result<Definition> {
    let sql = format!("SELECT definition FROM {} WHERE id = ?1", names.layout());
    let text: Option<String> = connection
        .query_row(&sql, [id], |row| row.get(0))
        .optional()
        .map_err(|error| failure(format!("failed to read {}", names.layout()), error))?;
    let lost = |message: String| {
        Error::position_lost(message)
            .help("rows of the log cannot be understood without it; `rowtide checkpoint reset`")
    };
    let text = text.ok_or_else(|| lost(format!("{} has no layout {id}", names.layout())))?;
    serde_json::from_str(&text).map_err(|error| {
        lost(format!("layout {id} in {} is damaged", names.layout())).because(error)
    })
}

pub(crate) fn no_log(names: &Names) -> Error {
    Error::position_lost(format!("the log {} is gone or was never installed", names.log())).help(
        "run `rowtide setup`; if the pipeline ran before, changes were lost: \
         `rowtide checkpoint reset` starts anew",
    )
}
