//! Kills a process at the points that are compiled into a second build of the program.

#[path = "../../../../tests/failpoints/elsewhere.rs"]
mod elsewhere;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};

use fastrand::Rng;

use crate::Outcome;

use elsewhere::ELSEWHERE;

pub(crate) const VARIABLE: &str = "ROWTIDE_FAILPOINT";

/// Those that a process passes before it has saved anything, and never again.
const BEGINNING: [&str; 3] = [
    "cockroachdb: end of a scan read, not told",
    "cockroachdb: scan begun",
    "spanner: part of a table read, not told",
];

/// How many times a process passes a point until it is killed there. Some are passed once a start.
const HITS: [u32; 5] = [1, 1, 1, 2, 3];

/// How many times a call is made at most until it fails.
const CALLS: u32 = 25;

/// The second build, and the points in it.
pub(crate) struct Points {
    pub(crate) program: PathBuf,
    /// The calls that can be made to fail.
    calls: Vec<String>,
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
    /// Where a point is passed for the first time.
    pub(crate) fn first(point: &str) -> Self {
        Self { point: point.to_owned(), hit: 1 }
    }

    pub(crate) fn is_at_the_beginning(&self) -> bool {
        BEGINNING.contains(&&*self.point)
    }

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
        let points = Self::new(program, text.lines());
        match ELSEWHERE.iter().chain(&BEGINNING).find(|name| !points.tried().contains_key(**name)) {
            Some(name) => Err(format!("there is no point `{name}`").into()),
            None => Ok(points),
        }
    }

    fn new<'n>(program: PathBuf, names: impl IntoIterator<Item = &'n str>) -> Self {
        let (mut calls, mut tried) = (Vec::new(), BTreeMap::new());
        for name in names {
            match name.split_once('\t') {
                Some((call, _)) => calls.push(call.to_owned()),
                None => drop(tried.insert(name.to_owned(), Tried::default())),
            }
        }
        Self { program, calls, tried: Mutex::new(tried) }
    }

    /// Those of a pipeline that take a server, and at which nobody was killed yet: no test kills
    /// there. First those that were tried least.
    pub(crate) fn untried(&self, pipeline: &str) -> Vec<String> {
        let tried = self.tried();
        let mut names: Vec<_> = tried
            .iter()
            .filter(|(name, tried)| tried.kills == 0 && ELSEWHERE.contains(&&***name))
            .filter(|(name, _)| is_in(name, pipeline))
            .filter(|(name, _)| !name.starts_with("engine") || has_children(pipeline))
            .map(|(name, tried)| (tried.drawn, name.clone()))
            .collect();
        names.sort();
        names.into_iter().map(|(_, name)| name).collect()
    }

    pub(crate) fn note_try(&self, place: &Place) {
        if let Some(tried) = self.tried().get_mut(&place.point) {
            tried.drawn += 1;
        }
    }

    /// One that a pipeline may pass. Only the seed decides, so that a round can be held again.
    pub(crate) fn draw(&self, pipeline: &str, chance: &mut Rng) -> Option<Place> {
        let tried = self.tried();
        let mut own: Vec<_> = tried.iter().filter(|(name, _)| is_in(name, pipeline)).collect();
        if own.is_empty() {
            return None;
        }
        let (name, _) = own.swap_remove(chance.usize(..own.len()));
        Some(Place { point: name.clone(), hit: HITS[chance.usize(..HITS.len())] })
    }

    /// A call of a pipeline, and the time at which it fails.
    pub(crate) fn draw_call(&self, pipeline: &str, chance: &mut Rng) -> Option<Place> {
        let own: Vec<_> = self.calls_of(pipeline).collect();
        let point = (*chance.choice(&own)?).clone();
        Some(Place { point, hit: chance.u32(1..=CALLS) })
    }

    pub(crate) fn has_calls(&self, pipeline: &str) -> bool {
        self.calls_of(pipeline).next().is_some()
    }

    fn calls_of(&self, pipeline: &str) -> impl Iterator<Item = &String> {
        self.calls.iter().filter(move |name| is_in(name, pipeline))
    }

    pub(crate) fn note_kill(&self, place: &Place) {
        if let Some(tried) = self.tried().get_mut(&place.point) {
            tried.kills += 1;
        }
    }

    /// How many there are, and at which of them no process was killed.
    pub(crate) fn summary(&self) -> String {
        let tried = self.tried();
        let kills: u32 = tried.values().map(|tried| tried.kills).sum();
        let missed = |is_elsewhere: bool| {
            let missed = tried.iter().filter(|(_, tried)| tried.kills == 0);
            let names = missed.map(|(name, _)| &**name);
            let names = names.filter(|name| ELSEWHERE.contains(name) == is_elsewhere);
            names.collect::<Vec<_>>()
        };
        let (elsewhere, others) = (missed(true), missed(false));
        format!(
            "{kills} kills at {} of {} points; of those that take a server at none of {}; of the \
             others, which a test kills at, not at {}",
            tried.len() - elsewhere.len() - others.len(),
            tried.len(),
            listed(&elsewhere),
            listed(&others)
        )
    }

    fn tried(&self) -> MutexGuard<'_, BTreeMap<String, Tried>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listed(names: &[&str]) -> String {
    format!("[{}]", names.join("; "))
}

/// Whether partitions of a pipeline come after others, which the engine has a point for.
fn has_children(pipeline: &str) -> bool {
    ["spanner", "cockroachdb"].iter().any(|source| is_in(source, pipeline))
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
    fn what_nobody_was_killed_at_is_tried_first_and_told() {
        let (all, handed) = ("kafka: all reported", "kafka: message handed over");
        let call = "kafka: c\tfails";
        let names = ["engine: a", "spanner: partition asked for", all, handed, call];
        let points = Points::new(PathBuf::new(), names);
        assert_eq!(points.untried(PIPELINE), [all, handed]);
        points.note_try(&Place::first(all));
        assert_eq!(points.untried(PIPELINE), [handed, all]);
        points.note_kill(&Place::first(handed));
        assert_eq!(points.untried(PIPELINE), [all]);
        let summary = points.summary();
        assert!(summary.starts_with("1 kills at 1 of 4 points"), "{summary}");
        assert!(summary.contains("none of [kafka: all reported; spanner"), "{summary}");
        assert!(summary.ends_with("not at [engine: a]"), "{summary}");
        let call = points.draw_call(PIPELINE, &mut Rng::with_seed(1)).unwrap();
        assert!(call.text().starts_with("kafka: c#"), "{call:?}");
    }
}
