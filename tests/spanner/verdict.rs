//! What was delivered, held against what the stream had.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use jiff::Timestamp;
use serde_json::Value;

use crate::Outcome;

/// A partition as the official client read it.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    pub(crate) token: String,
    parents: Vec<String>,
    pub(crate) records: Vec<Value>,
}

/// What was found, where nothing is wrong.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Found {
    pub(crate) records: usize,
    pub(crate) repeated: usize,
    pub(crate) partitions: usize,
    pub(crate) merges: usize,
}

impl fmt::Display for Found {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, repeated, partitions, merges } = self;
        write!(
            formatter,
            "{records} records of {partitions} partitions, {merges} of them merges, and {repeated} \
             records again"
        )
    }
}

/// What tells records apart.
pub(crate) type Identity = (Timestamp, String, String);

/// Which record of which partition.
type Place = (usize, usize);

impl Partition {
    /// Reads what the reader wrote, a line each.
    pub(crate) fn read_all(lines: &str) -> Outcome<Vec<Self>> {
        lines.lines().map(Self::read).collect()
    }

    fn read(line: &str) -> Outcome<Self> {
        let line: Value = serde_json::from_str(line)?;
        let token = line["token"].as_str().ok_or("a partition without a token")?.to_owned();
        let parents = serde_json::from_value(line["parents"].clone())?;
        let records: Vec<Value> = serde_json::from_value(line["records"].clone())?;
        Ok(Self { token, parents, records })
    }
}

pub(crate) fn identity(record: &Value) -> Outcome<Identity> {
    let text = |name: &str| Ok::<_, String>(record[name].as_str().ok_or(name)?.to_owned());
    let at = text("commit_timestamp")?.parse()?;
    Ok((at, text("server_transaction_id")?, text("record_sequence")?))
}

/// Without the time, which both write in their own way.
fn contents(record: &Value) -> Value {
    let mut contents = record.clone();
    contents["commit_timestamp"] = Value::Null;
    contents
}

/// Holds the lines, in their order, against the truth.
///
/// # Errors
/// A record that is missing, was never there, differs, overtook another of its partition or of a
/// partition before it, or came again otherwise than in a run of its successors.
pub(crate) fn judge(lines: &[String], truth: &[Partition]) -> Outcome<Found> {
    let mut known: HashMap<Identity, Place> = HashMap::new();
    for (partition, of) in truth.iter().enumerate() {
        for (place, record) in of.records.iter().enumerate() {
            known.insert(identity(record)?, (partition, place));
        }
    }
    let mut delivered = Delivered::default();
    for (number, line) in lines.iter().enumerate() {
        let record: Value = serde_json::from_str(line)?;
        let place = *known.get(&identity(&record)?).ok_or_else(|| format!("made up: {line}"))?;
        if contents(&record) != contents(&truth[place.0].records[place.1]) {
            return Err(format!("{line}\ninstead of\n{}", truth[place.0].records[place.1]).into());
        }
        delivered.take(number, place, line)?;
    }
    let missing = known.values().filter(|place| !delivered.lines.contains_key(place)).count();
    if missing > 0 {
        return Err(format!("{missing} of {} records never arrived", known.len()).into());
    }
    delivered.check_families(truth)?;
    Ok(Found {
        records: known.len(),
        repeated: lines.len() - known.len(),
        partitions: truth.len(),
        merges: truth.iter().filter(|partition| partition.parents.len() > 1).count(),
    })
}

/// When each row of a metadata table was written.
pub(crate) fn saves(writes: &[Partition]) -> Outcome<HashMap<String, Vec<Timestamp>>> {
    let mut saves: HashMap<String, Vec<Timestamp>> = HashMap::new();
    for record in writes.iter().flat_map(|partition| &partition.records) {
        let (at, ..) = identity(record)?;
        for row in record["mods"].as_array().into_iter().flatten() {
            // That a row is removed is no save of where its partition is.
            if record["mod_type"] != "DELETE" {
                let token = row["keys"]["PartitionToken"].as_str().ok_or("no token")?;
                saves.entry(token.to_owned()).or_default().push(at);
            }
        }
    }
    Ok(saves)
}

