//! The rows of an SQLite table into Kafka: what the sink takes where no server is read from.

use std::{fs, path::Path};

use rowtide_servers::{Kind, Server};
use rusqlite::{Connection, params};

use crate::{
    Arguments, Part, ROUNDS, Result,
    brokers::{produce, topic_length},
    measure::median,
    outbox::{MESSAGES, Message, Round, describe, ratio},
    report::Report,
    rowtide::Rowtide,
};

const TOPIC: &str = "items";

/// The beginning and the end of the snapshot, which are messages as well.
const MARKS: u64 = 2;

pub(crate) fn measure(rowtide: &Rowtide, arguments: &Arguments, report: &mut Report) -> Result {
    if !arguments.wants(Part::Drain) {
        return Ok(());
    }
    let kafka = Server::start(Kind::Kafka)?;
    let brokers = kafka.variable("ROWTIDE_KAFKA_BROKERS")?;
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    fill(&path("app.db"))?;
    let lines = path("lines.jsonl");
    let file =
        write_pipeline(folder.path(), "file", &format!("type = \"file\"\npath = {lines:?}"))?;
    rowtide.drain(&file, |_| ())?;
    let messages = messages(&lines)?;
    let mut rounds = Vec::new();
    for number in 1..=ROUNDS {
        let produced = produce(brokers, "bare", &messages)?;
        let before = topic_length(brokers, TOPIC)?;
        let sink = format!("type = \"kafka\"\nbrokers = [\"{brokers}\"]\ntopic = \"{TOPIC}\"");
        let pipeline = write_pipeline(folder.path(), &format!("round-{number}"), &sink)?;
        let run = rowtide.drain(&pipeline, |_| ())?;
        let arrived = topic_length(brokers, TOPIC)? - before;
        let expected = MESSAGES + MARKS;
        if arrived != i64::try_from(expected)? {
            return Err(format!("the drain delivered {arrived} messages, not {expected}").into());
        }
        let (time, bare) = (run.time.as_secs_f64(), produced.as_secs_f64());
        eprintln!("kafka, round {number}: {time:.2} s, bare {bare:.2} s");
        rounds.push(Round { run, bare: vec![bare] });
    }
    describe("SQLite to Kafka", &rounds, &["bare producer"], report);
    report.add("  ratio, of each round", ratio(&rounds), "");
    report.add("  peak memory", median(rounds.iter().map(|it| it.run.memory).collect()), "MB");
    Ok(())
}

fn fill(path: &Path) -> Result {
    let mut application = Connection::open(path)?;
    let schema =
        "PRAGMA journal_mode = WAL; CREATE TABLE items (id INTEGER PRIMARY KEY, note TEXT)";
    application.execute_batch(schema)?;
    let transaction = application.transaction()?;
    let mut insert = transaction.prepare("INSERT INTO items VALUES (?1, ?2)")?;
    for number in 1..=MESSAGES {
        insert
            .execute(params![number.cast_signed(), "a note of some sixty characters ".repeat(2)])?;
    }
    drop(insert);
    Ok(transaction.commit()?)
}

/// A pipeline of the rows as they are, under a name of its own: none has read them yet.
fn write_pipeline(folder: &Path, name: &str, sink: &str) -> Result<std::path::PathBuf> {
    let pipeline = folder.join(format!("{name}.toml"));
    let text = format!(
        "name = {name:?}\n\
         [source]\ntype = \"sqlite\"\npath = {:?}\ntables = [\"items\"]\nsnapshot = \"only\"\n\
         [sink]\n{sink}\n[checkpoint]\ntype = \"sqlite\"\npath = {:?}\n",
        folder.join("app.db"),
        folder.join("checkpoint.db"),
    );
    fs::write(&pipeline, text)?;
    Ok(pipeline)
}

fn messages(lines: &Path) -> Result<Vec<Message>> {
    let text = fs::read_to_string(lines)?;
    // The marks at the beginning and the end of a snapshot have no key.
    let rows = text.lines().filter(|line| line.contains("\"note\""));
    let message = |(number, line): (usize, &str)| Message {
        id: number.to_string(),
        key: format!("{{\"id\":{number}}}"),
        payload: line.as_bytes().to_vec(),
    };
    Ok(rows.enumerate().map(message).collect())
}
