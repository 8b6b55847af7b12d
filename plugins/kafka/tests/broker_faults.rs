//! A broker that is killed, frozen or cut off, and one that speaks of errors on demand.

#![expect(clippy::unwrap_used, reason = "what is missing fails the test")]

mod broker;

use std::{process::ExitCode, time::Duration};

use broker::{Broker, insert, inserts, numbers, open, run};
use rdkafka::{
    Message as _,
    mocking::MockCluster,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use rowtide_core::{Change, ErrorKind, Result, Sink};
use rowtide_kafka as _;
use rowtide_proxy::{Direction, Fault, Proxy};
use rowtide_servers::{Kind, trials};
use serde_json::json;
use tokio::time;

fn main() -> ExitCode {
    let tests = trials![
        kills_and_freezes_are_waited_for_in_order,
        a_cut_in_each_direction_is_survived_in_order,
        a_limit_that_could_not_be_asked_for_refuses_nothing,
        what_is_under_way_is_bounded_by_bytes,
        nothing_of_a_dropped_sink_arrives_later,
        errors_of_the_brokers_have_their_kinds,
        an_abandoned_call_is_not_gone_on_with,
    ];
    trials::main(&[Kind::Kafka], tests)
}

async fn deliver(sink: &mut dyn Sink, changes: &[Change]) -> Result<()> {
    sink.write(changes).await?;
    sink.flush().await
}

/// Every number from 0 on, first seen in order.
fn check_in_order(found: &[u64], end: u64) {
    let mut next = 0;
    for number in found {
        assert!(*number <= next, "{number} arrived before {next}");
        next = next.max(number + 1);
    }
    assert_eq!(next, end, "the last ones are missing");
}

fn kills_and_freezes_are_waited_for_in_order() -> Result<()> {
    run(async {
        let broker = Broker::start()?;
        let server = broker.server()?;
        let topic = broker.topic(1, &[]).await?;
        let mut sink = broker.open(json!({ "topic": topic })).await?;
        deliver(&mut *sink, &inserts(0..10)).await?;
        for (round, is_killed) in [(1, true), (2, false), (3, true)] {
            let numbers = round * 100..round * 100 + 100;
            if round == 1 {
                sink.write(&inserts(10..100)).await?;
            }
            sink.write(&inserts(numbers.start..numbers.start + 50)).await?;
            match is_killed {
                true => server.kill().map_err(broker::failed)?,
                false => server.freeze().map_err(broker::failed)?,
            }
            sink.write(&inserts(numbers.start + 50..numbers.end)).await?;
            let early = time::timeout(Duration::from_secs(3), sink.flush()).await;
            assert!(early.is_err(), "round {round}: {early:?} while no broker was there");
            drop(sink);
            match is_killed {
                true => server.restart().map_err(broker::failed)?,
                false => server.thaw().map_err(broker::failed)?,
            }
            // As after a recovery, from what was flushed last.
            sink = broker.open(json!({ "topic": topic })).await?;
            deliver(&mut *sink, &inserts(if round == 1 { 10 } else { numbers.start }..numbers.end))
                .await?;
        }
        check_in_order(&numbers(&broker.messages(&topic).await?), 400);

        // And without a recovery: the same sink waits.
        for (round, is_killed) in [(4, true), (5, false)] {
            sink.write(&inserts(round * 100..round * 100 + 50)).await?;
            match is_killed {
                true => server.kill().map_err(broker::failed)?,
                false => server.freeze().map_err(broker::failed)?,
            }
            sink.write(&inserts(round * 100 + 50..round * 100 + 100)).await?;
            let (flushed, back) = tokio::join!(sink.flush(), async {
                time::sleep(Duration::from_secs(2)).await;
                tokio::task::block_in_place(|| match is_killed {
                    true => server.restart(),
                    false => server.thaw(),
                })
            });
            back.map_err(broker::failed)?;
            flushed?;
        }
        let found = numbers(&broker.messages(&topic).await?);
        let last: Vec<_> = found.iter().copied().skip_while(|number| *number < 400).collect();
        assert_eq!(last, (400..600).collect::<Vec<_>>(), "one producer sends once and in order");
        Ok(())
    })
}

fn a_cut_in_each_direction_is_survived_in_order() -> Result<()> {
    run(async {
        let broker = Broker::start()?;
        let (address, behind) =
            (broker.socket("ROWTIDE_KAFKA_PROXY")?, broker.socket("ROWTIDE_KAFKA_BEHIND_PROXY")?);
        let proxy = Proxy::start_at(address, behind, 3).await.map_err(broker::failed)?;
        let topic = broker.topic(1, &[]).await?;
        let settings = json!({ "brokers": [address.to_string()], "topic": topic });
        let mut sink = open(settings).await?;
        for round in 0..12 {
            let direction = if round % 2 == 0 { Direction::ToServer } else { Direction::ToClient };
            proxy.inject(direction, Fault::CutAfter { bytes: round * 37 });
            deliver(&mut *sink, &inserts(round * 50..round * 50 + 50)).await?;
            proxy.heal();
        }
        let found = numbers(&broker.messages(&topic).await?);
        assert_eq!(found, (0..600).collect::<Vec<_>>(), "an answer that is lost costs no copy");
        Ok(())
    })
}

/// The broker does not answer for longer than one waits for a limit, and a little later it does.
fn a_limit_that_could_not_be_asked_for_refuses_nothing() -> Result<()> {
    run(async {
        let broker = Broker::start()?;
        let server = broker.server()?;
        deliver(&mut *broker.open(json!({})).await?, &inserts(0..1)).await?;
        broker.configure("items", &[("max.message.bytes", "3000000")]).await?;
        let mut sink = broker.open(json!({})).await?;
        server.freeze().map_err(broker::failed)?;
        let small = inserts(1..2);
        let (written, thawed) = tokio::join!(sink.write(&small), async {
            time::sleep(Duration::from_secs(7)).await;
            tokio::task::block_in_place(|| server.thaw())
        });
        thawed.map_err(broker::failed)?;
        written?;
        deliver(&mut *sink, &[insert(2, &"x".repeat(2_000_000))]).await?;
        assert_eq!(numbers(&broker.messages("items").await?), [0, 1, 2]);
        Ok(())
    })
}

fn what_is_under_way_is_bounded_by_bytes() -> Result<()> {
    run(async {
        let broker = Broker::start()?;
        let topic = broker.topic(1, &[]).await?;
        let settings = json!({ "topic": topic, "buffer_bytes_max": "64KiB" });
        let mut sink = broker.open(settings).await?;
        deliver(&mut *sink, &inserts(0..1)).await?;
        broker.server()?.freeze().map_err(broker::failed)?;
        let many = inserts(1..2_000);
        let early = {
            let write = sink.write(&many);
            tokio::pin!(write);
            let early = time::timeout(Duration::from_secs(2), &mut write).await;
            broker.server()?.thaw().map_err(broker::failed)?;
            write.await?;
            early
        };
        assert!(early.is_err(), "everything was taken while nothing went through");
        sink.flush().await?;
        let found = numbers(&broker.messages(&topic).await?);
        assert_eq!(found, (0..2_000).collect::<Vec<_>>());
        Ok(())
    })
}

fn nothing_of_a_dropped_sink_arrives_later() -> Result<()> {
    run(async {
        let broker = Broker::start()?;
        let topic = broker.topic(1, &[]).await?;
        let mut sink = broker.open(json!({ "topic": topic })).await?;
        deliver(&mut *sink, &inserts(0..1)).await?;
        // Whatever is in a queue when the broker is gone must not be sent when it is back.
        broker.server()?.kill().map_err(broker::failed)?;
        sink.write(&inserts(1..1_000)).await?;
        drop(sink);
        broker.server()?.restart().map_err(broker::failed)?;
        let mut sink = broker.open(json!({ "topic": topic })).await?;
        deliver(&mut *sink, &inserts(5_000..5_001)).await?;
        assert_eq!(numbers(&broker.messages(&topic).await?), [0, 5_000]);
        Ok(())
    })
}

fn errors_of_the_brokers_have_their_kinds() -> Result<()> {
    use RDKafkaRespErr::*;
    run(async {
        let cluster = MockCluster::new(1).map_err(broker::failed)?;
        cluster.create_topic("items", 1, 1).map_err(broker::failed)?;
        let settings = json!({ "brokers": [cluster.bootstrap_servers()] });
        let errors = [
            (RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, Some(ErrorKind::Config)),
            (RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID, None),
            (RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS, Some(ErrorKind::Transient)),
            (RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, None),
            (RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, None),
            (RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, None),
        ];
        for (error, expected) in errors {
            let mut sink = open(settings.clone()).await?;
            deliver(&mut *sink, &inserts(0..3)).await?;
            cluster.request_errors(RDKafkaApiKey::Produce, &[error]);
            let delivered = deliver(&mut *sink, &inserts(3..6)).await;
            cluster.clear_request_errors(RDKafkaApiKey::Produce);
            let kind = delivered.err().map(|error| error.kind().clone());
            assert_eq!(kind, expected, "{error:?}");
        }
        Ok(())
    })
}

fn an_abandoned_call_is_not_gone_on_with() -> Result<()> {
    run(async {
        let broker = Broker::start()?;
        let topic = broker.topic(1, &[]).await?;
        let mut sink = broker.open(json!({ "topic": topic })).await?;
        broker.server()?.freeze().map_err(broker::failed)?;
        sink.write(&inserts(0..10)).await?;
        assert!(time::timeout(Duration::from_millis(100), sink.flush()).await.is_err());
        let error = sink.write(&inserts(10..20)).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        broker.server()?.thaw().map_err(broker::failed)?;
        drop(sink);
        let mut sink = broker.open(json!({ "topic": topic })).await?;
        deliver(&mut *sink, &inserts(0..20)).await?;
        let found = broker.messages(&topic).await?;
        assert!(found.iter().all(|message| message.payload().is_some()));
        check_in_order(&numbers(&found), 20);
        Ok(())
    })
}
