//! Searches for a minute in all, or as told: `cargo xtask fuzz --target NAME --seconds N --seed N`,
//! and `--keep`, which puts what led to something new into the corpus.

use std::{
    collections::HashMap,
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use rowtide_fuzz::{Budget, Failure, TARGETS, Target, search};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    if env::args().any(|argument| argument == "--list") {
        TARGETS.iter().for_each(|target| println!("{}: test", target.name));
        return ExitCode::SUCCESS;
    }
    let (passed, verdict) = match run() {
        Ok(passed) => (passed, "ok"),
        Err(error) => {
            eprintln!("error: {error}");
            (0, "FAILED")
        }
    };
    let failed = usize::from(passed == 0);
    // As other tests say it: `cargo xtask test` counts them.
    println!("test result: {verdict}. {passed} passed; {failed} failed; 0 ignored");
    ExitCode::from(u8::from(passed == 0))
}

/// How many targets were searched.
fn run() -> Outcome<usize> {
    let options = Options::parse(env::args().skip(1))?;
    let targets = options.targets()?;
    let each = options.time / u32::try_from(targets.len())?;
    let count = targets.len();
    let crashes = options.corpus.with_file_name("crashes");
    fs::create_dir_all(&crashes)?;
    // A panic is told once, by the report.
    std::panic::set_hook(Box::new(|_| ()));
    for target in targets {
        let current = crashes.join(format!("{}.current", target.name));
        let corpus = options.corpus.clone();
        let budget = Budget { time: each, seed: options.seed, corpus, current };
        match search(target, &budget)? {
            Ok(report) => {
                println!(
                    "{}: {} inputs, {} outcomes, --seed {}",
                    target.name, report.inputs, report.outcomes, options.seed
                );
                if options.keeps {
                    keep(&options.corpus.join(target.name), &report.found)?;
                }
                fs::remove_file(&budget.current)?;
            }
            Err(failure) => return Err(told(target, &failure, &crashes)?.into()),
        }
    }
    Ok(count)
}

/// Writes the input down, and says how to try it again.
fn told(target: &Target, failure: &Failure, crashes: &Path) -> Outcome<String> {
    let path = crashes.join(format!("{}-{}", target.name, name(&failure.input)));
    fs::write(&path, &failure.input)?;
    Ok(format!(
        "{}: {} (input in {}; put it into fuzz/corpus/{} to try it again)",
        target.name,
        failure.reason,
        path.display(),
        target.name
    ))
}

fn keep(folder: &Path, found: &[Vec<u8>]) -> Outcome<()> {
    for input in found.iter().filter(|input| input.len() <= 1024) {
        fs::write(folder.join(name(input)), input)?;
    }
    Ok(())
}

fn name(input: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

struct Options {
    target: Option<String>,
    time: Duration,
    seed: u64,
    corpus: PathBuf,
    /// Whether what is new goes into the corpus.
    keeps: bool,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Outcome<Self> {
        let mut values = HashMap::new();
        let mut keeps = false;
        while let Some(name) = arguments.next() {
            match name.as_str() {
                "--keep" => keeps = true,
                "--target" | "--seconds" | "--seed" | "--corpus" => {
                    let value = arguments.next().ok_or(format!("{name} needs a value"))?;
                    values.insert(name, value);
                }
                _ => return Err(format!("unknown argument {name}").into()),
            }
        }
        let seconds = values.get("--seconds").map_or(Ok(60.0), |text| text.parse::<f64>())?;
        let seed = values.get("--seed").map(|text| text.parse()).transpose()?;
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus");
        let corpus = values.get("--corpus").map_or(corpus, String::as_str);
        Ok(Self {
            target: values.get("--target").cloned(),
            time: Duration::try_from_secs_f64(seconds)?,
            seed: seed.unwrap_or_else(|| fastrand::u64(..)),
            corpus: corpus.into(),
            keeps,
        })
    }

    fn targets(&self) -> Outcome<Vec<&'static Target>> {
        let is_meant = |target: &&Target| self.target.as_deref().is_none_or(|it| it == target.name);
        let targets: Vec<_> = TARGETS.iter().filter(is_meant).collect();
        if targets.is_empty() {
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            return Err(format!("the targets are {}", names.join(", ")).into());
        }
        Ok(targets)
    }
}
