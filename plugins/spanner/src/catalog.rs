//! What the database says of its change stream and of the tables that it watches.

mod layout;

use std::{
    collections::{BTreeMap, HashMap},
    mem::take,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rowtide_core::{Column, Error, Result, Table, settings::closest};
use tokio::time::timeout;

use crate::{
    client::{self, Cell, Client, Code, Failure, Statement, Type},
    record::{Shape, mutable_key_range},
};

pub(crate) use layout::{Layout, Recent};

/// The SQL that a database speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    GoogleSql,
    Postgres,
}

/// The change stream and its tables.
pub(crate) struct Catalog {
    pub(crate) dialect: Dialect,
    /// How long changes are kept.
    pub(crate) retention: Duration,
    client: Arc<dyn Client>,
    stream: String,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    tables: BTreeMap<String, Described>,
    layouts: HashMap<Arc<Shape>, Arc<Layout>>,
}

/// A table that the stream watches.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub(crate) table: Arc<Table>,
    /// The types of the columns.
    pub(crate) types: Vec<Type>,
}

/// How many sets of columns are kept; an update may have any of the table's.
const LAYOUTS_MAX: usize = 4096;

/// How long the schema may take.
const PATIENCE: Duration = Duration::from_secs(60);

const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

impl Catalog {
    /// Reads what there is.
    ///
    /// # Errors
    /// `Config` if there is no such stream, or if it cannot be read.
    pub(crate) async fn open(client: Arc<dyn Client>, stream: &str) -> Result<Self> {
        let dialect = dialect(&*client).await?;
        let mut catalog = Self {
            dialect,
            retention: RETENTION,
            client,
            stream: stream.to_owned(),
            known: Mutex::default(),
        };
        let (options, tables) = tokio::join!(catalog.options(), catalog.describe());
        for (name, value) in options? {
            match (name.as_str(), value.as_str()) {
                ("partition_mode", "MUTABLE_KEY_RANGE") => return Err(mutable_key_range()),
                ("retention_period", period) => {
                    catalog.retention = retention(period).unwrap_or(RETENTION);
                }
                _ => {}
            }
        }
        catalog.locked().tables = tables?;
        Ok(catalog)
    }

    /// The tables that the stream watches, by their names in its records.
    pub(crate) fn tables(&self) -> BTreeMap<String, Described> {
        self.locked().tables.clone()
    }

    /// How to read such a record. A column that is not known yet makes the catalog be read again.
    pub(crate) async fn layout(&self, shape: &Arc<Shape>) -> Result<Arc<Layout>> {
        let is_current = {
            let known = self.locked();
            if let Some(layout) = known.layouts.get(shape) {
                return Ok(Arc::clone(layout));
            }
            let described = known.tables.get(&shape.table);
            described.is_some_and(|described| layout::has_all(described, shape))
        };
        if !is_current {
            let tables = self.describe().await?;
            self.locked().tables = tables;
        }
        let mut known = self.locked();
        let layout = Arc::new(Layout::new(known.tables.get(&shape.table), shape)?);
        if known.layouts.len() >= LAYOUTS_MAX {
            known.layouts.clear();
        }
        known.layouts.insert(Arc::clone(shape), Arc::clone(&layout));
        Ok(layout)
    }

