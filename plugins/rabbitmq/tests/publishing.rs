//! What only this sink does, on a real RabbitMQ.

#![expect(clippy::unwrap_used, reason = "what is missing fails the test")]

mod broker;

use std::{process::ExitCode, time::Duration};

use broker::{Broker, Found, MESSAGE_BYTES_MAX, Queue, change, changes, id, ids, text};
use lapin::types::{AMQPValue, FieldTable};
use rowtide_core::{
    Change, Context, ErrorKind, Result, Shutdown, Sink, Value, registry, settings::Settings,
};
use rowtide_proxy::{Direction, Fault, Proxy};
use rowtide_rabbitmq as _;
use rowtide_servers::{Kind, trials};

fn main() -> ExitCode {
    trials::main(
        &[Kind::RabbitMq],
        rowtide_servers::trials![
            a_message_says_what_it_is,
            returns_are_told_apart_in_a_long_pipeline,
            too_large_ones_cost_their_neighbours_nothing,
            all_changes_of_a_refused_message_are_rejected,
            the_broker_is_known_by_its_certificate,
            a_full_queue_is_transient_and_one_at_a_time_keeps_the_order,
            what_is_missing_or_forbidden_is_said_at_the_start,
            a_name_made_of_a_row_is_refused_alone,
            a_queue_beyond_the_limit_is_waited_for,
            a_declared_queue_that_vanishes_is_declared_anew,
            an_older_connection_is_shut_out,
            a_refused_channel_is_no_lost_connection,
            a_frozen_broker_and_a_cut_are_transient,
            an_alarm_is_waited_out,
        ],
    )
}

