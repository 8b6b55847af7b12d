//! Where messages go, what a topic takes, and what becomes of what it does not take.

#![expect(clippy::unwrap_used, reason = "what is missing fails the test")]

mod broker;

use std::process::ExitCode;

use broker::{Broker, insert, inserts, numbers, open, run};
use rdkafka::{
    Message as _,
    message::OwnedMessage,
    producer::{BaseProducer, BaseRecord, Producer},
};
use rowtide_core::{
    Change, ChangeId, Column, ColumnType, ErrorKind, Operation, Result, Row, Sink, Table, Value,
    registry, settings::Settings,
};
use rowtide_kafka as _;
use rowtide_servers::{Kind, trials};
use serde_json::{Value as Json, json};

/// How old a message may be, in milliseconds.
const OLDEST: &str = "message.timestamp.before.max.ms";

fn main() -> ExitCode {
    let tests = trials![
        a_key_goes_where_java_puts_it,
        many_small_messages_fit_into_a_small_topic,
        a_message_of_the_exact_limit_is_taken_and_one_byte_more_is_not,
        a_lowered_limit_is_noticed_and_costs_no_neighbour,
        a_lowered_limit_is_noticed_for_what_was_not_sent_yet,
        a_clock_that_is_wrong_refuses_nothing_and_a_time_of_a_row_does,
        a_record_that_a_compacted_topic_refuses_costs_no_neighbour,
        a_deletion_has_a_tombstone_and_a_row_its_headers,
        a_partition_that_is_not_there_is_rejected,
        a_missing_topic_is_told,
        the_limit_of_a_topic_that_the_brokers_make_is_known,
        a_topic_is_made_of_each_message,
        all_changes_of_a_refused_message_are_rejected,
        a_joined_message_goes_to_the_topic_of_its_table,
        a_joined_message_is_not_named_by_one_of_its_rows,
    ];
    trials::main(&[Kind::Kafka], tests)
}

fn shared() -> Result<Broker> {
    let server = rowtide_servers::Server::shared(Kind::Kafka).map_err(broker::failed)?;
    let address = server.variable("ROWTIDE_KAFKA_BROKERS").map_err(broker::failed)?.to_owned();
    Ok(Broker::at(address))
}

/// A message of an outbox, whose key is written as it is.
fn outbox(number: u64, key: &str, payload: Option<&str>) -> Change {
    outbox_in(number, key, payload, Value::Null)
}

fn outbox_in(number: u64, key: &str, payload: Option<&str>, partition: Value) -> Change {
    outbox_with(number, key, payload, ("partition", partition))
}

fn outbox_with(
    number: u64,
    key: &str,
    payload: Option<&str>,
    (name, value): (&'static str, Value),
) -> Change {
    let columns = ["id", "aggregatetype", "aggregateid", "payload", name];
    let columns = columns.map(|name| Column::new(name, ColumnType::Any)).to_vec();
    let table = Table::new("outbox", columns);
    let mut change = Change::new(ChangeId::new("o").major(number), table.into(), Operation::Insert);
    let texts = [format!("m{number}"), "kind".to_owned(), key.to_owned()].map(Value::from);
    let payload = payload.map(str::to_owned).into();
    change.after = Some(texts.into_iter().chain([payload, value]).collect());
    change
}

async fn deliver(sink: &mut dyn Sink, changes: &[Change]) -> Result<()> {
    sink.write(changes).await?;
    sink.flush().await
}

#[track_caller]
fn check_rejected(result: Result<()>, expected: &[usize], words: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Rejected { indexes: expected.to_vec() }, "{error}");
    assert!(error.message().contains(words), "{error}");
}

/// `Utils.murmur2` of Kafka's Java client, written down from its definition.
fn murmur2(key: &[u8]) -> u32 {
    const MIX: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ key.len() as u32;
    let mut words = key.chunks_exact(4);
    for word in &mut words {
        let word = u32::from_le_bytes(word.try_into().unwrap()).wrapping_mul(MIX);
        hash = hash.wrapping_mul(MIX) ^ (word ^ word >> 24).wrapping_mul(MIX);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        let rest = rest.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
        hash = (hash ^ rest).wrapping_mul(MIX);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(MIX);
    hash ^ hash >> 15
}

/// The vectors are those of Kafka's own test of it.
fn a_key_goes_where_java_puts_it() -> Result<()> {
    let known = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ];
    for (key, hash) in known {
        assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
    }
    run(async {
        let broker = shared()?;
        let topic = broker.topic(13, &[]).await?;
        let mut keys: Vec<String> = known.iter().map(|(key, _)| (*key).to_owned()).collect();
        keys.extend(
            (0..1_000).map(|number: u32| "ü".repeat(number as usize % 5) + &number.to_string()),
        );
        let changes: Vec<_> =
            (0..).zip(&keys).map(|(number, key)| outbox(number, key, Some("x"))).collect();
        let mut sink = broker.open(json!({ "topic": topic, "format": "outbox" })).await?;
        deliver(&mut *sink, &changes).await?;
        let found = broker.messages(&topic).await?;
        assert_eq!(found.len(), keys.len());
        for message in found {
            let hash = murmur2(message.key().unwrap()) & 0x7fff_ffff;
            assert_eq!(message.partition().cast_unsigned(), hash % 13);
        }
        Ok(())
    })
}

