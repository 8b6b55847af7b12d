//! The relay of an outbox in a SQLite file, beside what every source must do.

mod batches;
#[path = "../relay/mod.rs"]
mod relay;
mod rows;
mod setup;
mod world;

use std::{process::ExitCode, time::Duration};

use relay::{Outcome, context, exclusion, factory, run};
use rowtide_outbox as _;
use rowtide_servers::trials;
use serde_json::json;
use world::{NUMBERED, World};

fn main() -> ExitCode {
    if let Some(code) = relay::holder::hold() {
        return code;
    }
    trials::main(
        &[],
        trials![
            a_frozen_relay_keeps_its_lock_and_a_killed_one_does_not,
            a_second_relay_waits_and_takes_over,
            a_table_has_one_lock_however_it_is_spelled,
            a_standby_gives_up_when_it_is_asked_to_stop,
            batches::what_the_writer_puts_into_a_batch_comes_in_its_order_and_is_done,
            batches::a_damaged_batch_is_told_after_what_is_before_it_and_loses_nothing,
            batches::every_variant_of_the_table_is_read,
            rows::rows_without_numbers_come_once_each,
            rows::a_row_that_its_id_does_not_find_is_told_of,
            rows::what_is_rolled_back_never_comes_and_its_number_is_no_gap,
            rows::the_applications_log_is_neither_checkpointed_nor_held,
            rows::marked_rows_are_removed_after_their_time,
            rows::a_kept_position_is_of_the_row_that_is_there,
            setup::setup_makes_all_that_is_needed_and_is_harmless_twice,
            setup::a_table_whose_numbers_come_again_is_refused,
            setup::a_table_that_is_made_anew_as_told_keeps_its_rows,
        ],
    )
}

fn a_second_relay_waits_and_takes_over() -> Outcome {
    run(async {
        let world = World::new(NUMBERED)?;
        exclusion::a_second_relay_waits_and_takes_over(&world.url()).await
    })
}

fn a_table_has_one_lock_however_it_is_spelled() -> Outcome {
    run(async {
        let world = World::new(NUMBERED)?;
        let link = world.directory.path().join("link.db");
        std::os::unix::fs::symlink("shop.db", &link)?;
        let _first = world.open(json!({}), &context()).await?;
        let linked = format!("sqlite:{}", link.display());
        for (url, table) in [(linked, "outbox"), (world.url(), "Outbox")] {
            let waiting = context();
            let second = factory(&url, &json!({ "table": table }))?;
            let second = second.open(&waiting);
            let early = tokio::time::timeout(Duration::from_secs(2), second).await;
            assert!(early.is_err() && waiting.waited_for_lock(), "{url} {table}");
        }
        Ok(())
    })
}

fn a_frozen_relay_keeps_its_lock_and_a_killed_one_does_not() -> Outcome {
    run(async {
        let world = World::new(NUMBERED)?;
        exclusion::a_frozen_relay_keeps_its_lock_and_a_killed_one_does_not(&world.url()).await
    })
}

fn a_standby_gives_up_when_it_is_asked_to_stop() -> Outcome {
    run(async {
        let world = World::new(NUMBERED)?;
        exclusion::a_standby_gives_up_when_it_is_asked_to_stop(&world.url()).await
    })
}
