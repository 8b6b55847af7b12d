//! Holds what was delivered against what was written.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    Outcome, image,
    replay::Replay,
    scene::{Scene, Source},
};

pub(crate) fn judge(scene: &Scene) -> Outcome<()> {
    let delivered = scene.delivered()?;
    match scene.source {
        Source::Outbox => judge_messages(scene, &delivered),
        Source::Tables | Source::Log | Source::Snapshot => judge_tables(scene, &delivered),
    }
}

fn judge_tables(scene: &Scene, delivered: &str) -> Outcome<()> {
    let replay = Replay::read(delivered).map_err(|error| error.to_string())?;
    require(&replay.versions, scene.captured_from..=scene.version)?;
    let table = image::table(&scene.database(), "orders", &["id"]).map_err(|e| e.to_string())?;
    if table.is_empty() || replay.tables.get("orders") != Some(&table) {
        return Err("the table differs from its replay".into());
    }
    Ok(())
}

/// Every message once at least, those of an aggregate in order, and none left in the table.
fn judge_messages(scene: &Scene, delivered: &str) -> Outcome<()> {
    let mut versions = BTreeSet::new();
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    for line in delivered.lines() {
        let message: Value = serde_json::from_str(line)?;
        let version = message["version"].as_i64().ok_or("a message without its version")?;
        if versions.insert(version) {
            let before = last.insert(message["key"].to_string(), version);
            if before.is_some_and(|before| before > version) {
                return Err(format!("message {version} comes after {before:?}").into());
            }
        }
    }
    require(&versions, scene.captured_from..=scene.version)?;
    let left: i64 =
        scene.connect()?.query_row("SELECT count(*) FROM outbox", [], |row| row.get(0))?;
    match left {
        0 => Ok(()),
        left => Err(format!("{left} delivered messages are still in the outbox").into()),
    }
}

fn require(versions: &BTreeSet<i64>, mut all: std::ops::RangeInclusive<i64>) -> Outcome<()> {
    match all.find(|version| !versions.contains(version)) {
        Some(version) => Err(format!("version {version} never arrived").into()),
        None => Ok(()),
    }
}