/// What has arrived so far.
#[derive(Default)]
struct Delivered<'a> {
    lines: HashMap<Place, &'a str>,
    /// The record that came last of each partition, and the numbers of its first and last line.
    last: HashMap<usize, usize>,
    span: HashMap<usize, (usize, usize)>,
}

impl<'a> Delivered<'a> {
    fn take(&mut self, number: usize, place: Place, line: &'a str) -> Outcome<()> {
        let first = *self.lines.entry(place).or_insert(line);
        if first != line {
            return Err(format!("again, but not the same:\n{first}\n{line}").into());
        }
        let (partition, record) = place;
        let next = self.last.get(&partition).map_or(0, |last| last + 1);
        // A run that begins again begins with what was delivered before.
        if record > next {
            return Err(format!("record {record} came where {next} was due: {line}").into());
        }
        self.last.insert(partition, record);
        self.span.entry(partition).or_insert((number, number)).1 = number;
        Ok(())
    }

    /// That everything of a partition came before anything of those that go on with it.
    fn check_families(&self, truth: &[Partition]) -> Outcome<()> {
        let tokens: HashMap<&str, usize> =
            truth.iter().enumerate().map(|(index, of)| (of.token.as_str(), index)).collect();
        for (index, partition) in truth.iter().enumerate() {
            let Some((first, _)) = self.span.get(&index) else { continue };
            let mut open = vec![index];
            let mut seen = HashSet::new();
            while let Some(child) = open.pop() {
                let parents = truth[child].parents.iter();
                let parents = parents.filter_map(|parent| tokens.get(parent.as_str()).copied());
                for parent in parents.filter(|parent| seen.insert(*parent)) {
                    if self.span.get(&parent).is_some_and(|(_, last)| last > first) {
                        let (before, after) = (&truth[parent].token, &partition.token);
                        return Err(format!("{after} was read before {before} ended").into());
                    }
                    open.push(parent);
                }
            }
        }
        Ok(())
    }
}

/// What a verdict is worth.
pub(crate) fn refuses_what_is_wrong() -> Outcome<()> {
    let record = |second: u8| {
        format!(
            r#"{{"commit_timestamp":"2026-11-21T10:00:0{second}Z","server_transaction_id":"x",
            "record_sequence":"0","mods":[{second}]}}"#
        )
        .replace('\n', "")
    };
    let partition = |token: &str, parents: &[&str], seconds: &[u8]| Partition {
        token: token.to_owned(),
        parents: parents.iter().map(|parent| (*parent).to_owned()).collect(),
        records: seconds.iter().map(|second| record(*second).parse().unwrap_or_default()).collect(),
    };
    let truth = [
        partition("a", &[], &[1, 2, 3]),
        partition("between", &["a"], &[]),
        partition("c", &["between"], &[4, 5]),
    ];
    let check = |seconds: &[u8], is_right: bool| {
        let lines: Vec<_> = seconds.iter().map(|second| record(*second)).collect();
        match judge(&lines, &truth).is_ok() == is_right {
            true => Ok(()),
            false => {
                Err(format!("{seconds:?} must be {}", if is_right { "fine" } else { "refused" }))
            }
        }
    };
    check(&[1, 2, 3, 4, 5], true)?;
    check(&[1, 2, 2, 3, 1, 2, 3, 4, 4, 5], true)?;
    check(&[1, 2, 3, 4], false)?;
    check(&[1, 3, 2, 3, 4, 5], false)?;
    check(&[1, 2, 3, 1, 3, 4, 5], false)?;
    check(&[1, 2, 3, 4, 5, 6], false)?;
    check(&[1, 2, 4, 3, 5], false)?;
    check(&[1, 2, 3, 4, 3, 5], false)?;
    let changed = [1, 2, 3, 4, 5].map(|second| record(second).replace("[2]", "[7]"));
    match judge(&changed, &truth) {
        Ok(_) => Err("a changed record is accepted".into()),
        Err(_) => Ok(()),
    }
}
