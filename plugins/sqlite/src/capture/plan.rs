//! What must be done so that triggers and layouts agree with the schema.

use rowtide_core::{Error, Result, settings::Tables};
use rusqlite::Connection;

use crate::{
    capture::{
        Replace,
        introspection::{Found, describe},
        log::{AGAIN, FIRST, operation},
        names::{Names, literal, quoted},
        schema::{Existing, Schema},
        table::Definition,
        triggers::{FORMAT, Trigger, Triggers},
    },
    source::registration::create_statement,
};

/// Statements, and what holds once they have run.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) statements: Vec<String>,
    /// The layouts of today: of all captured tables, whichever pipeline wants them.
    pub(crate) layouts: Vec<(i64, Definition)>,
    pub(crate) warnings: Vec<String>,
}

/// What a plan is made for.
#[derive(Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) names: &'a Names,
    pub(crate) tables: &'a Tables,
    pub(crate) replace: Replace,
    /// The last log row at which the schema was known to agree with the triggers.
    pub(crate) agreed: i64,
}

/// Makes the plan for the schema as it is in the transaction that `connection` is in.
///
/// # Errors
/// `Config` for a table that there is not, or that cannot be captured.
pub(crate) fn make(connection: &Connection, schema: &Schema, wish: Wish<'_>) -> Result<Plan> {
    let mut planner = Planner { connection, schema, wish, plan: Plan::default(), next: 1 };
    planner.next = schema.layouts.keys().last().map_or(1, |last| last + 1);
    planner.refuse_unknown()?;
    let wanted = planner.wanted()?;
    planner.base(&wanted)?;
    for (found, replaced) in &wanted {
        planner.table(found, *replaced)?;
    }
    planner.leave_behind();
    if !planner.plan.statements.is_empty() {
        planner.plan.statements.push(format!(
            "INSERT OR REPLACE INTO {} VALUES ('schema_version', \
             (SELECT schema_version FROM pragma_schema_version))",
            wish.names.meta()
        ));
    }
    Ok(planner.plan)
}

struct Planner<'a> {
    connection: &'a Connection,
    schema: &'a Schema,
    wish: Wish<'a>,
    plan: Plan,
    /// The number of the next layout.
    next: i64,
}

/// What stands on a table of the triggers it should have.
enum Standing {
    /// All of them, as they should be.
    Whole(i64),
    /// All of them, but a trigger of the user's was made after them.
    Behind(i64, String),
    /// All of them, for the table as it was before columns were added or things were renamed.
    Older(i64),
    /// Not all of them, so that a write may have been missed.
    Broken,
}

