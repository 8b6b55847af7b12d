//! The emulator and the scripted server are asked the same, and must answer the same, wherever both
//! can do a thing: what one of them is trusted with holds for the other.

#[path = "../emulator/mod.rs"]
mod emulator;
mod records;
mod refusals;
mod side;
mod tree;

use std::process::ExitCode;

use rowtide_core::Result;
use rowtide_servers::{Kind, trials};

use emulator::Dialect;

const DIALECTS: [Dialect; 2] = [Dialect::GoogleSql, Dialect::Postgres];

fn main() -> ExitCode {
    trials::main(
        &[Kind::Spanner],
        rowtide_servers::trials![
            records::both_tell_the_same_of_what_is_written,
            records::both_end_at_an_end_and_tell_what_is_at_it,
            refusals::both_refuse_the_same,
            tree::partitions_of_both_follow_the_same_rules,
        ],
    )
}

fn block_on<T>(test: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test)
}
