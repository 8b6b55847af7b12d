use std::collections::HashSet;

use super::Validator;
use crate::history::{Entry, MessageKind, What};

/// With what the keys begin that a sink may refuse.
pub(crate) const HUGE: &str = "huge";

/// Everything that is committed arrives, and nothing that is not.
#[derive(Default)]
pub(crate) struct Loss {
    committed: HashSet<(String, u64)>,
    delivered: HashSet<(String, u64)>,
    rejected: usize,
}

impl Validator for Loss {
    fn note(&mut self, entry: &Entry) -> Result<(), String> {
        match &entry.what {
            What::Committed { key, step } => {
                self.committed.insert((key.clone(), *step));
            }
            What::Rejected { times } => self.rejected += times,
            What::Delivered { message, .. } if message.kind == MessageKind::Change => {
                let key = message.key.clone();
                self.delivered.extend(key.zip(message.step));
            }
            _ => {}
        }
        Ok(())
    }

    fn conclude(&self) -> Result<(), String> {
        let mut lost: Vec<_> = self.committed.difference(&self.delivered).collect();
        let huge = lost.iter().filter(|(key, _)| key.starts_with(HUGE)).count();
        if huge <= self.rejected {
            lost.retain(|(key, _)| !key.starts_with(HUGE));
        }
        lost.sort();
        if let Some((key, step)) = lost.first() {
            let (count, all) = (lost.len(), self.committed.len());
            return Err(format!("{count} of {all} steps never came, the first is {step} of {key}"));
        }
        match self.delivered.difference(&self.committed).min() {
            Some((key, step)) => Err(format!("step {step} of {key} was never committed")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::trial::*, *};

    #[test]
    fn refuses_a_change_that_never_came_and_one_that_never_was() {
        let all = |messages: &[u64]| {
            let steps = messages.iter().map(|step| change("a", *step));
            [vec![committed("a", 1), committed("a", 2)], stream(steps)].concat()
        };
        assert_eq!(verdict(Loss::default(), all(&[1, 2, 1, 2])), Ok(()));
        refused(verdict(Loss::default(), all(&[2])), "1 of 2 steps never came");
        refused(verdict(Loss::default(), all(&[1, 2, 3])), "never committed");
    }

    #[test]
    fn what_the_sink_refused_is_not_lost_but_what_vanished_is() {
        let all = |key: &str, times| {
            let other = stream([change("a", 1)]);
            [vec![committed("a", 1), committed(key, 1), What::Rejected { times }], other].concat()
        };
        assert_eq!(verdict(Loss::default(), all("huge", 1)), Ok(()));
        refused(verdict(Loss::default(), all("huge", 0)), "never came");
        refused(verdict(Loss::default(), all("b", 1)), "never came");
    }

    #[test]
    fn a_row_that_is_read_stands_for_no_change() {
        let read = crate::history::Message { kind: MessageKind::Read, ..change("a", 1) };
        let all = [vec![committed("a", 1)], stream([read])].concat();
        refused(verdict(Loss::default(), all), "never came");
    }
}
