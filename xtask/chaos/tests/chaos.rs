//! `cargo xtask chaos`

use std::process::ExitCode;

use clap::Parser;
use rowtide_chaos::{Arguments, run};

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            // Nothing was found out.
            ExitCode::from(2)
        }
    }
}
