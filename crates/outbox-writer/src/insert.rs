use sqlx::Transaction;

use crate::{Database, Error, Result, Value};

/// Rows of one shape.
#[derive(Debug)]
pub struct Rows {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Value>>,
}

/// One statement stays well below what the databases take by default (MySQL: 16 MiB).
const STATEMENT_BYTES: usize = 4 << 20;

/// Writes `rows` by as few statements as the database allows.
pub(crate) async fn write<D: Database>(
    transaction: &mut Transaction<'_, D>,
    table: &str,
    rows: &Rows,
) -> Result<()> {
    let rows_max = (D::VALUES_MAX / rows.columns.len().max(1)).max(1);
    for chunk in chunks(&rows.rows, rows_max, STATEMENT_BYTES) {
        let written = D::insert(transaction, table, &rows.columns, chunk).await?;
        let expected = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        if written != expected {
            return Err(Error::NotWritten { expected, written });
        }
    }
    Ok(())
}

/// Parts of at most so many rows and so many bytes, or of one larger row.
fn chunks(
    mut rows: &[Vec<Value>],
    rows_max: usize,
    bytes_max: usize,
) -> impl Iterator<Item = &[Vec<Value>]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = rows.iter().take(rows_max).take_while(|row| {
            bytes += row.iter().map(Value::size).sum::<usize>();
            bytes <= bytes_max
        });
        let length = fitting.count().max(1).min(rows.len());
        let (chunk, rest) = rows.split_at(length);
        rows = rest;
        (!chunk.is_empty()).then_some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sizes: &[usize], expected: &[usize]) {
        let row = |size: &usize| vec![Value::Text("x".repeat(*size))];
        let rows: Vec<_> = sizes.iter().map(row).collect();
        let lengths: Vec<_> = chunks(&rows, 3, 10).map(<[_]>::len).collect();
        assert_eq!(lengths, expected);
    }

    #[test]
    fn a_statement_is_full_and_not_too_full() {
        check(&[], &[]);
        check(&[1, 1, 1, 1], &[3, 1]);
        check(&[5, 5, 1], &[2, 1]);
        check(&[11, 1, 11], &[1, 1, 1]);
    }
}
