//! Measures the shipped program: `cargo xtask bench sqlite`.
//!
//! Everything is measured in one run and each figure is the median of five rounds, since figures of
//! different runs cannot be compared. What a figure is measured against is in the same table.

mod drain;
mod latency;
mod measure;
mod report;
mod rowtide;
mod triggers;

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};

use report::Report;
use rowtide::Rowtide;

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

/// The rounds of each measurement.
const ROUNDS: usize = 5;

#[derive(Parser)]
struct Arguments {
    system: System,
    /// The program to measure.
    #[arg(long)]
    rowtide: PathBuf,
    /// Prints the report as JSON, and not as a table.
    #[arg(long)]
    json: bool,
    /// Fails if a bar is missed.
    #[arg(long)]
    check: bool,
    /// Measures one part only.
    #[arg(long)]
    only: Option<Part>,
    /// Measures the triggers at these numbers of columns only.
    #[arg(long, value_delimiter = ',')]
    columns: Vec<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
enum System {
    Sqlite,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Drain,
    Latency,
    Triggers,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well: no bar is missed, or nobody asked.
fn run(arguments: &Arguments) -> Result<bool> {
    let System::Sqlite = arguments.system;
    let rowtide = Rowtide::new(&arguments.rowtide);
    let mut report = Report::default();
    let is_wanted = |part| arguments.only.is_none_or(|only| only == part);
    if is_wanted(Part::Drain) {
        drain::measure(&rowtide, &mut report)?;
    }
    if is_wanted(Part::Latency) {
        latency::measure(&rowtide, &mut report)?;
    }
    if is_wanted(Part::Triggers) {
        triggers::measure(&rowtide, &arguments.columns, &mut report)?;
    }
    match arguments.json {
        true => println!("{}", report.json()),
        false => print!("{}", report.table()),
    }
    Ok(!arguments.check || report.is_passed())
}
