//! What a table lacks, as the statements that add it.

use rowtide_core::{Error, Result};
use rowtide_sql::{Dialect, TableName};

use crate::{
    config::{Done, Guard, Layout, Order, OutboxConfig},
    database::postgres::{catalog::Found, values::Wire},
    layout::id_column,
};

pub(super) const NOTIFY_TRIGGER: &str = "rowtide_notify";
pub(super) const GUARD_TRIGGER: &str = "rowtide_guard";

/// Statements that make a table what a relay needs.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// What reading needs.
    pub(super) needed: Vec<String>,
    /// What is made beside it.
    pub(super) triggers: Vec<String>,
    /// Whether rows that are there get numbers, which will be arbitrary.
    pub(super) numbers_rows: bool,
}

/// The names in a statement.
struct Names<'a> {
    config: &'a OutboxConfig,
    table: TableName,
}

impl Plan {
    /// # Errors
    /// `Config`, if the table has a column that no statement of ours makes right.
    pub(super) fn new(config: &OutboxConfig, found: Option<&Found>) -> Result<Self> {
        let names = Names { config, table: config.table()? };
        let mut plan = Plan::default();
        match found {
            None => plan.needed.push(names.create_table()),
            Some(found) => plan.alter(&names, found)?,
        }
        plan.index(&names, found);
        plan.add_triggers(&names, found);
        Ok(plan)
    }

    fn alter(&mut self, names: &Names<'_>, found: &Found) -> Result<()> {
        let config = names.config;
        let table = names.quoted();
        if config.order == Order::Transactions {
            match found.column(&config.order_column) {
                None => {
                    self.numbers_rows = true;
                    self.needed.push(format!("ALTER TABLE {table} ADD COLUMN {}", names.seq()));
                }
                Some(_) => check_order_column(config, found)?,
            }
            self.alter_xid(names, found)?;
        }
        if config.done == Done::Mark {
            match found.column(&config.done_column) {
                None => {
                    self.needed.push(format!("ALTER TABLE {table} ADD COLUMN {}", names.done_at()));
                }
                Some(column) if column.wire == Wire::Timestamp => {}
                Some(column) => {
                    return Err(wrong_type(
                        ("done_column", &column.name),
                        (&column.declared, "timestamptz"),
                    ));
                }
            }
        }
        Ok(())
    }

    fn alter_xid(&mut self, names: &Names<'_>, found: &Found) -> Result<()> {
        let (table, name) = (names.quoted(), &names.config.transaction_column);
        let quoted = quote(name);
        let Some(column) = found.column(name) else {
            self.needed.push(format!("ALTER TABLE {table} ADD COLUMN {}", names.xid()));
            return Ok(());
        };
        if column.declared != "xid8" {
            return Err(wrong_type(("transaction_column", name), (&column.declared, "xid8")));
        }
        if !column.default.contains("pg_current_xact_id()") {
            let default = format!("ALTER COLUMN {quoted} SET DEFAULT pg_current_xact_id()");
            self.needed.push(format!("ALTER TABLE {table} {default}"));
        }
        if !column.is_not_null {
            self.needed.push(format!("ALTER TABLE {table} ALTER COLUMN {quoted} SET NOT NULL"));
        }
        Ok(())
    }

    fn index(&mut self, names: &Names<'_>, found: Option<&Found>) {
        let config = names.config;
        let (seq, xid, done_at) = (
            config.order_column.as_str(),
            config.transaction_column.as_str(),
            config.done_column.as_str(),
        );
        let mut add = |is_there: bool, unique: &str, column: &str, condition: String| {
            if !is_there {
                let (name, table) = (names.index(column, &condition), names.quoted());
                let column = quote(column);
                self.needed
                    .push(format!("CREATE {unique}INDEX {name} ON {table} ({column}){condition}"));
            }
        };
        if config.order == Order::Transactions {
            add(found.is_some_and(|found| found.is_unique(seq)), "UNIQUE ", seq, String::new());
            add(found.is_some_and(|found| found.is_indexed(xid)), "", xid, String::new());
        }
        if config.done == Done::Mark {
            let todo = if config.order == Order::None { id_column(config) } else { seq };
            let is_there = found.is_some_and(|found| found.is_indexed_where(todo, done_at));
            add(is_there, "", todo, format!(" WHERE {} IS NULL", quote(done_at)));
        }
        if config.keep_marked_for.is_some() {
            let is_there = found.is_some_and(|found| {
                found.is_indexed(done_at) || found.is_indexed_where(done_at, done_at)
            });
            add(is_there, "", done_at, format!(" WHERE {} IS NOT NULL", quote(done_at)));
        }
    }

    fn add_triggers(&mut self, names: &Names<'_>, found: Option<&Found>) {
        let config = names.config;
        let lacks = |name: &str| !found.is_some_and(|found| found.has_trigger(name));
        if let Some(channel) = &config.notify
            && lacks(NOTIFY_TRIGGER)
        {
            let channel = Dialect::Postgres.literal(channel);
            let body = format!("PERFORM pg_notify({channel}, ''); RETURN NULL;");
            self.triggers.push(names.function("notify", &body));
            self.triggers.push(format!(
                "CREATE TRIGGER {NOTIFY_TRIGGER} AFTER INSERT ON {} \
                 FOR EACH STATEMENT EXECUTE FUNCTION {}()",
                names.quoted(),
                names.function_name("notify")
            ));
        }
        let is_guarded = config.guard == Guard::Delete && config.order == Order::Transactions;
        if is_guarded && config.done != Done::Keep && lacks(GUARD_TRIGGER) {
            self.triggers.push(names.function("guard", GUARD_BODY));
            // Before it, each row would be locked as well, in the log too.
            self.triggers.push(format!(
                "CREATE TRIGGER {GUARD_TRIGGER} AFTER DELETE ON {} FOR EACH ROW \
                 WHEN (OLD.{} = pg_current_xact_id_if_assigned()) EXECUTE FUNCTION {}()",
                names.quoted(),
                quote(&config.transaction_column),
                names.function_name("guard")
            ));
        }
    }
}