    /// The columns of a table's key as an order of rows, each with its direction.
    pub(crate) async fn key_order(&self, table: &str) -> Result<String> {
        let sql = "SELECT table_schema, table_name, column_name, column_ordering \
                   FROM information_schema.index_columns WHERE index_name = 'PRIMARY_KEY' \
                   ORDER BY ordinal_position";
        let rows = self.rows(sql).await?.into_iter();
        let of_table = rows.filter(|row| full_name(&row[0], &row[1]) == table);
        let columns = of_table.map(|row| {
            let [_, _, name, ordering] = texts(row);
            let quote = if self.dialect == Dialect::GoogleSql { '`' } else { '"' };
            let direction = if ordering.starts_with("DESC") { "DESC" } else { "ASC" };
            format!("{quote}{name}{quote} {direction}")
        });
        Ok(columns.collect::<Vec<_>>().join(", "))
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn options(&self) -> Result<Vec<(String, String)>> {
        let sql = "SELECT change_stream_name, option_name, option_value \
                   FROM information_schema.change_stream_options";
        let rows = self.rows(sql).await?.into_iter().map(texts);
        let of_stream = rows
            .filter_map(|[stream, name, value]| (stream == self.stream).then_some((name, value)));
        Ok(of_stream.collect())
    }

    async fn rows(&self, sql: &str) -> Result<Vec<Vec<Cell>>> {
        let rows = answered(self::rows(&*self.client, Statement::new(sql))).await;
        rows.map_err(|failure| failure.error("failed to read the information schema"))
    }

    /// What the stream watches: all, or these tables with these columns, `None` for all of them.
    async fn watched(&self) -> Result<Option<BTreeMap<String, Option<Vec<String>>>>> {
        let all = match self.dialect {
            Dialect::GoogleSql => "`ALL`",
            Dialect::Postgres => "\"all\"",
        };
        let sql =
            format!("SELECT change_stream_name, {all} FROM information_schema.change_streams");
        let streams = self.rows(&sql).await?;
        let named = |row: &&Vec<Cell>| row[0].text() == Some(&self.stream);
        let Some(stream) = streams.iter().find(named) else {
            return Err(self.no_stream(&streams));
        };
        if stream[1].is_true() {
            return Ok(None);
        }
        let tables = "SELECT change_stream_name, table_schema, table_name, all_columns \
                      FROM information_schema.change_stream_tables";
        let mut watched = BTreeMap::new();
        for row in self.rows(tables).await?.iter().filter(named) {
            let columns = if row[3].is_true() { None } else { Some(Vec::new()) };
            watched.insert(full_name(&row[1], &row[2]), columns);
        }
        let columns = "SELECT change_stream_name, table_schema, table_name, column_name \
                       FROM information_schema.change_stream_columns";
        for row in self.rows(columns).await?.iter().filter(named) {
            let table = watched.get_mut(&full_name(&row[1], &row[2]));
            if let (Some(Some(columns)), Some(name)) = (table, row[3].text()) {
                columns.push(name.to_owned());
            }
        }
        Ok(Some(watched))
    }

    fn no_stream(&self, streams: &[Vec<Cell>]) -> Error {
        let message = format!("there is no change stream `{}`", self.stream);
        let names: Vec<_> = streams.iter().filter_map(|row| row[0].text()).collect();
        let help = match (closest(&self.stream, &names), names.is_empty()) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, true) => "create one: CREATE CHANGE STREAM … FOR ALL".to_owned(),
            (None, false) => format!("the database has {}", names.join(", ")),
        };
        Error::config(message).key("change_stream").help(help)
    }

    async fn describe(&self) -> Result<BTreeMap<String, Described>> {
        let keys = "SELECT table_schema, table_name, column_name, ordinal_position \
                    FROM information_schema.index_columns WHERE index_name = 'PRIMARY_KEY'";
        let columns = "SELECT c.table_schema, c.table_name, c.column_name, c.spanner_type, \
                       c.is_generated FROM information_schema.columns AS c \
                       JOIN information_schema.tables AS t ON c.table_schema = t.table_schema \
                       AND c.table_name = t.table_name WHERE t.table_type = 'BASE TABLE' \
                       AND c.table_schema NOT IN ('INFORMATION_SCHEMA', 'SPANNER_SYS', \
                       'information_schema', 'spanner_sys', 'pg_catalog') \
                       ORDER BY c.table_schema, c.table_name, c.ordinal_position";
        let (watched, keys, columns) =
            tokio::join!(self.watched(), self.rows(keys), self.rows(columns));
        let watched = watched?;
        let mut ordinals = HashMap::new();
        for row in keys? {
            let ordinal = row[3].integer().unwrap_or(1) - 1;
            let column = row[2].text().unwrap_or_default().to_owned();
            ordinals.insert((full_name(&row[0], &row[1]), column), ordinal);
        }
        let mut tables: BTreeMap<String, Described> = BTreeMap::new();
        for row in columns? {
            let table = full_name(&row[0], &row[1]);
            let [schema, name, column, declared, generated] = texts(row);
            let key = ordinals.get(&(table.clone(), column.clone())).copied();
            let is_watched = match &watched {
                None => true,
                Some(tables) => match tables.get(&table) {
                    None => continue,
                    Some(None) => true,
                    Some(Some(columns)) => columns.contains(&column),
                },
            };
            if key.is_none() && (!is_watched || generated == "ALWAYS") {
                continue;
            }
            let of = Type::from_name(&declared);
            let mut described = Column::new(column, of.column_type());
            described.declared = declared.into();
            described.key = key.and_then(|key| u16::try_from(key).ok());
            let entry = tables.entry(table).or_insert_with(|| Described::new(&schema, &name));
            Arc::make_mut(&mut entry.table).columns.push(described);
            entry.types.push(of);
        }
        Ok(tables)
    }
}

