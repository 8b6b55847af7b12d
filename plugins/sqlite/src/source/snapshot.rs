//! The rows that are already in a table, a chunk at a time.

use std::sync::Arc;

use rowtide_core::{Change, ChangeId, Metadata, Operation, Result};
use rusqlite::{Connection, params_from_iter, types::ToSql};
use sha2::{Digest, Sha256};

use crate::{
    capture::{layout::Layout, log, names::quoted, table::Identity},
    checkpoint::file::hex,
    connection::failure,
    source::position::{Cell, Place, Progress},
};

/// What to read of a table, inside a read transaction in which `id` is the last row of the log.
pub(crate) struct Request<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) progress: &'a Progress,
    pub(crate) incarnation: &'a str,
    pub(crate) id: i64,
    pub(crate) schema_version: i64,
    pub(crate) rows_max: u32,
    pub(crate) bytes_max: usize,
}

/// Rows of a table with the marks around them, and where the next chunk begins.
pub(crate) struct Chunk {
    pub(crate) changes: Vec<Change>,
    pub(crate) next: Progress,
}

/// Reads the next rows; their ids contain the log id, since a row read again may be newer.
pub(crate) fn read(connection: &Connection, request: &Request<'_>) -> Result<Chunk> {
    let mut chunk = Chunk { changes: Vec::new(), next: Progress::Done };
    let (replaces, place) = begin(request, &mut chunk);
    let doing = |error| {
        let name = &request.layout.definition.name;
        failure(format!("failed to read the rows of table `{name}`"), error)
    };
    let after = place.as_ref().map(|place| place.after.as_slice());
    match rows(connection, request, after, &mut chunk.changes).map_err(doing)? {
        Some(after) => {
            let schema_version = request.schema_version;
            chunk.next = Progress::Reading(Place { after, schema_version, replaces });
        }
        None => chunk.changes.push(request.mark(Operation::SnapshotEnd)),
    }
    Ok(chunk)
}

/// Goes on at the place that was reached; or else from the start, with its mark.
fn begin(request: &Request<'_>, chunk: &mut Chunk) -> (bool, Option<Place>) {
    let replaces = match request.progress {
        Progress::Reading(place) if request.holds(place) => {
            return (place.replaces, Some(place.clone()));
        }
        Progress::Reading(place) => place.replaces,
        Progress::Pending { replaces } => *replaces,
        Progress::Done => true,
    };
    let mut mark = request.mark(Operation::SnapshotBegin);
    if replaces {
        mark.metadata = Some(Arc::new(Metadata::default().with("replaces", true)));
    }
    chunk.changes.push(mark);
    (replaces, None)
}

impl Request<'_> {
    /// VACUUM gives new rowids to a table that does not declare them, so that a place among the
    /// old ones means nothing. Nor does one among keys of other columns: the table was rebuilt.
    fn holds(&self, place: &Place) -> bool {
        let is_declared = !matches!(self.layout.definition.identity, Identity::Rowid(_));
        let is_current = is_declared || place.schema_version == self.schema_version;
        is_current && place.after.len() == self.key().len()
    }

    fn scope(&self) -> String {
        format!("{}/{}", self.incarnation, self.layout.id)
    }

    fn mark(&self, operation: Operation) -> Change {
        let id = ChangeId::new(format!("{}/{}", self.scope(), operation.name()));
        let id = id.major(self.id.unsigned_abs());
        Change::new(id, Arc::clone(&self.layout.table), operation)
    }

    /// The columns by which rows are told apart and ordered.
    fn key(&self) -> Vec<KeyColumn<'_>> {
        let definition = &self.layout.definition;
        let column = |index: usize| format!("t.{}", quoted(&definition.columns[index].name));
        let number = |expression| vec![KeyColumn { expression, collation: None }];
        match &definition.identity {
            Identity::Rowid(alias) => number(format!("t.{alias}")),
            Identity::Integer(index) => number(column(*index)),
            Identity::Key(unique) => unique
                .columns
                .iter()
                .map(|(index, collation)| KeyColumn {
                    expression: column(*index),
                    collation: Some(collation),
                })
                .collect(),
        }
    }
}