const GUARD_BODY: &str = "RAISE EXCEPTION 'a message is deleted by the transaction that inserted \
                          it, so no relay would ever see it' USING HINT = 'leave the row to the \
                          relay, which deletes it once it is delivered';";

/// The statements that remove the triggers, and leave the table.
pub(super) fn removal(config: &OutboxConfig, found: &Found) -> Result<Vec<String>> {
    let names = Names { config, table: config.table()? };
    let mut statements = Vec::new();
    for (trigger, what) in [(NOTIFY_TRIGGER, "notify"), (GUARD_TRIGGER, "guard")] {
        if found.has_trigger(trigger) {
            statements.push(format!("DROP TRIGGER {trigger} ON {}", names.quoted()));
            statements.push(format!("DROP FUNCTION IF EXISTS {}()", names.function_name(what)));
        }
    }
    Ok(statements)
}

impl Names<'_> {
    fn quoted(&self) -> String {
        self.table.quoted(Dialect::Postgres)
    }

    /// A name in the table's schema.
    fn beside(&self, name: &str) -> String {
        match self.table.schema() {
            Some(schema) => format!("{}.{}", quote(schema), quote(name)),
            None => quote(name),
        }
    }

    fn index(&self, column: &str, condition: &str) -> String {
        let suffix = if condition.is_empty() { "" } else { "_some" };
        quote(&format!("{}_{column}{suffix}", self.table.name()))
    }

    fn function_name(&self, what: &str) -> String {
        self.beside(&format!("{}_rowtide_{what}", self.table.name()))
    }

    fn function(&self, what: &str, body: &str) -> String {
        let name = self.function_name(what);
        format!(
            "CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql \
             AS $$BEGIN {body} END$$"
        )
    }

    fn seq(&self) -> String {
        format!("{} bigint GENERATED ALWAYS AS IDENTITY", quote(&self.config.order_column))
    }

    fn xid(&self) -> String {
        let name = quote(&self.config.transaction_column);
        format!("{name} xid8 NOT NULL DEFAULT pg_current_xact_id()")
    }

    fn done_at(&self) -> String {
        format!("{} timestamptz", quote(&self.config.done_column))
    }

    fn create_table(&self) -> String {
        let mut columns = match self.config.layout {
            Layout::Router => self.router_columns(),
            Layout::StreamsEgress => [
                "batch_id varchar(64) PRIMARY KEY",
                "message_count int NOT NULL DEFAULT 0",
                "raw_data bytea NOT NULL",
                "insert_time timestamp NOT NULL DEFAULT now()",
            ]
            .map(str::to_owned)
            .to_vec(),
        };
        if self.config.order == Order::Transactions {
            columns.extend([self.seq(), self.xid()]);
        }
        if self.config.done == Done::Mark {
            columns.push(self.done_at());
        }
        // Rows come and go, so the usual fifth of the table would be too late for a vacuum.
        format!(
            "CREATE TABLE {} (\n    {}\n) WITH (autovacuum_vacuum_scale_factor = 0, \
             autovacuum_vacuum_threshold = 20000)",
            self.quoted(),
            columns.join(",\n    ")
        )
    }

    fn router_columns(&self) -> Vec<String> {
        let columns = &self.config.columns;
        let name = |given: &Option<String>, canonical| quote(given.as_deref().unwrap_or(canonical));
        let mut lines = vec![
            format!("{} uuid PRIMARY KEY", name(&columns.id, "id")),
            format!("{} varchar(255) NOT NULL", name(&columns.aggregatetype, "aggregatetype")),
            format!("{} varchar(255) NOT NULL", name(&columns.aggregateid, "aggregateid")),
            format!("{} varchar(255)", name(&columns.kind, "type")),
            format!("{} jsonb", name(&columns.payload, "payload")),
        ];
        let optional = [(&columns.timestamp, "timestamptz"), (&columns.tracingspancontext, "text")];
        for (given, declared) in optional {
            lines.extend(given.as_ref().map(|given| format!("{} {declared}", quote(given))));
        }
        lines
    }
}

fn check_order_column(config: &OutboxConfig, found: &Found) -> Result<()> {
    let name = config.order_column.as_str();
    let wrong = |what: String| {
        Err(Error::config(format!("the column `{name}` of the outbox {what}")).key("order_column"))
    };
    let Some(column) = found.column(name) else { return Ok(()) };
    if !matches!(column.wire, Wire::Int2 | Wire::Int4 | Wire::Int8) {
        return Err(wrong_type(("order_column", name), (&column.declared, "bigint")));
    }
    if !column.is_not_null {
        return wrong("may be null".to_owned());
    }
    match column.sequence {
        None => wrong("is not numbered by the database".to_owned()),
        Some((cache, _)) if cache > 1 => wrong(format!(
            "has a sequence of which each session takes {cache} numbers at once (`CACHE`), so that \
             they are in no order"
        )),
        Some((_, increment)) if increment < 1 => wrong("counts downwards".to_owned()),
        Some(_) => Ok(()),
    }
}

fn wrong_type((key, name): (&str, &str), (is, must): (&str, &str)) -> Error {
    Error::config(format!("the column `{name}` of the outbox is `{is}`, and must be `{must}`"))
        .key(key)
        .help("name another column, which `rowtide setup` adds")
}

fn quote(name: &str) -> String {
    Dialect::Postgres.quote(name)
}
