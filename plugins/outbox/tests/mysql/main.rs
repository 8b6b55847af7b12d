//! Nothing is skipped and nothing overtakes, on MariaDB, whoever commits late and whatever happens
//! to the server; and each scheme that looks as if it did the same, and does not, is caught.

mod faults;
mod ordering;
mod polling;
mod world;

use std::process::ExitCode;

use rowtide_outbox as _;
use rowtide_servers::{Kind, trials};

fn main() -> ExitCode {
    trials::main(
        &[Kind::MariaDb],
        trials![
            ordering::no_interleaving_skips_or_reorders,
            ordering::each_wrong_scheme_is_caught,
            ordering::deleting_waits_for_no_writer,
            faults::every_message_comes_whatever_happens_to_the_server,
            faults::a_second_relay_waits_and_takes_over,
            faults::a_cut_lock_connection_stops_the_relay_before_another_takes_over,
            polling::a_suspended_stream_holds_no_snapshot,
            polling::an_empty_poll_behind_dead_rows_is_as_slow_as_the_docs_say,
            polling::a_table_that_is_not_numbered_is_refused_until_it_is_set_up,
        ],
    )
}
