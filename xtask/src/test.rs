//! Everything that must hold before a change goes in.

mod count;

use std::{
    env,
    process::{Command, Stdio},
    time::Instant,
};

use rowtide_servers::Kind;

use crate::{Result, deny, docs, process, tidy, workspace::Workspace};
use count::Count;

const FULL: [&str; 2] = ["--features", "rowtide/full"];

type Step = (&'static str, fn(&Workspace) -> Result);

/// Cheap steps first: what fails is to fail soon.
const STEPS: [Step; 12] = [
    ("format", format),
    ("tidy", tidy::run),
    ("dependencies", deny::run),
    ("clippy", clippy),
    ("rustdoc", rustdoc),
    ("each feature alone", features),
    ("build", build),
    ("generated documents", docs::check_built),
    ("servers", servers),
    ("tests", tests),
    ("a kill at every point", points),
    ("chaos", chaos),
];

pub(crate) fn run(workspace: &Workspace) -> Result {
    let start = Instant::now();
    for (number, (name, step)) in STEPS.iter().enumerate() {
        let title = format!("[{}/{}] {name}", number + 1, STEPS.len());
        println!("{title}");
        let begin = Instant::now();
        if let Err(error) = step(workspace) {
            return Err(format!("{title} FAILED: {error}").into());
        }
        println!("{title} ok, {:.1} s", begin.elapsed().as_secs_f64());
    }
    println!("PASSED: all {} steps in {:.0} s", STEPS.len(), start.elapsed().as_secs_f64());
    Ok(())
}

fn quiet(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = process::cargo(workspace);
    command.args(arguments).env("CARGO_TERM_PROGRESS_WHEN", "never");
    command
}

fn format(workspace: &Workspace) -> Result {
    Ok(process::check(&mut quiet(workspace, &["fmt", "--all", "--check"]))?)
}

fn clippy(workspace: &Workspace) -> Result {
    let mut clippy = quiet(workspace, &["clippy", "--quiet", "--workspace", "--all-targets"]);
    // With the points, which the next build of everything is without.
    clippy.args(FULL).args(["--features", "rowtide/failpoints"]);
    Ok(process::check(clippy.args(["--", "-D", "warnings"]))?)
}

fn rustdoc(workspace: &Workspace) -> Result {
    let mut rustdoc = quiet(workspace, &["doc", "--quiet", "--workspace", "--no-deps"]);
    Ok(process::check(rustdoc.args(FULL).env("RUSTDOCFLAGS", "-Dwarnings"))?)
}

fn features(workspace: &Workspace) -> Result {
    let runner = workspace.package("rowtide").ok_or("there is no package `rowtide`")?;
    for feature in runner.features.keys().filter(|name| !["default", "full"].contains(&&***name)) {
        let mut check = quiet(workspace, &["check", "--quiet", "--package", "rowtide"]);
        process::check(check.args(["--no-default-features", "--features", feature]))?;
    }
    Ok(())
}

/// Builds the tests, and with them the program that writes the documents: not once more with other
/// features of what it depends on.
fn build(workspace: &Workspace) -> Result {
    let mut build = quiet(workspace, &["test", "--quiet", "--workspace", "--no-run"]);
    Ok(process::check(build.args(FULL).stdout(Stdio::null()))?)
}

/// Installs what tests start. Where that is not required, those that lack a server are ignored.
fn servers(_workspace: &Workspace) -> Result {
    match rowtide_servers::install(&Kind::ALL) {
        Err(error) if rowtide_servers::is_strict() => return Err(error.into()),
        Err(error) => println!("{error}"),
        Ok(()) => {}
    }
    for reason in Kind::ALL.into_iter().filter_map(rowtide_servers::lack) {
        println!("tests that need it are IGNORED: {reason}");
    }
    Ok(())
}

fn tests(workspace: &Workspace) -> Result {
    let mut test = quiet(workspace, &["test", "--workspace"]);
    let mut count = counted(test.args(FULL))?;
    if let Some(reason) = rowtide_servers::absence(&Kind::ALL) {
        let excused = count.excuse();
        println!("no test ran of {} files, {reason}", excused.len());
    }
    count.judge()?;
    println!("{} tests passed, {} ignored", count.passed, count.ignored);
    Ok(())
}

/// In a build of its own: the points are in no program that is shipped.
fn points(workspace: &Workspace) -> Result {
    let mut test = quiet(workspace, &["test", "--workspace", "--test", "failpoints"]);
    counted(test.args(FULL).args(["--features", "rowtide/failpoints"]))?.judge()?;
    let mut test = quiet(workspace, &["test", "--package", "rowtide-failpoint", "--lib"]);
    counted(test.args(["--features", "failpoints"]))?.judge()
}

/// With a seed that is drawn and printed.
fn chaos(workspace: &Workspace) -> Result {
    let minutes = env::var("ROWTIDE_CHAOS_MINUTES").unwrap_or_else(|_| "5".to_owned());
    crate::chaos(workspace, &["--minutes".to_owned(), minutes])
}

fn counted(test: &mut Command) -> Result<Count> {
    let mut count = Count::default();
    // The lines are read here, too.
    process::watch(test.env("CARGO_TERM_COLOR", "never"), |line| {
        println!("{line}");
        count.take(line);
    })?;
    Ok(count)
}
