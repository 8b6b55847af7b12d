//! What must hold of what a pipeline saw, whatever went wrong on its way.

use std::collections::{BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use rowtide_fake_spanner::{Server, Told};

use crate::trace::{Name, Seen, Step, said};

/// What really happened.
pub(crate) struct Truth {
    told: HashMap<Name, Told>,
    /// The names of what each partition tells.
    of_partition: HashMap<String, BTreeSet<Name>>,
    parents: HashMap<String, Vec<String>>,
}

/// Says what is wrong, if anything is.
pub(crate) fn verdict(trace: &[Step], truth: &Truth) -> Result<(), String> {
    let mut judge = Judge::new(truth);
    for (index, step) in trace.iter().enumerate() {
        judge.take(step).map_err(|wrong| format!("step {index} of {}: {wrong}", trace.len()))?;
    }
    match truth.told.keys().find(|name| !judge.delivered.contains_key(name)) {
        Some(missing) => Err(format!("{missing:?} is missing")),
        None if judge.delivered.is_empty() => Err("nothing came at all".to_owned()),
        None => Ok(()),
    }
}

impl Truth {
    /// What a pipeline must deliver that begins at a time.
    pub(crate) fn of(server: &Server, start: Timestamp) -> Self {
        let (mut told, mut of_partition) = (HashMap::new(), HashMap::new());
        for change in server.told().into_iter().filter(|change| change.committed_at >= start) {
            let name = Name::from(&change);
            let names: &mut BTreeSet<_> = of_partition.entry(change.token.clone()).or_default();
            names.insert(name.clone());
            told.insert(name, change);
        }
        let lineages = server.lineages();
        let before: HashSet<_> = lineages
            .iter()
            .filter(|lineage| lineage.end.is_some_and(|end| end <= start))
            .map(|lineage| lineage.token.clone())
            .collect();
        let parents = lineages.into_iter().map(|lineage| {
            let parents = lineage.parents.into_iter().filter(|parent| !before.contains(parent));
            (lineage.token, parents.collect())
        });
        Self { told, of_partition, parents: parents.collect() }
    }

    /// Leaves out what comes after a time.
    pub(crate) fn end_at(&mut self, end: Timestamp) {
        self.told.retain(|_, told| told.committed_at <= end);
        for names in self.of_partition.values_mut() {
            names.retain(|name| self.told.contains_key(name));
        }
    }
}

struct Judge<'t> {
    truth: &'t Truth,
    streams: HashMap<String, Stream>,
    /// What each position of each partition covers.
    covered: HashMap<(String, String), BTreeSet<Name>>,
    /// What was delivered, and how.
    delivered: HashMap<Name, String>,
    /// The last change of each row that was delivered for the first time.
    rows: HashMap<String, (Timestamp, String)>,
    saved_as_finished: HashSet<String>,
}

/// A partition that is being read.
#[derive(Default)]
struct Stream {
    /// What came, and what the position that it was opened from covers.
    known: BTreeSet<Name>,
    at: Option<Timestamp>,
    /// The last record of each transaction of that time.
    sequences: HashMap<String, (String, usize)>,
    attested: Option<Timestamp>,
}

impl<'t> Judge<'t> {
    fn new(truth: &'t Truth) -> Self {
        Self {
            truth,
            streams: HashMap::new(),
            covered: HashMap::new(),
            delivered: HashMap::new(),
            rows: HashMap::new(),
            saved_as_finished: HashSet::new(),
        }
    }

    fn take(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Opened { partition, from } => self.open(partition, from.as_deref()),
            Step::Changed { partition, change } => self.change(partition, change),
            Step::Placed { partition, position, attested } => {
                self.place(partition, position, *attested)
            }
            Step::Finished { partition } => self.finish(partition),
            Step::Saved { finished } => {
                self.saved_as_finished.extend(finished.iter().cloned());
                Ok(())
            }
        }
    }

    fn open(&mut self, partition: &str, from: Option<&str>) -> Result<(), String> {
        let parents = self.truth.parents.get(partition).map(Vec::as_slice).unwrap_or_default();
        if let Some(early) = parents.iter().find(|parent| !self.saved_as_finished.contains(*parent))
        {
            return Err(format!(
                "{partition} begins before its parent {early} is saved as finished"
            ));
        }
        let place = from.map(|from| (partition.to_owned(), from.to_owned()));
        let known = place.and_then(|place| self.covered.get(&place).cloned());
        let stream = Stream { known: known.unwrap_or_default(), ..Stream::default() };
        self.streams.insert(partition.to_owned(), stream);
        Ok(())
    }

    fn change(&mut self, partition: &str, change: &Seen) -> Result<(), String> {
        let Some(told) = self.truth.told.get(&change.name) else {
            return Err(format!("{} was never told", change.whole));
        };
        if told.token != partition || said(told) != change.said {
            return Err(format!("{} is not {told:?}", change.whole));
        }
        let stream = self.streams.entry(partition.to_owned()).or_default();
        stream.order(&change.name)?;
        if !stream.known.insert(change.name.clone()) {
            return Err(format!("{:?} comes again to one that has it", change.name));
        }
        if let Some(before) = self.delivered.get(&change.name) {
            let is_same = *before == change.whole;
            return is_same
                .then_some(())
                .ok_or_else(|| format!("{} came before as {before}", change.whole));
        }
        self.delivered.insert(change.name.clone(), change.whole.clone());
        let place = (change.name.at, change.name.sequence.clone());
        match self.rows.insert(change.row.clone(), place.clone()) {
            Some(last) if last > place => {
                Err(format!("{:?} comes after that of {last:?}", change.name))
            }
            _ => Ok(()),
        }
    }

    fn place(
        &mut self,
        partition: &str,
        position: &str,
        attested: Option<Timestamp>,
    ) -> Result<(), String> {
        let stream = self.streams.entry(partition.to_owned()).or_default();
        if attested < stream.attested {
            return Err(format!("{partition} goes from {:?} to {attested:?}", stream.attested));
        }
        stream.attested = attested;
        let names = self.truth.of_partition.get(partition);
        let promised = names.into_iter().flatten().filter(|name| Some(name.at) <= attested);
        if let Some(missing) = promised.into_iter().find(|name| !stream.known.contains(*name)) {
            return Err(format!("{attested:?} is attested, and {missing:?} has not come"));
        }
        let place = (partition.to_owned(), position.to_owned());
        match self.covered.insert(place, stream.known.clone()) {
            Some(before) if before != stream.known => {
                Err(format!("{position} of {partition} covered something else before"))
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self, partition: &str) -> Result<(), String> {
        let stream = self.streams.remove(partition).unwrap_or_default();
        let names = self.truth.of_partition.get(partition);
        match names.into_iter().flatten().find(|name| !stream.known.contains(*name)) {
            Some(missing) => Err(format!("{partition} ends without {missing:?}")),
            None => Ok(()),
        }
    }
}

impl Stream {
    /// Times never go back, and no record of a transaction comes before an earlier one.
    fn order(&mut self, name: &Name) -> Result<(), String> {
        if self.at.is_some_and(|at| name.at < at) {
            return Err(format!("{name:?} comes after {:?}", self.at));
        }
        if self.at != Some(name.at) {
            self.sequences.clear();
            self.at = Some(name.at);
        }
        let place = (name.sequence.clone(), name.number);
        match self.sequences.insert(name.transaction.clone(), place.clone()) {
            Some(last) if last >= place => Err(format!("{name:?} comes after {last:?}")),
            _ => Ok(()),
        }
    }
}
