use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// How often it is doubled at most: half a minute becomes an hour.
const DOUBLINGS_MAX: u32 = 7;

/// How long a changefeed may be silent before it counts as dead.
///
/// A cluster that scans a table tells neither how far it is nor of rows that a query leaves out. It
/// looks dead, and to begin anew helps nothing; so each time this runs out it lasts twice as long,
/// until there is progress.
#[derive(Debug)]
pub(crate) struct Patience {
    least: Duration,
    doublings: AtomicU32,
}

impl Patience {
    pub(crate) fn new(least: Duration) -> Self {
        Self { least, doublings: AtomicU32::new(0) }
    }

    pub(crate) fn duration(&self) -> Duration {
        self.least * (1 << self.doublings.load(Ordering::Relaxed).min(DOUBLINGS_MAX))
    }

    /// Notes that it ran out.
    pub(crate) fn lengthen(&self) {
        self.doublings.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes progress.
    pub(crate) fn restore(&self) {
        self.doublings.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_an_hour_until_there_is_progress() {
        let patience = Patience::new(Duration::from_secs(30));
        let mut lasted = Vec::new();
        for _ in 0..10 {
            lasted.push(patience.duration().as_secs());
            patience.lengthen();
        }
        assert_eq!(lasted, [30, 60, 120, 240, 480, 960, 1920, 3840, 3840, 3840]);
        patience.restore();
        assert_eq!(patience.duration(), Duration::from_secs(30));
    }
}
