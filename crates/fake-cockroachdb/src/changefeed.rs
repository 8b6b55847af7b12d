//! What a changefeed is asked for.

mod envelope;
mod feed;

use std::time::Duration;

pub(crate) use envelope::{Envelope, Message};
pub(crate) use feed::{End, Feed, Output, shutting_down};

use crate::{
    Hlc,
    faults::{Faults, GcWording},
    sql::{Changefeed, SqlError},
    store::{Store, Table, TableKind, gc_error},
};

/// A changefeed whose statement was accepted.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) tables: Vec<usize>,
    pub(crate) query: Option<Projection>,
    pub(crate) start: Hlc,
    pub(crate) scan: Scan,
    pub(crate) resolved_every: Option<Duration>,
    pub(crate) end_time: Option<Hlc>,
    pub(crate) shape: Shape,
}

/// What of a row a query asks for; no columns are all.
#[derive(Clone, Debug)]
pub(crate) struct Projection {
    pub(crate) columns: Vec<String>,
    pub(crate) condition: Vec<(usize, crate::Datum)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scan {
    Yes,
    No,
    Only,
}

/// Whether tables of several families are told family by family, or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Families {
    Split,
    One,
}

/// What tables are called: `shop.public.orders`, or `orders`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    Full,
    Short,
}

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) envelope: Envelope,
    pub(crate) has_updated: bool,
    pub(crate) has_mvcc_timestamp: bool,
    pub(crate) has_diff: bool,
    pub(crate) key_in_value: bool,
    pub(crate) topic_in_value: bool,
    pub(crate) naming: Naming,
    pub(crate) families: Families,
}

/// The options that are understood; those without effect here are marked so.
const KNOWN: [&str; 22] = [
    "cursor",
    "diff",
    "end_time",
    "envelope",
    "format",
    "full_table_name",
    "initial_scan",
    "initial_scan_only",
    "key_in_value",
    "min_checkpoint_frequency",
    "mvcc_timestamp",
    "no_initial_scan",
    "resolved",
    "schema_change_events",
    "schema_change_policy",
    "split_column_families",
    "topic_in_value",
    "updated",
    "virtual_columns",
    "metrics_label",
    "lagging_ranges_threshold",
    "encode_json_value_null_as_object",
];

/// What `initial_scan = 'only'` does not go with.
const NOT_WITH_ONLY: [&str; 5] = ["end_time", "resolved", "diff", "mvcc_timestamp", "updated"];

struct Options<'o>(&'o [(String, Option<String>)]);

impl Options<'_> {
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(own, _)| own == name)
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name)?.1.as_deref()
    }

    fn hlc(&self, name: &str) -> Result<Option<Hlc>, SqlError> {
        let parse = |text: &str| text.parse::<Hlc>();
        let wrong = |_| SqlError::new("22023", format!("{name}: not a valid timestamp"));
        self.value(name).map(parse).transpose().map_err(wrong)
    }

    fn scan(&self) -> Result<Scan, SqlError> {
        match self.value("initial_scan") {
            Some("yes") => Ok(Scan::Yes),
            Some("no") => Ok(Scan::No),
            Some("only") => Ok(Scan::Only),
            Some(_) => Err(SqlError::new("22023", "initial_scan must be yes, no or only")),
            None if self.has("initial_scan_only") => Ok(Scan::Only),
            None if self.has("no_initial_scan") => Ok(Scan::No),
            None if self.has("initial_scan") || !self.has("cursor") => Ok(Scan::Yes),
            None => Ok(Scan::No),
        }
    }

    /// How often resolved timestamps come: no more often than either option allows.
    fn resolved_every(&self) -> Result<Option<Duration>, SqlError> {
        if !self.has("resolved") {
            return Ok(None);
        }
        let every = self.value("resolved").map_or(Ok(Duration::ZERO), duration)?;
        let default = Ok(Duration::from_secs(30));
        let least = self.value("min_checkpoint_frequency").map_or(default, duration)?;
        Ok(Some(every.max(least)))
    }

    fn shape(&self, is_query: bool) -> Result<Shape, SqlError> {
        let envelope = match self.value("envelope") {
            None if is_query => Envelope::Bare,
            None | Some("wrapped") => Envelope::Wrapped,
            Some("bare") => Envelope::Bare,
            Some("key_only") => Envelope::KeyOnly,
            Some("row") => Envelope::Row,
            Some(other) => {
                return Err(SqlError::new("22023", format!("unknown envelope: {other}")));
            }
        };
        Ok(Shape {
            envelope,
            has_updated: self.has("updated"),
            has_mvcc_timestamp: self.has("mvcc_timestamp"),
            has_diff: self.has("diff"),
            key_in_value: self.has("key_in_value"),
            topic_in_value: self.has("topic_in_value"),
            naming: match self.has("full_table_name") {
                true => Naming::Full,
                false => Naming::Short,
            },
            families: match self.has("split_column_families") {
                true => Families::Split,
                false => Families::One,
            },
        })
    }

    fn refuse_what_does_not_fit(&self, scan: Scan) -> Result<(), SqlError> {
        for (name, _) in self.0 {
            if !KNOWN.contains(&name.as_str()) {
                return Err(SqlError::new("42601", format!("invalid option \"{name}\"")));
            }
        }
        let clash = NOT_WITH_ONLY.iter().find(|option| self.has(option));
        match (scan, clash) {
            (Scan::Only, Some(option)) => {
                let message = format!("cannot specify both initial_scan='only' and {option}");
                Err(SqlError::new("22023", message))
            }
            _ if self.value("format").is_some_and(|format| format != "json") => {
                Err(SqlError::new("0A000", "only format=json is faked"))
            }
            _ => Ok(()),
        }
    }
}

