use std::{collections::HashMap, sync::Arc};

use rowtide_core::{Column, ColumnType, Error, Result, Row, Table, Value};
use serde_json::value::RawValue;

use super::{
    Target,
    catalog::{Described, columns},
    message::Fields,
    query::parts,
    value::value,
};
use crate::{connection::Database, hlc::Hlc};

/// How the rows of a changefeed become rows of tables.
///
/// A table is known by the columns that its rows have: when others come, the cluster is asked what
/// they are. So rows of before and after a change of the schema are both read as what they were.
pub(crate) struct Layouts {
    database: Database,
    topics: HashMap<String, Topic>,
    /// The table of a query, which messages name in their own way.
    queried: Option<Target>,
}

/// What one name of a changefeed's messages stands for.
#[derive(Clone)]
struct Topic {
    target: Target,
    family: Option<Arc<str>>,
    scope: Arc<str>,
    /// The one used last comes first.
    layouts: Vec<Arc<Layout>>,
    /// When its rows were last rewritten.
    rewritten_at: Hlc,
}

/// A table whose rows have certain columns.
pub(crate) struct Layout {
    pub(crate) table: Arc<Table>,
    pub(crate) family: Option<Arc<str>>,
    pub(crate) scope: Arc<str>,
    /// The columns as they come, each with its place in the table.
    fields: Vec<(Box<str>, usize)>,
    key: Vec<usize>,
}

impl Layouts {
    pub(crate) fn new(database: Database, name: &str, targets: &[Target]) -> Self {
        let mut topics = HashMap::new();
        for target in targets {
            let full = format!("{name}.{}", target.full_name());
            for family in &target.families {
                let topic = Topic::new(target, &full, Some(family.as_str().into()));
                topics.insert(format!("{full}.{family}"), topic);
            }
            topics.insert(full.clone(), Topic::new(target, &full, None));
        }
        Self { database, topics, queried: None }
    }

    /// The layouts of a query, which says by itself what its columns are called.
    pub(crate) fn of_query(database: Database, target: Option<&Target>) -> Self {
        Self { database, topics: HashMap::new(), queried: target.cloned() }
    }

    /// The layout of rows with these columns, if it is known.
    pub(crate) fn known(
        &mut self,
        topic: &str,
        fields: Option<&Fields<'_>>,
    ) -> Option<Arc<Layout>> {
        let layouts = &mut self.topics.get_mut(topic)?.layouts;
        let index = layouts.iter().position(|layout| layout.fits(fields))?;
        if index > 0 {
            layouts.swap(0, index);
        }
        layouts.first().cloned()
    }

    /// Asks the cluster what these columns are.
    pub(crate) async fn learn(
        &mut self,
        topic: &str,
        fields: Option<&Fields<'_>>,
    ) -> Result<Arc<Layout>> {
        let names: Option<Vec<&str>> =
            fields.map(|Fields(fields)| fields.iter().map(|(name, _)| &**name).collect());
        let session = self.database.session().await?;
        let entry = self.entry(topic);
        let described = columns(&session, &entry.target).await?;
        let layout = Arc::new(entry.layout(&described, names.as_deref()));
        entry.layouts.insert(0, Arc::clone(&layout));
        Ok(layout)
    }

    /// Forgets what the columns were: all rows were rewritten at that time, and a column of the same
    /// name may be another one.
    pub(crate) fn note_rewrite(&mut self, topic: &str, at: Hlc) {
        let entry = self.entry(topic);
        if entry.rewritten_at < at {
            entry.rewritten_at = at;
            entry.layouts.clear();
        }
    }

    fn entry(&mut self, topic: &str) -> &mut Topic {
        if !self.topics.contains_key(topic) {
            // A name that needs quotes may come with them.
            let plain = self.topics.get(&parts(topic).join(".")).cloned();
            let made = plain.unwrap_or_else(|| match &self.queried {
                Some(target) => Topic::new(target, topic, None),
                None => Topic::guessed(topic),
            });
            self.topics.insert(topic.to_owned(), made);
        }
        self.topics.entry(topic.to_owned()).or_insert_with(|| Topic::guessed(topic))
    }
}

