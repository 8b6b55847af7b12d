use std::{
    env,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

const VARIABLE: &str = "ROWTIDE_FAILPOINT";

/// A point that is in this program.
#[derive(Debug)]
#[doc(hidden)]
pub struct Point(pub &'static str);

inventory::collect!(Point);

/// A call in this program that can be made to fail.
#[derive(Debug)]
#[doc(hidden)]
pub struct FailingCall(pub &'static str);

inventory::collect!(FailingCall);

/// The names of all points in this program, in order.
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = inventory::iter::<Point>.into_iter().map(|point| point.0).collect();
    names.sort_unstable();
    names
}

/// The names of all calls in this program that can be made to fail, in order.
pub fn failing_calls() -> Vec<&'static str> {
    let mut names: Vec<_> = inventory::iter::<FailingCall>.into_iter().map(|call| call.0).collect();
    names.sort_unstable();
    names
}

/// Makes sure that the variable, if it is set, names a point that can be passed.
///
/// # Errors
/// A message for the user: a kill that never comes would look like a test that has passed.
pub fn check() -> Result<(), String> {
    let mut names = [names(), failing_calls()].concat();
    names.sort_unstable();
    if let Some(twins) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("two points are called `{}`", twins[0]));
    }
    let Some(text) = text() else { return Ok(()) };
    match Armed::parse(&text) {
        Some(armed) if names.contains(&&*armed.name) => Ok(()),
        Some(armed) => Err(format!("there is no point `{}`", armed.name)),
        None => Err(format!("expected {VARIABLE}=\"name#number\", found `{text}`")),
    }
}

/// Passes a point: the process ends here if it is the one that the variable names.
#[doc(hidden)]
pub fn reached(name: &str) {
    if ARMED.as_ref().is_some_and(|armed| armed.is_hit_by(name, 1)) {
        end();
    }
}

/// Whether it is this that the variable names, and this the time that it names, or one soon after.
#[doc(hidden)]
pub fn is_failing(name: &str) -> bool {
    ARMED.as_ref().is_some_and(|armed| armed.is_hit_by(name, SPELL))
}

static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| Armed::parse(&text()?));

/// How many times a call fails.
const SPELL: u64 = 8;

/// The point at which the process ends, and how many times it is passed before.
struct Armed {
    name: String,
    hit: u64,
    hits: AtomicU64,
}

impl Armed {
    fn parse(text: &str) -> Option<Self> {
        let (name, hit) = text.rsplit_once('#')?;
        let hit = hit.parse().ok().filter(|hit| *hit > 0)?;
        Some(Self { name: name.to_owned(), hit, hits: AtomicU64::new(0) })
    }

    /// Whether this is the time, or one of so many from it on.
    fn is_hit_by(&self, name: &str, times: u64) -> bool {
        let times = self.hit..self.hit + times;
        self.name == name && times.contains(&(self.hits.fetch_add(1, Ordering::Relaxed) + 1))
    }
}

fn text() -> Option<String> {
    env::var(VARIABLE).ok().filter(|text| !text.is_empty())
}

/// Ends the process as it is. The signal may take a moment to reach the other threads, and this one
/// goes no further.
#[cfg(unix)]
fn end() -> ! {
    use rustix::process::{Signal, getpid, kill_process};
    let _ = kill_process(getpid(), Signal::KILL);
    std::process::abort()
}

#[cfg(not(unix))]
fn end() -> ! {
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_hit_when_it_is_passed_so_many_times() {
        let armed = Armed::parse("a: b#c, d#3").unwrap();
        let hits: Vec<_> = (0..5).map(|_| armed.is_hit_by("a: b#c, d", 1)).collect();
        assert_eq!(hits, [false, false, true, false, false]);
        assert!(!armed.is_hit_by("a", 1));
        let armed = Armed::parse("a: b#2").unwrap();
        let hits: Vec<_> = (0..5).map(|_| armed.is_hit_by("a: b", 2)).collect();
        assert_eq!(hits, [false, true, true, false, false]);
    }

    #[test]
    fn what_names_no_hit_is_not_understood() {
        for text in ["", "a", "a#", "a#0", "a#-1", "a#x"] {
            assert!(Armed::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_point_is_known_without_being_passed() {
        fn never() {
            crate::reach!("test: never passed");
        }
        let _ = never as fn();
        assert_eq!(names(), ["test: never passed"]);
        assert!(!crate::fails!("test: never fails"));
        assert_eq!(failing_calls(), ["test: never fails"]);
        check().unwrap();
    }
}
