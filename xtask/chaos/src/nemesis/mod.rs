//! Makes trouble, as the seed has it.

pub(crate) mod checkpoint;
pub(crate) mod clock;
pub(crate) mod disk;
pub(crate) mod failpoint;
pub(crate) mod network;
pub(crate) mod process;
pub(crate) mod server;
mod world;

use std::{thread, time::Duration};

use fastrand::Rng;

use crate::Outcome;

pub(crate) use world::World;

/// What every upstream has.
pub(crate) const SCHEMA_CHANGED: &str = "schema changed";

/// Something that goes wrong around the processes, from its beginning to its end.
pub(crate) struct Fault {
    pub(crate) name: String,
    pub(crate) weight: u32,
    pub(crate) run: Box<dyn Fn(&mut Rng) -> Outcome + Send + Sync>,
}

impl Fault {
    pub(crate) fn new(
        name: impl Into<String>,
        weight: u32,
        run: impl Fn(&mut Rng) -> Outcome + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), weight, run: Box::new(run) }
    }
}

/// One of these, by weight.
pub(crate) fn draw<'a, T>(
    all: &'a [T],
    weight: impl Fn(&T) -> u32,
    chance: &mut Rng,
) -> Option<&'a T> {
    let sum: u32 = all.iter().map(&weight).sum();
    let mut left = chance.u32(0..sum.max(1));
    all.iter().find(|one| match left.checked_sub(weight(one)) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    })
}

/// Lets time pass, between `least` and `most` milliseconds.
pub(crate) fn pause(chance: &mut Rng, least: u64, most: u64) {
    thread::sleep(Duration::from_millis(chance.u64(least..=most)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_weighs_more_is_drawn_more_often() {
        let mut chance = Rng::with_seed(1);
        let mut counts = [0; 3];
        for _ in 0..1_000 {
            let drawn = draw(&[(0, 1), (1, 8), (2, 0)], |(_, weight)| *weight, &mut chance);
            counts[drawn.unwrap().0] += 1;
        }
        assert!(counts[1] > 5 * counts[0] && counts[0] > 0 && counts[2] == 0, "{counts:?}");
        assert!(draw(&[(); 0], |()| 1, &mut chance).is_none());
    }
}
