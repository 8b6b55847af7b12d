//! What a network does to the bytes between the program and a server.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use rowtide_proxy::{Direction, Fault as Weather};
use tokio::time::timeout;

use super::{Fault, pause};
use crate::{Outcome, site::Link};

type Run = fn(&Link, &mut Rng) -> Outcome;

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

pub(crate) fn faults(link: &Arc<Link>) -> Vec<Fault> {
    let name = link.name;
    let fault = |(what, weight, run): (&str, u32, Run)| {
        let link = link.clone();
        Fault::new(format!("{name} {what}"), weight, move |chance| run(&link, chance))
    };
    FAULTS.into_iter().map(fault).collect()
}

/// All of them are cut off, one after another, and come back in another order.
pub(crate) fn swizzle(links: Vec<Arc<Link>>) -> Fault {
    Fault::new("links cut off one after another", 8, move |chance| {
        let mut order: Vec<_> = links.iter().collect();
        chance.shuffle(&mut order);
        for link in &order {
            link.proxy.inject(Direction::Both, Weather::Stall);
            pause(chance, 0, 1_500);
        }
        pause(chance, 0, 4_000);
        chance.shuffle(&mut order);
        for link in order {
            link.proxy.heal();
            pause(chance, 0, 1_500);
        }
        Ok(())
    })
}

/// Nothing moves, and nobody is told; now and then for longer than any time-out.
fn stall(link: &Link, chance: &mut Rng) -> Outcome {
    link.proxy.inject(Direction::Both, Weather::Stall);
    let most = if chance.u8(..) < 20 { 65_000 } else { 6_000 };
    pause(chance, 200, most);
    link.proxy.heal();
    Ok(())
}

/// What was sent arrives, and nobody hears of it.
fn lose_answers(link: &Link, chance: &mut Rng) -> Outcome {
    lose(link, Direction::ToClient, chance)
}

fn lose_requests(link: &Link, chance: &mut Rng) -> Outcome {
    lose(link, Direction::ToServer, chance)
}

fn lose(link: &Link, direction: Direction, chance: &mut Rng) -> Outcome {
    link.proxy.inject(direction, Weather::Discard);
    pause(chance, 100, 5_000);
    // A connection with a hole in it is none, so that none may live on.
    link.runtime.block_on(async {
        link.proxy.refuse().await?;
        let none_is_left = || link.proxy.wait_until(|statistics| statistics.open == 0);
        link.proxy.reset();
        // One that just begins is not reset with the others.
        while timeout(Duration::from_millis(50), none_is_left()).await.is_err() {
            link.proxy.reset();
        }
        link.proxy.heal();
        link.proxy.accept().await
    })?;
    Ok(())
}

fn slow_down(link: &Link, chance: &mut Rng) -> Outcome {
    let bytes_per_second = chance.u64(5_000..300_000);
    link.proxy.inject(Direction::Both, Weather::Rate { bytes_per_second });
    pause(chance, 500, 6_000);
    link.proxy.heal();
    Ok(())
}

fn be_late(link: &Link, chance: &mut Rng) -> Outcome {
    let least = Duration::from_millis(chance.u64(1..100));
    let most = least + Duration::from_millis(chance.u64(1..300));
    link.proxy.inject(Direction::Both, Weather::Latency { least, most });
    pause(chance, 500, 6_000);
    link.proxy.heal();
    Ok(())
}

fn cut(link: &Link, chance: &mut Rng) -> Outcome {
    for _ in 0..chance.u8(1..6) {
        let direction = [Direction::ToServer, Direction::ToClient][chance.usize(..2)];
        let bytes = chance.u64(..20_000);
        link.proxy.inject(direction, Weather::CutAfter { bytes });
        pause(chance, 50, 800);
    }
    link.proxy.heal();
    Ok(())
}

fn half_close(link: &Link, chance: &mut Rng) -> Outcome {
    let direction = [Direction::ToServer, Direction::ToClient][chance.usize(..2)];
    link.proxy.half_close(direction);
    pause(chance, 100, 3_000);
    link.proxy.reset();
    Ok(())
}

fn refuse(link: &Link, chance: &mut Rng) -> Outcome {
    link.runtime.block_on(link.proxy.refuse())?;
    link.proxy.reset();
    pause(chance, 100, 4_000);
    Ok(link.runtime.block_on(link.proxy.accept())?)
}
