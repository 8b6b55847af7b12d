//! Reads what was delivered, as a consumer would, and holds it against the database.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    error::Error,
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rusqlite::{Connection, types::ValueRef};
use serde_json::{Map, Value, json};

/// The one column that is declared as a blob.
const BLOB_COLUMN: &str = "data";

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

/// The table as it is, written as the `json` format promises, by code of its own.
pub(crate) fn table(
    path: &Path,
    name: &str,
    key: &[&str],
) -> Result<BTreeMap<String, Value>, Box<dyn Error>> {
    let connection = Connection::open(path)?;
    let mut statement = connection.prepare(&format!("SELECT * FROM {name}"))?;
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let mut found = BTreeMap::new();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let mut image = Map::new();
        for (index, column) in columns.iter().enumerate() {
            let value = expected(row.get_ref(index)?, column == BLOB_COLUMN)?;
            image.insert(column.clone(), value);
        }
        let key: Map<_, _> =
            key.iter().map(|&column| (column.to_owned(), image[column].clone())).collect();
        found.insert(Value::Object(key).to_string(), Value::Object(image));
    }
    Ok(found)
}

fn expected(value: ValueRef<'_>, is_blob: bool) -> Result<Value, Box<dyn Error>> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(integer) => json!(integer),
        ValueRef::Real(real) if real.is_finite() => json!(real),
        ValueRef::Real(real) if real > 0.0 => json!({ "$float": "Infinity" }),
        ValueRef::Real(_) => json!({ "$float": "-Infinity" }),
        ValueRef::Text(bytes) if is_blob => json!({ "$text": STANDARD.encode(bytes) }),
        ValueRef::Text(bytes) => json!(std::str::from_utf8(bytes)?),
        ValueRef::Blob(bytes) if is_blob => json!(STANDARD.encode(bytes)),
        ValueRef::Blob(bytes) => json!({ "$blob": STANDARD.encode(bytes) }),
    })
}
