use std::collections::HashMap;

use super::Validator;
use crate::history::{Begun, Entry, Message, MessageKind, ProcessEvent, Scope, What};

/// What comes again is the same to the byte, and comes in runs without a hole that end with what is
/// new; no more of them than there were processes and recoveries.
pub(crate) struct Duplicates {
    scope: Scope,
    /// How many runs may be under way at once.
    writers: usize,
    resumptions: usize,
    digests: HashMap<String, u64>,
    sequences: HashMap<String, Sequence>,
}

/// Changes in the order in which they first came.
#[derive(Default)]
struct Sequence {
    places: HashMap<String, usize>,
    /// What each run told last, the latest run first.
    runs: Vec<usize>,
    again: usize,
}

impl Duplicates {
    pub(crate) fn new(begun: &Begun) -> Self {
        Self {
            scope: begun.scope,
            writers: begun.instances,
            resumptions: 0,
            digests: HashMap::new(),
            sequences: HashMap::new(),
        }
    }

    fn take(&mut self, stream: usize, message: &Message) -> Result<(), String> {
        let digest = *self.digests.entry(message.id.clone()).or_insert(message.digest);
        if digest != message.digest {
            return Err(format!("{} came again in another form", message.id));
        }
        if message.kind != MessageKind::Change {
            return Ok(());
        }
        let name = match (self.scope, &message.key) {
            (Scope::Key, Some(key)) => key.clone(),
            _ => stream.to_string(),
        };
        let sequence = self.sequences.entry(name).or_default();
        sequence.take(&message.id, self.writers)?;
        if sequence.again > 0 && sequence.again >= self.resumptions {
            let (runs, resumptions) = (sequence.again, self.resumptions);
            return Err(format!("{} began re-run {runs} after {resumptions} starts", message.id));
        }
        Ok(())
    }
}

impl Sequence {
    fn take(&mut self, id: &str, writers: usize) -> Result<(), String> {
        let new = self.places.len();
        let place = *self.places.entry(id.to_owned()).or_insert(new);
        let follows = |last: &usize| *last + 1 == place;
        if let Some(run) = self.runs.iter().position(follows) {
            let last = self.runs.remove(run);
            self.runs.insert(0, last + 1);
            return Ok(());
        }
        // Nobody saves what a run of it has not told, so that the next one begins no later.
        let furthest = self.runs.iter().max().map_or(0, |last| last + 1);
        if place > furthest {
            return Err(format!("{id} came, and what is before it was not told to its end"));
        }
        self.again += usize::from(new > 0);
        self.runs.insert(0, place);
        // Who was shut out may stop anywhere, so that a run of it is never told to its end.
        self.runs.truncate(writers);
        Ok(())
    }
}

impl Validator for Duplicates {
    fn note(&mut self, entry: &Entry) -> Result<(), String> {
        match &entry.what {
            What::Process { event: ProcessEvent::Started | ProcessEvent::Recovered, .. } => {
                self.resumptions += 1;
                Ok(())
            }
            What::Delivered { stream, message, .. } => self.take(*stream, message),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::trial::*, *};

    /// So many starts, then changes of one stream.
    fn of(begun: &Begun, starts: usize, steps: &[u64]) -> Result<(), String> {
        let starts = std::iter::repeat_n(process(ProcessEvent::Started), starts);
        let messages = stream(steps.iter().map(|step| change("a", *step)));
        verdict(Duplicates::new(begun), starts.chain(messages))
    }

    #[test]
    fn refuses_a_duplicate_in_another_form() {
        let again = Message { digest: 7, ..change("a", 1) };
        let all = [process(ProcessEvent::Started), delivered(0, change("a", 1))];
        let all = all.into_iter().chain([delivered(1, again)]);
        refused(verdict(Duplicates::new(&begun()), all), "in another form");
    }

    #[test]
    fn refuses_a_run_with_a_hole_or_without_its_end() {
        assert_eq!(of(&begun(), 2, &[1, 2, 3, 2, 3, 4]), Ok(()));
        assert_eq!(of(&begun(), 3, &[1, 2, 3, 1, 2, 2, 3, 4]), Ok(()));
        refused(of(&begun(), 2, &[1, 2, 3, 2, 4]), "not told to its end");
        refused(of(&begun(), 9, &[1, 2, 3, 1, 3]), "not told to its end");
    }

    #[test]
    fn refuses_more_runs_than_there_were_starts() {
        refused(of(&begun(), 1, &[1, 1, 1, 2]), "after 1 starts");
    }

    #[test]
    fn who_was_shut_out_may_stop_early() {
        let two = Begun { instances: 2, ..begun() };
        let steps = [1, 2, 3, 1, 4, 2, 5];
        assert_eq!(of(&two, 2, &steps), Ok(()));
        refused(of(&begun(), 2, &steps), "not told to its end");
    }

    #[test]
    fn runs_of_a_key_do_not_know_of_other_keys() {
        let keys = Begun { scope: Scope::Key, ..begun() };
        let all = |begun: &Begun| {
            let steps = [("a", 1), ("b", 2), ("b", 2), ("a", 1), ("a", 3), ("b", 4)];
            let starts = std::iter::repeat_n(process(ProcessEvent::Started), 2);
            let messages = stream(steps.map(|(key, step)| change(key, step)));
            verdict(Duplicates::new(begun), starts.chain(messages))
        };
        assert_eq!(all(&keys), Ok(()));
        assert!(all(&begun()).is_err());
    }
}