fn many_small_messages_fit_into_a_small_topic() -> Result<()> {
    run(async {
        let broker = shared()?;
        let topic = broker.topic(1, &[("max.message.bytes", "10000")]).await?;
        let mut sink = broker.open(json!({ "topic": topic })).await?;
        let value = "x".repeat(200);
        let changes: Vec<_> = (0..100).map(|number| insert(number, &value)).collect();
        deliver(&mut *sink, &changes).await?;
        assert_eq!(numbers(&broker.messages(&topic).await?), (0..100).collect::<Vec<_>>());
        Ok(())
    })
}

fn a_message_of_the_exact_limit_is_taken_and_one_byte_more_is_not() -> Result<()> {
    run(async {
        let broker = shared()?;
        let topic = broker.topic(1, &[("max.message.bytes", "20000")]).await?;
        let mut sink = broker.open(json!({ "topic": topic, "format": "outbox" })).await?;
        let sized = |number| outbox(number, "key", Some(&"x".repeat(19_900 + number as usize)));
        let changes: Vec<_> = (0..100).map(sized).collect();
        let error = deliver(&mut *sink, &changes).await.unwrap_err();
        let taken = broker.messages(&topic).await?;
        check_rejected(Err(error), &(taken.len()..100).collect::<Vec<_>>(), "takes 20000");
        // What the broker says of the last one that was taken, and of one byte more.
        let largest = taken.last().unwrap();
        let payload = largest.payload().unwrap();
        assert!(is_taken(&broker, largest, payload).await);
        assert!(!is_taken(&broker, largest, &[payload, b"x"].concat()).await);
        Ok(())
    })
}

/// Whether the broker takes a message like this one.
async fn is_taken(broker: &Broker, like: &OwnedMessage, payload: &[u8]) -> bool {
    let before = broker.messages(like.topic()).await.unwrap().len();
    let producer: BaseProducer = broker.client().create().unwrap();
    let record = BaseRecord::to(like.topic()).key(like.key().unwrap()).payload(payload);
    producer.send(record.headers(like.headers().unwrap().clone())).unwrap();
    let flushed = tokio::task::block_in_place(|| producer.flush(broker::PATIENCE));
    flushed.unwrap();
    broker.messages(like.topic()).await.unwrap().len() > before
}

/// A broker refuses whole batches here: the limit that was read is not the limit any more.
fn a_lowered_limit_is_noticed_and_costs_no_neighbour() -> Result<()> {
    lower_the_limit(json!({}))
}

/// The second of them is in a batch that no broker has seen when the first is refused.
fn a_lowered_limit_is_noticed_for_what_was_not_sent_yet() -> Result<()> {
    lower_the_limit(json!({ "batch.num.messages": "50", "max.in.flight": "1" }))
}

fn lower_the_limit(properties: Json) -> Result<()> {
    run(async {
        let broker = shared()?;
        let topic = broker.topic(1, &[]).await?;
        let mut sink = broker.open(json!({ "topic": topic, "properties": properties })).await?;
        deliver(&mut *sink, &inserts(0..5)).await?;
        broker.configure(&topic, &[("max.message.bytes", "3000")]).await?;
        for (round, culprits) in [(1, vec![40, 140]), (2, vec![7]), (3, vec![])] {
            let first = round * 1_000;
            let value = |number| "x".repeat(if culprits.contains(&number) { 5_000 } else { 100 });
            let changes: Vec<_> =
                (0..200).map(|number| insert(first + number, &value(number as usize))).collect();
            let flushed = deliver(&mut *sink, &changes).await;
            match culprits.is_empty() {
                true => flushed?,
                false => check_rejected(flushed, &culprits, ""),
            }
            let is_good = |number: &u64| !culprits.contains(&(*number as usize));
            let good: Vec<_> = (0..200).filter(is_good).map(|number| first + number).collect();
            let found = numbers(&broker.messages(&topic).await?);
            assert_eq!(&found[found.len() - good.len()..], good);
        }
        Ok(())
    })
}