impl Described {
    fn new(schema: &str, name: &str) -> Self {
        let mut table = Table::new(name, Vec::new());
        table.namespace = (!is_default(schema)).then(|| schema.into());
        Self { table: Arc::new(table), types: Vec::new() }
    }

    /// Leaves out the columns with other names.
    pub(crate) fn keep(&mut self, names: &[String]) {
        let table = Arc::make_mut(&mut self.table);
        let columns = take(&mut table.columns).into_iter().zip(take(&mut self.types));
        let kept = columns.filter(|(column, _)| names.iter().any(|name| **name == *column.name));
        (table.columns, self.types) = kept.unzip();
    }
}

/// Finds out what the database speaks.
///
/// # Errors
/// `Config` if there is no such database.
pub(crate) async fn dialect(client: &dyn Client) -> Result<Dialect> {
    let sql = "SELECT option_value FROM information_schema.database_options \
               WHERE option_name = 'database_dialect'";
    let found = answered(rows(client, Statement::new(sql))).await;
    let found = found.map_err(|failure| match failure.code {
        Code::NotFound => {
            Error::config("there is no such database").key("database").because(failure)
        }
        _ => failure.error("failed to ask the database for its dialect"),
    })?;
    Ok(match found.first().and_then(|row| row[0].text()) {
        Some("POSTGRESQL") => Dialect::Postgres,
        _ => Dialect::GoogleSql,
    })
}

/// What a query of the schema comes to, unless nothing comes at all.
async fn answered<T>(query: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(PATIENCE, query).await.unwrap_or_else(|_| {
        let message = format!("there was no answer in {PATIENCE:?}");
        Err(Failure { code: Code::Unavailable, message })
    })
}

/// All rows of a query.
pub(crate) async fn rows(
    client: &dyn Client,
    statement: Statement,
) -> Result<Vec<Vec<Cell>>, Failure> {
    client::all(client.query(statement).await?).await
}

/// The name of a table as records have it.
fn full_name(schema: &Cell, name: &Cell) -> String {
    let (schema, name) = (schema.text().unwrap_or_default(), name.text().unwrap_or_default());
    if is_default(schema) { name.to_owned() } else { format!("{schema}.{name}") }
}

fn is_default(schema: &str) -> bool {
    schema.is_empty() || schema == "public"
}

fn texts<const N: usize>(row: Vec<Cell>) -> [String; N] {
    let mut cells = row.into_iter();
    [(); N].map(|()| cells.next().and_then(Cell::into_text).unwrap_or_default())
}

/// Reads a period such as `36h` or `7d`.
fn retention(period: &str) -> Option<Duration> {
    let unit = period.chars().last()?;
    let number: u64 = period.strip_suffix(unit)?.parse().ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(number.checked_mul(seconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_is_a_number_and_a_unit() {
        assert_eq!(retention("36h"), Some(Duration::from_secs(36 * 3_600)));
        assert_eq!(retention("7d"), Some(Duration::from_secs(7 * 86_400)));
        assert_eq!(retention("soon"), None);
        assert_eq!(retention(""), None);
    }
}
