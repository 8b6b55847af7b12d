use std::{
    collections::HashSet,
    fs, io,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;

use crate::{
    Target,
    mutation::{Pantry, mutate},
};

/// An input that takes longer is a way to stop the program from outside.
const TIME_MAX: Duration = Duration::from_secs(2);
/// After which an input is taken to come to no end, on a busy machine.
const NO_END: Duration = Duration::from_secs(30);
/// How many inputs are kept to go on from.
const KEPT_MAX: usize = 10_000;

/// How long to search, and where.
#[derive(Clone, Debug)]
pub struct Budget {
    pub time: Duration,
    pub seed: u64,
    /// The folder with a folder a target.
    pub corpus: PathBuf,
    /// Where the input is written before it is tried: it is there after the process was killed.
    pub current: PathBuf,
}

/// What a search came to.
#[derive(Debug)]
pub struct Report {
    pub inputs: u64,
    /// How many ways there were for a decoding to end.
    pub outcomes: usize,
    /// Inputs that are not in the corpus and led to something new.
    pub found: Vec<Vec<u8>>,
}

/// An input that was too much.
#[derive(Debug)]
pub struct Failure {
    pub input: Vec<u8>,
    pub reason: String,
}

/// Tries the corpus, then what can be made of it until the time is over.
///
/// # Errors
/// The folder cannot be read.
pub fn search(target: &Target, budget: &Budget) -> io::Result<Result<Report, Failure>> {
    let corpus = corpus(&budget.corpus.join(target.name))?;
    let current = fs::File::create(&budget.current)?;
    let inputs = Arc::new(AtomicU64::new(0));
    watch(target.name, Arc::downgrade(&inputs))?;
    let mut search = Search { target, current, outcomes: HashSet::new(), inputs };
    let mut kept = Vec::new();
    for input in corpus {
        if let Err(failure) = search.attempt(&input)? {
            return Ok(Err(failure));
        }
        kept.push(input);
    }
    let from_corpus = kept.len();
    let mut random = Rng::with_seed(budget.seed);
    let end = Instant::now() + budget.time;
    while Instant::now() < end {
        let mut input = kept[random.usize(0..kept.len())].clone();
        mutate(&mut input, &mut random, &Pantry { words: target.words, others: &kept });
        match search.attempt(&input)? {
            Err(failure) => return Ok(Err(failure)),
            Ok(true) if kept.len() < KEPT_MAX => kept.push(input),
            Ok(_) => {}
        }
    }
    let found = kept.split_off(from_corpus);
    let inputs = search.inputs.load(Ordering::Relaxed);
    Ok(Ok(Report { inputs, outcomes: search.outcomes.len(), found }))
}

struct Search<'a> {
    target: &'a Target,
    current: fs::File,
    outcomes: HashSet<String>,
    inputs: Arc<AtomicU64>,
}

impl Search<'_> {
    /// Whether the outcome is a new one.
    fn attempt(&mut self, input: &[u8]) -> io::Result<Result<bool, Failure>> {
        note(&self.current, input)?;
        self.inputs.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| (self.target.run)(input)));
        let took = begun.elapsed();
        let reason = match outcome {
            Ok(outcome) if took < TIME_MAX => {
                return Ok(Ok(self.outcomes.insert(outline(&outcome))));
            }
            Ok(_) => format!("it took {took:?}"),
            Err(panic) => said(&*panic),
        };
        Ok(Err(Failure { input: input.to_vec(), reason }))
    }
}

/// Ends the process if an input does: nothing else gets out of a loop without an end.
fn watch(target: &'static str, inputs: Weak<AtomicU64>) -> io::Result<()> {
    let watch = move || {
        let (mut last, mut since) = (0, Instant::now());
        while let Some(inputs) = inputs.upgrade() {
            let now = inputs.load(Ordering::Relaxed);
            if now != last {
                (last, since) = (now, Instant::now());
            } else if since.elapsed() > NO_END {
                eprintln!("error: {target}: an input comes to no end, see `{target}.current`");
                process::exit(1);
            }
            drop(inputs);
            thread::sleep(Duration::from_millis(200));
        }
    };
    thread::Builder::new().name("watch".to_owned()).spawn(watch).map(drop)
}

/// What an input says does not make an outcome another one: numbers, and what begins with a quote,
/// up to the end of the line.
fn outline(outcome: &str) -> String {
    let mut outline = String::new();
    for line in outcome.lines() {
        let told = line.split(['`', '"', '\'']).next().unwrap_or_default();
        outline.extend(told.chars().filter(|letter| !letter.is_ascii_digit()).take(200));
        outline.push('\n');
    }
    outline.truncate(outline.floor_char_boundary(1_000));
    outline
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()))
        .unwrap_or_else(|| "it panicked".to_owned())
}

#[cfg(unix)]
fn note(file: &fs::File, input: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    file.set_len(input.len() as u64)?;
    file.write_all_at(input, 0)
}

#[cfg(not(unix))]
fn note(_file: &fs::File, _input: &[u8]) -> io::Result<()> {
    Ok(())
}

/// The inputs of a folder, in the order of their names.
fn corpus(folder: &Path) -> io::Result<Vec<Vec<u8>>> {
    let entries: Vec<_> = fs::read_dir(folder)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", folder.display())))?
        .collect::<io::Result<_>>()?;
    let mut paths: Vec<_> = entries.iter().map(fs::DirEntry::path).collect();
    paths.sort();
    if paths.is_empty() {
        return Err(io::Error::other(format!("{} has no inputs", folder.display())));
    }
    paths.iter().map(fs::read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(run: fn(&[u8]) -> String) -> Result<Report, Failure> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("t")).unwrap();
        fs::write(folder.path().join("t/a"), "abc").unwrap();
        let target = Target { name: "t", run, words: &["null"] };
        let budget = Budget {
            time: Duration::from_secs(1),
            seed: 7,
            corpus: folder.path().to_owned(),
            current: folder.path().join("current"),
        };
        search(&target, &budget).unwrap()
    }

    #[test]
    fn a_panic_is_found_behind_what_is_new() {
        let failure = run(|bytes| {
            let known = bytes.iter().zip(b"null!").take_while(|(a, b)| a == b).count();
            assert!(known < 5, "too much");
            ["-", "n", "nu", "nul", "null"][known].to_owned()
        })
        .unwrap_err();
        assert!(failure.input.starts_with(b"null!") && failure.reason.contains("too much"));
    }

    #[test]
    fn what_holds_is_reported_with_what_was_tried() {
        let report = run(|bytes| format!("length {}", bytes.len() % 3)).unwrap();
        assert!(report.inputs > 100 && report.outcomes == 1, "{report:?}");
    }
}