impl Topic {
    fn new(target: &Target, full: &str, family: Option<Arc<str>>) -> Self {
        let scope = match &family {
            Some(family) => format!("{full}.{family}").into(),
            None => full.into(),
        };
        let (target, rewritten_at) = (target.clone(), Hlc::default());
        Self { target, family, scope, layouts: Vec::new(), rewritten_at }
    }

    /// A table that nobody asked for.
    fn guessed(topic: &str) -> Self {
        let mut parts = parts(topic).into_iter().rev();
        let name = parts.next().unwrap_or_else(|| topic.to_owned());
        let schema = parts.next().unwrap_or_else(|| "public".to_owned());
        Self::new(&Target { schema, name, families: Vec::new() }, topic, None)
    }

    /// The table of rows with columns of these names, or of rows that show none.
    fn layout(&self, described: &[Described], names: Option<&[&str]>) -> Layout {
        let is_shown = |column: &&Described| {
            let is_named = names.is_none_or(|names| names.contains(&column.name.as_str()));
            is_named || column.key.is_some() || self.family.is_some()
        };
        let mut table = Table::new(self.target.name.as_str(), Vec::new());
        table.namespace = Some(self.target.schema.as_str().into());
        table.columns = described.iter().filter(is_shown).map(column).collect();
        // Dropped since, so that nobody knows what they were.
        for name in names.unwrap_or_default() {
            if !table.columns.iter().any(|column| *column.name == **name) {
                table.columns.push(Column::new(*name, ColumnType::Any));
            }
        }
        let place = |name: &&str| {
            let place = table.columns.iter().position(|column| *column.name == **name)?;
            Some((Box::from(*name), place))
        };
        let fields = names.unwrap_or_default().iter().filter_map(place).collect();
        let (family, scope) = (self.family.clone(), Arc::clone(&self.scope));
        Layout { key: table.key(), table: Arc::new(table), family, scope, fields }
    }
}

/// The layout of rows of a topic with these columns, without a cluster.
#[cfg(feature = "fuzzing")]
pub(crate) fn guessed(topic: &str, described: &[Described], names: Option<&[&str]>) -> Layout {
    Topic::guessed(topic).layout(described, names)
}

impl Layout {
    /// Whether rows of this layout have just these columns. A row that shows none, as a deleted one
    /// without the row before, fits any.
    fn fits(&self, fields: Option<&Fields<'_>>) -> bool {
        let Some(Fields(fields)) = fields else { return true };
        fields.len() == self.fields.len()
            && fields.iter().zip(&self.fields).all(|((name, _), (own, _))| **name == **own)
    }

    /// The values of a row, with the key where the row itself does not show it.
    pub(crate) fn row(&self, fields: Option<&Fields<'_>>, key: &str) -> Result<Row> {
        let columns = &self.table.columns;
        let mut values = vec![Value::Unknown; columns.len()];
        if let Some(Fields(fields)) = fields {
            for (index, (name, raw)) in fields.iter().enumerate() {
                if let Some(place) = self.place(index, name) {
                    values[place] = value(raw, &columns[place].column_type);
                }
            }
        }
        if self.key.iter().any(|&place| !values[place].is_known()) {
            let parts: Vec<&RawValue> = serde_json::from_str(key).map_err(|_| {
                Error::fatal(format!("a key of the changefeed of `{}` is no array", self.scope))
            })?;
            for (&place, raw) in self.key.iter().zip(parts) {
                values[place] = value(raw, &columns[place].column_type);
            }
        }
        Ok(Row::new(values))
    }

    /// Where a column belongs: mostly where the one at its place did in the rows before.
    fn place(&self, index: usize, name: &str) -> Option<usize> {
        match self.fields.get(index) {
            Some((own, place)) if **own == *name => Some(*place),
            _ => self.fields.iter().find(|(own, _)| **own == *name).map(|(_, place)| *place),
        }
    }
}

fn column(described: &Described) -> Column {
    let mut column = Column::new(described.name.as_str(), described.column_type.clone());
    column.declared = described.declared.as_str().into();
    column.hidden = described.is_hidden;
    column.key = described.key;
    column
}
