use std::{collections::BTreeMap, time::Duration};

use rowtide_core::PartitionId;

use crate::environment::Random;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

/// How long to wait before the next attempt: twice as long each time, with jitter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pause {
    attempts: u32,
}

/// The pauses of the readers that have failed since the last new position of their partition.
///
/// They outlive recoveries: a partition that fails at once in every session must not be asked for
/// as often as the rest of the pipeline recovers.
#[derive(Debug, Default)]
pub(crate) struct Pauses(BTreeMap<PartitionId, Pause>);

impl Pauses {
    /// The pause before the next attempt to read `partition`.
    pub(crate) fn next(&mut self, partition: &PartitionId, random: &mut Random) -> Duration {
        self.0.entry(partition.clone()).or_default().next(random)
    }

    /// Notes that a partition has moved on, so that its next pause is a short one.
    pub(crate) fn moved(&mut self, partition: &PartitionId) {
        if !self.0.is_empty() {
            self.0.remove(partition);
        }
    }
}

impl Pause {
    /// The pause before the next attempt: between half and all of what doubling has come to.
    pub(crate) fn next(&mut self, random: &mut Random) -> Duration {
        let doubled = FIRST.saturating_mul(2_u32.saturating_pow(self.attempts));
        self.attempts = self.attempts.saturating_add(1);
        doubled.min(LONGEST).mul_f64(0.5 + random.fraction() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;

    #[test]
    fn a_pause_doubles_up_to_its_bound() {
        let mut random = Environment::new(|| Duration::ZERO, 7).random();
        let mut pause = Pause::default();
        for attempt in 0..100 {
            let whole = FIRST.saturating_mul(2_u32.saturating_pow(attempt)).min(LONGEST);
            let chosen = pause.next(&mut random);
            assert!(whole / 2 <= chosen && chosen <= whole, "{attempt}: {chosen:?}");
        }
    }
}
