//! The text of our triggers.
//!
//! It runs inside the application's SQLite, which may be any from 3.35 on: nothing here needs an
//! extension, JSON or a newer function. No value may make it fail: the log has no constraint, and
//! nothing is converted.

use crate::capture::{
    log::operation,
    names::{Kind, Names, quoted},
    table::{Definition, Identity},
};

/// Goes up whenever the text or what it writes changes its meaning.
pub(crate) const FORMAT: i64 = 1;

/// The time: now, and stored as it comes, since converting it costs more.
const NOW: &str = "julianday()";

/// What captures one table under one layout.
#[derive(Clone, Debug)]
pub(crate) struct Triggers {
    /// Makes the table of staged rows and its indexes; nothing for a table that stages none.
    pub(crate) stage: Vec<String>,
    /// In the order in which they are made: those before a write first.
    pub(crate) triggers: Vec<Trigger>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trigger {
    pub(crate) kind: Kind,
    /// Without quotes, as `sqlite_master` has it.
    pub(crate) name: String,
    pub(crate) sql: String,
}

impl Triggers {
    pub(crate) fn of(names: &Names, layout: i64, definition: &Definition) -> Self {
        let writer = Writer { names, layout, definition };
        let mut kinds = Vec::new();
        if definition.staged {
            kinds.extend([Kind::StageInsert, Kind::StageUpdate]);
        }
        kinds.extend([Kind::Insert, Kind::Update, Kind::Delete]);
        let stage = if definition.staged { writer.stage() } else { Vec::new() };
        Self { stage, triggers: kinds.into_iter().map(|kind| writer.trigger(kind)).collect() }
    }
}

struct Writer<'a> {
    names: &'a Names,
    layout: i64,
    definition: &'a Definition,
}