fn run(test: impl AsyncFnOnce(&'static Broker)) -> Result<(), String> {
    static BROKER: std::sync::OnceLock<Result<Broker>> = std::sync::OnceLock::new();
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    // An alarm and a freeze are felt by all, so one after the other.
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let broker = BROKER.get_or_init(Broker::start).as_ref().map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(test(broker));
    Ok(())
}

struct World {
    queue: Queue,
    url: String,
}

impl World {
    async fn new(broker: &'static Broker) -> Self {
        let queue = Queue::bound(broker).await.unwrap();
        let url = broker.url(&queue.vhost);
        Self { queue, url }
    }

    async fn through(broker: &'static Broker) -> (Self, Proxy) {
        let queue = Queue::bound(broker).await.unwrap();
        let proxy = Proxy::start(broker.address(), 3).await.unwrap();
        let port = proxy.address().port();
        let url = format!("amqp://guest:guest@127.0.0.1:{port}/{}", queue.vhost);
        (Self { queue, url }, proxy)
    }

    async fn open(&self, settings: &[(&str, Settings)]) -> Result<Box<dyn Sink>> {
        self.open_as("orders", settings).await
    }

    async fn open_as(
        &self,
        pipeline: &str,
        settings: &[(&str, Settings)],
    ) -> Result<Box<dyn Sink>> {
        let url = ("url".to_owned(), text(&self.url));
        let beat = ("heartbeat".to_owned(), text("1s"));
        let others = settings.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        let mut all: Vec<_> = others.collect();
        for (key, value) in [url, beat] {
            if !all.iter().any(|(known, _)| *known == key) {
                all.push((key, value));
            }
        }
        let factory = registry::sink("rabbitmq", &Settings::Table(all))?;
        factory.validate()?;
        factory.open(&Context::new(pipeline, Shutdown::never())).await
    }

    async fn ids(&self) -> Vec<String> {
        self.queue.messages().await.unwrap().iter().map(id).collect()
    }
}

fn to_exchange() -> Vec<(&'static str, Settings)> {
    vec![("exchange", text("changes"))]
}

async fn deliver(sink: &mut dyn Sink, changes: &[Change]) -> Result<()> {
    sink.write(changes).await?;
    sink.flush().await
}

#[track_caller]
fn rejected(outcome: Result<()>) -> Vec<usize> {
    match outcome.as_ref().map_err(|error| error.kind()) {
        Err(ErrorKind::Rejected { indexes }) => indexes.clone(),
        _ => panic!("{outcome:?}"),
    }
}

fn a_message_says_what_it_is() -> Result<(), String> {
    run(async |broker| {
        let world = World::new(broker).await;
        let mut sink = world.open(&to_exchange()).await.unwrap();
        deliver(&mut *sink, &changes(1..2)).await.unwrap();
        let found = world.queue.messages().await.unwrap();
        let [Found { properties, routing_key, .. }] = &found[..] else { panic!("{found:?}") };
        let word = |word: &Option<lapin::types::ShortString>| word.as_ref().unwrap().to_string();
        assert_eq!(routing_key, "items");
        assert_eq!(word(properties.message_id()), "c:1");
        assert_eq!(word(properties.content_type()), "application/json");
        assert_eq!(word(properties.app_id()), "orders");
        assert_eq!(*properties.delivery_mode(), Some(2));
        assert_eq!(*properties.timestamp(), Some(1_767_323_045));
        let key = AMQPValue::LongString(r#"{"key":1}"#.into());
        let headers = properties.headers().as_ref().unwrap();
        assert_eq!(headers.inner().get("key"), Some(&key), "{headers:?}");
        let queue = [("queue", text("for.{table}")), ("key_header", text(""))];
        drop(sink);
        let mut sink = world.open(&queue).await.unwrap();
        deliver(&mut *sink, &changes(1..2)).await.unwrap();
        let kinds = ["list_queues", "-p", &world.queue.vhost, "name", "type", "messages"];
        let queues = broker.ask(&kinds).await.unwrap();
        let declared = queues.lines().find(|line| line.starts_with("for.items")).unwrap();
        assert!(
            declared.contains("quorum") || declared.contains("rabbit_quorum_queue"),
            "{queues}"
        );
    })
}

fn returns_are_told_apart_in_a_long_pipeline() -> Result<(), String> {
    run(async |broker| {
        let world = World::new(broker).await;
        let mut sink = world.open(&to_exchange()).await.unwrap();
        let mut span = changes(0..3_000);
        let poisoned: Vec<usize> = (0..3_000).filter(|index| index % 7 == 3).collect();
        for &index in &poisoned {
            span[index] = change(index as u64, "un.bound", Value::from("v"));
        }
        for batch in span.chunks(700) {
            sink.write(batch).await.unwrap();
        }
        assert_eq!(rejected(sink.flush().await), poisoned);
        let good = span.iter().enumerate().filter(|(index, _)| index % 7 != 3);
        let good: Vec<_> = good.map(|(_, change)| change.clone()).collect();
        assert_eq!(world.ids().await, ids(&good));
        // Dropped by the broker, if that is wanted.
        let mut settings = to_exchange();
        settings.push(("on_unroutable", text("drop")));
        drop(sink);
        let mut sink = world.open(&settings).await.unwrap();
        deliver(&mut *sink, &span[..10]).await.unwrap();
    })
}

fn too_large_ones_cost_their_neighbours_nothing() -> Result<(), String> {
    run(async |broker| {
        let world = World::new(broker).await;
        let mut sink = world.open(&to_exchange()).await.unwrap();
        let mut span = changes(0..600);
        let poisoned = [0, 1, 299, 300, 301, 599];
        for index in poisoned {
            let large = Value::from("x".repeat(MESSAGE_BYTES_MAX));
            span[index] = change(index as u64, "items", large);
        }
        // Just within what the broker takes.
        let nearly = Value::from("x".repeat(MESSAGE_BYTES_MAX - 1_000));
        span[450] = change(450, "items", nearly);
        assert_eq!(rejected(deliver(&mut *sink, &span).await), poisoned);
        let good = span.iter().enumerate().filter(|(index, _)| !poisoned.contains(index));
        let good: Vec<_> = good.map(|(_, change)| change.clone()).collect();
        assert_eq!(world.ids().await, ids(&good));
        // The same sink goes on.
        deliver(&mut *sink, &changes(600..610)).await.unwrap();
        assert_eq!(world.ids().await.len(), good.len() + 10);
    })
}

fn all_changes_of_a_refused_message_are_rejected() -> Result<(), String> {
    run(async |broker| {
        let world = World::new(broker).await;
        let joined = serde_json::json!({ "type": "sqlite-cdc", "batch": true });
        let mut settings = to_exchange();
        settings.push(("format", Settings::from(joined)));
        let by_a_row = [&settings[..], &[("routing_key", text("{column.value}"))]].concat();
        let error = world.open(&by_a_row).await.err().unwrap();
        assert_eq!((error.kind(), error.setting()), (&ErrorKind::Config, Some("routing_key")));
        let mut sink = world.open(&settings).await.unwrap();
        sink.write(&changes(0..3)).await.unwrap();
        let large = Value::from("x".repeat(MESSAGE_BYTES_MAX));
        let too_large = [changes(3..5), vec![change(5, "items", large)], changes(6..8)].concat();
        sink.write(&too_large).await.unwrap();
        let unroutable = (8..11).map(|number| change(number, "un.bound", Value::Null));
        // One call, of which the last message has a queue.
        let mixed: Vec<_> = unroutable.chain(changes(11..13)).collect();
        sink.write(&mixed).await.unwrap();
        assert_eq!(rejected(sink.flush().await), (3..11).collect::<Vec<_>>());
        assert_eq!(world.ids().await, ["c:0", "c:11"]);
    })
}

fn the_broker_is_known_by_its_certificate() -> Result<(), String> {
    run(async |broker| {
        let world = World::new(broker).await;
        let [url, ca] = ["ROWTIDE_AMQP_TLS_URL", "ROWTIDE_AMQP_TLS_CA"]
            .map(|name| broker.server.variable(name).unwrap().to_owned());
        let url = url.replace("%2f", &world.queue.vhost);
        // The broker answers there too, and its certificate does not have it.
        let elsewhere = "0.0.0.0";
        let settings = |host: &str, tls: &[(&str, &str)]| {
            let tls = tls.iter().map(|(key, value)| ((*key).to_owned(), text(value))).collect();
            let url = text(&url.replace("127.0.0.1", host));
            [to_exchange(), vec![("url", url), ("tls", Settings::Table(tls))]].concat()
        };
        let good: [(&str, &[(&str, &str)]); 3] = [
            ("127.0.0.1", &[("ca", &ca)]),
            (elsewhere, &[("ca", &ca), ("verify", "ca")]),
            ("127.0.0.1", &[("verify", "none")]),
        ];
        for (number, (host, tls)) in good.into_iter().enumerate() {
            let number = number as u64;
            let mut sink = world.open(&settings(host, tls)).await.unwrap();
            deliver(&mut *sink, &changes(number..number + 1)).await.unwrap();
        }
        assert_eq!(world.ids().await, ["c:0", "c:1", "c:2"]);
        let strangers: [(&str, &[(&str, &str)]); 2] =
            [("127.0.0.1", &[]), (elsewhere, &[("ca", &ca)])];
        for (host, tls) in strangers {
            let Err(error) = world.open(&settings(host, tls)).await else { panic!("{tls:?}") };
            assert_eq!(
                (error.kind(), error.setting()),
                (&ErrorKind::Config, Some("tls")),
                "{error}"
            );
        }
    })
}

fn a_full_queue_is_transient_and_one_at_a_time_keeps_the_order() -> Result<(), String> {
    run(async |broker| {
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(50));
        let overflow = AMQPValue::LongString("reject-publish".into());
        arguments.insert("x-overflow".into(), overflow);
        let queue = Queue::bound_with(broker, arguments).await.unwrap();
        let world = World { url: broker.url(&queue.vhost), queue };
        let mut settings = to_exchange();
        settings.push(("unconfirmed_max", Settings::Int(1)));
        let span = changes(0..200);
        let mut next = 0;
        // As the engine does: again from the last flush, here of ten changes at a time.
        while next < span.len() {
            let mut sink = world.open(&settings).await.unwrap();
            while next < span.len() {
                match deliver(&mut *sink, &span[next..next + 10]).await {
                    Ok(()) => next += 10,
                    Err(error) => {
                        assert!(error.is_transient(), "{error}");
                        assert!(error.remedy().unwrap().contains("unconfirmed_max"), "{error}");
                        break;
                    }
                }
            }
            drop(sink);
            world.queue.messages().await.unwrap();
        }
        let mut last = 0;
        for found in world.queue.messages().await.unwrap() {
            let number: u64 = id(&found)[2..].parse().unwrap();
            // A re-run begins at the beginning of a flush, and nothing is left out.
            assert!(number <= last + 1 && number + 10 > last, "{number} after {last}");
            last = number;
        }
        assert_eq!(last, 199);
    })
}

fn what_is_missing_or_forbidden_is_said_at_the_start() -> Result<(), String> {
    run(async |broker| {
        let world = World::new(broker).await;
        let check = async |settings: &[(&str, Settings)], key: &str, part: &str| {
            let Err(error) = world.open(settings).await else { panic!("{settings:?}") };
            assert_eq!((error.kind(), error.setting()), (&ErrorKind::Config, Some(key)), "{error}");
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(part) && !shown.contains("hush"), "{shown}");
            assert!(error.remedy().is_some(), "{error}");
        };
        let existing = ("exchange_type", text("existing"));
        check(&[("exchange", text("gone")), existing], "exchange", "no exchange `gone`").await;
        let existing = ("queue_type", text("existing"));
        check(&[("queue", text("gone")), existing], "queue", "no queue `gone`").await;
        let other = [("exchange", text("changes")), ("exchange_type", text("fanout"))];
        check(&other, "exchange", "inequivalent arg").await;
        check(&[("exchange", text("amq.mine"))], "exchange", "ACCESS_REFUSED").await;
        let mut wrong = to_exchange();
        wrong.push(("password", text("hush")));
        check(&wrong, "url", "refuses the connection").await;
        let mut wrong = to_exchange();
        let nowhere = broker.url("nowhere");
        wrong.push(("url", text(&nowhere)));
        check(&wrong, "url", "nowhere").await;
    })
}

