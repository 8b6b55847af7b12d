//! The same backlog, relayed to RabbitMQ.

use rowtide_servers::{Kind, Server};

use crate::{
    Arguments, Part, ROUNDS, Result,
    brokers::{empty_queue, publish},
    measure::median,
    outbox::{MESSAGES, Round, Service, TOPIC, describe, ratio},
    report::{Bar, Report},
    rowtide::Rowtide,
};

pub(crate) fn measure(rowtide: &Rowtide, arguments: &Arguments, report: &mut Report) -> Result {
    if !arguments.wants(Part::Drain) {
        return Ok(());
    }
    let rabbitmq = Server::start(Kind::RabbitMq)?;
    let url = rabbitmq.variable("ROWTIDE_AMQP_URL")?;
    let sink =
        format!("type = \"rabbitmq\"\nurl = \"{url}\"\nqueue = \"{TOPIC}\"\nformat = \"outbox\"");
    let service = Service::start(rowtide, &sink)?;
    // Declares the queue.
    rowtide.check(&["run", "--drain"], &service.pipeline)?;
    let mut rounds = Vec::new();
    for number in 1..=ROUNDS {
        service.fill()?;
        let (messages, _) = service.select()?;
        let published = service.runtime.block_on(publish(url, TOPIC, &messages))?;
        drop(messages);
        service.runtime.block_on(empty_queue(url, TOPIC))?;
        let run = rowtide.drain(&service.pipeline, |_| ())?;
        let arrived = service.runtime.block_on(empty_queue(url, TOPIC))?;
        if u64::from(arrived) != MESSAGES {
            return Err(format!("the drain delivered {arrived} messages, not {MESSAGES}").into());
        }
        let (time, bare) = (run.time.as_secs_f64(), published.as_secs_f64());
        eprintln!("rabbitmq, round {number}: {time:.2} s, bare {bare:.2} s");
        rounds.push(Round { run, bare: vec![bare] });
    }
    describe("PostgreSQL to RabbitMQ", &rounds, &["bare lapin loop with confirms"], report);
    report.add("  ratio, of each round", ratio(&rounds), "");
    report.bar(Bar::AtLeast(0.7));
    report.add("  peak memory", median(rounds.iter().map(|it| it.run.memory).collect()), "MB");
    report.bar(Bar::AtMost(100.0));
    Ok(())
}
