//! What both tell of the same writes.

use std::collections::{BTreeMap, BTreeSet};

use google_cloud_spanner::{
    key::{Key, KeySet},
    mutation::{Mutation, WriteBuilder},
    value::Value as Wire,
};
use jiff::Timestamp;
use rowtide_core::{Error, Result};
use rowtide_fake_spanner::Capture;
use serde_json::Value as Json;

use crate::{
    DIALECTS, block_on,
    emulator::Emulator,
    side::{Query, Said, Side, both, time},
};

const CAPTURES: [Capture; 4] =
    [Capture::OldAndNewValues, Capture::NewValues, Capture::NewRow, Capture::NewRowAndOldValues];

fn insert(id: i64) -> WriteBuilder {
    Mutation::new_insert_builder("items").set("id").to(id)
}

fn update(id: i64) -> WriteBuilder {
    Mutation::new_update_builder("items").set("id").to(id)
}

fn delete(id: i64) -> Mutation {
    Mutation::delete("items", KeySet::from(Key::new(vec![Wire::from(id)])))
}

fn other(id: i64) -> Mutation {
    Mutation::new_insert_or_update_builder("others").set("id").to(id).build()
}

fn whole(builder: WriteBuilder) -> Mutation {
    builder
        .set("c_bool")
        .to(true)
        .set("c_int")
        .to(i64::MIN)
        .set("c_float")
        .to(0.1 + 0.2)
        .set("c_numeric")
        .to("-1.5")
        .set("c_text")
        .to("\"ü\u{1f980}\\\n\t")
        .set("c_bytes")
        .to("AP8=")
        .set("c_date")
        .to("2026-11-21")
        .set("c_timestamp")
        .to("1969-12-31T23:59:59Z")
        .set("a_text")
        .to(Wire::from(vec![Wire::from("NULL"), Wire::from("")]))
        .build()
}

fn note(builder: WriteBuilder, text: &str) -> Mutation {
    builder.set("c_text").to(text).build()
}

/// The writes of each transaction. Two are left out that the emulator alone takes for insertions: a
/// row that is replaced, and one that is removed and inserted.
fn transactions() -> Vec<Vec<Mutation>> {
    let upsert = |id: i64| Mutation::new_insert_or_update_builder("items").set("id").to(id);
    let replace = |id: i64| Mutation::new_replace_builder("items").set("id").to(id);
    vec![
        vec![whole(insert(1))],
        vec![insert(2).build(), note(insert(3), "three"), other(1), note(insert(4), "four")],
        vec![note(update(1), "one"), update(1).set("c_int").to(7).build()],
        vec![note(update(1), "one")],
        vec![note(upsert(2), "two"), note(upsert(5), "five")],
        vec![note(replace(6), "six")],
        vec![update(1).set("c_bool").to(Wire::null()).set("c_date").to(Wire::null()).build()],
        vec![delete(4), delete(99), other(1)],
        vec![note(insert(7), "seven"), delete(7)],
        vec![delete(1), delete(2), delete(3)],
    ]
}

/// Everything from a time to another, of all partitions, by its time.
async fn data(side: &Side, start: Timestamp, end: Timestamp) -> Result<Vec<Json>> {
    let mut waiting = vec![(None, start)];
    let (mut seen, mut data) = (BTreeSet::new(), Vec::new());
    while let Some((token, start)) = waiting.pop() {
        let query = Query::of(token.as_deref(), start, Some(end));
        for said in side.ask(&query).await.map_err(|refusal| wrong(side, &refusal))? {
            match said {
                Said::Data(record) => data.push(record),
                Said::Heartbeat(_) => {}
                Said::Children(record) => {
                    let start = time(&record["start_timestamp"]);
                    for child in record["child_partitions"].as_array().into_iter().flatten() {
                        let token = child["token"].as_str().expect("a token").to_owned();
                        if start <= end && seen.insert(token.clone()) {
                            waiting.push((Some(token), start));
                        }
                    }
                }
            }
        }
    }
    check_sequences(&data);
    data.sort_by_key(|record| {
        let text = |name: &str| record[name].to_string();
        (time(&record["commit_timestamp"]), text("table_name"), text("mod_type"))
    });
    Ok(data)
}

