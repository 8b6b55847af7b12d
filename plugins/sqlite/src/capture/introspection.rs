//! Reading what the user's tables look like.

use rowtide_core::{Error, Result};
use rusqlite::{Connection, Row};

use crate::{
    capture::{
        names::{self, Names, quoted},
        table::{Definition, Identity, Shape, Unique},
    },
    checkpoint::file,
    connection::failure,
};

/// A table of the user's, and what of it cannot be covered.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) definition: Definition,
    pub(crate) warnings: Vec<String>,
}

/// What is in the database under a name.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) kind: String,
    without_rowid: bool,
}

/// The user's tables, views and virtual tables, by name.
pub(crate) fn list(connection: &Connection, names: &Names) -> Result<Vec<Listed>> {
    let sql = "SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main' ORDER BY name";
    let mut listed = query(connection, sql, [], |row| {
        Ok(Listed { name: row.get(0)?, kind: row.get(1)?, without_rowid: row.get(2)? })
    })?;
    let has_checkpoint = has_checkpoint(connection)?;
    let is_checkpoint =
        |name: &str| has_checkpoint && file::TABLES.iter().any(|(own, _)| *own == name);
    let ours = ours(connection, &listed, names)?;
    listed.retain(|table| {
        let name = table.name.as_str();
        !name.starts_with("sqlite_") && !is_checkpoint(name) && !ours.contains(&table.name)
    });
    Ok(listed)
}

/// The tables of all logs in the database: two that captured each other would never end.
fn ours(connection: &Connection, listed: &[Listed], names: &Names) -> Result<Vec<String>> {
    let prefixes = prefixes(listed).into_iter().map(Names::new);
    let logs: Vec<Names> =
        prefixes.chain([names.clone(), Names::new(names::DEFAULT_PREFIX)]).collect();
    let mut ours = Vec::new();
    for table in listed {
        let name = &table.name;
        if let Some(own) = logs.iter().find_map(|log| log.own(name))
            && own.is_of(&column_names(connection, name)?)
        {
            ours.push(name.clone());
        }
    }
    Ok(ours)
}

pub(crate) fn column_names(connection: &Connection, table: &str) -> Result<Vec<String>> {
    let sql = "SELECT name FROM pragma_table_xinfo(?1, 'main') ORDER BY cid";
    query(connection, sql, [table], |row| row.get(0))
}

