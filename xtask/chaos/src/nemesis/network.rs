//! What a network does to the bytes between the program and a server.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use rowtide_proxy::{Direction, Fault as Weather};

use super::{Fault, pause};
use crate::{Outcome, site::Site};

type Run = fn(&Site, &mut Rng) -> Outcome;

const FAULTS: [(&str, u32, Run); 8] = [
    ("cut off", 5, stall),
    ("answers lost", 6, lose_answers),
    ("requests lost", 3, lose_requests),
    ("slow", 4, slow_down),
    ("late", 3, be_late),
    ("cut in the middle of messages", 6, cut),
    ("half closed", 4, half_close),
    ("refused", 4, refuse),
];

pub(crate) fn faults(site: &Arc<Site>) -> Vec<Fault> {
    let name = site.kind.name();
    let fault = |(what, weight, run): (&str, u32, Run)| {
        let site = site.clone();
        Fault::new(format!("{name} {what}"), weight, move |chance| run(&site, chance))
    };
    FAULTS.into_iter().map(fault).collect()
}

/// Nothing moves, and nobody is told; now and then for longer than any time-out.
fn stall(site: &Site, chance: &mut Rng) -> Outcome {
    site.proxy.inject(Direction::Both, Weather::Stall);
    let most = if chance.u8(..) < 20 { 65_000 } else { 6_000 };
    pause(chance, 200, most);
    site.proxy.heal();
    Ok(())
}

/// What was sent arrives, and nobody hears of it.
fn lose_answers(site: &Site, chance: &mut Rng) -> Outcome {
    lose(site, Direction::ToClient, chance)
}

fn lose_requests(site: &Site, chance: &mut Rng) -> Outcome {
    lose(site, Direction::ToServer, chance)
}

fn lose(site: &Site, direction: Direction, chance: &mut Rng) -> Outcome {
    site.proxy.inject(direction, Weather::Discard);
    pause(chance, 100, 5_000);
    // A connection with a hole in it is none.
    site.proxy.reset();
    site.proxy.heal();
    Ok(())
}

fn slow_down(site: &Site, chance: &mut Rng) -> Outcome {
    let bytes_per_second = chance.u64(5_000..300_000);
    site.proxy.inject(Direction::Both, Weather::Rate { bytes_per_second });
    pause(chance, 500, 6_000);
    site.proxy.heal();
    Ok(())
}

fn be_late(site: &Site, chance: &mut Rng) -> Outcome {
    let least = Duration::from_millis(chance.u64(1..100));
    let most = least + Duration::from_millis(chance.u64(1..300));
    site.proxy.inject(Direction::Both, Weather::Latency { least, most });
    pause(chance, 500, 6_000);
    site.proxy.heal();
    Ok(())
}

fn cut(site: &Site, chance: &mut Rng) -> Outcome {
    for _ in 0..chance.u8(1..6) {
        let direction = [Direction::ToServer, Direction::ToClient][chance.usize(..2)];
        let bytes = chance.u64(..20_000);
        site.proxy.inject(direction, Weather::CutAfter { bytes });
        pause(chance, 50, 800);
    }
    site.proxy.heal();
    Ok(())
}

fn half_close(site: &Site, chance: &mut Rng) -> Outcome {
    let direction = [Direction::ToServer, Direction::ToClient][chance.usize(..2)];
    site.proxy.half_close(direction);
    pause(chance, 100, 3_000);
    site.proxy.reset();
    Ok(())
}

fn refuse(site: &Site, chance: &mut Rng) -> Outcome {
    site.runtime.block_on(site.proxy.refuse())?;
    site.proxy.reset();
    pause(chance, 100, 4_000);
    Ok(site.runtime.block_on(site.proxy.accept())?)
}
