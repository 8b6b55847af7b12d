//! What must hold of what a pipeline delivered, whatever went wrong on its way.

use std::collections::{BTreeMap, HashMap, HashSet};

use rowtide_core::Operation;
use rowtide_fake_cockroachdb::{Hlc, Server};

/// Something that looks at every change and every position, and says what is wrong.
pub(crate) trait Validator {
    /// A change was delivered.
    fn note_change(&mut self, change: &Version) -> Result<(), String>;
    /// All up to `at` was promised to have been delivered.
    fn note_resolved(&mut self, at: Hlc) -> Result<(), String>;
    /// The pipeline was killed, and goes on at its last position.
    fn note_restart(&mut self) {}
    /// All was seen.
    fn conclude(&self) -> Result<(), String> {
        Ok(())
    }
}

/// A change, as the validators look at it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Version {
    pub(crate) table: String,
    pub(crate) family: String,
    pub(crate) key: i64,
    pub(crate) updated: Hlc,
    pub(crate) operation: Operation,
    pub(crate) before: Option<BTreeMap<String, String>>,
    pub(crate) after: Option<BTreeMap<String, String>>,
}

/// Versions of a key come in their order the first time, and the same each time.
#[derive(Default)]
pub(crate) struct Order {
    seen: HashMap<(String, String, i64), BTreeMap<Hlc, Version>>,
    resolved: Hlc,
}

impl Validator for Order {
    fn note_change(&mut self, change: &Version) -> Result<(), String> {
        let key = (change.table.clone(), change.family.clone(), change.key);
        let seen = self.seen.entry(key).or_default();
        if let Some(known) = seen.get(&change.updated) {
            let is_same = known == change;
            return is_same
                .then_some(())
                .ok_or_else(|| format!("{change:?} came before as {known:?}"));
        }
        if let Some((last, _)) = seen.last_key_value().filter(|(last, _)| **last > change.updated) {
            return Err(format!("{change:?} is new, and came after the version of {last}"));
        }
        // A scan is of the time at which the position stands already.
        if change.updated <= self.resolved && change.operation != Operation::Read {
            return Err(format!("{change:?} is new, and {} was resolved", self.resolved));
        }
        seen.insert(change.updated, change.clone());
        Ok(())
    }

    fn note_resolved(&mut self, at: Hlc) -> Result<(), String> {
        if at < self.resolved {
            return Err(format!("the position went from {} back to {at}", self.resolved));
        }
        self.resolved = at;
        Ok(())
    }
}

/// What is told again after a kill has no hole: between two of its versions nothing is left out.
#[derive(Default)]
pub(crate) struct Runs {
    known: BTreeMap<(Hlc, String, String, i64), ()>,
    run: BTreeMap<(Hlc, String, String, i64), ()>,
    resolved: Hlc,
}

impl Validator for Runs {
    fn note_change(&mut self, change: &Version) -> Result<(), String> {
        if change.operation != Operation::Read {
            let place = (change.updated, change.table.clone(), change.family.clone(), change.key);
            self.known.insert(place.clone(), ());
            self.run.insert(place, ());
        }
        Ok(())
    }

    fn note_resolved(&mut self, at: Hlc) -> Result<(), String> {
        let covered = |place: &(Hlc, String, String, i64)| place.0 > self.resolved && place.0 <= at;
        let missing =
            self.known.keys().find(|place| covered(place) && !self.run.contains_key(place));
        if let Some(missing) = missing {
            return Err(format!("the run up to {at} leaves out {missing:?}"));
        }
        self.resolved = at;
        self.known.retain(|place, ()| place.0 > at);
        self.run.retain(|place, ()| place.0 > at);
        Ok(())
    }

    fn note_restart(&mut self) {
        self.run.clear();
    }
}

/// `after` is the row as it was then, and `before` the row right before.
pub(crate) struct BeforeAfter<'s> {
    server: &'s Server,
    /// What was found right: told again it is the same, as another validator sees to.
    seen: HashSet<(String, String, i64, Hlc)>,
}

impl<'s> BeforeAfter<'s> {
    pub(crate) fn new(server: &'s Server) -> Self {
        Self { server, seen: HashSet::new() }
    }
}

impl Validator for BeforeAfter<'_> {
    fn note_change(&mut self, change: &Version) -> Result<(), String> {
        let place = (change.table.clone(), change.family.clone(), change.key, change.updated);
        if !self.seen.insert(place) {
            return Ok(());
        }
        let then = row_at(self.server, &change.table, change.key, change.updated);
        agree(change, "after", change.after.as_ref(), then.as_ref())?;
        if change.operation == Operation::Read {
            return Ok(());
        }
        let before = row_at(self.server, &change.table, change.key, change.updated.previous());
        // A delete tells the key at least, as its row before.
        agree(change, "before", change.before.as_ref(), before.as_ref())
    }

    fn note_resolved(&mut self, _: Hlc) -> Result<(), String> {
        Ok(())
    }
}

type Columns = BTreeMap<String, String>;