/// The records of each transaction are numbered, and the last one says so. In which order they come
/// is open.
fn check_sequences(records: &[Json]) {
    let mut transactions: BTreeMap<String, BTreeMap<String, bool>> = BTreeMap::new();
    for record in records {
        let sequence = record["record_sequence"].as_str().expect("a sequence").to_owned();
        let is_last = record["is_last_record_in_transaction_in_partition"] == Json::Bool(true);
        let transaction = record["server_transaction_id"].to_string();
        transactions.entry(transaction).or_default().insert(sequence, is_last);
    }
    for sequences in transactions.values() {
        let numbers: Vec<_> = (0..sequences.len()).map(|number| format!("{number:08}")).collect();
        assert!(sequences.keys().eq(&numbers), "{sequences:?}");
        let last = sequences.values().rposition(|is_last| *is_last);
        let first = sequences.values().position(|is_last| *is_last);
        assert_eq!((first, last), (Some(numbers.len() - 1), Some(numbers.len() - 1)));
    }
}

fn wrong(side: &Side, what: &dyn std::fmt::Debug) -> Error {
    Error::fatal(format!("{} of the {}: {what:?}", format_args!("{:?}", side.dialect), side.name))
}

/// Without what differs by its nature: times and transactions are numbered.
fn numbered(records: &[Json]) -> Vec<Json> {
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    let mut number = |json: &Json| {
        let next = numbers.len();
        Json::from(*numbers.entry(json.to_string()).or_insert(next))
    };
    let numbered = |record: &Json| {
        let mut record = record.clone();
        for name in ["commit_timestamp", "server_transaction_id"] {
            record[name] = number(&record[name]);
        }
        if let Some(members) = record.as_object_mut() {
            members.remove("record_sequence");
            members.remove("is_last_record_in_transaction_in_partition");
        }
        record
    };
    records.iter().map(numbered).collect()
}

pub(crate) fn both_tell_the_same_of_what_is_written() -> Result<()> {
    block_on(async {
        for (dialect, capture) in
            DIALECTS.iter().flat_map(|dialect| CAPTURES.map(|capture| (*dialect, capture)))
        {
            let mut told = Vec::new();
            for side in both(Emulator::Calm, dialect, capture).await? {
                for writes in transactions() {
                    side.write(writes).await?;
                }
                let end = side.now().await?;
                told.push(numbered(&data(&side, side.start, end).await?));
                side.drop().await?;
            }
            for (index, (real, fake)) in told[0].iter().zip(&told[1]).enumerate() {
                assert_eq!(real, fake, "record {index}, {dialect:?}, {}", capture.name());
            }
            assert_eq!(told[0].len(), told[1].len(), "{dialect:?}, {}", capture.name());
            assert!(told[0].len() > 10, "too little is told: {}", told[0].len());
        }
        Ok(())
    })
}

/// A window that ends at the very time of a commit has it, and a query of what is past ends at once.
pub(crate) fn both_end_at_an_end_and_tell_what_is_at_it() -> Result<()> {
    block_on(async {
        for dialect in DIALECTS {
            let mut told = Vec::new();
            for side in both(Emulator::Calm, dialect, Capture::NewRow).await? {
                for id in 1..=5 {
                    side.write(vec![note(insert(id), "x")]).await?;
                }
                let now = side.now().await?;
                let all = data(&side, side.start, now).await?;
                let [second, fourth] = [1, 3].map(|index| time(&all[index]["commit_timestamp"]));
                let window = data(&side, second, fourth).await?;
                assert_eq!(window, all[1..=3], "{}", side.name);
                let after = fourth + std::time::Duration::from_nanos(1);
                told.push((window.len(), data(&side, after, now).await?.len()));
                side.drop().await?;
            }
            assert_eq!(told, [(3, 1), (3, 1)]);
        }
        Ok(())
    })
}
