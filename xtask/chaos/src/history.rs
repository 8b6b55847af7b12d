//! What happened in a round, one JSON line each, in the order in which it was seen.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use serde::{Deserialize, Serialize};

use crate::Outcome;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Milliseconds since the round began.
    pub at: u64,
    #[serde(flatten)]
    pub what: What,
}

/// What happens in a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    Begun(Begun),
    Process {
        instance: usize,
        event: ProcessEvent,
        /// The most memory it had by then, in bytes.
        memory: u64,
    },
    FaultBegan {
        name: String,
    },
    FaultEnded {
        name: String,
    },
    /// How many messages each stream of the sink had by then. It was looked at after whatever
    /// stands behind it in the history.
    Reached {
        streams: Vec<u64>,
    },
    /// A position that was in the checkpoint store, by its place in the order of the source.
    Saved {
        partition: String,
        place: u64,
    },
    /// What the upstream has been told to forget.
    Forgotten {
        steps: Vec<(String, u64)>,
    },
    /// All faults have ended, and nothing more is written.
    Calm,
    /// Everything that was committed has arrived.
    Drained,
    /// A step of a key that is committed at the source; those of a key grow.
    Committed {
        key: String,
        step: u64,
    },
    /// So many changes were refused by the sink for good, as the log says: those of keys that
    /// begin with `huge`, and rows of a snapshot that the format has no form for. No others.
    Rejected {
        times: usize,
    },
    /// A row of the source as it is at the end.
    Row {
        table: String,
        key: String,
        digest: u64,
    },
    /// A message as the sink has it at the end.
    Delivered {
        stream: usize,
        number: u64,
        message: Message,
    },
}

/// What a round is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Begun {
    pub seed: u64,
    pub pipeline: String,
    /// What was drawn.
    pub settings: BTreeMap<String, String>,
    /// In what the order of the source is kept.
    pub scope: Scope,
    /// How many instances may deliver at the same time, while one does not know yet that it is
    /// shut out.
    pub instances: usize,
    /// In bytes.
    pub memory_max: u64,
    /// In milliseconds.
    pub drain_max: u64,
}

/// Within what changes come in one order.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Stream,
    Key,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessEvent {
    Started,
    Killed,
    /// It goes on at its checkpoint, by itself.
    Recovered,
    /// It was asked to stop, and did.
    Stopped {
        code: Option<i32>,
        fate: Fate,
    },
    /// It ended by itself, as it had to: a second one beside the first, say.
    Refused {
        code: Option<i32>,
    },
    /// It ended by itself.
    Ended {
        code: Option<i32>,
    },
}

/// What a stop owes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Nothing may come again.
    Exact,
    /// A fault kept it from its flush.
    Disturbed,
}

/// A message of the sink, as the validators look at it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The same each time it is delivered.
    pub id: String,
    pub kind: MessageKind,
    pub table: String,
    /// `None` of a mark.
    pub key: Option<String>,
    /// Which step of the key it tells.
    pub step: Option<u64>,
    /// Its place in the order of the source, if that has one.
    pub place: Option<u64>,
    /// In which partition that place is, if it is not the same order in all.
    #[serde(default)]
    pub partition: Option<String>,
    /// Of the whole message.
    pub digest: u64,
    /// Of the row that it leaves behind.
    pub row: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    Change,
    /// A row that was there already.
    Read,
    /// What follows replaces what came before of the table.
    Replaces,
    Mark,
}

/// A history that is being written.
pub struct History {
    begin: Instant,
    inside: Mutex<Inside>,
}

struct Inside {
    file: File,
    entries: Vec<Entry>,
}

impl History {
    /// # Errors
    /// The file cannot be made.
    pub fn begin(path: &Path, begun: Begun) -> Outcome<Self> {
        let file = OpenOptions::new().create_new(true).append(true).open(path)?;
        let inside = Mutex::new(Inside { file, entries: Vec::new() });
        let history = Self { begin: Instant::now(), inside };
        history.add(What::Begun(begun))?;
        Ok(history)
    }

    /// # Errors
    /// The file cannot be written.
    pub fn add(&self, what: What) -> Outcome<()> {
        self.add_all([what])
    }