/// Every clock is wrong for a topic that takes nothing that is a millisecond old.
fn a_clock_that_is_wrong_refuses_nothing_and_a_time_of_a_row_does() -> Result<()> {
    run(async {
        let broker = shared()?;
        let format = json!({ "type": "outbox", "timestamp_column": "at" });
        let at = |number, time| outbox_with(number, "key", Some("x"), ("at", time));
        let topic = broker.topic(1, &[(OLDEST, "0")]).await?;
        let mut sink = broker.open(json!({ "topic": topic, "format": format })).await?;
        let error = deliver(&mut *sink, &[at(1, Value::Null)]).await.unwrap_err();
        assert!(error.is_transient() && error.message().contains("the time of this"), "{error}");
        // What is beside a message that is too old is sent again, and keeps its time.
        let topic = broker.topic(1, &[(OLDEST, "1000000000000")]).await?;
        let mut sink = broker.open(json!({ "topic": topic, "format": format })).await?;
        let [old, new] = ["1970-01-01T00:00:01Z", "2026-01-01T00:00:00Z"]
            .map(|time| Value::from(time.to_owned()));
        let changes = [at(1, Value::Null), at(2, old), at(3, new)];
        check_rejected(deliver(&mut *sink, &changes).await, &[1], "refuse");
        let found = broker.messages(&topic).await?;
        let times: Vec<_> = found.iter().map(|message| message.timestamp().to_millis()).collect();
        assert_eq!((times.len(), times[1]), (2, Some(1_767_225_600_000)), "{times:?}");
        Ok(())
    })
}

fn a_record_that_a_compacted_topic_refuses_costs_no_neighbour() -> Result<()> {
    run(async {
        let broker = shared()?;
        let topic = broker.topic(1, &[("cleanup.policy", "compact")]).await?;
        let mut sink = broker.open(json!({ "topic": topic })).await?;
        let mut changes = inserts(0..20);
        // A table without key has messages without key, which such a topic cannot compact.
        for index in [3, 11] {
            let columns = vec![Column::new("value", ColumnType::Text)];
            changes[index].table = Table::new("keyless", columns).into();
            changes[index].after = Some(Row::new([Value::from("x")]));
        }
        check_rejected(deliver(&mut *sink, &changes).await, &[3, 11], "refuse");
        let good: Vec<_> = (0..20).filter(|number| ![3, 11].contains(number)).collect();
        assert_eq!(numbers(&broker.messages(&topic).await?), good);
        Ok(())
    })
}

fn a_deletion_has_a_tombstone_and_a_row_its_headers() -> Result<()> {
    run(async {
        let broker = shared()?;
        let topic = broker.topic(1, &[]).await?;
        let mut sink = broker.open(json!({ "topic": topic, "format": "debezium" })).await?;
        let mut delete = insert(1, "gone");
        delete.operation = Operation::Delete;
        delete.before = delete.after.take();
        deliver(&mut *sink, &[delete]).await?;
        drop(sink);
        let outboxed = json!({ "topic": topic, "format": { "type": "outbox" } });
        let mut sink = broker.open(outboxed).await?;
        deliver(&mut *sink, &[outbox(1, "", Some("")), outbox(2, "k", Some("v"))]).await?;
        let found = broker.messages(&topic).await?;
        let [row, tombstone, empty, full] = &found[..] else { panic!("{} messages", found.len()) };
        assert!(row.payload().is_some() && row.key().is_some());
        assert_eq!((tombstone.key(), tombstone.payload()), (row.key(), None));
        assert_eq!(empty.payload(), Some(&b""[..]));
        assert_eq!((full.key(), full.payload()), (Some(&b"k"[..]), Some(&b"v"[..])));
        let headers = rdkafka::message::Headers::iter(full.headers().unwrap());
        let headers: Vec<_> = headers.map(|header| (header.key, header.value)).collect();
        assert_eq!(headers, [("id", Some(&b"m2"[..]))]);
        Ok(())
    })
}

fn a_partition_that_is_not_there_is_rejected() -> Result<()> {
    run(async {
        let broker = shared()?;
        let topic = broker.topic(2, &[]).await?;
        let format = json!({ "type": "outbox", "place": ["partition:partition"] });
        let mut sink = broker.open(json!({ "topic": topic, "format": format })).await?;
        let change = |number, partition| outbox_in(number, "k", Some("v"), Value::Int(partition));
        for _ in 0..2 {
            let changes = [change(0, 1), change(1, 7), change(2, 0), change(3, 1)];
            check_rejected(deliver(&mut *sink, &changes).await, &[1], "no partition 7");
        }
        let found = broker.messages(&topic).await?;
        let partitions: Vec<_> = found.iter().map(|message| message.partition()).collect();
        assert_eq!(partitions, [0, 0, 1, 1, 1, 1]);
        Ok(())
    })
}

