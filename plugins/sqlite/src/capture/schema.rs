//! The database's schema as capture sees it: the user's tables, and what of ours is there.

use std::collections::{BTreeMap, HashMap};

use rowtide_core::{Error, Result};
use rusqlite::{Connection, Row};

use crate::{
    capture::{
        introspection::{Listed, column_names, list},
        layout::meta,
        names::{Kind, Names, Own},
        table::Definition,
        triggers::FORMAT,
    },
    connection::failure,
};

/// All of it, read in one transaction.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) version: i64,
    /// The version that our last own statements left behind.
    pub(crate) left_version: Option<i64>,
    pub(crate) incarnation: Option<String>,
    /// How many value columns the log has.
    pub(crate) log_width: usize,
    pub(crate) layouts: BTreeMap<i64, Recorded>,
    pub(crate) listed: Vec<Listed>,
    /// The triggers of each table, in the order in which they were made; by name in lower case.
    triggers: HashMap<String, Vec<Existing>>,
    pub(crate) stages: Vec<i64>,
}

/// A layout as it is written down.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) table: String,
    /// None if a newer version wrote it.
    pub(crate) definition: Option<Definition>,
    /// Whether another layout, or none, has taken its place.
    pub(crate) superseded: bool,
}

/// A trigger in the database.
#[derive(Clone, Debug)]
pub(crate) struct Existing {
    pub(crate) name: String,
    pub(crate) sql: String,
    /// What it is for, if it is one of ours.
    pub(crate) ours: Option<(Kind, i64)>,
}

impl Schema {
    /// # Errors
    /// `Config` if a newer version of Rowtide has installed its triggers here.
    pub(crate) fn read(connection: &Connection, names: &Names) -> Result<Self> {
        let version = schema_version(connection)?;
        refuse_taken(connection, names)?;
        let incarnation = meta(connection, names, "incarnation")?;
        if let Some(format) = meta::<i64>(connection, names, "format")? {
            check_format(format)?;
        }
        let triggers = triggers(connection, names)?;
        for trigger in triggers.values().flatten().filter(|trigger| trigger.ours.is_some()) {
            trigger.format().map_or(Ok(()), check_format)?;
        }
        let sql = format!(
            "SELECT count(*) FROM pragma_table_info({}) WHERE name GLOB 'v[0-9]*'",
            crate::capture::names::literal(&names.plain("log"))
        );
        let width: Vec<u16> = query(connection, &sql, |row| row.get(0))?;
        Ok(Self {
            version,
            left_version: meta(connection, names, "schema_version")?,
            incarnation,
            log_width: width.first().map_or(0, |&width| width.into()),
            layouts: layouts(connection, names)?,
            listed: list(connection, names)?,
            triggers,
            stages: stages(connection, names)?.into_iter().map(|(_, layout)| layout).collect(),
        })
    }

    /// The triggers of a table, oldest first.
    pub(crate) fn triggers(&self, table: &str) -> &[Existing] {
        self.triggers.get(&table.to_ascii_lowercase()).map_or(&[], Vec::as_slice)
    }

    /// Whether a statement that was not ours changed the schema since our last one.
    pub(crate) fn was_moved(&self) -> bool {
        self.left_version != Some(self.version)
    }
}

impl Existing {
    /// Whether it was made by the user, and not by us for a log of any prefix.
    pub(crate) fn is_foreign(&self) -> bool {
        self.ours.is_none() && self.format().is_none()
    }

    fn format(&self) -> Option<i64> {
        let (_, rest) = self.sql.split_once("/* rowtide format ")?;
        rest.split_once(' ')?.0.parse().ok()
    }
}

/// What changes with every statement that changes the schema, and with VACUUM.
pub(crate) fn schema_version(connection: &Connection) -> Result<i64> {
    connection
        .query_row("PRAGMA schema_version", [], |row| row.get(0))
        .map_err(|error| failure("failed to read the schema's version", error))
}

