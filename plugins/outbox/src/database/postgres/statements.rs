//! What the reader asks the server.

use rowtide_core::Result;
use rowtide_sql::Dialect;

use crate::{
    config::{Done, Order, OutboxConfig},
    database::postgres::{catalog::Found, snapshot::Snapshot, values::Wire},
    keys::Key,
    layout::{Messages, id_column},
};

/// The statements of a table, and how to read what they answer.
#[derive(Debug)]
pub(super) struct Statements {
    table: String,
    pub(super) order: Order,
    /// The columns of the messages, and the key behind them.
    selection: String,
    key: String,
    key_type: String,
    transaction: String,
    /// What is not done, as a condition.
    todo: Option<String>,
    done: String,
    /// How the columns of the messages are read.
    pub(super) wires: Vec<Wire>,
}

/// What a page is of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span<'a> {
    /// What this one sees has been read before.
    pub(super) seen: Option<&'a Snapshot>,
    /// What this one sees beyond it is read; unset before it is known.
    pub(super) reading: Option<&'a Snapshot>,
    /// The last row of it that was read.
    pub(super) after: Option<&'a Key>,
}

/// How far the log is on the disk by now.
pub(super) const LOG_DURABLE: &str =
    "SELECT (pg_current_wal_flush_lsn() - '0/0')::text AS log_durable";
pub(super) const COMMIT: &str =
    "SELECT (pg_current_wal_flush_lsn() - '0/0')::text AS log_durable; COMMIT";

impl Statements {
    pub(super) fn new(config: &OutboxConfig, found: &Found, messages: &Messages) -> Result<Self> {
        let (key, cast) = match config.order {
            Order::Transactions => (config.order_column.as_str(), "int8"),
            Order::None => (id_column(config), "text"),
        };
        let mut wires = Vec::new();
        let mut selection = String::new();
        for name in messages.selection() {
            let wire = found.column(name).map_or(Wire::Cast, |column| column.wire);
            selection.push_str(&wire.expression(&quote(name)));
            selection.push_str(", ");
            wires.push(wire);
        }
        selection.push_str(&format!("{}::{cast} AS rowtide_key", quote(key)));
        let declared = found.column(key).map_or("text", |column| &column.declared);
        Ok(Self {
            table: config.table()?.quoted(Dialect::Postgres),
            order: config.order,
            selection,
            key: quote(key),
            key_type: declared.to_owned(),
            transaction: quote(&config.transaction_column),
            todo: (config.done == Done::Mark)
                .then(|| format!("{} IS NULL", quote(&config.done_column))),
            done: quote(&config.done_column),
            wires,
        })
    }

