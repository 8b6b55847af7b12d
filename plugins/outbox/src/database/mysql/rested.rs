use std::time::{Duration, Instant};

/// For how long an unused connection is trusted. What is between here and the server may drop one
/// that is quiet, after some minutes and without telling either end.
const REST_MAX: Duration = Duration::from_secs(60);

/// A connection that waits for its next use, and since when.
pub(super) struct Rested<C>(Option<(C, Instant)>);

impl<C> Default for Rested<C> {
    fn default() -> Self {
        Self(None)
    }
}

impl<C> Rested<C> {
    pub(super) fn put(&mut self, connection: C) {
        self.0 = Some((connection, Instant::now()));
    }

    /// The connection, unless it has rested for too long.
    pub(super) fn take(&mut self) -> Option<C> {
        self.0
            .take()
            .filter(|(_, since)| since.elapsed() < REST_MAX)
            .map(|(connection, _)| connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_has_rested_for_too_long_is_not_used_again() {
        let mut rested = Rested::default();
        assert_eq!(rested.take(), None);
        rested.put(1);
        assert_eq!((rested.take(), rested.take()), (Some(1), None));
        rested.0 = Instant::now().checked_sub(REST_MAX).map(|since| (2, since));
        assert_eq!(rested.take(), None);
    }
}
