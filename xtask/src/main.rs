//! The chores of the repository, run as `cargo xtask NAME`.

mod deny;
mod docs;
mod fuzz;
mod new_plugin;
mod process;
mod registrations;
mod services;
mod test;
mod tidy;
mod workspace;

use std::{
    error::Error,
    fs,
    process::{Command, ExitCode},
};

use clap::{Parser, Subcommand};

use workspace::Workspace;

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The chores of the repository")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Runs all checks and all tests, and stops at the first failure.
    Test,
    /// Checks what the compiler does not: dependency rules, sizes, names, complete plugins.
    Tidy,
    /// Writes the generated documents.
    Docs {
        /// Fails if they are stale, and writes nothing.
        #[arg(long)]
        check: bool,
    },
    /// Measures a system against its bars, in release mode.
    Bench {
        /// What to measure, `cockroachdb`, `kafka`, `outbox`, `rabbitmq`, `sqlite`, and what is passed on to the
        /// benchmark: `--json`, `--check`, `--only drain|latency|triggers`.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Torments the shipped program with whatever can go wrong, and proves that nothing is lost.
    Chaos {
        /// `--minutes N`, `--seed N`, `--pipeline NAME`, `--history FILE`; `--help` has all.
        /// `--mutant NAME` torments a program that is wrong, and fails if nobody notices.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Feeds the decoders with bytes that nobody meant.
    Fuzz {
        /// What is passed on: `--target NAME`, `--seconds N`, `--seed N`, `--keep`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Starts and stops the servers that tests talk to.
    Services {
        #[command(subcommand)]
        action: services::Action,
    },
    /// Starts a plugin of this name as a copy of the ticker.
    NewPlugin { name: String },
}

fn main() -> ExitCode {
    match run(Arguments::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result {
    let workspace = Workspace::here()?;
    match chore {
        Chore::Test => test::run(&workspace),
        Chore::Tidy => tidy::run(&workspace),
        Chore::Docs { check: true } => docs::check(&workspace),
        Chore::Docs { check: false } => docs::write(&workspace),
        Chore::Bench { arguments } => bench(&workspace, &arguments),
        Chore::Chaos { arguments } => chaos(&workspace, &arguments),
        Chore::Fuzz { arguments } => fuzz::run(&workspace, &arguments),
        Chore::Services { action } => services::run(&workspace, action),
        Chore::NewPlugin { name } => new_plugin::run(&workspace, &name),
    }
}

/// The benchmark is a package of its own: it needs SQLite, and a chore must build quickly.
fn bench(workspace: &Workspace, arguments: &[String]) -> Result {
    let mut build = process::cargo(workspace);
    build.args(["build", "--release", "--quiet", "--package", "rowtide"]);
    process::check(build.args(["--features", "full"]))?;
    let mut bench = process::cargo(workspace);
    bench.args(["run", "--release", "--quiet", "--package", "rowtide-bench", "--"]);
    bench.arg("--rowtide").arg(workspace.target.join("release/rowtide"));
    Ok(process::check(bench.args(arguments))?)
}

/// Chaos is built as the tests are, so that what it depends on is built once.
pub(crate) fn chaos(workspace: &Workspace, arguments: &[String]) -> Result {
    if let Some(at) = arguments.iter().position(|argument| argument == "--mutant") {
        let mutant = arguments.get(at + 1).ok_or("--mutant takes the name of one")?;
        return catch(workspace, mutant, &[&arguments[..at], &arguments[at + 2..]].concat());
    }
    let program = workspace.target.join("debug/rowtide");
    let points = workspace.target.join("debug/rowtide-failpoints");
    // The build with the points first, since both have one name.
    let mut build = test_command(workspace, "rowtide/full,rowtide/failpoints", "failpoints");
    process::check(build.arg("--no-run"))?;
    fs::copy(&program, &points)?;
    process::check(test_command(workspace, "rowtide/full", "cli").arg("--no-run"))?;
    let mut chaos = test_command(workspace, "rowtide/full", "chaos");
    chaos.arg("--").arg("--rowtide").arg(program).arg("--failpoints").arg(points);
    Ok(process::check(chaos.args(arguments))?)
}

/// Torments a program that is wrong, which must be noticed.
fn catch(workspace: &Workspace, mutant: &str, arguments: &[String]) -> Result {
    let features = "rowtide/full,rowtide/failpoints,rowtide/mutants";
    process::check(test_command(workspace, features, "failpoints").arg("--no-run"))?;
    let program = workspace.target.join("debug/rowtide-mutant");
    fs::copy(workspace.target.join("debug/rowtide"), &program)?;
    process::check(test_command(workspace, "rowtide/full", "chaos").arg("--no-run"))?;
    let mut chaos = test_command(workspace, "rowtide/full", "chaos");
    chaos.arg("--").arg("--rowtide").arg(&program).arg("--failpoints").arg(&program);
    chaos.args(arguments).env("ROWTIDE_MUTANT", mutant);
    match chaos.status()?.code() {
        Some(1) => {
            println!("chaos noticed the mutant {mutant}");
            Ok(())
        }
        code => {
            Err(format!("chaos did not notice the mutant {mutant}, it ended with {code:?}").into())
        }
    }
}

fn test_command(workspace: &Workspace, features: &str, name: &str) -> Command {
    let mut test = process::cargo(workspace);
    test.args(["test", "--quiet", "--workspace", "--features", features, "--test", name]);
    test
}
