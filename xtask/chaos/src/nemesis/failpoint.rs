//! Kills a process at the points that are compiled into a second build of the program.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};

use fastrand::Rng;

use crate::Outcome;

pub(crate) const VARIABLE: &str = "ROWTIDE_FAILPOINT";

/// How many times a process passes a point until it is killed there. Some are passed once a start.
const HITS: [u32; 5] = [1, 1, 1, 2, 3];

/// The second build, and the points in it.
pub(crate) struct Points {
    pub(crate) program: PathBuf,
    tried: Mutex<BTreeMap<String, Tried>>,
}

#[derive(Clone, Copy, Default)]
struct Tried {
    drawn: u32,
    kills: u32,
}

/// A point, and how many times it is passed until the process ends there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    pub(crate) point: String,
    hit: u32,
}

impl Place {
    /// As the variable has it.
    pub(crate) fn text(&self) -> String {
        format!("{}#{}", self.point, self.hit)
    }
}

impl Points {
    /// # Errors
    /// The program cannot list them: it is another build.
    pub(crate) fn of(program: &Path) -> Outcome<Self> {
        let program = program.canonicalize()?;
        let output = Command::new(&program).arg("failpoints").output()?;
        let text = String::from_utf8(output.stdout)?;
        if !output.status.success() || text.is_empty() {
            return Err(format!("`{}` has no points", program.display()).into());
        }
        Ok(Self::new(program, text.lines()))
    }

    fn new<'n>(program: PathBuf, names: impl IntoIterator<Item = &'n str>) -> Self {
        let tried = names.into_iter().map(|name| (name.to_owned(), Tried::default())).collect();
        Self { program, tried: Mutex::new(tried) }
    }

    /// One that a pipeline may pass. Only the seed decides, so that a round can be held again.
    pub(crate) fn draw(&self, pipeline: &str, chance: &mut Rng) -> Option<Place> {
        let mut tried = self.tried();
        let mut own: Vec<_> = tried.iter_mut().filter(|(name, _)| is_in(name, pipeline)).collect();
        if own.is_empty() {
            return None;
        }
        let (name, tried) = own.swap_remove(chance.usize(..own.len()));
        tried.drawn += 1;
        Some(Place { point: name.clone(), hit: HITS[chance.usize(..HITS.len())] })
    }

    pub(crate) fn note_kill(&self, place: &Place) {
        if let Some(tried) = self.tried().get_mut(&place.point) {
            tried.kills += 1;
        }
    }

    /// How many there are, and at which of those that were drawn no process was killed.
    pub(crate) fn summary(&self) -> String {
        let tried = self.tried();
        let kills: u32 = tried.values().map(|tried| tried.kills).sum();
        let reached = tried.values().filter(|tried| tried.kills > 0).count();
        let named = |wanted: fn(&Tried) -> bool| {
            let names = tried.iter().filter(|(_, tried)| wanted(tried)).map(|(name, _)| &**name);
            names.collect::<Vec<_>>().join("; ")
        };
        format!(
            "{kills} kills at {reached} of {} points; drawn and not passed in time: {}; not drawn: {}",
            tried.len(),
            named(|tried| tried.drawn > 0 && tried.kills == 0),
            named(|tried| tried.drawn == 0)
        )
    }

    fn tried(&self) -> MutexGuard<'_, BTreeMap<String, Tried>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether what a point is in takes part in a pipeline.
fn is_in(point: &str, pipeline: &str) -> bool {
    let area = point.split(':').next().unwrap_or_default();
    let (ends, store) = pipeline.split_once("[checkpoint]").unwrap_or((pipeline, ""));
    let has = |text: &str, name: &str| text.contains(&format!("type = \"{name}\""));
    match area.strip_suffix(" checkpoint") {
        Some("sql") => has(store, "postgres") || has(store, "mysql"),
        Some(name) => has(store, name),
        None => area == "engine" || has(ends, area),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const PIPELINE: &str = "[source]\ntype = \"outbox\"\n[sink]\ntype = \"kafka\"\n\
                            [checkpoint]\ntype = \"mysql\"\n";

    #[test]
    fn each_point_of_a_pipeline_is_drawn_and_no_other_is() {
        let names = [
            "engine: a",
            "kafka: b",
            "outbox: c",
            "sql checkpoint: d",
            "file: e",
            "file checkpoint: f",
            "mysql: g",
        ];
        let points = Points::new(PathBuf::new(), names);
        let mut chance = Rng::with_seed(3);
        let drawn: Vec<_> = (0..200).filter_map(|_| points.draw(PIPELINE, &mut chance)).collect();
        assert!(HITS.iter().all(|hit| drawn.iter().any(|place| place.hit == *hit)));
        let found: BTreeSet<_> = drawn.iter().map(|place| &*place.point).collect();
        assert_eq!(found, BTreeSet::from_iter(names[..4].iter().copied()));
    }

    #[test]
    fn what_no_process_was_killed_at_is_told() {
        let points = Points::new(PathBuf::new(), ["engine: a", "engine: b", "file: c"]);
        let mut chance = Rng::with_seed(3);
        let places: Vec<_> = (0..20).filter_map(|_| points.draw(PIPELINE, &mut chance)).collect();
        points.note_kill(&places[0]);
        let summary = points.summary();
        assert!(summary.starts_with("1 kills at 1 of 3 points"), "{summary}");
        assert!(summary.ends_with("not drawn: file: c"), "{summary}");
    }
}