/// A column of the key, and the collation by which the key is unique. The column may declare
/// another one, by which two rows can be equal, and the second would never be found.
struct KeyColumn<'a> {
    expression: String,
    /// None if it holds nothing but integers.
    collation: Option<&'a str>,
}

impl KeyColumn<'_> {
    fn collated(&self, expression: &str) -> String {
        match self.collation {
            Some(collation) => format!("{expression} COLLATE {collation}"),
            None => expression.to_owned(),
        }
    }

    /// The parameter that stands for this column. It has the collation, and not the column: SQLite
    /// does not search an index for a row value of anything but plain columns.
    fn parameter(&self, number: usize) -> String {
        self.collated(&format!("?{number}"))
    }

    /// Whether SQLite takes two values of this column to be equal.
    fn takes_for_equal(&self, one: &Cell, other: &Cell) -> bool {
        if let (Some(one), Some(other)) = (one.text_bytes(), other.text_bytes()) {
            return match self.collation {
                Some("NOCASE") => without_case(one) == without_case(other),
                Some("RTRIM") => without_spaces(one) == without_spaces(other),
                _ => one == other,
            };
        }
        match (one, other) {
            (Cell::Real(one), Cell::Real(other)) => f64::from_bits(*one) == f64::from_bits(*other),
            (Cell::Int(int), Cell::Real(bits)) | (Cell::Real(bits), Cell::Int(int)) => {
                let real = f64::from_bits(*bits);
                real as i64 == *int && *int as f64 == real
            }
            _ => one == other,
        }
    }
}

/// SQLite's own comparison ends at a zero byte, and then compares the lengths.
fn without_case(text: &[u8]) -> (usize, Vec<u8>) {
    let compared = text.split(|byte| *byte == 0).next().unwrap_or_default();
    (text.len(), compared.to_ascii_lowercase())
}

fn without_spaces(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    &text[..end]
}

/// Adds rows after `after` to `changes`; the key of the last one, if there may be more.
fn rows(
    connection: &Connection,
    request: &Request<'_>,
    after: Option<&[Cell]>,
    changes: &mut Vec<Change>,
) -> rusqlite::Result<Option<Vec<Cell>>> {
    let key = request.key();
    let width = request.layout.definition.width();
    let (sql, values) = select(request, &key, after);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let scope: Arc<str> = request.scope().into();
    let (mut count, mut bytes) = (0, 0);
    let mut end: Option<Vec<Cell>> = None;
    while let Some(row) = rows.next()? {
        let cells = (width..width + key.len())
            .map(|index| row.get_ref(index).map(Cell::from))
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let is_same = |end: &Vec<Cell>| {
            let pairs = key.iter().zip(end.iter().zip(&cells));
            pairs.into_iter().all(|(column, (end, cell))| column.takes_for_equal(end, cell))
        };
        if end.as_ref().is_some_and(|end| !is_same(end)) {
            return Ok(end);
        }
        let id = id(&scope, &cells, request.id);
        let mut change = Change::new(id, Arc::clone(&request.layout.table), Operation::Read);
        change.after = Some(log::image(row, 0, width)?);
        count += 1;
        bytes += change.bytes();
        changes.push(change);
        if count >= request.rows_max || bytes >= request.bytes_max {
            // Several rows may have the same key if it contains a NULL; a chunk never parts them.
            if !cells.contains(&Cell::Null) {
                return Ok(Some(cells));
            }
            end = Some(cells);
        }
    }
    Ok(None)
}

/// Names a row as it was at a log id: by its rowid, or by a digest of its key.
fn id(scope: &Arc<str>, key: &[Cell], log: i64) -> ChangeId {
    let log = log.unsigned_abs();
    if let [Cell::Int(rowid)] = key {
        return ChangeId::new(Arc::clone(scope)).major(log).minor(rowid.cast_unsigned());
    }
    let mut digest = Sha256::new();
    for cell in key {
        let (class, bytes) = match cell {
            Cell::Null => (0, Vec::new()),
            Cell::Int(number) => (1, number.to_be_bytes().to_vec()),
            Cell::Real(bits) => (2, bits.to_be_bytes().to_vec()),
            Cell::Text(text) => (3, text.as_bytes().to_vec()),
            Cell::RawText(bytes) => (3, bytes.clone()),
            Cell::Blob(bytes) => (4, bytes.clone()),
        };
        digest.update([class]);
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    }
    let digest = hex(&digest.finalize()[..16]);
    ChangeId::new(format!("{scope}/{digest}")).major(log)
}

