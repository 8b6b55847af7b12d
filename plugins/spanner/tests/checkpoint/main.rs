//! What the checkpoint store keeps in a metadata table, and what it makes of one that another
//! program left.

#[path = "../emulator/mod.rs"]
mod emulator;
mod foreign;
mod moving;
mod saving;
mod tables;

use std::process::ExitCode;

use rowtide_core::{CheckpointUpdate, Owner, PartitionState, Progress, Result};
use rowtide_servers::{Kind, trials};
use rowtide_spanner as _;

use emulator::{Dialect, metadata::position};

const DIALECTS: [Dialect; 2] = [Dialect::GoogleSql, Dialect::Postgres];

fn main() -> ExitCode {
    trials::main(
        &[Kind::Spanner],
        rowtide_servers::trials![
            moving::the_rows_of_spream_are_gone_on_with,
            moving::the_rows_of_screamer_are_gone_on_with,
            moving::the_rows_of_beam_are_gone_on_with_in_both_dialects,
            moving::a_parent_whose_row_is_gone_is_waited_for_unless_it_must_have_ended,
            moving::a_damaged_row_is_named,
            saving::a_partition_goes_through_the_states_of_the_table,
            saving::a_watermark_is_lowered_under_a_new_claim_only,
            saving::a_forgotten_partition_has_no_row,
            saving::an_end_outlives_its_row,
            saving::what_is_no_time_in_a_change_stream_is_refused,
            saving::a_table_takes_one_pipeline,
            tables::setup_and_teardown_do_what_they_print,
            tables::a_missing_table_is_named,
            tables::a_run_makes_the_tables_if_it_may,
        ],
    )
}

fn block_on<T>(test: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test)
}

fn owner(host: &str) -> Owner {
    Owner { host: host.to_owned(), process: 1, since: jiff::Timestamp::UNIX_EPOCH }
}

fn update(states: Vec<PartitionState>) -> CheckpointUpdate {
    CheckpointUpdate { states, forgotten: Vec::new() }
}

/// Delivered up to a second, which may come again.
fn delivered(second: i64) -> Progress {
    Progress::Delivered(position(second, 0))
}

fn finished(second: i64) -> Progress {
    Progress::Finished(Some(position(second, 0)))
}

fn sorted(mut states: Vec<PartitionState>) -> Vec<PartitionState> {
    states.sort_by(|left, right| left.partition.id.cmp(&right.partition.id));
    states
}
