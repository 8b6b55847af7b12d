//! Round after round, until the time is over or one fails.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Parser;
use fastrand::Rng;

use crate::{
    Outcome, history,
    nemesis::failpoint::Points,
    report,
    round::{Round, Verdict},
    scene::Scene,
    site::Sites,
    validator,
};

/// Proves that nothing is lost, whatever happens.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask chaos")]
pub struct Arguments {
    /// The program to torment.
    #[arg(long)]
    rowtide: Option<PathBuf>,
    /// How long.
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// So many rounds, however long they take.
    #[arg(long)]
    rounds: Option<u32>,
    /// How long the faults of each round last. Drawn unless it is given.
    #[arg(long)]
    seconds: Option<u64>,
    /// The same program of a build with the feature `failpoints`.
    #[arg(long)]
    failpoints: Option<PathBuf>,
    /// The points at which a round first kills, if not those that nobody was killed at yet; may be
    /// repeated. An empty one is none.
    #[arg(long)]
    first: Option<Vec<String>>,
    /// Of the first round; those after it are drawn from it. Drawn unless it is given.
    #[arg(long)]
    seed: Option<u64>,
    /// Only this pipeline; may be repeated.
    #[arg(long)]
    pipeline: Vec<String>,
    /// Judges histories that were written before, and starts nothing.
    #[arg(long)]
    history: Vec<PathBuf>,
}

/// Whether nothing was found.
///
/// # Errors
/// No round could be held.
pub fn run(arguments: &Arguments) -> Outcome<bool> {
    if !arguments.history.is_empty() {
        return judge(&arguments.history);
    }
    let program = arguments.rowtide.as_deref().ok_or("it is not said which program to torment")?;
    let named: Vec<_> =
        arguments.pipeline.iter().map(|name| Scene::named(name)).collect::<Outcome<_>>()?;
    let scenes = if named.is_empty() { possible() } else { named };
    let points = arguments.failpoints.as_deref().map(Points::of).transpose()?;
    let first = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("chaos: --seed {first}");
    let (begin, time) = (Instant::now(), Duration::from_secs_f64(arguments.minutes * 60.0));
    let named_first = arguments.first.clone().map(|mut names| {
        names.retain(|name| !name.is_empty());
        names
    });
    let mut seeds = Rng::with_seed(first);
    let mut seed = first;
    let sites = Sites::new()?;
    for number in 0_usize.. {
        let is_over = match arguments.rounds {
            Some(rounds) => number >= rounds as usize,
            None => begin.elapsed() >= time,
        };
        if is_over {
            break;
        }
        // Runs that are too short for all of them begin each with another one.
        let scene = scenes[first.wrapping_add(number as u64) as usize % scenes.len()];
        let longest = longest(arguments.minutes, scenes.len());
        let seconds = Rng::with_seed(!seed).u64(longest / 3..=longest);
        let time = Duration::from_secs(arguments.seconds.unwrap_or(seconds));
        let (points, first) = (points.as_ref(), named_first.as_deref());
        let round = Round { program, points, first, sites: &sites, scene, seed, time };
        match round.run()? {
            Verdict::Passed(line) => println!("{line}"),
            Verdict::Failed(report) => {
                println!("{} FAILED, --seed {seed}\n{report}", scene.name());
                return Ok(false);
            }
        }
        seed = seeds.u64(..);
    }
    if let Some(points) = &points {
        println!("{}", points.summary());
    }
    println!("chaos: nothing was found in {:.1} min", begin.elapsed().as_secs_f64() / 60.0);
    Ok(true)
}

/// Those whose servers can be had. Where a missing one is no excuse they are all.
fn possible() -> Vec<Scene> {
    let mut scenes = Scene::ALL.to_vec();
    scenes.retain(|scene| match scene.absence() {
        Some(reason) => {
            println!("{} is left out: {reason}", scene.name());
            false
        }
        None => true,
    });
    scenes
}

/// The longest time for the faults of a round, in seconds, so that a short run gets to all
/// pipelines: half of a round's time is for what comes before and after.
fn longest(minutes: f64, scenes: usize) -> u64 {
    let each = minutes * 60.0 / scenes.max(1) as f64 / 2.0;
    (each as u64).clamp(12, 60)
}

fn judge(paths: &[PathBuf]) -> Outcome<bool> {
    let mut is_good = true;
    for path in paths {
        let entries = history::read(path)?;
        match validator::judge(&entries) {
            Ok(tally) => println!("{}: {tally:?}", path.display()),
            Err(failures) => {
                is_good = false;
                println!("{}", report::failures(&entries, &failures, path)?);
            }
        }
    }
    Ok(is_good)
}
