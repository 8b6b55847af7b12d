//! A few keys of a table, to divide it by.

use std::time::Duration;

use rowtide_core::Result;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::Shared;
use crate::{
    catalog::{Described, Dialect, rows},
    client::{Cell, Code, Failure, Statement},
};

/// Into how many ranges a table is divided that is worth it.
const RANGES: usize = 8;

/// How many keys are looked at for that; a table with fewer rows is one range.
const SAMPLE: usize = 800;

/// How long to wait for them. It is long, since in one dialect all rows are counted.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// Keys that divide a table, ascending; none for a small one.
pub(super) async fn boundaries(
    shared: &Shared,
    described: &Described,
    table: &str,
) -> Result<Vec<Vec<Cell>>> {
    let order = shared.catalog.key_order(table).await?;
    let sample = Sample { shared, described, table, order };
    // A connection can be dead without saying so, and then what follows takes another one.
    let Ok(taken) = timeout(PATIENCE, sample.take()).await else {
        warn!(
            table,
            "no keys came in {PATIENCE:?} to divide the table by; it is read as one range"
        );
        return Ok(Vec::new());
    };
    match taken {
        Ok(keys) if keys.len() < SAMPLE / 2 => Ok(Vec::new()),
        Ok(keys) => {
            let step = keys.len() / RANGES;
            Ok(keys.into_iter().step_by(step).skip(1).take(RANGES - 1).collect())
        }
        Err(failure) if failure.code == Code::Unavailable => {
            Err(failure.error(format!("failed to look at table `{table}`")))
        }
        Err(failure) => {
            debug!(table, %failure, "the table is read as one range");
            Ok(Vec::new())
        }
    }
}

struct Sample<'a> {
    shared: &'a Shared,
    described: &'a Described,
    table: &'a str,
    /// The columns of the key, each with its direction.
    order: String,
}

impl Sample<'_> {
    async fn take(&self) -> Result<Vec<Vec<Cell>>, Failure> {
        match self.shared.catalog.dialect {
            Dialect::GoogleSql => self.rows(self.reservoir()).await,
            Dialect::Postgres => self.fingerprints().await,
        }
    }

    async fn rows(&self, sql: String) -> Result<Vec<Vec<Cell>>, Failure> {
        rows(&*self.shared.client, Statement::new(sql)).await
    }

    fn reservoir(&self) -> String {
        let (columns, table) = (self.key().join(", "), self.quoted(self.table));
        format!(
            "SELECT {columns} FROM (SELECT {columns} FROM {table} TABLESAMPLE RESERVOIR \
             ({SAMPLE} ROWS)) ORDER BY {}",
            self.order
        )
    }

    /// The other dialect has no way to take a few keys out of many, but to look at each.
    async fn fingerprints(&self) -> Result<Vec<Vec<Cell>>, Failure> {
        let (key, table) = (self.key(), self.quoted(self.table));
        let counted = self.rows(format!("SELECT count(*) FROM {table}")).await?;
        let counted = counted.first().and_then(|row| row.first()?.integer()).unwrap_or_default();
        let one_of = usize::try_from(counted).unwrap_or_default() / SAMPLE;
        if one_of == 0 {
            return Ok(Vec::new());
        }
        let texts = key.iter().map(|column| format!("{column}::text")).collect::<Vec<_>>();
        let fingerprint = format!("spanner.farm_fingerprint({})", texts.join(" || '/' || "));
        let (columns, order) = (key.join(", "), &self.order);
        let filter = format!("mod({fingerprint}, {one_of}) = 0");
        self.rows(format!("SELECT {columns} FROM {table} WHERE {filter} ORDER BY {order}")).await
    }

    /// The columns of the key as they stand in a statement.
    fn key(&self) -> Vec<String> {
        let table = &self.described.table;
        table.key().iter().map(|&index| self.quoted(&table.columns[index].name)).collect()
    }

    /// A name, with its schema if it has one.
    fn quoted(&self, name: &str) -> String {
        let quote = if self.shared.catalog.dialect == Dialect::GoogleSql { '`' } else { '"' };
        let parts = name.split('.').map(|part| format!("{quote}{part}{quote}"));
        parts.collect::<Vec<_>>().join(".")
    }
}
