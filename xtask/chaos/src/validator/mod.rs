//! What must hold of a history, one rule a file.

mod checkpoint;
mod convergence;
mod duplicates;
mod endings;
mod liveness;
pub(crate) mod loss;
mod memory;
mod order;
mod stop;
#[cfg(test)]
pub(crate) mod trial;

use crate::history::{Begun, Entry, What, timeline};

/// A rule. It sees what happened, in order, and says what is wrong as soon as it can.
pub(crate) trait Validator {
    /// # Errors
    /// What is wrong.
    fn note(&mut self, entry: &Entry) -> Result<(), String>;

    /// # Errors
    /// What is wrong now that nothing more comes.
    fn conclude(&self) -> Result<(), String> {
        Ok(())
    }
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub rule: &'static str,
    pub reason: String,
    /// How many entries of the timeline it takes to see it.
    pub prefix: usize,
}

/// What flowed, where all rules hold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    pub committed: usize,
    pub delivered: usize,
    pub repeated: usize,
    pub processes: usize,
    pub faults: usize,
    pub saves: usize,
}

type Named = (&'static str, Box<dyn Validator>);

fn all(begun: &Begun) -> Vec<Named> {
    vec![
        ("loss", Box::new(loss::Loss::default())),
        ("order", Box::new(order::Order::default())),
        ("duplicates", Box::new(duplicates::Duplicates::new(begun))),
        ("checkpoint", Box::new(checkpoint::Checkpoint::default())),
        ("convergence", Box::new(convergence::Convergence::default())),
        ("memory", Box::new(memory::Memory::new(begun))),
        ("liveness", Box::new(liveness::Liveness::new(begun))),
        ("stop", Box::new(stop::Stop::default())),
        ("endings", Box::new(endings::Endings)),
    ]
}

/// Holds a history against all rules.
///
/// # Errors
/// Every rule that it breaks, that first which is seen first.
pub fn judge(entries: &[Entry]) -> Result<Tally, Vec<Failure>> {
    let failure = |rule, reason: &str, prefix| Failure { rule, reason: reason.to_owned(), prefix };
    let Some(What::Begun(begun)) = entries.first().map(|entry| &entry.what) else {
        return Err(vec![failure("history", "it does not say what it is about", 0)]);
    };
    let mut rules = all(begun);
    let mut failures = Vec::new();
    let timeline = timeline(entries);
    for (number, entry) in timeline.iter().enumerate() {
        rules.retain_mut(|(rule, validator)| match validator.note(entry) {
            Ok(()) => true,
            Err(reason) => {
                failures.push(failure(rule, &reason, number + 1));
                false
            }
        });
    }
    for (rule, validator) in rules {
        if let Err(reason) = validator.conclude() {
            failures.push(failure(rule, &reason, timeline.len()));
        }
    }
    let tally = tally(&timeline);
    if tally.committed == 0 || tally.delivered == 0 {
        failures.push(failure("count", "nothing flowed, so nothing is proven", timeline.len()));
    }
    if failures.is_empty() { Ok(tally) } else { Err(failures) }
}

fn tally(timeline: &[&Entry]) -> Tally {
    let mut tally = Tally::default();
    let mut seen = std::collections::HashSet::new();
    for entry in timeline {
        match &entry.what {
            What::Committed { .. } => tally.committed += 1,
            What::Delivered { message, .. } => {
                tally.delivered += 1;
                tally.repeated += usize::from(!seen.insert(message.id.as_str()));
            }
            What::Process { event: crate::history::ProcessEvent::Started, .. } => {
                tally.processes += 1;
            }
            What::FaultBegan { .. } => tally.faults += 1,
            What::Saved { .. } | What::Forgotten { .. } => tally.saves += 1,
            _ => {}
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::{trial::*, *};

    #[test]
    fn a_good_history_is_accepted_by_all() {
        let tally = judge(&good()).unwrap();
        assert_eq!((tally.committed, tally.delivered, tally.repeated), (3, 5, 1));
    }

    #[test]
    fn a_history_in_which_nothing_flowed_is_refused() {
        let history = entries([What::Begun(begun()), What::Calm, What::Drained]);
        assert_eq!(judge(&history).unwrap_err()[0].rule, "count");
        assert_eq!(judge(&[]).unwrap_err()[0].rule, "history");
    }

    #[test]
    fn the_failure_that_is_seen_first_comes_first() {
        let mut history = good();
        let begin = history.len();
        history.extend(entries([
            ended(0, Some(101)),
            What::Saved { partition: "p".into(), place: 0 },
        ]));
        let failures = judge(&history).unwrap_err();
        let rules: Vec<_> = failures.iter().map(|failure| failure.rule).collect();
        assert_eq!(rules, ["endings", "checkpoint"]);
        assert_eq!(failures[0].prefix, begin + 1);
    }
}
