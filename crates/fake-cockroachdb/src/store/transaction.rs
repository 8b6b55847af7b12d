use std::{collections::BTreeMap, sync::Arc};

use super::{Image, RowCommit, Store, Table};
use crate::{
    Datum, Hlc,
    sql::{Clash, Equality, Literal, SqlError, Write},
};

/// The rows that a transaction leaves, by table and key.
type Overlay = BTreeMap<(usize, Arc<str>), Option<Image>>;

/// The columns that a row must have, and what they must be.
pub(super) type Condition = Vec<(usize, Datum)>;

impl Store {
    /// Applies writes under one timestamp, and returns it with the number of rows written.
    pub(crate) fn commit(&mut self, writes: &[Write]) -> Result<(Hlc, usize), SqlError> {
        let mut overlay = Overlay::new();
        let mut count = 0;
        for write in writes {
            count += match write {
                Write::Insert { table, columns, rows, clash } => {
                    let index = self.table_index(table)?;
                    for row in rows {
                        let image = image(&self.tables[index], columns, row)?;
                        self.put(&mut overlay, index, image, *clash)?;
                    }
                    rows.len()
                }
                Write::Update { table, assignments, filter } => {
                    self.update(&mut overlay, table, assignments, filter)?
                }
                Write::Delete { table, filter } => {
                    let (index, found) = self.found(&overlay, table, filter)?;
                    let count = found.len();
                    overlay.extend(found.into_iter().map(|image| ((index, image.key()), None)));
                    count
                }
            };
        }
        let at = self.now();
        for ((table, key), after) in overlay {
            self.write(at, table, key, after);
        }
        Ok((at, count))
    }

    fn write(&mut self, at: Hlc, table: usize, key: Arc<str>, after: Option<Image>) {
        let current = self.tables[table].current(&key);
        let before = current.and_then(|version| version.image.clone());
        if before.is_some() || after.is_some() {
            self.append(RowCommit { table, key, updated: at, mvcc: at, before, after });
        }
    }

    fn put(
        &self,
        overlay: &mut Overlay,
        table: usize,
        image: Image,
        clash: Clash,
    ) -> Result<(), SqlError> {
        let place = (table, image.key());
        let is_there = match overlay.get(&place) {
            Some(image) => image.is_some(),
            None => {
                self.tables[table].current(&place.1).is_some_and(|version| version.image.is_some())
            }
        };
        if is_there && clash == Clash::Refuse {
            let message = "duplicate key value violates unique constraint";
            return Err(SqlError::new("23505", message));
        }
        overlay.insert(place, Some(image));
        Ok(())
    }

    fn update(
        &self,
        overlay: &mut Overlay,
        table: &str,
        assignments: &[Equality],
        filter: &[Equality],
    ) -> Result<usize, SqlError> {
        let (index, found) = self.found(overlay, table, filter)?;
        let assigned = condition(&self.tables[index], assignments)?;
        let count = found.len();
        for image in found {
            let mut values = image.values.to_vec();
            for (column, datum) in &assigned {
                values[*column] = datum.clone();
            }
            let after = Image { values: values.into(), schema: Arc::clone(&image.schema) };
            // Another key is another row.
            overlay.insert((index, image.key()), None);
            overlay.insert((index, after.key()), Some(after));
        }
        Ok(count)
    }

    /// The rows that fulfil a condition, as the transaction sees them.
    fn found(
        &self,
        overlay: &Overlay,
        table: &str,
        filter: &[Equality],
    ) -> Result<(usize, Vec<Image>), SqlError> {
        let index = self.table_index(table)?;
        let table = &self.tables[index];
        let condition = condition(table, filter)?;
        let mut rows: BTreeMap<_, _> = table
            .all()
            .map(|(key, image, _)| (Arc::clone(key), image.under(&table.schema)))
            .collect();
        for ((own, key), image) in overlay {
            match image {
                Some(image) if *own == index => drop(rows.insert(Arc::clone(key), image.clone())),
                None if *own == index => drop(rows.remove(key)),
                _ => {}
            }
        }
        Ok((index, rows.into_values().filter(|image| fulfils(image, &condition)).collect()))
    }
}

pub(super) fn condition(table: &Table, filter: &[Equality]) -> Result<Condition, SqlError> {
    let resolve = |(name, literal): &Equality| {
        let index = table.schema.index(name)?;
        Ok((index, table.schema.columns[index].datum(literal)?))
    };
    filter.iter().map(resolve).collect()
}

pub(crate) fn fulfils(image: &Image, condition: &[(usize, Datum)]) -> bool {
    condition.iter().all(|(index, datum)| image.values[*index] == *datum)
}

fn image(table: &Table, columns: &[String], row: &[Literal]) -> Result<Image, SqlError> {
    let schema = &table.schema;
    let mut values: Vec<_> = schema.columns.iter().map(|column| column.default.clone()).collect();
    let places: Vec<usize> = match columns {
        [] => (0..row.len()).collect(),
        named => named.iter().map(|name| schema.index(name)).collect::<Result<_, _>>()?,
    };
    if places.len() != row.len() || row.len() > values.len() {
        return Err(SqlError::new("42601", "INSERT has another number of values than of columns"));
    }
    for (place, literal) in places.into_iter().zip(row) {
        values[place] = schema.columns[place].datum(literal)?;
    }
    for (column, value) in schema.columns.iter().zip(&values) {
        if !column.nullable && *value == Datum::Null {
            let message = format!("null value in column \"{}\" violates not-null", column.name);
            return Err(SqlError::new("23502", message));
        }
    }
    Ok(Image { schema: Arc::clone(schema), values: values.into() })
}
