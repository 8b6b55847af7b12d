//! How much is published before it is confirmed, on a real RabbitMQ whose confirmations do not come.

#![expect(clippy::unwrap_used, reason = "what is missing fails the test")]

mod broker;

use std::{process::ExitCode, time::Duration};

use broker::{Broker, Queue, change, id, ids, text};
use rowtide_core::{Change, Context, Shutdown, Sink, Value, registry, settings::Settings};
use rowtide_proxy::{Direction, Fault, Proxy};
use rowtide_rabbitmq as _;
use rowtide_servers::{Kind, trials};
use tokio::time::timeout;

fn main() -> ExitCode {
    trials::main(
        &[Kind::RabbitMq],
        rowtide_servers::trials![
            what_is_unconfirmed_is_bounded_by_bytes,
            what_is_unconfirmed_is_bounded_by_messages,
        ],
    )
}

fn what_is_unconfirmed_is_bounded_by_bytes() -> Result<(), String> {
    // The text alone, of which 65 are more than 64 KiB.
    holds(&[("unconfirmed_bytes_max", text("64KiB"))], 16..65)
}

fn what_is_unconfirmed_is_bounded_by_messages() -> Result<(), String> {
    holds(&[("unconfirmed_max", Settings::Int(20))], 20..21)
}

/// Writes a megabyte while no confirmation comes, and looks how many messages arrived meanwhile.
fn holds(bound: &[(&str, Settings)], expected: std::ops::Range<usize>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(async {
        static BROKER: std::sync::OnceLock<rowtide_core::Result<Broker>> =
            std::sync::OnceLock::new();
        let broker = BROKER.get_or_init(Broker::start).as_ref().unwrap();
        let queue = Queue::bound(broker).await.unwrap();
        let proxy = Proxy::start(broker.address(), 3).await.unwrap();
        let mut sink = open(&queue, &proxy, bound).await;
        let many = large(0..1_000);
        // A message larger than any before travels alone, and waits for its confirmation.
        sink.write(&many[..1]).await.unwrap();
        sink.flush().await.unwrap();
        proxy.inject(Direction::ToClient, Fault::Stall);
        {
            let write = sink.write(&many[1..]);
            tokio::pin!(write);
            let first =
                async { while queue.messages().await.unwrap().len() < expected.start + 1 {} };
            tokio::select! {
                written = &mut write => panic!("a megabyte was taken: {written:?}"),
                waited = timeout(Duration::from_secs(60), first) => waited.unwrap(),
            }
            let early = timeout(Duration::from_secs(3), &mut write).await;
            assert!(early.is_err(), "a megabyte was taken: {early:?}");
            let arrived = queue.messages().await.unwrap().len() - 1;
            assert!(expected.contains(&arrived), "{arrived} messages are unconfirmed");
            proxy.heal();
            write.await.unwrap();
        }
        sink.flush().await.unwrap();
        let found = queue.messages().await.unwrap();
        assert_eq!(found.iter().map(id).collect::<Vec<_>>(), ids(&many));
        Ok(())
    })
}

async fn open(queue: &Queue, proxy: &Proxy, bound: &[(&str, Settings)]) -> Box<dyn Sink> {
    let port = proxy.address().port();
    let url = format!("amqp://guest:guest@127.0.0.1:{port}/{}", queue.vhost);
    // The broker is not heard of for a while, and must not be taken for gone.
    let settings = [("url", text(&url)), ("exchange", text("changes")), ("heartbeat", text("60s"))];
    let all = settings.iter().chain(bound).map(|(key, value)| ((*key).to_owned(), value.clone()));
    let factory = registry::sink("rabbitmq", &Settings::Table(all.collect())).unwrap();
    factory.open(&Context::new("orders", Shutdown::never())).await.unwrap()
}

fn large(numbers: std::ops::Range<u64>) -> Vec<Change> {
    let text = Value::from("x".repeat(1_000));
    // Of equal length, so that none is larger than the first.
    numbers.map(|number| change(1_000 + number, "items", text.clone())).collect()
}
