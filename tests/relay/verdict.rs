//! What was consumed, held against what was committed.

use std::{
    collections::{HashMap, HashSet},
    error::Error,
    fmt,
};

use crate::session::Truth;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A message as the consumer found it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) aggregate: i64,
    /// Counts the messages of the aggregate, without a gap.
    pub(crate) version: i64,
    /// Drawn when the message was written: one that was rolled back has another than the one that
    /// took its place.
    pub(crate) nonce: String,
}

/// What was found, where nothing is wrong.
#[derive(Debug, Default)]
pub(crate) struct Found {
    messages: usize,
    repeated: usize,
    /// The most re-runs of one aggregate.
    pub(crate) runs: usize,
}

impl fmt::Display for Found {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, repeated, runs } = self;
        write!(formatter, "{messages} messages, {repeated} of them again, in {runs} re-runs")
    }
}

/// Holds `consumed`, the messages of each partition in its order, against `truth`.
///
/// # Errors
/// A message that is missing, was rolled back, overtook another of its aggregate, or came again
/// otherwise than in a run of its successors; or more re-runs of an aggregate than `kills`.
pub(crate) fn judge(consumed: &[Vec<Message>], truth: &Truth, kills: usize) -> Outcome<Found> {
    let mut found = Found::default();
    let mut homes = HashMap::new();
    let mut seen = HashSet::new();
    for (partition, messages) in consumed.iter().enumerate() {
        let mut aggregates: HashMap<i64, Aggregate> = HashMap::new();
        for message in messages {
            let Message { aggregate, version, nonce } = message;
            if truth.get(&(*aggregate, *version)) != Some(nonce) {
                return Err(format!("{message:?} was never committed").into());
            }
            if *homes.entry(*aggregate).or_insert(partition) != partition {
                return Err(format!("aggregate {aggregate} is in two partitions").into());
            }
            aggregates.entry(*aggregate).or_default().take(message)?;
            found.repeated += usize::from(!seen.insert((*aggregate, *version)));
            found.messages += 1;
        }
        let runs = aggregates.values().map(|aggregate| aggregate.runs);
        found.runs = found.runs.max(runs.max().unwrap_or(0));
    }
    let mut missing: Vec<_> = truth.keys().filter(|key| !seen.contains(key)).collect();
    missing.sort();
    match missing.first() {
        Some((aggregate, version)) => Err(format!(
            "{} of {} messages never came, the first is {version} of {aggregate}",
            missing.len(),
            truth.len()
        )
        .into()),
        None if found.runs > kills => {
            Err(format!("{} re-runs of one aggregate after {kills} kills", found.runs).into())
        }
        None => Ok(found),
    }
}

#[derive(Default)]
struct Aggregate {
    latest: i64,
    highest: i64,
    runs: usize,
}

impl Aggregate {
    fn take(&mut self, message: &Message) -> Outcome<()> {
        let Message { aggregate, version, .. } = message;
        if *version <= self.latest {
            self.runs += 1;
        } else if *version != self.latest + 1 {
            let latest = self.latest;
            return Err(format!("{version} of {aggregate} came right after {latest}").into());
        }
        if *version > self.highest + 1 {
            return Err(format!("{version} of {aggregate} came before its predecessor").into());
        }
        self.latest = *version;
        self.highest = self.highest.max(*version);
        Ok(())
    }
}

/// Histories that must be refused, each with a word of the reason.
pub(crate) fn refuses_what_is_wrong() -> Outcome<()> {
    let message = |version, nonce: &str| Message { aggregate: 1, version, nonce: nonce.to_owned() };
    let right = |versions: &[i64]| versions.iter().map(|version| message(*version, "n")).collect();
    let truth: Truth = (1..=3).map(|version| ((1, version), "n".to_owned())).collect();
    for (consumed, word) in [
        (vec![right(&[1, 2])], "never came"),
        (vec![right(&[1, 3, 2])], "right after"),
        (vec![right(&[2, 3])], "right after"),
        (vec![right(&[1, 2, 1, 3])], "right after"),
        (vec![right(&[1, 1, 1, 1, 2, 3])], "re-runs"),
        (vec![right(&[1]), right(&[2, 3])], "two partitions"),
        (vec![vec![message(1, "rolled back")]], "never committed"),
        (vec![right(&[1, 2, 3, 4])], "never committed"),
    ] {
        let reason = match judge(&consumed, &truth, 2) {
            Ok(found) => return Err(format!("{consumed:?} was let through: {found}").into()),
            Err(reason) => reason.to_string(),
        };
        if !reason.contains(word) {
            return Err(format!("{consumed:?} was refused because {reason}").into());
        }
    }
    let found = judge(&[right(&[1, 2, 1, 2, 3, 3])], &truth, 2)?;
    match (found.messages, found.repeated, found.runs) {
        (6, 3, 2) => Ok(()),
        _ => Err(format!("miscounted: {found:?}").into()),
    }
}
