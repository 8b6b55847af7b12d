//! What is told of a round.

use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use crate::{
    Outcome,
    history::{Entry, What, timeline},
    validator::{Failure, Tally},
};

/// Under which a history has the length of its round.
pub(crate) const SECONDS: &str = "seconds";

/// Under which it has the points that processes were killed at first, and what is between them.
pub(crate) const FIRST: &str = "first";
pub(crate) const BETWEEN: &str = "; ";

/// How much of a prefix is shown; all of it is in the file.
const SHOWN: usize = 12;

/// One line of a round that went well.
pub(crate) fn line(
    name: &str,
    seed: u64,
    tally: &Tally,
    faults: &BTreeMap<String, usize>,
) -> String {
    let Tally { committed, delivered, repeated, processes, saves, .. } = tally;
    let faults: Vec<_> = faults.iter().map(|(name, count)| format!("{name} {count}")).collect();
    format!(
        "{name} --seed {seed}: {committed} committed, {delivered} delivered, {repeated} again, \
         {processes} processes, {saves} looks at what was saved; {}",
        faults.join(", ")
    )
}

/// How often each fault happened.
pub(crate) fn faults(entries: &[Entry]) -> BTreeMap<String, usize> {
    let mut faults = BTreeMap::new();
    for entry in entries {
        if let What::FaultBegan { name } = &entry.what {
            *faults.entry(name.clone()).or_default() += 1;
        }
    }
    faults
}

/// What was broken, what was drawn, how to do it again, and the shortest prefix of the timeline in
/// which it is seen, which is also written to a file beside the history.
///
/// # Errors
/// That file cannot be written.
pub fn failures(entries: &[Entry], failures: &[Failure], history: &Path) -> Outcome<String> {
    let mut text = String::new();
    for Failure { rule, reason, prefix } in failures {
        writeln!(text, "{rule}: {reason} (after {prefix} entries)")?;
    }
    if let Some(What::Begun(begun)) = entries.first().map(|entry| &entry.what) {
        let settings: Vec<_> =
            begun.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        writeln!(text, "drawn: {}", settings.join(" "))?;
        let (pipeline, seed) = (&begun.pipeline, begun.seed);
        let seconds = begun.settings.get(SECONDS).map_or("30", String::as_str);
        let first = begun.settings.get(FIRST).map_or("", String::as_str);
        let first: String = first.split(BETWEEN).map(|name| format!(" --first '{name}'")).collect();
        writeln!(
            text,
            "again: cargo xtask chaos --pipeline {pipeline} --seed {seed} --seconds {seconds} --rounds 1{first}"
        )?;
    }
    writeln!(text, "judge it again: cargo xtask chaos --history {}", history.display())?;
    let timeline = timeline(entries);
    let prefix = failures.first().map_or(0, |failure| failure.prefix).min(timeline.len());
    let path = history.with_extension("prefix.jsonl");
    let mut lines = String::new();
    for entry in &timeline[..prefix] {
        writeln!(lines, "{}", serde_json::to_string(entry)?)?;
    }
    fs::write(&path, &lines)?;
    writeln!(text, "the shortest failing prefix: {}, which ends with", path.display())?;
    for entry in &timeline[prefix.saturating_sub(SHOWN)..prefix] {
        writeln!(text, "  {}", serde_json::to_string(entry)?)?;
    }
    Ok(text)
}
