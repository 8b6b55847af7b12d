use std::{
    io::{BufRead, BufReader, Read, Write, stdout},
    process::{Child, ChildStdout, Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use rowtide_core::{PartitionState, Progress};

use super::{
    CheckpointCase, CheckpointHarness,
    case::{World, delivered, open, owner, update},
};
use crate::{
    Capability, Failure, Verdict,
    opening::PIPELINE,
    process,
    scenario::{Scenario, ensure, scenario, within},
};

const PARTITIONS: u64 = 20;
const ROUNDS: usize = 10;

/// More saves than one process gets done.
const SAVES_MAX: u64 = 100_000;

type Output = BufReader<ChildStdout>;

pub(crate) fn scenarios() -> Vec<Scenario<CheckpointCase>> {
    vec![scenario!(
        saves_all_or_nothing_when_killed,
        Some(Capability::Durable),
        "after kill -9 at any moment a save is there as a whole or not at all, and none is missing \
         that had returned"
    )]
}

async fn saves_all_or_nothing_when_killed(case: CheckpointCase) -> Verdict {
    let world = case.world().await?;
    let mut last = 0;
    for round in 0..ROUNDS {
        let task = format!("{}\n{last}\n{}", world.harness.plugin(), world.storage.settings());
        let told = save_and_kill(&world, &task, round).await?;
        let found = whole_save(&world, last).await?;
        ensure!(found >= told, "save {told} had returned, and only save {found} is there");
        last = found;
    }
    Ok(())
}

async fn world_within<T>(world: &World, task: tokio::task::JoinHandle<T>) -> Verdict<T> {
    let ended = within(world.patience, "a process to save and be killed", task).await?;
    ended.map_err(|error| Failure::broken(error.to_string()))
}

/// Starts a process that saves, kills it in the midst, and returns the last save it told of.
async fn save_and_kill(world: &World, task: &str, round: usize) -> Verdict<u64> {
    let failed = |error: std::io::Error| Failure::broken(format!("no saving process: {error}"));
    let mut saver = process::saver(task).and_then(Saver::start).map_err(failed)?;
    let Some(output) = saver.0.stdout.take() else {
        return Err(Failure::broken("the saving process has no stdout"));
    };
    let midst = tokio::task::spawn_blocking(move || midst(BufReader::new(output), round));
    let (mut output, mut told) = world_within(world, midst).await??;
    drop(saver);
    let mut rest = String::new();
    let _ = output.read_to_string(&mut rest);
    told.push_str(&rest);
    let last = told.rsplit('\n').find_map(|number| number.parse().ok());
    last.ok_or_else(|| Failure::broken("the saving process told of no save"))
}

/// A process that is killed as soon as nobody waits for it, so also if it hangs.
struct Saver(Child);

impl Saver {
    fn start(mut command: Command) -> std::io::Result<Self> {
        command.spawn().map(Self)
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        // It may have ended by itself, which the rest of its output tells.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for some saves and a part of the time that one takes: in each round for another point of
/// a save.
fn midst(mut output: Output, round: usize) -> Verdict<(Output, String)> {
    let mut line = String::new();
    let mut told = Instant::now();
    let mut one_save = Duration::ZERO;
    for _ in 0..2 + round % 3 {
        line.clear();
        if output.read_line(&mut line).unwrap_or(0) == 0 {
            return Err(Failure::broken("the saving process ended by itself"));
        }
        one_save = told.elapsed();
        told = Instant::now();
    }
    thread::sleep(one_save.mul_f64(round as f64 / ROUNDS as f64));
    Ok((output, line))
}

/// The number of the one save that is there as a whole, not before the `last` one that was.
async fn whole_save(world: &World, last: u64) -> Verdict<u64> {
    let states = world.open(PIPELINE).await?.load(PIPELINE).await??;
    ensure!(states.len() as u64 == PARTITIONS, "{} partitions are there", states.len());
    let numbers: Vec<u64> = states.iter().filter_map(|state| number(world, state, last)).collect();
    let whole = numbers.iter().all(|number| *number == numbers[0]);
    ensure!(whole && !numbers.is_empty(), "a part of a save is there: {numbers:?}");
    Ok(numbers[0])
}

fn number(world: &World, state: &PartitionState, last: u64) -> Option<u64> {
    let Progress::Delivered(position) = &state.progress else { return None };
    let is_it = |number: &u64| world.harness.position(*number).is_same_place(position);
    (last..last + SAVES_MAX).find(is_it)
}

/// Saves to the store that `task` describes, again and again, and tells of each save on stdout.
pub(crate) fn save_until_killed(task: &str, harnesses: &[&dyn CheckpointHarness]) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let saved = match runtime {
        Ok(runtime) => runtime.block_on(save_again_and_again(task, harnesses)),
        Err(error) => Err(Failure::broken(error.to_string())),
    };
    if let Err(failure) = saved {
        eprintln!("{failure}");
    }
    ExitCode::FAILURE
}

async fn save_again_and_again(task: &str, harnesses: &[&dyn CheckpointHarness]) -> Verdict {
    let mut parts = task.splitn(3, '\n');
    let (plugin, last) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let settings = parts.next().unwrap_or_default();
    let Some(harness) = harnesses.iter().find(|harness| harness.plugin() == plugin) else {
        return Err(Failure::broken(format!("no suite of `{plugin}`")));
    };
    let store = open(plugin, settings, PIPELINE, Duration::from_secs(60)).await??;
    let claim = store.claim(PIPELINE, &owner("saver")).await??;
    let first = last.parse::<u64>().unwrap_or_default() + 1;
    for number in first.. {
        let name = |partition| format!("partition {partition}");
        let states: Vec<_> = (0..PARTITIONS)
            .map(|partition| delivered(*harness, &name(partition), number))
            .collect();
        store.save(&claim, &update(&states)).await??;
        let told = writeln!(stdout(), "{number}").and_then(|()| stdout().flush());
        told.map_err(|error| Failure::broken(error.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{path::Path, process::Stdio};

    use super::*;

    #[test]
    fn a_saving_process_that_hangs_ends_with_its_scenario() {
        let mut hanging = Command::new("sleep");
        hanging.arg("600").stdout(Stdio::piped());
        let mut saver = Saver::start(hanging).unwrap();
        let place = format!("/proc/{}", saver.0.id());
        let output = BufReader::new(saver.0.stdout.take().unwrap());
        let reader = thread::spawn(|| midst(output, 0).is_err());
        assert!(Path::new(&place).exists());
        drop(saver);
        assert!(!Path::new(&place).exists());
        assert!(reader.join().unwrap());
    }
}