    /// Adds what belongs together, with nothing in between.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add_all(&self, all: impl IntoIterator<Item = What>) -> Outcome<()> {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that times do not go back.
        let at = u64::try_from(self.begin.elapsed().as_millis())?;
        let mut text = Vec::new();
        for what in all {
            let entry = Entry { at, what };
            serde_json::to_writer(&mut text, &entry)?;
            text.push(b'\n');
            inside.entries.push(entry);
        }
        Ok(inside.file.write_all(&text)?)
    }

    pub fn entries(&self) -> Vec<Entry> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner).entries.clone()
    }
}

/// Reads what was written down.
///
/// # Errors
/// The file cannot be read, or is no history.
pub fn read(path: &Path) -> Outcome<Vec<Entry>> {
    let text = fs::read_to_string(path)?;
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

/// The entries in the order in which things happened: messages, which are read at the end, come
/// before the first look at their stream that found as many.
pub fn timeline(entries: &[Entry]) -> Vec<&Entry> {
    let mut messages: BTreeMap<usize, BTreeMap<u64, &Entry>> = BTreeMap::new();
    for entry in entries {
        if let What::Delivered { stream, number, .. } = &entry.what {
            messages.entry(*stream).or_default().insert(*number, entry);
        }
    }
    let mut looks: Vec<Vec<u64>> = Vec::new();
    let mut least: BTreeMap<usize, u64> = BTreeMap::new();
    // What is cut off again later was never to be relied on.
    for entry in entries.iter().rev() {
        let What::Reached { streams } = &entry.what else { continue };
        let mut capped = streams.clone();
        for (stream, length) in capped.iter_mut().enumerate() {
            let known = least.entry(stream).or_insert(u64::MAX);
            *known = (*known).min(*length);
            *length = *known;
        }
        looks.push(capped);
    }
    let mut timeline = Vec::with_capacity(entries.len());
    for entry in entries {
        match &entry.what {
            What::Delivered { .. } => {}
            What::Reached { .. } => {
                for (stream, length) in looks.pop().unwrap_or_default().into_iter().enumerate() {
                    let waiting = messages.entry(stream).or_default();
                    let later = waiting.split_off(&length);
                    timeline.extend(std::mem::replace(waiting, later).into_values());
                }
                timeline.push(entry);
            }
            _ => timeline.push(entry),
        }
    }
    timeline.extend(messages.into_values().flat_map(BTreeMap::into_values));
    timeline
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validator::trial::{change, delivered, entries};

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let history = History::begin(&path, crate::validator::trial::begun()).unwrap();
        history.add_all([What::Calm, delivered(0, change("a", 1))]).unwrap();
        history.add(What::Drained).unwrap();
        assert_eq!(read(&path).unwrap(), history.entries());
        let times: Vec<_> = history.entries().iter().map(|entry| entry.at).collect();
        assert!(times.is_sorted());
    }

    #[test]
    fn messages_come_before_the_look_that_found_them() {
        let reached = |length| What::Reached { streams: vec![length] };
        let entries = entries([
            reached(1),
            What::Calm,
            reached(2),
            delivered(0, change("a", 1)),
            delivered(1, change("a", 2)),
            delivered(2, change("a", 3)),
        ]);
        let steps: Vec<_> = timeline(&entries)
            .into_iter()
            .map(|entry| match &entry.what {
                What::Delivered { number, .. } => number.to_string(),
                What::Calm => "calm".to_owned(),
                _ => "look".to_owned(),
            })
            .collect();
        assert_eq!(steps, ["0", "look", "calm", "1", "look", "2"]);
    }

    #[test]
    fn what_was_cut_off_again_had_not_come() {
        let reached = |length| What::Reached { streams: vec![length] };
        let entries = entries([reached(2), reached(1), delivered(0, change("a", 1))]);
        let shown = timeline(&entries);
        assert!(matches!(shown[0].what, What::Delivered { .. }));
        let entries = [entries, super::tests::later()].concat();
        let shown = timeline(&entries);
        assert!(matches!(shown[3].what, What::Delivered { number: 1, .. }));
    }

    fn later() -> Vec<Entry> {
        entries([delivered(1, change("a", 2))])
    }
}
