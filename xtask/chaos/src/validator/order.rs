use std::collections::{HashMap, HashSet};

use super::Validator;
use crate::history::{Entry, MessageKind, What};

/// The changes of a key come in their order when they come for the first time, and in one stream.
#[derive(Default)]
pub(crate) struct Order {
    seen: HashSet<String>,
    last: HashMap<String, u64>,
    streams: HashMap<String, usize>,
}

impl Validator for Order {
    fn note(&mut self, entry: &Entry) -> Result<(), String> {
        let What::Delivered { stream, message, .. } = &entry.what else { return Ok(()) };
        let Some(key) = message.key.as_ref() else { return Ok(()) };
        let home = *self.streams.entry(key.clone()).or_insert(*stream);
        if home != *stream {
            return Err(format!("{key} is in the streams {home} and {stream}"));
        }
        let Some(step) = message.step.filter(|_| message.kind == MessageKind::Change) else {
            return Ok(());
        };
        if !self.seen.insert(message.id.clone()) {
            return Ok(());
        }
        match self.last.insert(key.clone(), step) {
            Some(last) if last > step => {
                Err(format!("step {step} of {key} came for the first time after step {last}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::trial::*, *};

    fn of(steps: &[(&str, u64)]) -> Result<(), String> {
        let messages = steps.iter().map(|(key, step)| change(key, *step));
        verdict(Order::default(), stream(messages))
    }

    #[test]
    fn refuses_a_change_that_overtook_one_of_its_key() {
        assert_eq!(of(&[("a", 1), ("b", 2), ("a", 3), ("a", 1), ("a", 3)]), Ok(()));
        assert_eq!(of(&[("a", 2), ("b", 1)]), Ok(()));
        refused(of(&[("a", 1), ("a", 3), ("a", 2)]), "first time after step 3");
    }

    #[test]
    fn refuses_a_key_in_two_streams() {
        let all = [
            delivered(0, change("a", 1)),
            What::Delivered { stream: 1, number: 0, message: change("a", 2) },
        ];
        refused(verdict(Order::default(), all), "the streams 0 and 1");
    }
}