fn a_name_made_of_a_row_is_refused_alone() -> Result<(), String> {
    run(async |broker| {
        let world = World::new(broker).await;
        let settings = [("exchange", text("{column.value}")), ("exchange_type", text("existing"))];
        let mut sink = world.open(&settings).await.unwrap();
        let span: Vec<_> = ["changes", "hush", "changes", "", "changes"]
            .into_iter()
            .zip(0..)
            .map(|(value, number)| change(number, "items", Value::from(value)))
            .collect();
        let outcome = deliver(&mut *sink, &span).await;
        assert!(!format!("{outcome:?}").contains("hush"), "{outcome:?}");
        assert_eq!(rejected(outcome), [1, 3]);
        assert_eq!(world.ids().await, ["c:0", "c:2", "c:4"]);
    })
}

fn a_queue_beyond_the_limit_is_waited_for() -> Result<(), String> {
    run(async |broker| {
        let world = World::new(broker).await;
        let limit = format!("/api/vhost-limits/{}/max-queues", world.queue.vhost);
        // One of the test, and one of the connection.
        broker.manage("PUT", &limit, r#"{"value":2}"#).unwrap();
        let Err(error) = world.open(&[("queue", text("for.items"))]).await else { panic!() };
        assert!(error.is_transient(), "{error}");
        let by_row = [("queue", text("for.{column.value}"))];
        let mut sink = world.open(&by_row).await.unwrap();
        let span = [change(0, "items", Value::from("hush"))];
        let error = deliver(&mut *sink, &span).await.unwrap_err();
        assert!(error.is_transient() && !format!("{error:?}").contains("hush"), "{error:?}");
        drop(sink);
        broker.manage("DELETE", &limit, "").unwrap();
        let mut sink = world.open(&by_row).await.unwrap();
        deliver(&mut *sink, &span).await.unwrap();
    })
}

fn a_declared_queue_that_vanishes_is_declared_anew() -> Result<(), String> {
    run(async |broker| {
        let world = World::new(broker).await;
        for name in ["alone", "for.{table}"] {
            let settings = [("queue", text(name))];
            let mut sink = world.open(&settings).await.unwrap();
            deliver(&mut *sink, &changes(0..1)).await.unwrap();
            let queue = name.replace("{table}", "items");
            let path = format!("/api/queues/{}/{queue}", world.queue.vhost);
            broker.manage("DELETE", &path, "").unwrap();
            let error = deliver(&mut *sink, &changes(1..3)).await.unwrap_err();
            assert!(error.is_transient(), "{error}");
            drop(sink);
            let mut sink = world.open(&settings).await.unwrap();
            deliver(&mut *sink, &changes(1..3)).await.unwrap();
        }
    })
}

fn an_older_connection_is_shut_out() -> Result<(), String> {
    run(async |broker| {
        let (world, proxy) = World::through(broker).await;
        let older = world.open(&to_exchange()).await.unwrap();
        let Err(error) = world.open(&to_exchange()).await else { panic!("two at a time") };
        assert!(error.is_transient() && error.to_string().contains("rowtide.orders"), "{error}");
        let mut other = world.open_as("customers", &to_exchange()).await.unwrap();
        deliver(&mut *other, &changes(0..1)).await.unwrap();
        drop(other);
        drop(older);
        // Both are gone, at the broker too.
        proxy.wait_until(|statistics| statistics.open == 0).await;
        drop(world.open(&to_exchange()).await.unwrap());

        // One that is dropped with much under way sends nothing behind the back of the next one.
        let mut older = world.open(&to_exchange()).await.unwrap();
        older.write(&changes(1..20_000)).await.unwrap();
        drop(older);
        let mut next = world.open(&to_exchange()).await.unwrap();
        deliver(&mut *next, &changes(20_000..20_001)).await.unwrap();
        let last = world.ids().await.pop();
        assert_eq!(last.as_deref(), Some("c:20000"));
    })
}

fn a_refused_channel_is_no_lost_connection() -> Result<(), String> {
    run(async |broker| {
        let (world, proxy) = World::through(broker).await;
        let named = [("exchange", text("{column.value}")), ("exchange_type", text("existing"))];
        let large = "x".repeat(MESSAGE_BYTES_MAX);
        let cases = [
            (named.to_vec(), "gone", change(1, "items", Value::from("changes"))),
            (to_exchange(), &large, change(2, "items", Value::from("v"))),
        ];
        for (mut settings, refused, good) in cases {
            settings.push(("heartbeat", text("10s")));
            let mut sink = world.open(&settings).await.unwrap();
            let refused = change(0, "items", Value::from(refused));
            assert_eq!(rejected(deliver(&mut *sink, &[refused]).await), [0]);
            // Slower than what a client has to say when its connection is lost.
            let late = Duration::from_millis(800);
            proxy.inject(Direction::ToClient, Fault::Latency { least: late, most: late });
            deliver(&mut *sink, &[good]).await.unwrap();
            proxy.heal();
        }
        assert_eq!(world.ids().await, ["c:1", "c:2"]);
    })
}

fn a_frozen_broker_and_a_cut_are_transient() -> Result<(), String> {
    run(async |broker| {
        let (world, proxy) = World::through(broker).await;
        let mut sink = world.open(&to_exchange()).await.unwrap();
        deliver(&mut *sink, &changes(0..10)).await.unwrap();
        proxy.inject(Direction::ToServer, Fault::CutAfter { bytes: 5_000 });
        let error = deliver(&mut *sink, &changes(10..200)).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        // Nothing after that can be taken for delivered.
        assert!(sink.flush().await.is_err());
        drop(sink);
        if !broker.server.is_own() {
            return;
        }
        let mut sink = world.open(&to_exchange()).await.unwrap();
        broker.server.freeze().unwrap();
        let error = deliver(&mut *sink, &changes(10..20)).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        drop(sink);
        let timeout = ("connect_timeout", text("500ms"));
        let Err(error) = world.open(&[to_exchange().remove(0), timeout]).await else {
            panic!("a frozen broker answered")
        };
        assert!(error.is_transient(), "{error}");
        tokio::task::spawn_blocking(|| broker.server.thaw()).await.unwrap().unwrap();
        let mut sink = world.open(&to_exchange()).await.unwrap();
        deliver(&mut *sink, &changes(10..200)).await.unwrap();
        let wanted = ids(&changes(10..200));
        let found = world.ids().await;
        assert!(found.ends_with(&wanted), "{found:?}");
    })
}

fn an_alarm_is_waited_out() -> Result<(), String> {
    run(async |broker| {
        if !broker.server.is_own() {
            return;
        }
        let world = World::new(broker).await;
        let mut sink = world.open(&to_exchange()).await.unwrap();
        deliver(&mut *sink, &changes(0..10)).await.unwrap();
        broker.control(&["set_vm_memory_high_watermark", "absolute", "1"]).await.unwrap();
        let span = changes(10..20_000);
        let delivery = async {
            for batch in span.chunks(500) {
                sink.write(batch).await.unwrap();
            }
            sink.flush().await.unwrap();
        };
        let alarm = async {
            // Blocked for longer than a broker may be silent.
            let mut rounds = 0;
            while rounds < 4 {
                let states = broker.ask(&["list_connections", "state"]).await.unwrap();
                rounds += usize::from(states.contains("blocked"));
            }
            assert!(world.ids().await.len() < 20_000);
            broker.control(&["set_vm_memory_high_watermark", "absolute", "1GB"]).await.unwrap();
        };
        let both = async { tokio::join!(delivery, alarm) };
        tokio::time::timeout(Duration::from_secs(60), both).await.unwrap();
        assert_eq!(world.ids().await, ids(&changes(0..20_000)));
    })
}