impl Plan {
    /// Checks a statement as the server does.
    pub(crate) fn new(
        statement: &Changefeed,
        store: &mut Store,
        faults: &Faults,
    ) -> Result<Self, SqlError> {
        let options = Options(&statement.options);
        let scan = options.scan()?;
        options.refuse_what_does_not_fit(scan)?;
        if store.settings.get("kv.rangefeed.enabled").is_none_or(|value| value != "true") {
            return Err(SqlError::new(
                "XXUUU",
                "rangefeeds require the kv.rangefeed.enabled setting. See \
                 https://www.cockroachlabs.com/docs/stable/\
                 create-and-configure-changefeeds.html#enable-rangefeeds",
            ));
        }
        let shape = options.shape(statement.query.is_some())?;
        let start = options.hlc("cursor")?;
        let names: Vec<_> = match &statement.query {
            Some(query) => vec![query.table.clone()],
            None => statement.tables.clone(),
        };
        let mut tables = Vec::new();
        for name in &names {
            tables.push(target(store, name, start, shape.families)?);
        }
        if let Some(start) = start
            && start < store.gc_threshold
        {
            return Err(lost(start, store.gc_threshold, faults.gc_wording));
        }
        let query = match &statement.query {
            Some(query) => Some(Projection {
                columns: query.columns.clone(),
                condition: store.condition(&query.table, &query.filter)?,
            }),
            None => None,
        };
        Ok(Self {
            tables,
            query,
            start: start.unwrap_or_else(|| store.now()),
            scan,
            resolved_every: options.resolved_every()?,
            end_time: options.hlc("end_time")?,
            shape,
        })
    }
}

/// The table that a statement names, if a changefeed of it can be made.
fn target(
    store: &Store,
    name: &str,
    start: Option<Hlc>,
    families: Families,
) -> Result<usize, SqlError> {
    let unresolved = |error: SqlError| {
        let message = format!("failed to resolve targets in the CHANGEFEED stmt: {error}");
        let error = SqlError { message, ..error };
        match start {
            Some(at) => {
                error.hint(format!("do the targets exist at the specified cursor time {at}?"))
            }
            None => error,
        }
    };
    let index = store.table_index(name).map_err(unresolved)?;
    let table: &Table = &store.tables[index];
    if start.is_some_and(|start| start < table.created) {
        let message = format!("relation \"{name}\" does not exist");
        return Err(unresolved(SqlError::new("42P01", message)));
    }
    if table.kind == TableKind::View {
        return Err(SqlError::new("XXUUU", format!("CHANGEFEED cannot target views: {name}")));
    }
    if store.unreadable.contains(&table.name) {
        let message =
            format!("user does not have the CHANGEFEED or SELECT privilege on relation {name}");
        return Err(SqlError::new("42501", message));
    }
    if table.schema.has_families() && families == Families::One {
        let message = format!(
            "CHANGEFEED targeting a table ({name}) with multiple column families requires WITH \
             split_column_families and will emit multiple events per row."
        );
        return Err(SqlError::new("XXUUU", message));
    }
    Ok(index)
}

/// What is said of a cursor that is too old; the wording changed with the versions.
fn lost(start: Hlc, threshold: Hlc, wording: GcWording) -> SqlError {
    match wording {
        GcWording::Batch => gc_error(start, threshold),
        GcWording::Targets => {
            let message = "failed to resolve targets in the CHANGEFEED stmt";
            SqlError::new("XXUUU", message)
                .hint(format!("do the targets exist at the specified cursor time {start}?"))
        }
        GcWording::Cursor => {
            let message = format!(
                "could not create changefeed: cursor {start} is older than the GC threshold {}: {}",
                threshold.wall,
                gc_error(start, threshold).message
            );
            SqlError::new("XXUUU", message).hint("use a more recent cursor")
        }
    }
}

/// `10s`, `250ms`, `1m30s`.
fn duration(text: &str) -> Result<Duration, SqlError> {
    let wrong = || SqlError::new("22023", format!("problem parsing duration \"{text}\""));
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let unit = rest.find(|character: char| character.is_alphabetic()).ok_or_else(wrong)?;
        let tail = &rest[unit..];
        let end = tail.find(|character: char| !character.is_alphabetic()).unwrap_or(tail.len());
        let number: f64 = rest[..unit].parse().map_err(|_| wrong())?;
        let seconds = match &tail[..end] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        total += Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
        rest = &tail[end..];
    }
    Ok(total)
}
