//! What is published is in the outbox of a real database if, and only if, the transaction commits.

mod mysql;
mod postgres;
mod sqlite;

use std::{error::Error, process::ExitCode, time::Duration};

use rowtide_outbox_writer::{Message, StreamMessage, Value};
use rowtide_servers::{Kind, trials};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    trials::main(
        &[Kind::Postgres, Kind::MariaDb],
        trials![
            postgres::messages_are_there_with_the_transaction_and_in_order,
            postgres::each_type_of_column_takes_what_it_can_hold,
            postgres::every_variant_of_the_batch_table_takes_a_batch,
            postgres::a_row_that_is_not_written_is_an_error,
            mysql::messages_are_there_with_the_transaction_and_in_order,
            mysql::each_type_of_column_takes_what_it_can_hold,
            mysql::every_variant_of_the_batch_table_takes_a_batch,
            sqlite::messages_are_there_with_the_transaction_and_in_order,
            sqlite::every_variant_of_the_batch_table_takes_a_batch,
        ],
    )
}

/// Runs a test, and fails it when it takes too long.
fn run(test: impl Future<Output = Outcome>) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(120), test).await? })
}

/// More messages than one statement of SQLite or MySQL takes, numbered.
fn many() -> Vec<Message> {
    let message = |number: u32| Message::new("order", "7", number.to_string(), "{}");
    (0..14_000).map(message).collect()
}

fn stream_messages() -> Vec<StreamMessage> {
    ["1", "2"].map(|key| StreamMessage::new("orders", key, "text/plain", "data")).to_vec()
}

/// A message with a value for columns of further types.
fn full() -> Message {
    Message::new("order", "größe 7", "OrderPlaced", Value::from(b"\x00\xff".to_vec()))
        .id("01890a5d-ac96-774b-bcce-b302099a8057")
        .trace("traceparent", "00-1-2-01")
        .column("a_flag", true)
        .column("a_number", -7)
        .column("a_float", 0.5)
        .column("a_time", std::time::UNIX_EPOCH + Duration::from_millis(1_500))
        .column("nothing", None::<&str>)
}
