//! The relay of an outbox in PostgreSQL, beside what every source must do.

mod batches;
#[path = "../relay/disk.rs"]
mod disk;
#[path = "../relay/endurance.rs"]
mod endurance;
mod exclusion;
mod faults;
#[path = "../relay/log.rs"]
mod log;
mod order;
mod polling;
mod pooler;
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
        &[Kind::Postgres],
        trials![
            batches::every_variant_of_the_table_is_set_up_and_read_in_order,
            batches::batches_can_be_read_in_no_order_and_only_be_deleted,
            faults::every_message_comes_whatever_happens_to_the_server,
            order::crash::a_position_outlives_a_killed_server,
            order::crash::a_position_that_was_not_durable_is_caught,
            order::crash::a_position_from_the_future_is_lost,
            order::interleavings::no_interleaving_skips_or_reorders,
            order::interleavings::each_wrong_scheme_is_caught,
            order::standby::a_standby_is_refused_and_so_is_a_position_from_before_its_promotion,
            order::load::every_committed_message_comes_in_the_order_of_its_aggregate,
            exclusion::a_second_relay_waits_and_takes_over,
            exclusion::a_frozen_relay_keeps_its_lock_and_a_killed_one_does_not,
            exclusion::a_cut_lock_connection_stops_the_relay_before_another_takes_over,
            exclusion::a_standby_gives_up_when_it_is_asked_to_stop,
            exclusion::a_standby_looks_at_the_table_again_once_it_has_waited,
            exclusion::the_lock_holds_back_no_vacuum,
            polling::polling_stays_fast_behind_dead_rows_and_a_foreign_transaction,
            polling::a_notification_wakes_the_relay,
            polling::without_a_notification_polling_finds_the_messages,
            pooler::a_transaction_pooler_loses_notifications_and_nothing_else,
            setup::setup_makes_all_that_is_needed_and_is_harmless_twice,
            setup::a_table_without_numbers_is_refused_with_the_statements_that_add_them,
            setup::rows_are_not_numbered_unless_the_user_agrees,
            setup::rows_of_another_cluster_are_refused_until_they_are_made_this_ones,
            setup::teardown_leaves_the_messages,
            setup::renamed_columns_arrive_under_the_names_of_the_router,
            setup::without_an_order_no_column_is_needed,
            upkeep::a_message_is_guarded_against_its_own_transaction,
            upkeep::what_was_saved_and_is_still_there_is_deleted_and_not_read_again,
            upkeep::messages_that_reuse_the_numbers_of_delivered_ones_are_delivered,
            upkeep::a_disk_that_is_put_back_costs_no_new_message,
            upkeep::marked_rows_are_removed_after_their_time,
            upkeep::a_writer_that_stays_open_is_told_of_and_holds_nobody_up,
        ],
    )
}
