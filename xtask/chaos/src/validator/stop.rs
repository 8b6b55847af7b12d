use std::collections::{HashMap, HashSet};

use super::Validator;
use crate::history::{Entry, Fate, MessageKind, ProcessEvent, What};

/// After a clean stop nothing comes again.
#[derive(Default)]
pub(crate) struct Stop {
    /// Whether the next message of a stream comes after such a stop.
    stopped: HashMap<usize, bool>,
    streams: HashSet<usize>,
    /// Those in which what an earlier process had not saved has not come again yet.
    behind: HashSet<usize>,
    seen: HashSet<String>,
}

impl Validator for Stop {
    fn note(&mut self, entry: &Entry) -> Result<(), String> {
        match &entry.what {
            What::Process { event: ProcessEvent::Stopped { code, fate }, .. } => {
                if *code != Some(0) {
                    return Err(format!("a stop ended with {code:?}"));
                }
                let is_exact = |stream| *fate == Fate::Exact && !self.behind.contains(stream);
                let streams = self.streams.iter();
                self.stopped = streams.map(|stream| (*stream, is_exact(stream))).collect();
            }
            What::Process { event: ProcessEvent::Killed | ProcessEvent::Recovered, .. } => {
                self.stopped.clear();
                self.behind.clone_from(&self.streams);
            }
            What::Delivered { stream, message, .. } if message.kind == MessageKind::Change => {
                self.streams.insert(*stream);
                let is_again = !self.seen.insert(message.id.clone());
                if !is_again {
                    self.behind.remove(stream);
                }
                if self.stopped.remove(stream) == Some(true) && is_again {
                    return Err(format!("{} came again after a clean stop", message.id));
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
    fn refuses_a_duplicate_after_a_clean_stop() {
        let all = |event, next| {
            let messages = stream([change("a", 1), change("a", 2), change("a", next)]);
            [vec![reached(2), process(event)], messages].concat()
        };
        let stopped = |fate| ProcessEvent::Stopped { code: Some(0), fate };
        assert_eq!(verdict(Stop::default(), all(stopped(Fate::Exact), 3)), Ok(()));
        assert_eq!(verdict(Stop::default(), all(stopped(Fate::Disturbed), 2)), Ok(()));
        assert_eq!(verdict(Stop::default(), all(ProcessEvent::Killed, 2)), Ok(()));
        refused(verdict(Stop::default(), all(stopped(Fate::Exact), 2)), "after a clean stop");
    }

    #[test]
    fn what_an_earlier_process_had_not_saved_may_come_after_a_stop() {
        let all = |between: u64| {
            let kill = [reached(1), process(ProcessEvent::Killed)];
            let stop = ProcessEvent::Stopped { code: Some(0), fate: Fate::Exact };
            let stop = [reached(2), process(stop)];
            let messages = stream([1, between, 1].map(|step| change("a", step)));
            [kill.to_vec(), stop.to_vec(), messages].concat()
        };
        assert_eq!(verdict(Stop::default(), all(1)), Ok(()));
        refused(verdict(Stop::default(), all(2)), "after a clean stop");
    }

    #[test]
    fn refuses_a_stop_with_an_error() {
        let event = ProcessEvent::Stopped { code: Some(1), fate: Fate::Exact };
        refused(verdict(Stop::default(), [process(event)]), "ended with Some(1)");
    }
}
