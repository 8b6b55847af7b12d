use super::Validator;
use crate::history::{Begun, Entry, What};

/// Once nothing is in its way any more, all arrives within a limit.
pub(crate) struct Liveness {
    limit: u64,
    calm: Option<u64>,
    is_drained: bool,
}

impl Liveness {
    pub(crate) fn new(begun: &Begun) -> Self {
        Self { limit: begun.drain_max, calm: None, is_drained: false }
    }
}

impl Validator for Liveness {
    fn note(&mut self, entry: &Entry) -> Result<(), String> {
        match &entry.what {
            What::Calm => self.calm = Some(entry.at),
            What::Drained => {
                self.is_drained = true;
                let taken = entry.at.saturating_sub(self.calm.unwrap_or(entry.at));
                if taken > self.limit {
                    return Err(format!("all arrived only {taken} ms after the last fault"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn conclude(&self) -> Result<(), String> {
        match self.is_drained {
            true => Ok(()),
            false => Err(format!("not all arrived within {} ms after the last fault", self.limit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::trial::*, *};

    #[test]
    fn refuses_what_never_becomes_quiet_and_what_takes_too_long() {
        let limit = |drain_max| Liveness::new(&Begun { drain_max, ..begun() });
        let all = [What::Calm, reached(1), What::Drained];
        assert_eq!(verdict(limit(2), all.clone()), Ok(()));
        refused(verdict(limit(1), all.clone()), "only 2 ms after");
        refused(verdict(limit(1), all[..2].to_vec()), "not all arrived");
    }
}