impl Writer<'_> {
    fn trigger(&self, kind: Kind) -> Trigger {
        let quoted_name = self.names.trigger(kind, self.layout);
        let staged = self.definition.staged;
        let (when, body) = match kind {
            Kind::StageInsert => ("BEFORE INSERT", self.stage_conflicts(None)),
            Kind::StageUpdate => ("BEFORE UPDATE", self.stage_conflicts(Some("old"))),
            Kind::Insert => {
                let settle = if staged { self.settle() } else { String::new() };
                ("AFTER INSERT", settle + &self.log(operation::INSERT, "new"))
            }
            Kind::Update => {
                let settle =
                    if staged { self.unstage_old() + &self.settle() } else { String::new() };
                let before = self.log_before();
                ("AFTER UPDATE", settle + &before + &self.log(operation::UPDATE_AFTER, "new"))
            }
            Kind::Delete => {
                let unstage = if staged { self.unstage_old() } else { String::new() };
                ("AFTER DELETE", unstage + &self.log(operation::DELETE, "old"))
            }
        };
        let table = quoted(&self.definition.name);
        let condition = if kind == Kind::StageUpdate { self.keys_differ() } else { String::new() };
        let sql = format!(
            "CREATE TRIGGER {quoted_name} {when} ON {table}{condition} BEGIN \
             /* rowtide format {FORMAT} */{body} END"
        );
        let name = quoted_name[1..quoted_name.len() - 1].replace("\"\"", "\"");
        Trigger { kind, name, sql }
    }

    /// Logs the image of `row`.
    fn log(&self, operation: i64, row: &str) -> String {
        let values = self.definition.image(row).join(", ");
        format!(
            " INSERT INTO {}(layout, operation, at{}) \
             VALUES ({}, {operation}, {NOW}, {values});",
            self.names.log(),
            self.places(", "),
            self.layout,
        )
    }

    /// Logs the image before an update; the one after it follows, and has the time of both.
    fn log_before(&self) -> String {
        format!(
            " INSERT INTO {}(layout, operation{}) VALUES ({}, {}, {});",
            self.names.log(),
            self.places(", "),
            self.layout,
            operation::UPDATE_BEFORE,
            self.definition.image("old").join(", "),
        )
    }

    /// `v0, v1, …`, each after `before`.
    fn places(&self, before: &str) -> String {
        (0..self.definition.width()).map(|place| format!("{before}v{place}")).collect()
    }

    /// The table of staged rows: `i…` identify a row, `v…` are its image.
    fn stage(&self) -> Vec<String> {
        let identity = self.identity("x");
        let columns: Vec<String> = (0..identity.len()).map(|index| format!("i{index}")).collect();
        let stage = self.names.stage(self.layout);
        let places = self.places(", ");
        let mut statements = vec![format!("CREATE TABLE {stage}({}{places})", columns.join(", "))];
        let collated = |(column, (_, collation)): (&String, &(String, &str))| {
            format!("{column} COLLATE {collation}")
        };
        let own: Vec<String> = columns.iter().zip(&identity).map(collated).collect();
        let mut indexes = vec![own];
        for unique in &self.definition.uniques {
            let place = |(column, collation): &(usize, String)| {
                format!("v{} COLLATE {collation}", self.definition.place(*column))
            };
            indexes.push(unique.columns.iter().map(place).collect());
        }
        for (number, columns) in indexes.iter().enumerate() {
            let index = self.names.stage_index(self.layout, number);
            statements.push(format!("CREATE INDEX {index} ON {stage}({})", columns.join(", ")));
        }
        statements
    }

    /// The expressions that identify `row`, and their collations.
    fn identity(&self, row: &str) -> Vec<(String, &str)> {
        let column =
            |index: usize| format!("{row}.{}", quoted(&self.definition.columns[index].name));
        match &self.definition.identity {
            Identity::Rowid(alias) => vec![(format!("{row}.{alias}"), "BINARY")],
            Identity::Integer(index) => vec![(column(*index), "BINARY")],
            Identity::Key(unique) => unique
                .columns
                .iter()
                .map(|(index, collation)| (column(*index), collation.as_str()))
                .collect(),
        }
    }

    /// Whether the staged row is `row`.
    fn is_staged(&self, row: &str) -> String {
        let stage = self.names.stage(self.layout);
        let terms = self.identity(row).into_iter().enumerate().map(|(index, (own, collation))| {
            format!("{stage}.i{index} IS +{own} COLLATE {collation}")
        });
        terms.collect::<Vec<_>>().join(" AND ")
    }

    /// Stages the rows that a write of `new` conflicts with, each once, but not `updated` itself.
    fn stage_conflicts(&self, updated: Option<&str>) -> String {
        let stage = self.names.stage(self.layout);
        let identity: Vec<String> =
            self.identity("x").into_iter().map(|(expression, _)| expression).collect();
        let columns: Vec<String> = (0..identity.len()).map(|index| format!("i{index}")).collect();
        let image = self.definition.image("x").join(", ");
        let except = updated.map_or_else(String::new, |row| {
            let pairs = self.identity("x").into_iter().zip(self.identity(row));
            let same = pairs.map(|((staged, collation), (own, _))| {
                format!("{staged} IS {own} COLLATE {collation}")
            });
            format!(" AND NOT ({})", same.collect::<Vec<_>>().join(" AND "))
        });
        format!(
            " INSERT INTO {stage}({}{}) SELECT {}, {image} FROM {} AS x \
             WHERE ({}){except} AND NOT EXISTS (SELECT 1 FROM {stage} WHERE {});",
            columns.join(", "),
            self.places(", "),
            identity.join(", "),
            quoted(&self.definition.name),
            self.conflicts(),
            self.is_staged("x"),
        )
    }

    /// Whether the row `x` cannot be there beside `new`.
    fn conflicts(&self) -> String {
        let column = |index: usize, collation: &str| {
            let shape = &self.definition.columns[index];
            let name = quoted(&shape.name);
            let new = match &shape.instead_of_null {
                Some(default) => format!("coalesce(new.{name}, {default})"),
                None => format!("new.{name}"),
            };
            format!("x.{name} = {new} COLLATE {collation}")
        };
        let own = match &self.definition.identity {
            Identity::Rowid(alias) => format!("x.{alias} = new.{alias}"),
            Identity::Integer(index) => column(*index, "BINARY"),
            Identity::Key(unique) => all(&unique.columns, column),
        };
        let uniques = self.definition.uniques.iter().map(|unique| all(&unique.columns, column));
        [own].into_iter().chain(uniques).collect::<Vec<_>>().join(" OR ")
    }

    /// Whether an update touches what rows may conflict by. Compared as bytes, whatever the
    /// column's collation: an index may have another.
    fn keys_differ(&self) -> String {
        let mut terms: Vec<String> = match &self.definition.identity {
            Identity::Rowid(alias) => vec![format!("new.{alias} IS NOT old.{alias}")],
            Identity::Integer(index) => vec![self.differs(*index)],
            Identity::Key(unique) => unique.columns.iter().map(|(x, _)| self.differs(*x)).collect(),
        };
        let columns = self.definition.uniques.iter().flat_map(|unique| &unique.columns);
        terms.extend(columns.map(|(index, _)| self.differs(*index)));
        terms.dedup();
        format!(" WHEN {}", terms.join(" OR "))
    }

    fn differs(&self, index: usize) -> String {
        let name = quoted(&self.definition.columns[index].name);
        format!("new.{name} IS NOT old.{name} COLLATE BINARY")
    }

    /// Unstages the row that is being changed: what is staged of it is not its image any more.
    fn unstage_old(&self) -> String {
        format!(" DELETE FROM {} WHERE {};", self.names.stage(self.layout), self.is_staged("old"))
    }

    /// Logs as deleted, and unstages, what the write of `new` has replaced: the staged rows that
    /// conflict with it, and are gone or are where it is now.
    fn settle(&self) -> String {
        let stage = self.names.stage(self.layout);
        let condition = self.is_replaced();
        format!(
            " INSERT INTO {log}(layout, operation, at{places}) \
             SELECT {layout}, {delete}, {NOW}{places} FROM {stage} WHERE {condition}; \
             DELETE FROM {stage} WHERE {condition};",
            log = self.names.log(),
            places = self.places(", "),
            layout = self.layout,
            delete = operation::DELETE,
        )
    }

    fn is_replaced(&self) -> String {
        let stage = self.names.stage(self.layout);
        let place = |index: usize, collation: &str| {
            let name = quoted(&self.definition.columns[index].name);
            let place = self.definition.place(index);
            format!("{stage}.v{place} = +new.{name} COLLATE {collation}")
        };
        let is_new = self.is_staged("new");
        let uniques = self.definition.uniques.iter().map(|unique| all(&unique.columns, place));
        let conflicts =
            [is_new.clone()].into_iter().chain(uniques).collect::<Vec<_>>().join(" OR ");
        let there = self.identity("x").into_iter().enumerate().map(|(index, (own, collation))| {
            format!("{own} IS {stage}.i{index} COLLATE {collation}")
        });
        format!(
            "({conflicts}) AND (({is_new}) OR NOT EXISTS (SELECT 1 FROM {} AS x WHERE {}))",
            quoted(&self.definition.name),
            there.collect::<Vec<_>>().join(" AND "),
        )
    }
}

fn all(columns: &[(usize, String)], term: impl Fn(usize, &str) -> String) -> String {
    let terms: Vec<String> =
        columns.iter().map(|(index, collation)| term(*index, collation)).collect();
    format!("({})", terms.join(" AND "))
}