impl Planner<'_> {
    /// A name that was captured once is a dropped table, not a mistake.
    fn refuse_unknown(&mut self) -> Result<()> {
        for name in self.wish.tables.named() {
            let listed = self.schema.listed.iter().find(|table| table.name == name);
            if let Some(kind) = listed.map(|table| table.kind.as_str()).filter(|x| *x != "table") {
                let message = format!("`{name}` is a {kind}: it can have no triggers for its rows");
                return Err(Error::config(message).key("tables").help("name tables only"));
            }
            if listed.is_some() || self.wish.tables.exclude.iter().any(|x| x == name) {
                continue;
            }
            if self.schema.layouts.values().any(|layout| layout.table == name) {
                self.plan.warnings.push(format!("table `{name}` was dropped or renamed"));
                continue;
            }
            return Err(self.unknown(name));
        }
        Ok(())
    }

    fn unknown(&self, name: &str) -> Error {
        let tables = self.schema.listed.iter().filter(|table| table.kind == "table");
        let there: Vec<&str> = tables.map(|table| table.name.as_str()).collect();
        let closest = rowtide_core::settings::closest(name, &there);
        let meant = closest.map_or(String::new(), |word| format!("did you mean `{word}`? "));
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        Error::config(format!("there is no table `{name}`"))
            .key("tables")
            .help(format!("{meant}the tables there are: {there}"))
    }

    /// The tables to capture, each with the layout that its triggers have now: those of this
    /// pipeline, and those that another one has put triggers on.
    fn wanted(&mut self) -> Result<Vec<(Found, Option<i64>)>> {
        let mut wanted = Vec::new();
        for listed in self.schema.listed.iter().filter(|table| table.kind == "table") {
            let triggers = self.schema.triggers(&listed.name);
            let layout =
                triggers.iter().filter_map(|trigger| trigger.ours).map(|ours| ours.1).max();
            let is_included = self.wish.tables.matches(&listed.name);
            if layout.is_none() && !is_included {
                continue;
            }
            let mut found = describe(self.connection, listed)?;
            let definition = &mut found.definition;
            let staged = layout
                .and_then(|layout| self.schema.layouts.get(&layout)?.definition.as_ref())
                .is_some_and(|recorded| recorded.staged);
            let exact = self.wish.replace == Replace::Exact && is_included;
            definition.staged = staged || exact || definition.needs_staging();
            if is_included {
                self.plan.warnings.append(&mut found.warnings);
            }
            wanted.push((found, layout));
        }
        Ok(wanted)
    }

    /// The log itself, as wide as the widest table.
    fn base(&mut self, wanted: &[(Found, Option<i64>)]) -> Result<()> {
        let names = self.wish.names;
        let mut width = 2;
        for (found, _) in wanted {
            check_width(&found.definition)?;
            width = width.max(found.definition.width());
        }
        if self.schema.incarnation.is_some() {
            for place in self.schema.log_width..width {
                self.push(format!("ALTER TABLE {} ADD COLUMN v{place}", names.log()));
            }
            return Ok(());
        }
        let incarnation: String = self
            .connection
            .query_row("SELECT lower(hex(randomblob(16)))", [], |row| row.get(0))
            .map_err(|error| crate::connection::failure("failed to name the log", error))?;
        let places: String = (0..width).map(|place| format!(", v{place}")).collect();
        self.plan.statements.extend([
            format!("DROP TABLE IF EXISTS {}", names.log()),
            format!("DROP TABLE IF EXISTS {}", names.meta()),
            format!(
                "CREATE TABLE {}(id INTEGER PRIMARY KEY, layout, operation, at{places})",
                names.log()
            ),
            format!(
                "CREATE TABLE IF NOT EXISTS {}(id INTEGER PRIMARY KEY, table_name TEXT, \
                 definition TEXT, until INTEGER)",
                names.layout()
            ),
            create_statement(names),
            format!("CREATE TABLE {}(key TEXT PRIMARY KEY NOT NULL, value)", names.meta()),
            format!(
                "INSERT INTO {} VALUES ('format', {FORMAT}), ('incarnation', {})",
                names.meta(),
                literal(&incarnation)
            ),
            format!(
                "INSERT INTO {}(layout, operation, at, v0) VALUES (0, {}, julianday('now'), {})",
                names.log(),
                operation::MARKER,
                literal(&incarnation)
            ),
        ]);
        Ok(())
    }

    fn table(&mut self, found: &Found, layout: Option<i64>) -> Result<()> {
        let definition = &found.definition;
        let was_captured =
            self.schema.layouts.values().any(|recorded| recorded.table == definition.name);
        let reason = if was_captured { AGAIN } else { FIRST };
        let Some(layout) = layout else {
            let new = self.make_anew(definition, None);
            self.captured(definition, new, reason);
            return Ok(());
        };
        match self.standing(definition, layout) {
            Standing::Whole(layout) => self.keep(definition, layout),
            Standing::Behind(layout, trigger) => {
                self.make_last(definition, layout, &trigger);
                if !definition.is_keyless() {
                    self.refresh(definition, layout, layout);
                }
                self.keep(definition, layout);
            }
            Standing::Older(older) if self.is_provable(definition, older)? => {
                let new = self.make_anew(definition, Some(older));
                if self.is_renamed(definition, older) {
                    self.captured(definition, new, reason);
                } else if self.has_new_columns(definition, older) {
                    self.refresh(definition, older, new);
                }
            }
            Standing::Older(layout) => {
                let new = self.make_anew(definition, Some(layout));
                self.captured(definition, new, AGAIN);
            }
            Standing::Broken => {
                let new = self.make_anew(definition, Some(layout));
                self.captured(definition, new, AGAIN);
            }
        }
        Ok(())
    }

    fn standing(&self, definition: &Definition, layout: i64) -> Standing {
        let recorded = self.schema.layouts.get(&layout);
        let Some(recorded) = recorded.and_then(|layout| layout.definition.as_ref()) else {
            return Standing::Broken;
        };
        if !definition.continues(recorded) {
            return Standing::Broken;
        }
        let renamed = definition.renamed(recorded);
        let expected = Triggers::of(self.wish.names, layout, &renamed).triggers;
        let existing = self.schema.triggers(&definition.name);
        let ours: Vec<&Existing> =
            existing.iter().filter(|trigger| trigger.ours.is_some()).collect();
        let is_there = |trigger: &Trigger| {
            ours.iter().any(|other| other.name == trigger.name && other.sql == trigger.sql)
        };
        let has_stage = !recorded.staged || self.schema.stages.contains(&layout);
        if ours.len() != expected.len() || !has_stage || !expected.iter().all(is_there) {
            return Standing::Broken;
        }
        if definition != recorded {
            return Standing::Older(layout);
        }
        let is_after = |trigger: &Existing| trigger.ours.is_some_and(|(kind, _)| !kind.is_before());
        let first = existing.iter().position(is_after).unwrap_or(existing.len());
        match existing[first..].iter().find(|trigger| trigger.is_foreign()) {
            Some(trigger) => Standing::Behind(layout, trigger.name.clone()),
            None => Standing::Whole(layout),
        }
    }

    /// Whether the older triggers have logged every write as the newer ones would have, but for
    /// the columns that were added. They have not if a unique key came meanwhile, by which a
    /// REPLACE may have removed rows that were not staged.
    fn is_provable(&self, definition: &Definition, older: i64) -> Result<bool> {
        if self.is_renumbered(definition) {
            return Ok(false);
        }
        let recorded = self.schema.layouts[&older].definition.as_ref();
        let Some(recorded) = recorded else { return Ok(false) };
        let has_new = definition.uniques.iter().any(|unique| !recorded.uniques.contains(unique));
        if !has_new {
            return Ok(true);
        }
        if self.schema.incarnation.is_none() {
            return Ok(false);
        }
        let sql = format!(
            "SELECT EXISTS (SELECT 1 FROM {} \
             WHERE id > ?1 AND layout = ?2 AND operation IN (?3, ?4))",
            self.wish.names.log()
        );
        let parameters = [self.wish.agreed, older, operation::INSERT, operation::UPDATE_AFTER];
        self.connection
            .query_row(&sql, parameters, |row| row.get::<_, bool>(0))
            .map(|was_written| !was_written)
            .map_err(|error| crate::connection::failure("failed to read the log", error))
    }

    /// VACUUM may have given every row another rowid, and an ALTER beside it would hide it.
    fn is_renumbered(&self, definition: &Definition) -> bool {
        definition.is_keyless() && self.schema.was_moved()
    }

    fn keep(&mut self, definition: &Definition, layout: i64) {
        if self.is_renumbered(definition) {
            self.captured(definition, layout, AGAIN);
        }
        self.plan.layouts.push((layout, definition.clone()));
    }

    /// Makes the triggers after a write anew, so that they fire before `trigger`. Those before a
    /// write must fire last, and so stay.
    fn make_last(&mut self, definition: &Definition, layout: i64, trigger: &str) {
        let triggers = Triggers::of(self.wish.names, layout, definition).triggers;
        for ours in triggers.into_iter().filter(|trigger| !trigger.kind.is_before()) {
            self.push(format!("DROP TRIGGER {}", quoted(&ours.name)));
            self.push(ours.sql);
        }
        self.plan.warnings.push(format!(
            "table `{}`: trigger `{trigger}` was made after ours, which were made anew so that \
             they still fire first; until now what it wrote was logged before its cause",
            definition.name
        ));
    }

    /// Makes a layout and all triggers, in the place of those that there are.
    fn make_anew(&mut self, definition: &Definition, older: Option<i64>) -> i64 {
        let names = self.wish.names;
        let layout = self.next;
        self.next += 1;
        let existing = self.schema.triggers(&definition.name);
        for trigger in existing.iter().filter(|trigger| trigger.ours.is_some()) {
            self.push(format!("DROP TRIGGER {}", quoted(&trigger.name)));
        }
        let text = serde_json::to_string(definition).unwrap_or_default();
        let name = literal(&definition.name);
        self.push(format!(
            "UPDATE {table} SET until = (SELECT max(id) FROM {log}) \
             WHERE until IS NULL AND (table_name = {name} OR id = {older})",
            table = names.layout(),
            log = names.log(),
            older = older.unwrap_or(0),
        ));
        self.push(format!(
            "INSERT INTO {} VALUES ({layout}, {name}, {}, NULL)",
            names.layout(),
            literal(&text)
        ));
        let triggers = Triggers::of(names, layout, definition);
        self.plan.statements.extend(triggers.stage);
        self.plan.statements.extend(triggers.triggers.into_iter().map(|trigger| trigger.sql));
        self.plan.layouts.push((layout, definition.clone()));
        layout
    }

    /// Logs that the table came under capture, with the triggers, so that every pipeline learns it
    /// in its place among the changes.
    fn captured(&mut self, definition: &Definition, layout: i64, reason: &str) {
        self.push(format!(
            "INSERT INTO {}(layout, operation, at, v0, v1) \
             VALUES ({layout}, {}, julianday('now'), '{reason}', NOT EXISTS (SELECT 1 FROM {}))",
            self.wish.names.log(),
            operation::CAPTURED,
            quoted(&definition.name)
        ));
    }

    /// Whether the table was known by another name. What is written to it was logged under that one,
    /// and this one may be known for a table that is gone.
    fn is_renamed(&self, definition: &Definition, older: i64) -> bool {
        let recorded = self.schema.layouts[&older].definition.as_ref();
        recorded.is_some_and(|recorded| recorded.name != definition.name)
    }

    fn has_new_columns(&self, definition: &Definition, older: i64) -> bool {
        let recorded = self.schema.layouts[&older].definition.as_ref();
        recorded.is_some_and(|recorded| recorded.columns.len() < definition.columns.len())
    }

    /// Logs, as they are now, the rows that were written since the schema was known to agree: under
    /// triggers that did not know a new column yet, or that fired after another one.
    fn refresh(&mut self, definition: &Definition, older: i64, layout: i64) {
        let log = self.wish.names.log();
        let key = definition.table().key();
        let column = |index: usize| format!("v{index} AS k{index}");
        let keys: Vec<String> = key.iter().map(|&index| column(index)).collect();
        let same: Vec<String> = key
            .iter()
            .map(|&index| {
                let name = quoted(&definition.columns[index].name);
                let collation = definition.key_collation(index);
                format!("x.{name} IS k.k{index} COLLATE {collation}")
            })
            .collect();
        let places: String = (0..definition.width()).map(|place| format!(", v{place}")).collect();
        self.push(format!(
            "INSERT INTO {log}(layout, operation, at{places}) \
             SELECT {layout}, {refreshed}, julianday('now'), {image} FROM \
             (SELECT DISTINCT {keys} FROM {log} WHERE id > {agreed} AND layout = {older} \
             AND operation IN ({insert}, {update})) AS k JOIN {table} AS x ON {same}",
            refreshed = operation::REFRESHED,
            image = definition.image("x").join(", "),
            keys = keys.join(", "),
            agreed = self.wish.agreed,
            insert = operation::INSERT,
            update = operation::UPDATE_AFTER,
            table = quoted(&definition.name),
            same = same.join(" AND "),
        ));
    }

    /// Ends the layouts of tables that are gone, and drops stages that no trigger fills.
    fn leave_behind(&mut self) {
        let current: Vec<i64> = self.plan.layouts.iter().map(|(layout, _)| *layout).collect();
        let names = self.wish.names;
        let stages: Vec<i64> =
            self.schema.stages.iter().copied().filter(|id| !current.contains(id)).collect();
        for stage in stages {
            self.push(format!("DROP TABLE {}", names.stage(stage)));
        }
        let open = self.schema.layouts.iter().filter(|(_, layout)| !layout.superseded);
        let gone: Vec<i64> = open
            .map(|(id, _)| *id)
            .filter(|id| !current.contains(id))
            .filter(|id| !self.is_on_its_way(*id))
            .collect();
        for id in gone {
            self.push(format!(
                "UPDATE {} SET until = (SELECT max(id) FROM {}) WHERE id = {id} AND until IS NULL",
                names.layout(),
                names.log()
            ));
        }
    }

    /// Whether a newer layout of the same table takes its place in this very plan.
    fn is_on_its_way(&self, id: i64) -> bool {
        let table = &self.schema.layouts[&id].table;
        self.plan.layouts.iter().any(|(_, definition)| definition.name == *table)
    }

    fn push(&mut self, statement: String) {
        self.plan.statements.push(statement);
    }
}

/// SQLite allows a table 2,000 columns, unless it was built otherwise.
fn check_width(definition: &Definition) -> Result<()> {
    const COLUMNS_MAX: usize = 2_000 - 4;
    if definition.width() <= COLUMNS_MAX {
        return Ok(());
    }
    let message = format!(
        "table `{}` has {} columns, and at most {COLUMNS_MAX} can be logged",
        definition.name,
        definition.width()
    );
    Err(Error::config(message).key("tables").help("exclude the table"))
}