fn check_format(format: i64) -> Result<()> {
    if format <= FORMAT {
        return Ok(());
    }
    Err(Error::config(format!(
        "the triggers in this database are of format {format}, and this version knows {FORMAT}"
    ))
    .help("a newer version of Rowtide captures this database; run that one"))
}

fn triggers(connection: &Connection, names: &Names) -> Result<HashMap<String, Vec<Existing>>> {
    let sql = "SELECT tbl_name, name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY rowid";
    let rows = query(connection, sql, |row| {
        let name: String = row.get(1)?;
        let ours = names.trigger_layout(&name);
        Ok((row.get::<_, String>(0)?, Existing { name, sql: row.get(2)?, ours }))
    })?;
    let mut triggers: HashMap<String, Vec<Existing>> = HashMap::new();
    for (table, trigger) in rows {
        triggers.entry(table.to_ascii_lowercase()).or_default().push(trigger);
    }
    Ok(triggers)
}

/// The staging tables, each with the layout that it is for.
pub(crate) fn stages(connection: &Connection, names: &Names) -> Result<Vec<(String, i64)>> {
    let mut stages = Vec::new();
    for table in tables(connection)? {
        if let Some(layout) = names.stage_layout(&table)
            && Own::Stage.is_of(&column_names(connection, &table)?)
        {
            stages.push((table, layout));
        }
    }
    Ok(stages)
}

/// All tables, by the names that they were made with.
pub(crate) fn tables(connection: &Connection) -> Result<Vec<String>> {
    query(connection, "SELECT name FROM sqlite_master WHERE type = 'table'", |row| row.get(0))
}

/// Makes sure that no table of the user's stands where one of ours is or would be: those are
/// dropped without a question.
///
/// # Errors
/// `Config` if one does.
pub(crate) fn refuse_taken(connection: &Connection, names: &Names) -> Result<()> {
    let in_lower_case = names.in_lower_case();
    for table in tables(connection)? {
        let Some(own) = in_lower_case.own(&table.to_ascii_lowercase()) else { continue };
        let is_ours = names.own(&table) == Some(own)
            && own.is_of(&column_names(connection, &table)?)
            && (own != Own::Meta || is_meta(connection, names)?);
        if own != Own::Stage && !is_ours {
            let message = format!("table `{table}` is in the place of one that Rowtide makes");
            return Err(Error::config(message).key("log_prefix").help(
                "set another log_prefix; or drop the table if it is what is left of Rowtide",
            ));
        }
    }
    Ok(())
}

/// Many programs have a table of keys and values.
fn is_meta(connection: &Connection, names: &Names) -> Result<bool> {
    let sql = format!("SELECT EXISTS (SELECT 1 FROM {} WHERE key = 'incarnation')", names.meta());
    let found: Vec<bool> = query(connection, &sql, |row| row.get(0))?;
    Ok(found.contains(&true))
}

fn layouts(connection: &Connection, names: &Names) -> Result<BTreeMap<i64, Recorded>> {
    // It may be what is left of a log that was dropped: its numbers are taken.
    if !tables(connection)?.contains(&names.plain("layout")) {
        return Ok(BTreeMap::new());
    }
    let sql =
        format!("SELECT id, table_name, definition, until IS NOT NULL FROM {}", names.layout());
    let rows = query(connection, &sql, |row| {
        let definition: String = row.get(2)?;
        let definition = serde_json::from_str(&definition).ok();
        Ok((row.get(0)?, Recorded { table: row.get(1)?, definition, superseded: row.get(3)? }))
    })?;
    Ok(rows.into_iter().collect())
}

pub(crate) fn query<T>(
    connection: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    let rows =
        || -> rusqlite::Result<Vec<T>> { connection.prepare(sql)?.query_map([], read)?.collect() };
    rows().map_err(|error| failure("failed to read the schema", error))
}
