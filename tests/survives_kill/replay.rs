//! Reads what was delivered, as a consumer would.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    error::Error,
};

use serde_json::Value;

/// What the lines of the file tell.
#[derive(Default)]
pub(crate) struct Replay {
    /// Table, then key, to the row.
    pub(crate) tables: BTreeMap<String, BTreeMap<String, Value>>,
    /// Each version that arrived as a change. What was written before the capture began is not
    /// among them: the snapshot has the last of it.
    pub(crate) versions: BTreeSet<i64>,
    /// The largest run of lines that had been delivered before, in bytes.
    pub(crate) longest_repeat: usize,
    pub(crate) repeats: usize,
    first_lines: HashMap<String, String>,
    last_logged: Option<(u64, u64)>,
    repeat: usize,
}

impl Replay {
    /// Reads all lines.
    ///
    /// # Errors
    /// A line that is no change, that repeats another one differently, or that is out of order.
    pub(crate) fn read(lines: &str) -> Result<Self, Box<dyn Error>> {
        let mut replay = Self::default();
        for line in lines.lines() {
            let change: Value =
                serde_json::from_str(line).map_err(|error| format!("{error} in {line}"))?;
            replay.note_id(&change, line)?;
            replay.apply(&change)?;
        }
        Ok(replay)
    }

    /// A logged change is new and in order, or an exact copy.
    fn note_id(&mut self, change: &Value, line: &str) -> Result<(), Box<dyn Error>> {
        let logged = matches!(text(change, "op")?, "insert" | "update" | "delete");
        let id = text(change, "id")?;
        if let Some(first) = self.first_lines.get(id) {
            if logged && first != line {
                return Err(format!("not an exact copy:\n{first}\n{line}").into());
            }
            self.repeats += 1;
            self.repeat += line.len();
            self.longest_repeat = self.longest_repeat.max(self.repeat);
            return Ok(());
        }
        self.first_lines.insert(id.to_owned(), line.to_owned());
        if logged {
            self.repeat = 0;
            let place = log_place(id)?;
            if self.last_logged.is_some_and(|last| place <= last) {
                return Err(format!("out of order after {:?}: {line}", self.last_logged).into());
            }
            self.last_logged = Some(place);
        }
        Ok(())
    }

    fn apply(&mut self, change: &Value) -> Result<(), Box<dyn Error>> {
        let table = self.tables.entry(text(change, "table")?.to_owned()).or_default();
        let key = change["key"].to_string();
        match text(change, "op")? {
            "snapshot_begin" => table.clear(),
            "snapshot_end" => {}
            "delete" => {
                table.remove(&key);
            }
            "insert" | "update" | "read" => {
                if text(change, "op")? != "read" {
                    self.versions.extend(change["after"]["version"].as_i64());
                }
                table.insert(key, change["after"].clone());
            }
            other => return Err(format!("unexpected operation {other}").into()),
        }
        Ok(())
    }
}

fn text<'a>(change: &'a Value, key: &str) -> Result<&'a str, String> {
    change[key].as_str().ok_or_else(|| format!("no {key} in {change}"))
}

/// The numbers at the end of an id: the log row, and which of its changes.
fn log_place(id: &str) -> Result<(u64, u64), Box<dyn Error>> {
    let numbers = id.split(':').skip(1).map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    let major = numbers.first().ok_or_else(|| format!("no number in the id {id}"))?;
    Ok((*major, numbers.get(1).copied().unwrap_or(0)))
}
