//! Kills the program at every point that is compiled into it, at the first time it gets there, the
//! second and the third, and sees that nothing is lost when it is started again.
//!
//! The points are those that `rowtide failpoints` lists, so a new one is killed at as well. It must
//! be passed in one of the scenes here, or stand among [`ELSEWHERE`]: there it takes a server, and
//! each round of `cargo xtask chaos` kills first at those that its pipeline passes.

mod elsewhere;
#[path = "../survives_kill/image.rs"]
mod image;
#[path = "../survives_kill/replay.rs"]
mod replay;
mod scene;
mod verdict;

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use elsewhere::ELSEWHERE;
use scene::{Ending, Scene, Setting, Source, names};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How many times a point is passed at most before the program is killed there.
const HITS: u32 = 3;

#[test]
fn nothing_is_lost_by_a_kill_at_any_point() {
    let names = names().unwrap();
    let elsewhere: BTreeSet<_> = ELSEWHERE.iter().map(|&name| name.to_owned()).collect();
    let unknown: Vec<_> = elsewhere.difference(&names).collect();
    assert!(unknown.is_empty(), "there are no such points: {unknown:?}");

    let here: Vec<_> = names.difference(&elsewhere).cloned().collect();
    let problems = Mutex::new(Vec::new());
    let (next, kills) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        while let Some(point) = here.get(next.fetch_add(1, Ordering::Relaxed)) {
            match kill_at(point) {
                Ok(0) => problems.lock().unwrap().push(format!(
                    "`{point}` is passed in no scene; make one, or name it in ELSEWHERE"
                )),
                Ok(number) => drop(kills.fetch_add(number, Ordering::Relaxed)),
                Err(error) => problems.lock().unwrap().push(format!("`{point}`: {error}")),
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    let problems = problems.into_inner().unwrap();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    println!("{} points, {} kills", here.len(), kills.into_inner());
}

#[test]
fn the_verdict_refuses_what_is_missing() {
    // The last line of a snapshot is its end, which says nothing of a row.
    let ends_with_a_change =
        |setting: &Setting| matches!(setting.source, Source::Log | Source::Outbox);
    for setting in Setting::ALL.into_iter().filter(ends_with_a_change) {
        let mut scene = Scene::new(setting).unwrap();
        scene.prepare().unwrap();
        scene.drain(None).unwrap();
        verdict::judge(&scene).unwrap();
        scene.lose_the_last_line().unwrap();
        assert!(verdict::judge(&scene).is_err(), "{setting:?}");
        scene.remove().unwrap();
    }
}

#[test]
fn a_point_that_is_not_there_is_refused() {
    let scene = Scene::new(Setting::ALL[0]).unwrap();
    for text in ["engine: no such point#1", "engine: flushed, not saved", "engine: flushed#0"] {
        let output = scene.rowtide(&["check", "p.toml"]).env(scene::VARIABLE, text).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("rowtide failpoints"));
    }
}

/// Kills the program at a point in every scene that is for it, and returns how many times.
fn kill_at(point: &str) -> Outcome<usize> {
    let mut kills = 0;
    for setting in Setting::ALL.iter().filter(|setting| setting.is_for(point)) {
        for hit in 1..=HITS {
            let place = format!("{point}#{hit}");
            let blame = |error| format!("{setting:?}, hit {hit}: {error}");
            match survive(*setting, &place).map_err(blame)? {
                Ending::Killed => kills += 1,
                // It is not passed so often here.
                Ending::Drained => break,
            }
        }
    }
    Ok(kills)
}

/// Kills the program at a place, starts it again without, and holds what came out against what was
/// written.
fn survive(setting: Setting, place: &str) -> Outcome<Ending> {
    let mut scene = Scene::new(setting)?;
    scene.prepare()?;
    let ending = scene.drain(Some(place))?;
    scene.write()?;
    scene.drain(None)?;
    verdict::judge(&scene)?;
    scene.remove()?;
    Ok(ending)
}
