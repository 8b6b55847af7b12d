use std::sync::Arc;

use rowtide_core::{Change, ChangeId, Metadata, Operation, Result, Value};

use crate::{
    config::CockroachConfig,
    hlc::Hlc,
    table::{
        layout::{Layout, Layouts},
        message::RowMessage,
    },
};

/// Turns rows of a changefeed into changes.
pub(super) struct Decoder {
    pub(super) layouts: Layouts,
    has_diff: bool,
    /// What was said of the row before: of those of a transaction it is the same.
    said: Option<(Said, Arc<Metadata>)>,
    /// That of the id of a row, before it is handed out.
    scope: String,
}

/// What a row says beside its values.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    updated: Hlc,
    mvcc: Option<Hlc>,
    family: Option<Arc<str>>,
    is_backfill: bool,
}

/// Whether rows are of a scan, or of what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Snapshot,
    Log,
}

impl Decoder {
    pub(super) fn new(config: &CockroachConfig, layouts: Layouts) -> Self {
        Self { layouts, has_diff: config.diff, said: None, scope: String::new() }
    }

    pub(super) async fn change(&mut self, row: &RowMessage<'_>, origin: Origin) -> Result<Change> {
        let fields = row.after.as_ref().or(row.before.as_ref());
        // A scan for a change of the schema tells old versions at a new time.
        let is_backfill = origin == Origin::Log && row.mvcc.is_some_and(|mvcc| mvcc < row.updated);
        if is_backfill {
            self.layouts.note_rewrite(row.topic, row.updated);
        }
        let layout = match self.layouts.known(row.topic, fields) {
            Some(layout) => layout,
            None => self.layouts.learn(row.topic, fields).await?,
        };
        let operation = match origin {
            Origin::Snapshot => Operation::Read,
            Origin::Log if row.after.is_none() => Operation::Delete,
            Origin::Log if row.before.is_none() && self.has_diff && !is_backfill => {
                Operation::Insert
            }
            Origin::Log => Operation::Update,
        };
        let mut change = Change::new(self.id(&layout, row), Arc::clone(&layout.table), operation);
        if row.after.is_some() {
            change.after = Some(layout.row(row.after.as_ref(), row.key)?);
        }
        if row.before.is_some() || row.after.is_none() {
            change.before = Some(layout.row(row.before.as_ref(), row.key)?);
        }
        let committed = if operation == Operation::Read { row.mvcc } else { None };
        change.committed_at = committed.unwrap_or(row.updated).timestamp();
        let family = layout.family.clone();
        let said = Said { updated: row.updated, mvcc: row.mvcc, family, is_backfill };
        change.metadata = Some(self.metadata(said));
        Ok(change)
    }

    fn metadata(&mut self, said: Said) -> Arc<Metadata> {
        if let Some((own, metadata)) = &self.said
            && *own == said
        {
            return Arc::clone(metadata);
        }
        let mut metadata = Metadata::default().with("updated", said.updated.to_string());
        if let Some(mvcc) = said.mvcc {
            metadata = metadata.with("mvcc_timestamp", mvcc.to_string());
        }
        if let Some(family) = &said.family {
            metadata = metadata.with("family", &**family);
        }
        if said.is_backfill {
            metadata = metadata.with("backfill", Value::Bool(true));
        }
        let metadata = Arc::new(metadata);
        self.said = Some((said, Arc::clone(&metadata)));
        metadata
    }

    /// `shop.public.orders[1]:1692283563643512000:0`: a key has one version at a time.
    fn id(&mut self, layout: &Layout, row: &RowMessage<'_>) -> ChangeId {
        self.scope.clear();
        self.scope.push_str(&layout.scope);
        self.scope.push_str(row.key);
        ChangeId::new(&*self.scope).major(row.updated.wall).minor(u64::from(row.updated.logical))
    }
}
