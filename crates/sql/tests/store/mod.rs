//! What the checkpoint stores on SQL servers must survive, whichever server it is. Each plugin's
//! `tests/faults.rs` runs these as trials of its own.

mod claims;
mod network;
mod server;
mod table;
mod world;

use std::{error::Error, process::ExitCode};

use rowtide_servers::{Kind, trials};
pub(crate) use world::Database;

/// The outcome of a trial.
pub(crate) type Outcome = Result<(), Box<dyn Error>>;

/// Runs the trials on one kind of server.
pub(crate) fn main<D: Database>(kind: Kind) -> ExitCode {
    let tests = rowtide_servers::trials![
        claims::of_all_that_claim_at_once_only_the_last_saves::<D>,
        network::a_cut_at_any_byte_leaves_all_of_a_save_or_nothing::<D>,
        network::a_lost_answer_is_found_out::<D>,
        network::a_save_that_arrives_late_undoes_nothing::<D>,
        server::a_frozen_server_is_given_up_and_gone_on_with::<D>,
        server::what_was_saved_outlives_a_killed_server::<D>,
        table::a_missing_table_is_named_and_not_made::<D>,
        table::setup_and_teardown_do_what_they_print::<D>,
        table::what_cannot_work_is_told_without_the_password::<D>,
    ];
    let tests = tests.into_iter().map(|(name, test)| (name.trim_end_matches("::<D>"), test));
    trials::main(&[kind], tests.collect())
}