/// Whether the checkpoint store is in this very database: each of its saves would be a change, which
/// makes a save. Only both tables with all their columns are the store's, and not tables of the
/// user's that happen to be called so.
fn has_checkpoint(connection: &Connection) -> Result<bool> {
    for (table, columns) in file::TABLES {
        if column_names(connection, table)? != columns {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The prefixes of all logs in the database.
fn prefixes(listed: &[Listed]) -> Vec<String> {
    let has = |name: &str| listed.iter().any(|table| table.name == name);
    let companions = ["layout", "meta", "pipeline"];
    let logs = listed.iter().filter_map(|table| table.name.strip_suffix("_log"));
    logs.filter(|prefix| companions.iter().all(|other| has(&format!("{prefix}_{other}"))))
        .map(str::to_owned)
        .collect()
}

/// Describes a table of the user's.
///
/// # Errors
/// `Config` if it cannot be captured.
pub(crate) fn describe(connection: &Connection, table: &Listed) -> Result<Found> {
    let (columns, not_null) = columns(connection, &table.name)?;
    let mut found = Found {
        definition: Definition {
            name: table.name.clone(),
            identity: Identity::Integer(0),
            columns,
            uniques: Vec::new(),
            staged: false,
        },
        warnings: Vec::new(),
    };
    let has_own_index = add_uniques(connection, &mut found)?;
    let has_index = found.definition.uniques.iter().any(|unique| unique.primary);
    found.definition.identity = if table.without_rowid {
        key_identity(&mut found)?
    } else {
        // A key of its own index, as a descending one has, is not the rowid.
        match integer_key(&found.definition.columns).filter(|_| !has_own_index) {
            Some(index) => Identity::Integer(index),
            None => match free_alias(&found.definition.columns) {
                Some(alias) => Identity::Rowid(alias.to_owned()),
                None if has_index => key_identity(&mut found)?,
                None => return Err(no_key(&table.name)),
            },
        }
    };
    warn_of_defaults(&mut found, &not_null);
    Ok(found)
}

/// The columns, and which of them are NOT NULL with a default that is no literal.
fn columns(connection: &Connection, table: &str) -> Result<(Vec<Shape>, Vec<usize>)> {
    let sql = "SELECT name, type, pk, hidden, \"notnull\", dflt_value
        FROM pragma_table_xinfo(?1, 'main') WHERE hidden <> 1 ORDER BY cid";
    let rows = query(connection, sql, [table], |row| {
        let key: u16 = row.get(2)?;
        let default: Option<String> = row.get(5)?;
        let default = if row.get(4)? { default } else { None };
        let shape = Shape {
            name: row.get(0)?,
            declared: row.get(1)?,
            key: key.checked_sub(1),
            generated: row.get::<_, i64>(3)? != 0,
            instead_of_null: default.clone().filter(|text| is_literal(text)),
        };
        let is_unknown = default.is_some() && shape.instead_of_null.is_none();
        Ok((shape, is_unknown))
    })?;
    let not_null = (0..rows.len()).filter(|&index| rows[index].1).collect();
    Ok((rows.into_iter().map(|(shape, _)| shape).collect(), not_null))
}

fn is_literal(text: &str) -> bool {
    let number = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let inner = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    is_number || inner.is_some_and(|inner| !inner.replace("''", "").contains('\''))
}

/// Adds what no two rows share to `found`, and tells whether the primary key has an index.
fn add_uniques(connection: &Connection, found: &mut Found) -> Result<bool> {
    let table = found.definition.name.clone();
    let sql = "SELECT name, origin, partial FROM pragma_index_list(?1, 'main')
        WHERE \"unique\" ORDER BY name";
    let indexes: Vec<(String, String, bool)> =
        query(connection, sql, [&table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    for (index, origin, partial) in &indexes {
        match unique(connection, index)? {
            Some(columns) if !partial => {
                let unique = Unique { primary: origin == "pk", columns };
                if !found.definition.uniques.contains(&unique) {
                    found.definition.uniques.push(unique);
                }
            }
            _ => found.warnings.push(format!(
                "table `{table}`: a row that REPLACE removes because of the unique index \
                 `{index}` is not covered (it is partial, on an expression, or of a collation \
                 that SQLite does not bring along)"
            )),
        }
    }
    // The order in which indexes were made says nothing about the table.
    found.definition.uniques.sort_by(|left, right| left.columns.cmp(&right.columns));
    Ok(indexes.iter().any(|(_, origin, _)| origin == "pk"))
}

/// The columns of a unique index; none if it has an expression or a collation of the user's.
fn unique(connection: &Connection, index: &str) -> Result<Option<Vec<(usize, String)>>> {
    let sql = "SELECT cid, coll FROM pragma_index_xinfo(?1, 'main') WHERE key ORDER BY seqno";
    let columns: Vec<(i64, String)> =
        query(connection, sql, [index], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let covered = columns.into_iter().map(|(column, collation)| {
        let collation = collation.to_ascii_uppercase();
        let known = matches!(collation.as_str(), "BINARY" | "NOCASE" | "RTRIM");
        let column = usize::try_from(column).ok().filter(|_| known)?;
        Some((column, collation))
    });
    Ok(covered.collect())
}

/// The declared key as the identity.
///
/// # Errors
/// `Config` if it has a collation of the user's: without it SQLite reads no row of the table.
fn key_identity(found: &mut Found) -> Result<Identity> {
    let definition = &mut found.definition;
    let position = definition.uniques.iter().position(|unique| unique.primary);
    if let Some(position) = position {
        return Ok(Identity::Key(definition.uniques.remove(position)));
    }
    Err(Error::config(format!(
        "table `{}` cannot be captured: it is WITHOUT ROWID, and its key is of a collation that \
         SQLite does not bring along",
        definition.name
    ))
    .key("tables")
    .help("exclude the table, or make it with a rowid"))
}

/// The column that may be the rowid: a single key column of exactly this type.
fn integer_key(columns: &[Shape]) -> Option<usize> {
    let mut keys = (0..columns.len()).filter(|&index| columns[index].key.is_some());
    let (Some(index), None) = (keys.next(), keys.next()) else { return None };
    let is_integer = columns[index].declared.eq_ignore_ascii_case("INTEGER");
    is_integer.then_some(index)
}

/// A name of the rowid that no column has taken.
fn free_alias(columns: &[Shape]) -> Option<&'static str> {
    let is_taken = |alias: &str| columns.iter().any(|x| x.name.eq_ignore_ascii_case(alias));
    ["rowid", "_rowid_", "oid"].into_iter().find(|alias| !is_taken(alias))
}

fn no_key(table: &str) -> Error {
    Error::config(format!(
        "table `{table}` cannot be captured: it declares no primary key, and its columns take all \
         three names of the rowid (rowid, _rowid_, oid)"
    ))
    .key("tables")
    .help("declare a primary key, rename one of those columns, or exclude the table")
}

/// A REPLACE puts the default in the place of a NULL after our triggers have seen the NULL.
fn warn_of_defaults(found: &mut Found, not_null: &[usize]) {
    let Found { definition, warnings } = found;
    let further = definition.uniques.iter().filter(|unique| !unique.primary);
    for (index, _) in further.flat_map(|unique| &unique.columns) {
        if not_null.contains(index) {
            warnings.push(format!(
                "table `{}`: a row that REPLACE removes because of the default of {} is not \
                 covered: it is no literal",
                definition.name,
                quoted(&definition.columns[*index].name)
            ));
        }
    }
}

fn query<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    let rows = || -> rusqlite::Result<Vec<T>> {
        connection.prepare_cached(sql)?.query_map(parameters, read)?.collect()
    };
    rows().map_err(|error| failure("failed to read the schema", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn found(sql: &str) -> Result<Found> {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(sql).unwrap();
        let listed = list(&connection, &Names::new("_rowtide")).unwrap();
        describe(&connection, &listed[0])
    }

    #[test]
    fn an_integer_primary_key_is_the_rowid_and_a_descending_one_is_not() {
        let identity = |sql| found(sql).unwrap().definition.identity;
        assert_eq!(identity("CREATE TABLE t (a, id integer primary key)"), Identity::Integer(1));
        let rowid = || Identity::Rowid("rowid".to_owned());
        assert_eq!(identity("CREATE TABLE t (id INTEGER PRIMARY KEY DESC)"), rowid());
        assert_eq!(identity("CREATE TABLE t (id INT PRIMARY KEY)"), rowid());
        let other = Identity::Rowid("_rowid_".to_owned());
        assert_eq!(identity("CREATE TABLE t (ROWID)"), other);
    }

    #[test]
    fn a_table_that_hides_its_rowid_entirely_is_refused_without_a_key() {
        let error = found("CREATE TABLE t (rowid, oid, _rowid_)").unwrap_err();
        assert!(error.message().contains("`t`"), "{error}");
        found("CREATE TABLE t (rowid, oid, _rowid_ TEXT PRIMARY KEY)").unwrap();
    }

    #[test]
    fn a_key_that_sqlite_cannot_read_by_itself_is_refused_by_name() {
        let table = |options| {
            format!(
                "CREATE TABLE t (a TEXT COLLATE RTRIM PRIMARY KEY) {options}; \
                 PRAGMA writable_schema = on; \
                 UPDATE sqlite_schema SET sql = replace(sql, 'RTRIM', 'theirs'); \
                 PRAGMA writable_schema = reset"
            )
        };
        let error = found(&table("WITHOUT ROWID")).unwrap_err();
        assert!(error.message().contains("`t`") && error.remedy().is_some(), "{error}");
        let identity = found(&table("")).unwrap().definition.identity;
        assert_eq!(identity, Identity::Rowid("rowid".to_owned()));
    }

    #[test]
    fn what_staging_cannot_cover_is_warned_about() {
        for index in ["t (lower(a))", "t (a) WHERE b > 1"] {
            let sql = format!("CREATE TABLE t (a, b); CREATE UNIQUE INDEX i ON {index}");
            let found = found(&sql).unwrap();
            assert!(found.warnings[0].contains("`i`"), "{:?}", found.warnings);
            assert!(found.definition.uniques.is_empty());
        }
        assert!(found("CREATE TABLE t (a UNIQUE, b)").unwrap().warnings.is_empty());
        let random = "CREATE TABLE t (a NOT NULL DEFAULT (random()) UNIQUE)";
        assert!(found(random).unwrap().warnings[0].contains("\"a\""));
    }

    #[test]
    fn the_tables_of_a_checkpoint_are_left_out_and_others_of_such_a_name_are_not() {
        let names = |sql: &str| {
            let connection = Connection::open_in_memory().unwrap();
            connection.execute_batch(sql).unwrap();
            let listed = list(&connection, &Names::new("_rowtide")).unwrap();
            listed.into_iter().map(|table| table.name).collect::<Vec<_>>()
        };
        let [checkpoint, claim] = [file::STATEMENTS[0], file::STATEMENTS[1]];
        assert_eq!(names(&format!("{checkpoint}; {claim}; CREATE TABLE t (a)")), ["t"]);
        assert_eq!(names(claim), ["rowtide_claim"]);
        let theirs = format!("{checkpoint}; CREATE TABLE rowtide_claim (pipeline, amount)");
        assert_eq!(names(&theirs), ["rowtide_checkpoint", "rowtide_claim"]);
    }

    #[test]
    fn a_default_is_taken_over_only_if_it_is_a_literal() {
        for (text, expected) in
            [("1", true), ("-1", true), ("'a''b'", true), ("\"a\"", false), ("'a'||'b'", false)]
        {
            assert_eq!(is_literal(text), expected, "{text}");
        }
    }
}
