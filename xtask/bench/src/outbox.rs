//! An outbox in PostgreSQL, relayed to Kafka: a backlog, and how soon a commit is consumed.

mod latency;
mod service;

use rowtide_servers::{Kind, Server};

use crate::{
    Arguments, Part, ROUNDS, Result,
    brokers::{produce, topic_length},
    measure::median,
    report::{Bar, Report},
    rowtide::{Rowtide, Run},
};

pub(crate) use service::{MESSAGES, Message, Service, TOPIC};

pub(crate) fn measure(rowtide: &Rowtide, arguments: &Arguments, report: &mut Report) -> Result {
    let kafka = Server::start(Kind::Kafka)?;
    let brokers = kafka.variable("ROWTIDE_KAFKA_BROKERS")?;
    let sink = format!("type = \"kafka\"\nbrokers = [\"{brokers}\"]\nformat = \"outbox\"");
    let service = Service::start(rowtide, &sink)?;
    if arguments.wants(Part::Drain) {
        drain(rowtide, &service, brokers, report)?;
    }
    if arguments.wants(Part::Latency) {
        latency::measure(rowtide, &service, brokers, report)?;
    }
    Ok(())
}

/// What one round took.
pub(crate) struct Round {
    pub(crate) run: Run,
    /// Seconds of the faster and the slower of what it is measured against, or of the only one.
    pub(crate) bare: Vec<f64>,
}

fn drain(rowtide: &Rowtide, service: &Service, brokers: &str, report: &mut Report) -> Result {
    let mut rounds = Vec::new();
    for number in 1..=ROUNDS {
        service.fill()?;
        let (messages, select) = service.select()?;
        let produced = produce(brokers, "bare", &messages)?;
        drop(messages);
        let before = topic_length(brokers, TOPIC)?;
        let run = rowtide.drain(&service.pipeline, |_| ())?;
        let arrived = topic_length(brokers, TOPIC)? - before;
        if arrived != i64::try_from(MESSAGES)? {
            return Err(format!("the drain delivered {arrived} messages, not {MESSAGES}").into());
        }
        let bare = vec![select.as_secs_f64(), produced.as_secs_f64()];
        let time = run.time.as_secs_f64();
        eprintln!(
            "outbox, round {number}: {time:.2} s, select {:.2} s, produce {:.2} s",
            bare[0], bare[1]
        );
        rounds.push(Round { run, bare });
    }
    describe("PostgreSQL to Kafka", &rounds, &["bare SELECT", "bare producer"], report);
    report.add("  ratio to the slower, of each round", ratio(&rounds), "");
    report.bar(Bar::AtLeast(0.5));
    report.add("  peak memory", median(rounds.iter().map(|it| it.run.memory).collect()), "MB");
    report.bar(Bar::AtMost(100.0));
    Ok(())
}

/// How the slowest of what it is measured against compares, in the median round.
pub(crate) fn ratio(rounds: &[Round]) -> f64 {
    let ratio = |round: &Round| {
        let slowest = round.bare.iter().copied().fold(0.0, f64::max);
        slowest / round.run.time.as_secs_f64()
    };
    median(rounds.iter().map(ratio).collect())
}

/// Adds the rates, and the cost in processor time.
pub(crate) fn describe(what: &str, rounds: &[Round], bare: &[&str], report: &mut Report) {
    let middle = |of: &dyn Fn(&Round) -> f64| median(rounds.iter().map(of).collect());
    let messages = MESSAGES as f64;
    let rate = messages / middle(&|round| round.run.time.as_secs_f64());
    report.add(format!("drain of {MESSAGES} messages, {what}"), rate, "messages/s");
    for (index, name) in bare.iter().enumerate() {
        let rate = messages / middle(&|round| round.bare[index]);
        report.add(format!("  {name} of the same messages"), rate, "messages/s");
    }
    let processor = middle(&|round| round.run.processor.as_secs_f64()) / messages * 1e6;
    report.add("  processor time for a million", processor, "s");
}
