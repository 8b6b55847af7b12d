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
    /// old ones means nothing.
    fn holds(&self, place: &Place) -> bool {
        let is_declared = !matches!(self.layout.definition.identity, Identity::Rowid(_));
        is_declared || place.schema_version == self.schema_version
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
    fn key(&self) -> Vec<String> {
        let definition = &self.layout.definition;
        let column = |index: usize| quoted(&definition.columns[index].name);
        match &definition.identity {
            Identity::Rowid(alias) => vec![alias.clone()],
            Identity::Integer(index) => vec![column(*index)],
            Identity::Key(unique) => {
                unique.columns.iter().map(|(index, _)| column(*index)).collect()
            }
        }
    }
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
        if end.as_ref().is_some_and(|end| *end != cells) {
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
    key: &[String],
    after: Option<&'a [Cell]>,
) -> (String, Vec<&'a dyn ToSql>) {
    let definition = &request.layout.definition;
    let qualified: Vec<_> = key.iter().map(|column| format!("t.{column}")).collect();
    let image = definition.image("t").join(", ");
    let (keys, table) = (qualified.join(", "), quoted(&definition.name));
    let mut values: Vec<&dyn ToSql> = Vec::new();
    let condition = match after {
        Some(cells) => {
            values.extend(cells.iter().map(|cell| cell as &dyn ToSql));
            format!("WHERE {}", beyond(&qualified, cells))
        }
        None => String::new(),
    };
    // Without a limit, since rows of one key may have to stay together; reading stops by itself.
    let sql = format!("SELECT {image}, {keys} FROM {table} AS t {condition} ORDER BY {keys}");
    (sql, values)
}

/// The rows after a key. A row value would miss those whose key contains a NULL, which is less
/// than everything else.
fn beyond(columns: &[String], cells: &[Cell]) -> String {
    if !cells.contains(&Cell::Null) {
        let marks: Vec<_> = (1..=cells.len()).map(|number| format!("?{number}")).collect();
        return format!("({}) > ({})", columns.join(", "), marks.join(", "));
    }
    let alternatives = (0..columns.len()).map(|length| {
        let mut terms: Vec<_> =
            (0..length).map(|index| format!("{} IS ?{}", columns[index], index + 1)).collect();
        terms.push(match cells[length] {
            Cell::Null => format!("{} IS NOT NULL", columns[length]),
            _ => format!("{} > ?{}", columns[length], length + 1),
        });
        terms.join(" AND ")
    });
    alternatives.collect::<Vec<_>>().join(" OR ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a chunk after each row of `t` finds, against all rows in order.
    #[track_caller]
    fn check(declaration: &str, values: &str) {
        let connection = Connection::open_in_memory().unwrap();
        let fill = format!("CREATE TABLE t (a, b, {declaration}; INSERT INTO t VALUES {values}");
        connection.execute_batch(&fill).unwrap();
        let columns = ["a".to_owned(), "b".to_owned()];
        let read = |condition: &str, cells: &[Cell]| -> Vec<Vec<Cell>> {
            let sql = format!("SELECT a, b FROM t {condition} ORDER BY a, b");
            let mut statement = connection.prepare(&sql).unwrap();
            for (index, cell) in cells.iter().enumerate().take(statement.parameter_count()) {
                statement.raw_bind_parameter(index + 1, cell).unwrap();
            }
            let mut rows = statement.raw_query();
            let mut found = Vec::new();
            while let Some(row) = rows.next().unwrap() {
                found.push(vec![row.get_ref(0).unwrap().into(), row.get_ref(1).unwrap().into()]);
            }
            found
        };
        let all = read("", &[]);
        assert!(all.len() > 3);
        for (index, cells) in all.iter().enumerate() {
            let condition = format!("WHERE {}", beyond(&columns, cells));
            assert_eq!(read(&condition, cells), all[index + 1..], "{cells:?}");
        }
    }

    #[test]
    fn no_row_is_missed_after_any_key() {
        let values = "(1,2), (1,3), (2,1), (2,5), (3,9), (-9e999,1), (9e999,1), (x'00','a'), \
                      ('a',x''), ('','z'), (1.5,1)";
        check("PRIMARY KEY (a, b)) WITHOUT ROWID", values);
        check(
            "PRIMARY KEY (a, b))",
            &format!("{values}, (NULL,1), (1,NULL), (NULL,NULL), ('a',NULL)"),
        );
    }
}
