//! Measures the shipped program: `cargo xtask bench sqlite outbox`.
//!
//! Everything is measured in one run and each figure is the median of five rounds, since figures of
//! different runs cannot be compared. What a figure is measured against is in the same table.

mod brokers;
mod cockroachdb;
mod kafka;
mod measure;
mod outbox;
mod rabbitmq;
mod report;
mod rowtide;
mod spanner;
mod sqlite;

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};

use report::Report;
use rowtide::Rowtide;

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

/// The rounds of each measurement.
const ROUNDS: usize = 5;

#[derive(Parser)]
struct Arguments {
    #[arg(required = true)]
    systems: Vec<System>,
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
    Cockroachdb,
    Kafka,
    Outbox,
    Rabbitmq,
    Spanner,
    Sqlite,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Drain,
    Latency,
    Triggers,
}

impl Arguments {
    fn wants(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }
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
    let rowtide = Rowtide::new(&arguments.rowtide);
    let mut report = Report::default();
    for system in &arguments.systems {
        let measure = match system {
            System::Cockroachdb => cockroachdb::measure,
            System::Kafka => kafka::measure,
            System::Outbox => outbox::measure,
            System::Rabbitmq => rabbitmq::measure,
            System::Spanner => spanner::measure,
            System::Sqlite => sqlite::measure,
        };
        measure(&rowtide, arguments, &mut report)?;
    }
    match arguments.json {
        true => println!("{}", report.json()),
        false => print!("{}", report.table()),
    }
    Ok(!arguments.check || report.is_passed())
}