/// Whether a row is there or not in both, and has the same values in the columns of both.
fn agree(
    change: &Version,
    what: &str,
    told: Option<&Columns>,
    there: Option<&Columns>,
) -> Result<(), String> {
    let is_same = match (told, there) {
        (None, None) => true,
        // In a family of its own a row may have been all null before, which is no row of it.
        (None, Some(_)) => !change.family.is_empty() && what == "before",
        (Some(_), None) => false,
        (Some(told), Some(there)) => is_part(told, there),
    };
    is_same.then_some(()).ok_or_else(|| format!("{what} of {change:?} is not {there:?}"))
}

fn is_part(told: &Columns, there: &Columns) -> bool {
    told.iter().all(|(name, value)| there.get(name).is_none_or(|own| own == value))
}

/// The table that a consumer has who applies what was delivered is the server's, at each time.
pub(crate) struct Fingerprint<'s> {
    server: &'s Server,
    tables: Vec<String>,
    buffer: Vec<Version>,
    scratch: BTreeMap<(String, i64), Columns>,
}

impl<'s> Fingerprint<'s> {
    pub(crate) fn new(server: &'s Server, tables: &[&str]) -> Self {
        let (buffer, scratch) = (Vec::new(), BTreeMap::new());
        let tables = tables.iter().map(|&table| table.to_owned()).collect();
        Self { server, tables, buffer, scratch }
    }

    fn apply(&mut self, change: &Version) {
        let place = (change.table.clone(), change.key);
        match &change.after {
            Some(after) => self.scratch.entry(place).or_default().extend(after.clone()),
            None => drop(self.scratch.remove(&place)),
        }
    }

    fn compare(&self, at: Hlc) -> Result<(), String> {
        for table in &self.tables {
            let there = rows_at(self.server, table, at);
            let own = self.scratch.iter().filter(|((name, _), _)| name == table);
            let own: BTreeMap<_, _> = own.map(|((_, key), row)| (*key, row)).collect();
            let is_same = own.len() == there.len()
                && own.iter().all(|(key, row)| there.get(key).is_some_and(|own| is_part(row, own)));
            if !is_same {
                return Err(format!("`{table}` at {at} is {there:?}, and a consumer has {own:?}"));
            }
        }
        Ok(())
    }
}

impl Validator for Fingerprint<'_> {
    fn note_change(&mut self, change: &Version) -> Result<(), String> {
        self.buffer.push(change.clone());
        Ok(())
    }

    fn note_resolved(&mut self, at: Hlc) -> Result<(), String> {
        let mut due: Vec<_> = self.buffer.extract_if(.., |change| change.updated <= at).collect();
        due.sort_by_key(|change| change.updated);
        let mut rows = due.into_iter().peekable();
        while let Some(change) = rows.next() {
            self.apply(&change);
            let is_last = rows.peek().is_none_or(|next| next.updated != change.updated);
            if is_last {
                self.compare(change.updated)?;
                // Nothing in between is missing either.
                if let Some(next) = rows.peek() {
                    self.compare(next.updated.previous())?;
                }
            }
        }
        self.compare(at)
    }

    /// What was told again was delivered before, too; what is in the buffer comes again.
    fn note_restart(&mut self) {
        self.buffer.clear();
    }
}

/// Something flowed: nothing is proven by what is empty.
pub(crate) struct Count {
    /// How many positions must cover rows that came since the one before.
    resolved_with_rows_min: usize,
    resolved_with_rows: usize,
    rows: usize,
    since_resolved: usize,
}

impl Count {
    pub(crate) fn at_least(resolved_with_rows_min: usize) -> Self {
        Self { resolved_with_rows_min, resolved_with_rows: 0, rows: 0, since_resolved: 0 }
    }
}

impl Validator for Count {
    fn note_change(&mut self, _: &Version) -> Result<(), String> {
        self.rows += 1;
        self.since_resolved += 1;
        Ok(())
    }

    fn note_resolved(&mut self, _: Hlc) -> Result<(), String> {
        self.resolved_with_rows += usize::from(self.since_resolved > 0);
        self.since_resolved = 0;
        Ok(())
    }

    fn conclude(&self) -> Result<(), String> {
        let is_enough = self.resolved_with_rows >= self.resolved_with_rows_min && self.rows >= 10;
        is_enough.then_some(()).ok_or_else(|| {
            format!("{} rows under {} positions prove nothing", self.rows, self.resolved_with_rows)
        })
    }
}

fn row_at(server: &Server, table: &str, key: i64, at: Hlc) -> Option<Columns> {
    let sql = format!("SELECT * FROM {table} AS OF SYSTEM TIME '{at}' WHERE id = {key}");
    rows(server, &sql).remove(&key)
}

fn rows_at(server: &Server, table: &str, at: Hlc) -> BTreeMap<i64, Columns> {
    rows(server, &format!("SELECT * FROM {table} AS OF SYSTEM TIME '{at}'"))
}

fn rows(server: &Server, sql: &str) -> BTreeMap<i64, Columns> {
    let answer = server.execute(sql).expect("the table as it was");
    let row = |row: &Vec<Option<String>>| {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "NULL".to_owned());
        let columns: Columns = answer.columns.iter().cloned().zip(row.iter().map(value)).collect();
        let key = columns.get("id").and_then(|key| key.parse().ok()).expect("a key");
        (key, columns)
    };
    answer.rows.iter().map(row).collect()
}
