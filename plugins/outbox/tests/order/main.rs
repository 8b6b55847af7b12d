//! Nothing is skipped and nothing overtakes, on PostgreSQL, whoever commits late; and each scheme
//! that looks as if it did the same, and does not, is caught.

mod crash;
mod exclusion;
mod interleavings;
mod load;
mod relays;
mod world;

use std::process::ExitCode;

use rowtide_outbox as _;
use rowtide_servers::{Kind, trials};

fn main() -> ExitCode {
    trials::main(
        &[Kind::Postgres],
        trials![
            interleavings::no_interleaving_skips_or_reorders,
            interleavings::each_wrong_scheme_is_caught,
            crash::a_position_outlives_a_killed_server,
            crash::a_position_that_was_not_durable_is_caught,
            exclusion::a_second_relay_waits_and_takes_over,
            exclusion::a_cut_lock_connection_stops_the_relay_before_another_takes_over,
            exclusion::a_standby_gives_up_when_it_is_asked_to_stop,
            load::every_committed_message_comes_in_the_order_of_its_aggregate,
            load::polling_stays_fast_behind_dead_rows_and_a_foreign_transaction,
        ],
    )
}
