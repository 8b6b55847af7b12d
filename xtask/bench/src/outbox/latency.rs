//! How soon a consumer has a message, from the end of the commit.

use std::{
    process::Child,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseRecord, Producer},
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::service::{Service, TOPIC};
use crate::{
    Result,
    brokers::{consumer, producer, topic_length},
    measure::part,
    report::{Bar, Report},
    rowtide::Rowtide,
};

const MESSAGES: u32 = 3_000;
const EVERY: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(30);
/// The default of `poll_every`.
const POLL_EVERY: f64 = 100.0;

pub(crate) fn measure(
    rowtide: &Rowtide,
    service: &Service,
    brokers: &str,
    report: &mut Report,
) -> Result {
    let mut bare = bare(brokers)?;
    report.add("bare producer to consumer, 100/s: p50", part(&mut bare, 0.5), "ms");
    report.add("  p99", part(&mut bare, 0.99), "ms");
    for (name, source, bars) in [
        ("with notify", "notify = \"outbox\"", [5.0, 15.0]),
        ("polled", "", [POLL_EVERY, POLL_EVERY + 15.0]),
    ] {
        service.write_pipeline(source)?;
        rowtide.check(&["setup"], &service.pipeline)?;
        let mut latencies = relayed(rowtide, service, brokers)?;
        report.add(format!("commit to consumer, {name}: p50"), part(&mut latencies, 0.5), "ms");
        report.bar(Bar::AtMost(bars[0]));
        report.add("  p99", part(&mut latencies, 0.99), "ms");
        report.bar(Bar::AtMost(bars[1]));
    }
    Ok(())
}

/// Milliseconds from each `send` to its message.
fn bare(brokers: &str) -> Result<Vec<f64>> {
    let producer = producer(brokers)?;
    let done = Arc::new(AtomicBool::new(false));
    thread::scope(|scope| {
        // Reports are waited for beside the sends, as any program does.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                producer.poll(Duration::from_millis(10));
            }
        });
        let send = |number: u32| {
            let payload = number.to_string();
            let sent = Instant::now();
            let record = BaseRecord::<(), str>::to("latency").payload(&payload);
            producer.send(record).map_err(|(error, _)| error)?;
            Ok(sent)
        };
        let latencies = follow(brokers, "latency", send);
        let _ = producer.flush(PATIENCE);
        done.store(true, Ordering::Relaxed);
        latencies
    })
}

/// Milliseconds from the end of each commit to its message.
fn relayed(rowtide: &Rowtide, service: &Service, brokers: &str) -> Result<Vec<f64>> {
    let (child, _stdout) = rowtide.run(&service.pipeline)?;
    let _running = Running(child);
    let mut connection = service.runtime.block_on(PgConnection::connect(&service.url))?;
    let send = |number: u32| {
        let insert = format!(
            "INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload)
             VALUES (gen_random_uuid(), 'order', 'one', 'Changed', '{number}')"
        );
        let insert = sqlx::raw_sql(AssertSqlSafe(insert));
        service.runtime.block_on(insert.execute(&mut connection))?;
        Ok(Instant::now())
    };
    follow(brokers, TOPIC, send)
}

/// Sends message after message, and says how long each took to be consumed.
fn follow(
    brokers: &str,
    topic: &str,
    mut send: impl FnMut(u32) -> Result<Instant>,
) -> Result<Vec<f64>> {
    // The first one makes the topic and shows that all are ready.
    let before = topic_length(brokers, topic)?;
    send(0)?;
    let begin = Instant::now();
    while topic_length(brokers, topic)? == before {
        if begin.elapsed() > PATIENCE {
            return Err("the first message never arrived".into());
        }
    }
    let arrivals = watch(consumer(brokers)?, topic, before + 1)?;
    let begin = Instant::now();
    let mut sent = Vec::new();
    for number in 1..=MESSAGES {
        sent.push(send(number)?);
        thread::sleep((begin + EVERY * number).saturating_duration_since(Instant::now()));
    }
    let latency = |(number, sent): (u32, Instant)| {
        let (arrived, at) = arrivals.recv_timeout(PATIENCE)?;
        match arrived == number {
            true => Ok(at.saturating_duration_since(sent).as_secs_f64() * 1e3),
            false => Err(format!("message {arrived} came in the place of {number}").into()),
        }
    };
    (1..).zip(sent).map(latency).collect()
}

/// The number of each message, and when it was consumed.
fn watch(consumer: BaseConsumer, topic: &str, from: i64) -> Result<Receiver<(u32, Instant)>> {
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, 0, Offset::Offset(from))?;
    consumer.assign(&assignment)?;
    let (sender, receiver) = channel();
    thread::spawn(move || {
        loop {
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
            let at = Instant::now();
            let text = message.payload().map(String::from_utf8_lossy);
            let number = text.and_then(|text| text.parse().ok()).unwrap_or(u32::MAX);
            if sender.send((number, at)).is_err() || number == MESSAGES {
                return;
            }
        }
    });
    Ok(receiver)
}

/// A pipeline that ends with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
