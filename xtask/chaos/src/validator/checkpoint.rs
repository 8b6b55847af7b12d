use std::collections::{HashMap, HashSet};

use super::Validator;
use crate::history::{Entry, MessageKind, What};

/// Positions are saved in the order in which they were read, whoever saves them, and none is saved,
/// nor is anything forgotten upstream, before the sink has all that it covers.
#[derive(Default)]
pub(crate) struct Checkpoint {
    saved: HashMap<String, u64>,
    covered: Option<u64>,
    seen: HashSet<String>,
    steps: HashSet<(String, u64)>,
}

impl Validator for Checkpoint {
    fn note(&mut self, entry: &Entry) -> Result<(), String> {
        match &entry.what {
            What::Saved { partition, place } => {
                let last = self.saved.insert(partition.clone(), *place).unwrap_or_default();
                if last > *place {
                    return Err(format!("{partition} was saved at {last}, and then at {place}"));
                }
                self.covered = self.covered.max(Some(*place));
            }
            What::Forgotten { steps } => {
                if let Some((key, step)) = steps.iter().find(|step| !self.steps.contains(step)) {
                    return Err(format!("step {step} of {key} is forgotten, and did not come yet"));
                }
            }
            What::Delivered { message, .. } if message.kind == MessageKind::Change => {
                self.steps.extend(message.key.clone().zip(message.step));
                let is_new = self.seen.insert(message.id.clone());
                let covered = match &message.partition {
                    Some(partition) => self.saved.get(partition).copied(),
                    None => self.covered,
                };
                if let Some((place, covered)) = message.place.zip(covered)
                    && is_new
                    && place <= covered
                {
                    let id = &message.id;
                    return Err(format!("{covered} was saved, and {id} at {place} came later"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::trial::*, *};

    #[test]
    fn refuses_a_position_ahead_of_the_sink() {
        let all = |first| {
            let messages = stream([change("a", 1), change("a", 2), change("a", 1)]);
            [vec![reached(first), saved(2)], messages].concat()
        };
        assert_eq!(verdict(Checkpoint::default(), all(2)), Ok(()));
        refused(verdict(Checkpoint::default(), all(1)), "2 was saved, and a:2 at 2 came later");
    }

    #[test]
    fn a_position_says_nothing_of_another_partition() {
        let all = |partition: &str| {
            let partition = Some(partition.to_owned());
            let message = crate::history::Message { partition, ..change("a", 1) };
            [vec![reached(0), saved(2)], stream([message])].concat()
        };
        assert_eq!(verdict(Checkpoint::default(), all("another")), Ok(()));
        refused(verdict(Checkpoint::default(), all("p")), "2 was saved, and a:1 at 1 came later");
    }

    #[test]
    fn refuses_a_position_that_goes_back() {
        assert_eq!(verdict(Checkpoint::default(), [saved(1), saved(1), saved(3)]), Ok(()));
        refused(verdict(Checkpoint::default(), [saved(3), saved(1)]), "at 3, and then at 1");
    }

    #[test]
    fn refuses_what_is_forgotten_before_it_came() {
        let all = |length| {
            let steps = vec![("a".to_owned(), 1)];
            let message = delivered(0, change("a", 1));
            [reached(length), What::Forgotten { steps }, message]
        };
        assert_eq!(verdict(Checkpoint::default(), all(1)), Ok(()));
        refused(verdict(Checkpoint::default(), all(0)), "did not come yet");
    }
}
