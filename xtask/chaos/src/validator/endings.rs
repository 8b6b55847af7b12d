use super::Validator;
use crate::history::{Entry, ProcessEvent, What};

/// The exit codes of a process that is shut out: another one holds the pipeline, or has claimed it.
const SHUT_OUT: [i32; 2] = [1, 4];

/// No process ends by itself, but one that is refused.
pub(crate) struct Endings;

impl Validator for Endings {
    fn note(&mut self, entry: &Entry) -> Result<(), String> {
        let What::Process { instance, event, .. } = &entry.what else { return Ok(()) };
        match event {
            ProcessEvent::Ended { code } => {
                Err(format!("instance {instance} ended by itself with {code:?}"))
            }
            ProcessEvent::Refused { code } if code.is_none_or(|code| !SHUT_OUT.contains(&code)) => {
                Err(format!("instance {instance} was to be refused, and ended with {code:?}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::trial::*, *};

    #[test]
    fn refuses_an_end_that_nobody_asked_for() {
        assert_eq!(verdict(Endings, [process(ProcessEvent::Killed)]), Ok(()));
        refused(verdict(Endings, [ended(0, Some(1))]), "ended by itself with Some(1)");
    }

    #[test]
    fn refuses_a_second_process_that_ends_with_another_code() {
        let refusal = |code| process(ProcessEvent::Refused { code });
        assert_eq!(verdict(Endings, [refusal(Some(1)), refusal(Some(4))]), Ok(()));
        refused(verdict(Endings, [refusal(Some(101))]), "to be refused");
        refused(verdict(Endings, [refusal(None)]), "to be refused");
    }
}
