use std::{collections::BTreeMap, sync::Arc};

use super::{Column, Commit, RowCommit, Schema, Store, Table, TableKind};
use crate::{
    Datum,
    sql::{ColumnDefinition, CreateTable, Definition, Literal, SqlError},
};

/// What the default zone has since v26.2.
const GC_TTL_SECONDS: u64 = 14_400;

impl Store {
    /// Changes the schema, at once.
    pub(crate) fn define(&mut self, definition: &Definition) -> Result<(), SqlError> {
        match definition {
            Definition::CreateTable(table) => self.create_table(table),
            Definition::CreateView { name } => {
                let schema = Schema { columns: vec![], key: vec![], families: vec![] };
                self.add_table(name, TableKind::View, schema)
            }
            Definition::DropTable { name } => {
                let message = format!("\"{}\" was dropped", name);
                self.table_mut(name)?.dropped = true;
                self.gone(name, message)
            }
            Definition::Truncate { name } => {
                self.table_mut(name)?.rows.clear();
                self.gone(name, format!("\"{name}\" was truncated"))
            }
            Definition::AddColumn { table, column } => {
                let is_rewritten = column.default != Literal::Null || !column.nullable;
                self.change(table, |schema| {
                    let column = made(column, schema.next_id())?;
                    schema.columns.push(column);
                    Ok(())
                })?;
                // A column that is null everywhere is nothing to write.
                if is_rewritten { self.backfill(table) } else { Ok(()) }
            }
            Definition::DropColumn { table, column } => {
                self.change(table, |schema| {
                    let index = schema.index(column)?;
                    schema.columns.remove(index);
                    let shift = |place: &mut usize| *place -= usize::from(*place > index);
                    schema.key.iter_mut().for_each(shift);
                    Ok(())
                })?;
                self.backfill(table)
            }
            Definition::RenameColumn { table, from, to } => self.change(table, |schema| {
                let index = schema.index(from)?;
                schema.columns[index].name = to.clone();
                Ok(())
            }),
            Definition::ConfigureZone { table, gc_ttl_seconds } => {
                self.table_mut(table)?.gc_ttl_seconds = *gc_ttl_seconds;
                Ok(())
            }
            Definition::Grant { table } => {
                let name = self.table(table)?.name.clone();
                self.unreadable.remove(&name);
                Ok(())
            }
            Definition::Revoke { table } => {
                let name = self.table(table)?.name.clone();
                self.unreadable.insert(name);
                Ok(())
            }
        }
    }

    fn create_table(&mut self, table: &CreateTable) -> Result<(), SqlError> {
        if self.table_index(&table.name).is_ok() && table.if_not_exists {
            return Ok(());
        }
        let columns = table.columns.iter().enumerate();
        let columns: Result<Vec<_>, _> = columns.map(|(id, column)| made(column, id)).collect();
        let mut schema = Schema { columns: columns?, key: vec![], families: vec![] };
        schema.key = table.key.iter().map(|name| schema.index(name)).collect::<Result<_, _>>()?;
        for (index, (family, columns)) in table.families.iter().enumerate() {
            schema.families.push(family.clone());
            for name in columns {
                let column = schema.index(name)?;
                schema.columns[column].family = index;
            }
        }
        if schema.families.is_empty() {
            schema.families.push("primary".to_owned());
        }
        if schema.key.is_empty() {
            return Err(SqlError::new("0A000", "a table without a primary key is not faked"));
        }
        self.add_table(&table.name, TableKind::Table, schema)
    }

    fn add_table(&mut self, name: &str, kind: TableKind, schema: Schema) -> Result<(), SqlError> {
        if self.table_index(name).is_ok() {
            return Err(SqlError::new("42P07", format!("relation \"{name}\" already exists")));
        }
        let table = Table {
            name: self.qualified(name),
            kind,
            schema: Arc::new(schema),
            created: self.now(),
            dropped: false,
            gc_ttl_seconds: GC_TTL_SECONDS,
            rows: BTreeMap::new(),
        };
        self.tables.push(table);
        Ok(())
    }

    fn change(
        &mut self,
        table: &str,
        change: impl FnOnce(&mut Schema) -> Result<(), SqlError>,
    ) -> Result<(), SqlError> {
        let table = self.table_mut(table)?;
        let mut schema = (*table.schema).clone();
        change(&mut schema)?;
        table.schema = Arc::new(schema);
        Ok(())
    }

    /// Tells each row again as it is under the new schema, with the time at which it was written.
    fn backfill(&mut self, table: &str) -> Result<(), SqlError> {
        let table = self.table_index(table)?;
        let updated = self.now();
        let schema = Arc::clone(&self.tables[table].schema);
        let again = self.tables[table].all().map(|(key, image, mvcc)| RowCommit {
            table,
            key: Arc::clone(key),
            updated,
            mvcc,
            before: Some(image.clone()),
            after: Some(image.under(&schema)),
        });
        for row in again.collect::<Vec<_>>() {
            self.append(row);
        }
        Ok(())
    }

    fn gone(&mut self, name: &str, message: String) -> Result<(), SqlError> {
        let full = self.qualified(name);
        let found = self.tables.iter().rposition(|table| table.name == full);
        if let Some(table) = found {
            let at = self.now();
            self.log.push(Arc::new(Commit::Gone { table, at, message }));
        }
        Ok(())
    }
}

fn made(definition: &ColumnDefinition, id: usize) -> Result<Column, SqlError> {
    let mut column = Column {
        name: definition.name.clone(),
        sql_type: definition.sql_type.clone(),
        nullable: definition.nullable,
        default: Datum::Null,
        id,
        family: 0,
    };
    if definition.default != Literal::Null {
        column.default = column.datum(&definition.default)?;
    }
    Ok(column)
}
