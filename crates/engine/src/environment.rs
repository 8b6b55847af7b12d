use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use rowtide_core::Owner;

/// What the engine takes from the machine it runs on.
#[derive(Clone)]
pub struct Environment {
    clock: Arc<dyn Fn() -> Duration + Send + Sync>,
    seed: u64,
}

/// Numbers that differ between processes, so that they do not all return at the same moment.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Environment {
    /// A clock that goes on while the machine is suspended, and a seed for the jitter of pauses.
    pub fn new(clock: impl Fn() -> Duration + Send + Sync + 'static, seed: u64) -> Self {
        Self { clock: Arc::new(clock), seed }
    }

    /// The clock and the entropy of this machine.
    pub(crate) fn of_this_machine() -> Self {
        Self::new(time_since_boot, RandomState::new().hash_one(()))
    }

    /// The time since some fixed moment, time in suspension included.
    pub(crate) fn now(&self) -> Duration {
        (self.clock)()
    }

    pub(crate) fn random(&self) -> Random {
        Random(self.seed)
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Environment").field("seed", &self.seed).finish_non_exhaustive()
    }
}

impl Random {
    /// A number between 0 and 1 (SplitMix64).
    pub(crate) fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        f64::from((mixed >> 32) as u32) / f64::from(u32::MAX)
    }
}

/// This process, as it is named to those that it shuts out.
pub(crate) fn owner() -> Owner {
    Owner { host: host(), process: std::process::id(), since: Timestamp::now() }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn time_since_boot() -> Duration {
    // The monotonic clock of Linux stands still while the machine sleeps; this one does not.
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn time_since_boot() -> Duration {
    // Elsewhere the standard library's clock counts the time in suspension.
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

#[cfg(unix)]
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn host() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "this host".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_this_machine_never_goes_back() {
        let environment = Environment::of_this_machine();
        let earlier = environment.now();
        assert!(earlier > Duration::ZERO || cfg!(not(target_os = "linux")));
        assert!(environment.now() >= earlier);
    }

    #[test]
    fn fractions_stay_between_0_and_1_and_differ() {
        let mut random = Environment::new(|| Duration::ZERO, 1).random();
        let fractions: Vec<_> = (0..100).map(|_| random.fraction()).collect();
        assert!(fractions.iter().all(|fraction| (0.0..=1.0).contains(fraction)));
        assert!(fractions.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn the_owner_is_this_process() {
        assert_eq!(owner().process, std::process::id());
        assert!(!owner().host.is_empty());
    }
}
