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
    /// Its second build, with the points at which it can be killed.
    #[arg(long)]
    failpoints: Option<PathBuf>,
    /// How long.
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// So many rounds, however long they take.
    #[arg(long)]
    rounds: Option<u32>,
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
    let scenes = if named.is_empty() { Scene::ALL.to_vec() } else { named };
    let first = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("chaos: --seed {first}");
    let (begin, time) = (Instant::now(), Duration::from_secs_f64(arguments.minutes * 60.0));
    let mut seeds = Rng::with_seed(first);
    let mut seed = first;
    let sites = Sites::new()?;
    let points = arguments.failpoints.as_deref().map(Points::of).transpose()?;
    for number in 0_usize.. {
        let is_over = match arguments.rounds {
            Some(rounds) => number >= rounds as usize,
            None => begin.elapsed() >= time,
        };
        if is_over {
            break;
        }
        let scene = scenes[number % scenes.len()];
        let mut chance = Rng::with_seed(!seed);
        let time = Duration::from_secs(chance.u64(20..=60));
        let round = Round { program, points: points.as_ref(), sites: &sites, scene, seed, time };
        match round.run()? {
            Verdict::Passed(line) => println!("{line}"),
            Verdict::Failed(report) => {
                println!("{} FAILED, --seed {seed}\n{report}", scene.name());
                return Ok(false);
            }
        }
        seed = seeds.u64(..);
    }
    if let Some(points) = points {
        println!("chaos: {}", points.summary());
    }
    println!("chaos: nothing was found in {:.1} min", begin.elapsed().as_secs_f64() / 60.0);
    Ok(true)
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
