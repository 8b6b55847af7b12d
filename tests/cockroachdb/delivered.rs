//! Lines of a file, as the validators look at them.

use std::collections::BTreeMap;

use rowtide_core::Operation;
use serde_json::Value as Json;

use crate::{Outcome, validators::Version};

/// `None` for a mark.
pub(crate) fn version(line: &Json) -> Outcome<Option<Version>> {
    let operation = match line["op"].as_str().unwrap_or_default() {
        "read" => Operation::Read,
        "insert" => Operation::Insert,
        "update" => Operation::Update,
        "delete" => Operation::Delete,
        _ => return Ok(None),
    };
    let text = |value: &Json| value.as_str().map(str::to_owned);
    let lacks = |what: &str| format!("a line has no {what}: {line}");
    let updated = text(&line["metadata"]["updated"]).and_then(|text| text.parse().ok());
    Ok(Some(Version {
        table: text(&line["table"]).ok_or_else(|| lacks("table"))?,
        family: text(&line["metadata"]["family"]).unwrap_or_default(),
        key: line["key"]["id"].as_i64().ok_or_else(|| lacks("key"))?,
        updated: updated.ok_or_else(|| lacks("time"))?,
        operation,
        before: row(&line["before"]),
        after: row(&line["after"]),
    }))
}

fn row(json: &Json) -> Option<BTreeMap<String, String>> {
    let text = |value: &Json| match value {
        Json::Null => "NULL".to_owned(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    Some(json.as_object()?.iter().map(|(name, value)| (name.clone(), text(value))).collect())
}
