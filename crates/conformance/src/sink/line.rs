use rowtide_core::{Error, Operation, Result};
use serde_json::{Map, Value as Json};

use super::Delivered;

const OPERATIONS: [Operation; 7] = [
    Operation::Read,
    Operation::Insert,
    Operation::Update,
    Operation::Delete,
    Operation::Truncate,
    Operation::SnapshotBegin,
    Operation::SnapshotEnd,
];

impl Delivered {
    /// Reads a line of the `json` format, without the code that writes it.
    ///
    /// # Errors
    /// `Fatal` if it is none.
    pub fn from_line(line: &str) -> Result<Self> {
        let wrong = || Error::fatal(format!("not a line of the `json` format: {line}"));
        let json: Json = serde_json::from_str(line).map_err(|error| wrong().because(error))?;
        let id = json["id"].as_str().ok_or_else(wrong)?.to_owned();
        let name = json["op"].as_str().ok_or_else(wrong)?;
        let operation = OPERATIONS.into_iter().find(|operation| operation.name() == name);
        let operation = operation.ok_or_else(wrong)?;
        let image = if operation == Operation::Delete { "before" } else { "after" };
        let row = json[image].as_object().cloned().unwrap_or_else(Map::new);
        Ok(Self { id, operation, row })
    }
}
