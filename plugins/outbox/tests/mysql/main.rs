//! The relay of an outbox in MariaDB, beside what every source must do.

mod batches;
#[path = "../relay/disk.rs"]
mod disk;
#[path = "../relay/endurance.rs"]
mod endurance;
mod exclusion;
mod faults;
#[path = "../relay/log.rs"]
mod log;
mod ordering;
mod polling;
#[path = "../relay/mod.rs"]
mod relay;
mod setup;
mod upkeep;
mod world;

use std::process::ExitCode;

use rowtide_outbox as _;
use rowtide_servers::{Kind, trials};

fn main() -> ExitCode {
    if let Some(code) = relay::holder::hold() {
        return code;
    }
    trials::main(
        &[Kind::MariaDb],
        trials![
            batches::every_variant_of_the_table_is_set_up_and_read_in_order,
            batches::batches_can_be_read_in_no_order_and_only_be_deleted,
            faults::every_message_comes_whatever_happens_to_the_server,
            faults::an_acknowledgement_that_is_not_answered_ends_and_is_made_again,
            ordering::no_interleaving_skips_or_reorders,
            ordering::each_wrong_scheme_is_caught,
            ordering::deleting_waits_for_no_writer,
            exclusion::a_second_relay_waits_and_takes_over,
            exclusion::a_frozen_relay_keeps_its_lock_and_a_killed_one_does_not,
            exclusion::a_cut_lock_connection_stops_the_relay_before_another_takes_over,
            exclusion::a_standby_gives_up_when_it_is_asked_to_stop,
            polling::a_suspended_stream_holds_no_snapshot,
            polling::an_empty_poll_behind_dead_rows_is_as_slow_as_the_docs_say,
            setup::setup_makes_all_that_is_needed_and_is_harmless_twice,
            setup::a_table_that_is_not_numbered_is_refused_until_it_is_set_up,
            setup::without_an_order_no_column_is_needed,
            setup::messages_cannot_be_kept,
            upkeep::a_disk_that_is_put_back_costs_no_new_message,
            upkeep::marked_rows_are_removed_after_their_time,
            upkeep::a_writer_that_stays_open_is_told_of_and_holds_nobody_up,
        ],
    )
}
