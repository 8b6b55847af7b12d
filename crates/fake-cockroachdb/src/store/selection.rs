use super::{
    Image, Store, TableKind,
    transaction::{condition, fulfils},
    version_at,
};
use crate::{
    Datum, Hlc,
    sql::{Equality, Select, SqlError},
};

/// The answer to a query, as text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The values; `None` is null.
    pub rows: Vec<Vec<Option<String>>>,
}

impl Answer {
    pub(crate) fn of<const N: usize>(
        columns: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> Self {
        Self {
            columns: columns.map(str::to_owned).to_vec(),
            rows: rows.into_iter().map(|row| row.map(Some).to_vec()).collect(),
        }
    }
}

impl Store {
    /// Answers a query of a table, or of the part of the catalog that is there.
    pub(crate) fn select(&self, select: &Select) -> Result<Answer, SqlError> {
        match select.table.as_str() {
            "information_schema.table_constraints" => self.constraints(select),
            "information_schema.key_column_usage" => self.key_columns(select),
            _ => self.rows(select),
        }
    }

    fn rows(&self, select: &Select) -> Result<Answer, SqlError> {
        let table = self.table(&select.table)?;
        let at: Option<Hlc> = match &select.as_of {
            Some(text) => Some(text.parse().map_err(|_| {
                SqlError::new("22023", "AS OF SYSTEM TIME: value is neither timestamp nor decimal")
            })?),
            None => None,
        };
        if at.is_some_and(|at| at < self.gc_threshold) {
            return Err(gc_error(at.unwrap_or_default(), self.gc_threshold));
        }
        let condition = condition(table, &select.filter)?;
        let version = |versions| version_at(versions, at.unwrap_or(self.last));
        let images = table.rows.values().filter_map(|versions| version(versions)?.image.as_ref());
        let images = images.map(|image| image.under(&table.schema));
        let found: Vec<Image> = images.filter(|image| fulfils(image, &condition)).collect();
        if select.counts {
            return Ok(Answer::of(["count"], [[found.len().to_string()]]));
        }
        let names: Vec<String> = match select.columns.as_slice() {
            [] => table.schema.columns.iter().map(|column| column.name.clone()).collect(),
            columns => columns.to_vec(),
        };
        let places: Vec<usize> =
            names.iter().map(|name| table.schema.index(name)).collect::<Result<_, _>>()?;
        let row =
            |image: &Image| places.iter().map(|&place| image.values[place].to_text()).collect();
        Ok(Answer { columns: names, rows: found.iter().map(row).collect() })
    }

    pub(crate) fn condition(
        &self,
        table: &str,
        filter: &[Equality],
    ) -> Result<Vec<(usize, Datum)>, SqlError> {
        condition(self.table(table)?, filter)
    }

    fn constraints(&self, select: &Select) -> Result<Answer, SqlError> {
        let table = self.table(&qualified(select))?;
        let name = format!("{}_pkey", last_part(&table.name));
        Ok(Answer::of(["constraint_name"], [[name]]))
    }

    fn key_columns(&self, select: &Select) -> Result<Answer, SqlError> {
        let schema = &self.table(&qualified(select))?.schema;
        let name = |&index: &usize| [schema.columns[index].name.clone()];
        Ok(Answer::of(["column_name"], schema.key.iter().map(name)))
    }

    pub(crate) fn show_tables(&self) -> Answer {
        let shown = self.tables.iter().filter(|table| !table.dropped).map(|table| {
            let (schema, name) = table.name.split_once('.').unwrap_or(("public", &table.name));
            let kind = if table.kind == TableKind::View { "view" } else { "table" };
            [schema.to_owned(), name.to_owned(), kind.to_owned()]
        });
        Answer::of(["schema_name", "table_name", "type"], shown)
    }

    pub(crate) fn show_columns(&self, name: &str) -> Result<Answer, SqlError> {
        let schema = &self.table(name)?.schema;
        let text = |value: bool| if value { "t" } else { "f" }.to_owned();
        let mut answer = Answer::of(
            [
                "column_name",
                "data_type",
                "is_nullable",
                "column_default",
                "generation_expression",
                "indices",
                "is_hidden",
            ],
            [],
        );
        for column in &schema.columns {
            let default = match &column.default {
                Datum::Null => None,
                datum => datum.to_text(),
            };
            let nullable = Some(text(column.nullable));
            let (name, kind) = (Some(column.name.clone()), Some(column.sql_type.clone()));
            let (expression, indices) = (Some(String::new()), Some("{}".to_owned()));
            let hidden = Some(text(false));
            answer.rows.push(vec![name, kind, nullable, default, expression, indices, hidden]);
        }
        Ok(answer)
    }

    pub(crate) fn show_create(&self, name: &str) -> Result<Answer, SqlError> {
        let table = self.table(name)?;
        let schema = &table.schema;
        let mut lines: Vec<String> = Vec::new();
        for column in &schema.columns {
            let null = if column.nullable { "NULL" } else { "NOT NULL" };
            lines.push(format!("{} {} {null}", column.name, column.sql_type));
        }
        let key: Vec<_> =
            schema.key.iter().map(|&index| format!("{} ASC", schema.columns[index].name)).collect();
        let own = last_part(&table.name);
        lines.push(format!("CONSTRAINT {own}_pkey PRIMARY KEY ({})", key.join(", ")));
        if schema.has_families() {
            for (index, family) in schema.families.iter().enumerate() {
                let own = schema.columns.iter().filter(|column| column.family == index);
                let names: Vec<_> = own.map(|column| column.name.as_str()).collect();
                lines.push(format!("FAMILY {family} ({})", names.join(", ")));
            }
        }
        let statement = format!("CREATE TABLE {} (\n\t{}\n)", table.name, lines.join(",\n\t"));
        Ok(Answer::of(["table_name", "create_statement"], [[own.to_owned(), statement]]))
    }

    pub(crate) fn show_zone(&self, name: &str) -> Result<Answer, SqlError> {
        let seconds = self.table(name)?.gc_ttl_seconds;
        let sql = format!(
            "ALTER RANGE default CONFIGURE ZONE USING\n\trange_min_bytes = 134217728,\n\t\
             range_max_bytes = 536870912,\n\tgc.ttlseconds = {seconds},\n\tnum_replicas = 3"
        );
        Ok(Answer::of(["target", "raw_config_sql"], [["RANGE default".to_owned(), sql]]))
    }
}

/// What the storage says of a time that it has forgotten.
pub(crate) fn gc_error(at: Hlc, threshold: Hlc) -> SqlError {
    let seconds = |hlc: Hlc| {
        let (seconds, nanos) = (hlc.wall / 1_000_000_000, hlc.wall % 1_000_000_000);
        format!("{seconds}.{nanos:09},{}", hlc.logical)
    };
    let message = format!(
        "batch timestamp {} must be after replica GC threshold {} (r57: /Table/{{104-105}})",
        seconds(at),
        seconds(threshold)
    );
    SqlError::new("XXUUU", message)
}

fn qualified(select: &Select) -> String {
    let part = |column| select.value(column).unwrap_or_default();
    format!("{}.{}", part("table_schema"), part("table_name"))
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}