    /// Begins a transaction, and tells its moment and whether there is anything to read.
    ///
    /// The plans must not depend on what the statistics say of a table that is now full and now
    /// empty.
    pub(super) fn moment(&self, span: Span<'_>) -> String {
        // An index read in its order, or a bitmap of those rows alone: a plan for something else
        // would go over all that is dead.
        let (ordered, sorted) = if self.is_in_order(span) { ("on", "off") } else { ("off", "on") };
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL enable_seqscan = off; \
             SET LOCAL enable_indexscan = {ordered}; SET LOCAL enable_indexonlyscan = off; \
             SET LOCAL enable_bitmapscan = {sorted}; SET LOCAL enable_sort = {sorted}; \
             SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0"
        );
        let is_any = match (span.seen, span.reading) {
            (Some(_), None) => {
                format!("EXISTS (SELECT 1 FROM {} WHERE {})", self.table, self.conditions(span))
            }
            _ => "true".to_owned(),
        };
        format!(
            "{begin}; SELECT pg_current_snapshot()::text AS snapshot, \
             (extract(epoch FROM statement_timestamp()) * 1000000)::bigint::text AS micros, \
             (pg_current_wal_insert_lsn() - '0/0')::text AS log_end, ({is_any})::text AS is_any"
        )
    }

    /// The next rows of a span, in order.
    ///
    /// The first page of a difference is found by the transactions, and sorted: however many rows
    /// are there that have been read, or are dead, none of them is touched. What follows it goes by
    /// the numbers, as does the first of all passes, since each row would be sorted for every page.
    pub(super) fn page(&self, span: Span<'_>, limit: usize) -> String {
        let Self { table, selection, key, .. } = self;
        let conditions = self.conditions(span);
        if self.is_in_order(span) {
            return format!(
                "SELECT {selection} FROM {table} WHERE {conditions} ORDER BY {key} LIMIT {limit}"
            );
        }
        format!(
            "SELECT {selection} FROM (SELECT * FROM {table} WHERE {conditions} OFFSET 0) rows \
             ORDER BY {key} LIMIT {limit}"
        )
    }

    fn is_in_order(&self, span: Span<'_>) -> bool {
        self.order == Order::None || span.seen.is_none() || span.after.is_some()
    }

    fn conditions(&self, span: Span<'_>) -> String {
        let Self { key, transaction, .. } = self;
        let mut conditions: Vec<String> = self.todo.iter().cloned().collect();
        if let Some(after) = span.after {
            conditions.push(format!("{key} > {}", self.literal(after)));
        }
        if self.order == Order::Transactions {
            if let Some(seen) = span.seen {
                let seen = seen.text();
                conditions.push(format!(
                    "({transaction} >= pg_snapshot_xmax('{seen}') OR \
                     {transaction} = ANY(ARRAY(SELECT pg_snapshot_xip('{seen}'))))"
                ));
            }
            if let Some(reading) = span.reading {
                let reading = reading.text();
                conditions.push(format!("pg_visible_in_snapshot({transaction}, '{reading}')"));
            }
        }
        if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") }
    }

    fn literal(&self, key: &Key) -> String {
        match key {
            Key::Seq(seq) => format!("'{seq}'"),
            Key::Id(id) => format!("{}::{}", Dialect::Postgres.literal(id), self.key_type),
        }
    }

    /// Deletes or marks the rows of the keys that are its parameters: an array of ids, or one of the
    /// first numbers of runs and one of their last ones.
    ///
    /// Each number of a run is a key by itself, so that no row is met that was not yielded; and a
    /// run is found in the index once, not once a key.
    pub(super) fn settle(&self, done: Done) -> String {
        let Self { table, key, key_type, done: at, .. } = self;
        let (runs, keys) = match self.order {
            Order::Transactions => (
                Some(
                    "unnest($1::int8[], $2::int8[]) AS rowtide_runs (rowtide_first, rowtide_last)",
                ),
                format!("{key} BETWEEN rowtide_first AND rowtide_last"),
            ),
            Order::None => (None, format!("{key} = ANY($1::text[]::{key_type}[])")),
        };
        let runs = |word| runs.map(|runs| format!(" {word} {runs}")).unwrap_or_default();
        match done {
            Done::Mark => {
                format!(
                    "UPDATE {table} SET {at} = now(){} WHERE {keys} AND {at} IS NULL",
                    runs("FROM")
                )
            }
            _ => format!("DELETE FROM {table}{} WHERE {keys}", runs("USING")),
        }
    }

    /// Deletes rows that were marked longer ago than the seconds of its first parameter, as many as
    /// its second.
    pub(super) fn clean(&self) -> String {
        let Self { table, done, .. } = self;
        format!(
            "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} \
             WHERE {done} < now() - $1::float8 * interval '1 second' LIMIT $2)) \
             AND {done} < now() - $1::float8 * interval '1 second'"
        )
    }
}

fn quote(name: &str) -> String {
    Dialect::Postgres.quote(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(order: Order) -> Statements {
        Statements {
            table: "outbox".to_owned(),
            order,
            selection: "payload, seq".to_owned(),
            key: "seq".to_owned(),
            key_type: "varchar(10)".to_owned(),
            transaction: "xid".to_owned(),
            todo: None,
            done: "done_at".to_owned(),
            wires: Vec::new(),
        }
    }

    #[test]
    fn a_key_cannot_end_its_literal() {
        let id = Key::Id("it's".into());
        let span = Span { seen: None, reading: None, after: Some(&id) };
        let page = statements(Order::None).page(span, 5);
        assert!(page.contains("seq > 'it''s'::varchar(10)"), "{page}");
    }

    #[test]
    fn only_the_first_page_of_a_difference_is_sorted() {
        let (seen, reading) = (Snapshot::parse("3:3:").unwrap(), Snapshot::parse("5:9:7").unwrap());
        let statements = statements(Order::Transactions);
        let span = Span { seen: Some(&seen), reading: Some(&reading), after: None };
        assert!(statements.page(span, 5).contains("OFFSET 0"));
        let after = Key::Seq(4);
        for span in [Span { seen: None, ..span }, Span { after: Some(&after), ..span }] {
            let page = statements.page(span, 5);
            assert!(!page.contains("OFFSET 0"), "{page}");
            assert!(statements.moment(span).contains("enable_sort = off"));
        }
    }
}
