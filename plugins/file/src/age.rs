use std::time::{Duration, Instant, SystemTime};

/// How old something is: it grows by a clock that never jumps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Age {
    at_first: Duration,
    since: Instant,
}

impl Age {
    pub(crate) fn zero() -> Self {
        Self { at_first: Duration::ZERO, since: Instant::now() }
    }

    /// The age of what was made at `birth`. If that is yet to come, the clock on the wall went back
    /// meanwhile and the age is not known: the greatest, so that nothing waits for that clock.
    pub(crate) fn since(birth: SystemTime) -> Self {
        let at_first = SystemTime::now().duration_since(birth).unwrap_or(Duration::MAX);
        Self { at_first, since: Instant::now() }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.at_first.saturating_add(self.since.elapsed())
    }
}