fn select<'a>(
    request: &Request<'_>,
    key: &[KeyColumn<'_>],
    after: Option<&'a [Cell]>,
) -> (String, Vec<&'a dyn ToSql>) {
    let definition = &request.layout.definition;
    let (image, keys) = (definition.image("t").join(", "), expressions(key));
    let order: Vec<_> = key.iter().map(|column| column.collated(&column.expression)).collect();
    let (order, table) = (order.join(", "), quoted(&definition.name));
    let mut values: Vec<&dyn ToSql> = Vec::new();
    let condition = match after {
        Some(cells) => {
            values.extend(cells.iter().map(|cell| cell as &dyn ToSql));
            format!("WHERE {}", beyond(key, cells))
        }
        None => String::new(),
    };
    // Without a limit, since rows of one key may have to stay together; reading stops by itself.
    let sql = format!("SELECT {image}, {keys} FROM {table} AS t {condition} ORDER BY {order}");
    (sql, values)
}

fn expressions(key: &[KeyColumn<'_>]) -> String {
    key.iter().map(|column| column.expression.as_str()).collect::<Vec<_>>().join(", ")
}

/// The rows after a key. A row value would miss those whose key contains a NULL, which is less
/// than everything else.
fn beyond(key: &[KeyColumn<'_>], cells: &[Cell]) -> String {
    let parameter = |index: usize| key[index].parameter(index + 1);
    if !cells.contains(&Cell::Null) {
        let parameters: Vec<_> = (0..cells.len()).map(parameter).collect();
        return format!("({}) > ({})", expressions(key), parameters.join(", "));
    }
    let alternatives = (0..key.len()).map(|length| {
        let mut terms: Vec<_> = (0..length)
            .map(|index| format!("{} IS {}", key[index].expression, parameter(index)))
            .collect();
        let last = &key[length].expression;
        terms.push(match cells[length] {
            // Also here with its parameter: each must occur.
            Cell::Null => format!("{last} IS NOT {}", parameter(length)),
            _ => format!("{last} > {}", parameter(length)),
        });
        terms.join(" AND ")
    });
    alternatives.collect::<Vec<_>>().join(" OR ")
}

#[cfg(test)]
mod tests {
    use rowtide_core::settings::Tables;

    use super::*;
    use crate::capture::{
        introspection::{describe, list},
        names::Names,
    };

    fn layout(connection: &Connection) -> Layout {
        let listed = list(connection, &Names::new("_rowtide")).unwrap();
        let definition = describe(connection, &listed[0]).unwrap().definition;
        Layout::new(1, definition, &Tables::all())
    }

    fn request<'a>(layout: &'a Layout, progress: &'a Progress, rows_max: u32) -> Request<'a> {
        let (incarnation, bytes_max) = ("i", usize::MAX);
        Request { layout, progress, incarnation, id: 1, schema_version: 1, rows_max, bytes_max }
    }

    fn rows_of(changes: &[Change]) -> Vec<String> {
        changes.iter().filter_map(|it| it.after.as_ref()).map(|row| format!("{row:?}")).collect()
    }

    /// Chunks of every size together are all rows, each once.
    #[track_caller]
    fn check(schema: &str) {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(schema).unwrap();
        let layout = layout(&connection);
        let start = Progress::Pending { replaces: false };
        let all = read(&connection, &request(&layout, &start, u32::MAX)).unwrap();
        let mut all = rows_of(&all.changes);
        let count: u32 =
            connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert!(count > 2);
        assert_eq!(all.len(), count as usize, "{schema}");
        all.sort();
        for rows_max in 1..=3 {
            let (mut progress, mut found) = (start.clone(), Vec::new());
            while progress != Progress::Done {
                let chunk = read(&connection, &request(&layout, &progress, rows_max)).unwrap();
                found.extend(rows_of(&chunk.changes));
                progress = chunk.next;
            }
            found.sort();
            assert_eq!(found, all, "{schema}, {rows_max} a chunk");
        }
    }

    const HIDDEN: &str = "rowid, oid, _rowid_";

    #[test]
    fn no_row_is_missed_after_any_key() {
        let values = "(1,2), (1,3), (2,1), (2,5), (3,9), (-9e999,1), (9e999,1), (x'00','a'), \
                      ('a',x''), ('','z'), (1.5,1)";
        check(&format!(
            "CREATE TABLE t (a, b, PRIMARY KEY (a, b)) WITHOUT ROWID; INSERT INTO t VALUES {values}"
        ));
        check(&format!(
            "CREATE TABLE t (a, b, {HIDDEN}, PRIMARY KEY (a, b)); INSERT INTO t (a, b) VALUES \
             {values}, (NULL,1), (1,NULL), (NULL,NULL), ('a',NULL), (NULL,1), (NULL,1.0), (NULL,2)"
        ));
    }

    #[test]
    fn no_row_is_missed_whatever_collations_column_and_key_have() {
        let words = "('A','x'), ('a','X'), ('b','x'), ('B ','x '), ('a ','x'), ('b','y')";
        let collations = ["BINARY", "NOCASE", "RTRIM"];
        for (column, key) in
            collations.iter().flat_map(|column| collations.map(|key| (column, key)))
        {
            for order in ["", "DESC"] {
                check(&format!(
                    "CREATE TABLE t (a TEXT COLLATE {column}, b, \
                     PRIMARY KEY (a COLLATE {key} {order})) WITHOUT ROWID; \
                     INSERT OR IGNORE INTO t VALUES {words}"
                ));
                check(&format!(
                    "CREATE TABLE t (a TEXT COLLATE {column}, b TEXT COLLATE {column}, \
                     PRIMARY KEY (b COLLATE {key}, a COLLATE {key} {order})) WITHOUT ROWID; \
                     INSERT OR IGNORE INTO t VALUES {words}"
                ));
                check(&format!(
                    "CREATE TABLE t (a TEXT COLLATE {column}, b TEXT, {HIDDEN}, \
                     PRIMARY KEY (a COLLATE {key}, b COLLATE {key} {order})); \
                     INSERT OR IGNORE INTO t (a, b) VALUES {words}, (NULL,'x'), (NULL,'X'), \
                     (NULL,'x '), ('a',NULL), ('A',NULL), (NULL,char(0,65)), (NULL,char(0,66))"
                ));
            }
        }
    }

    #[test]
    fn the_rows_after_a_key_are_searched_for_and_not_sorted() {
        for (column, key) in [("BINARY", "NOCASE"), ("NOCASE", "BINARY"), ("RTRIM", "RTRIM")] {
            for columns in [format!("a COLLATE {key}"), format!("b, a COLLATE {key}")] {
                let connection = Connection::open_in_memory().unwrap();
                let make = format!(
                    "CREATE TABLE t (a TEXT COLLATE {column}, b, PRIMARY KEY ({columns})) \
                     WITHOUT ROWID"
                );
                connection.execute_batch(&make).unwrap();
                let layout = layout(&connection);
                let request = request(&layout, &Progress::Done, 1);
                let key = request.key();
                let after = vec![Cell::Text("a".to_owned()); key.len()];
                let (sql, values) = select(&request, &key, Some(&after));
                let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
                let steps = plan
                    .query_map(params_from_iter(values), |row| row.get::<_, String>(3))
                    .unwrap();
                let steps: Vec<_> = steps.map(|step| step.unwrap()).collect();
                assert_eq!(steps.len(), 1, "{steps:?}");
                assert!(steps[0].starts_with("SEARCH t USING PRIMARY KEY"), "{steps:?}");
            }
        }
    }
}