fn a_missing_topic_is_told() -> Result<()> {
    run(async {
        let broker = Broker::start_with(&["--override", "auto.create.topics.enable=false"])?;
        let error = broker.open(json!({ "topic": "absent" })).await.err().unwrap();
        assert_eq!((error.kind(), error.setting()), (&ErrorKind::Config, Some("topic")));
        assert!(error.message().contains("`absent` does not exist"), "{error}");
        let mut sink = broker.open(json!({})).await?;
        let error = sink.write(&inserts(0..1)).await.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Config);
        assert!(error.message().contains("`items` does not exist"), "{error}");
        assert!(error.remedy().is_some());
        drop(sink);
        let error = open(json!({ "brokers": ["127.0.0.1:1"] })).await.err().unwrap();
        assert!(error.is_transient() && error.message().contains("127.0.0.1:1"), "{error}");
        Ok(())
    })
}

/// The broker makes the topics here.
fn the_limit_of_a_topic_that_the_brokers_make_is_known() -> Result<()> {
    run(async {
        let broker = Broker::start_with(&["--override", "message.max.bytes=20000"])?;
        let mut sink = broker.open(json!({ "topic": "fresh", "format": "outbox" })).await?;
        let changes = [outbox(0, "key", Some(&"x".repeat(30_000))), outbox(1, "key", Some("x"))];
        check_rejected(deliver(&mut *sink, &changes).await, &[0], "topic `fresh` takes 20000");
        assert_eq!(broker.messages("fresh").await?.len(), 1);
        Ok(())
    })
}

fn a_topic_is_made_of_each_message() -> Result<()> {
    run(async {
        let broker = shared()?;
        let template = "made.{table}.{column.value}";
        let mut sink = broker.open(json!({ "topic": template })).await?;
        let changes = [insert(1, "eu"), insert(2, "us"), insert(3, "e u"), insert(4, "us")];
        deliver(&mut *sink, &changes).await?;
        for (region, expected) in [("eu", vec![1]), ("us", vec![2, 4]), ("e_u", vec![3])] {
            let topic = format!("made.items.{region}");
            assert_eq!(numbers(&broker.messages(&topic).await?), expected, "{topic}");
        }
        let mut nameless = insert(5, "");
        nameless.after = Some(Row::new([Value::Int(5), Value::Null]));
        check_rejected(deliver(&mut *sink, &[nameless]).await, &[0], "it is null");
        Ok(())
    })
}

fn joined() -> Json {
    json!({ "type": "sqlite-cdc", "batch": true })
}

fn all_changes_of_a_refused_message_are_rejected() -> Result<()> {
    run(async {
        let broker = shared()?;
        let topic = broker.topic(1, &[("max.message.bytes", "3000")]).await?;
        let mut sink = broker.open(json!({ "topic": topic, "format": joined() })).await?;
        sink.write(&inserts(0..2)).await?;
        sink.write(&inserts(2..102)).await?;
        sink.write(&inserts(102..104)).await?;
        check_rejected(sink.flush().await, &(2..102).collect::<Vec<_>>(), "takes 3000");
        assert_eq!(broker.messages(&topic).await?.len(), 2);
        Ok(())
    })
}

fn a_joined_message_goes_to_the_topic_of_its_table() -> Result<()> {
    run(async {
        let broker = shared()?;
        let settings = json!({ "topic": "joined.{table}", "format": joined() });
        let mut sink = broker.open(settings).await?;
        let mut changes = inserts(0..4);
        let others = Table::new("others", changes[0].table.columns.clone());
        changes[2].table = others.into();
        deliver(&mut *sink, &changes).await?;
        for (table, numbers) in [("items", vec![vec![0, 1], vec![3]]), ("others", vec![vec![2]])] {
            let found = broker.messages(&format!("joined.{table}")).await?;
            let held = found.iter().map(|message| {
                let value: Json = serde_json::from_slice(message.payload().unwrap()).unwrap();
                let changes = value["changes"].as_array().unwrap().clone();
                let number = |change: &Json| {
                    assert_eq!(change["table"], table);
                    change["after"]["key"].as_u64().unwrap()
                };
                changes.iter().map(number).collect::<Vec<_>>()
            });
            assert_eq!(held.collect::<Vec<_>>(), numbers);
        }
        Ok(())
    })
}

fn a_joined_message_is_not_named_by_one_of_its_rows() -> Result<()> {
    let validate = |topic: &str, format: Json| {
        let settings = json!({ "brokers": ["127.0.0.1:1"], "topic": topic, "format": format });
        registry::sink("kafka", &Settings::from(settings))?.validate()
    };
    for format in [joined(), json!("spream")] {
        let error = validate("of.{column.region}", format.clone()).unwrap_err();
        assert_eq!((error.kind(), error.setting()), (&ErrorKind::Config, Some("topic")));
        assert!(error.message().contains("several rows"), "{error}");
        validate("of.{table}", format)?;
    }
    validate("of.{column.region}", json!("sqlite-cdc"))
}
