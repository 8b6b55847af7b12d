//! What a change stream tells.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use serde_json::Value as Json;

use super::{
    Client, Dialect, Faults, block_on,
    client::{Query, values},
    delete, put, server,
};
use crate::{
    Datum, Options, Server, Tokens,
    messages::{KeySet, ReadRequest},
};

/// The records of one kind in rows of GoogleSQL: 0 for data, 1 for heartbeats, 2 for children.
fn records(rows: &[Datum], kind: usize) -> Vec<Vec<Datum>> {
    let list = |datum: &Datum| match datum {
        Datum::List(values) => values.clone(),
        other => panic!("{other:?} is no list"),
    };
    let elements = rows.iter().flat_map(list);
    elements.flat_map(|element| list(&list(&element)[kind])).map(|record| list(&record)).collect()
}

fn text(datum: &Datum) -> &str {
    match datum {
        Datum::Text(text) => text,
        other => panic!("{other:?} is no text"),
    }
}

/// Everything from a time to now, read through all partitions, in the order of their tree.
async fn all(client: &mut Client, server: &Server, from: Timestamp) -> Vec<Vec<Datum>> {
    let end = server.now().to_string();
    let mut waiting = vec![(None, from)];
    let (mut seen, mut data) = (HashSet::new(), Vec::new());
    while !waiting.is_empty() {
        // By their starts, which are never before those of their parents.
        waiting.sort_by_key(|(_, start)| *start);
        let (token, start): (Option<String>, _) = waiting.remove(0);
        let query = Query::of(token.as_deref(), start, Some(end.clone()));
        let rows = client.rows(query).await.unwrap();
        data.extend(records(&rows, 0));
        for children in records(&rows, 2) {
            let start = text(&children[0]).parse().unwrap();
            let Datum::List(children) = &children[2] else { panic!("no children") };
            for child in children {
                let Datum::List(child) = child else { panic!("no child") };
                if seen.insert(text(&child[0]).to_owned()) {
                    waiting.push((Some(text(&child[0]).to_owned()), start));
                }
            }
        }
    }
    data
}

#[test]
fn a_key_is_told_in_order_through_splits_merges_and_moves() {
    block_on(async {
        let server = server(Dialect::GoogleSql, Faults::none());
        let mut client = Client::connect(&server).await;
        let start = server.now();
        for round in 0..8 {
            for id in 0..10 {
                server.commit(vec![put(id, &round.to_string())]).unwrap();
            }
            let live = server.live();
            let (parents, children) = match round % 4 {
                0 => (&live[..1], 3),
                1 => (&live[..2], 1),
                2 => (&live[..2], 3),
                _ => (&live[1..2], 1),
            };
            server.reshape(parents, children).unwrap();
        }
        let data = all(&mut client, &server, start).await;
        let mut of_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for record in &data {
            let Datum::List(rows) = &record[6] else { panic!("no rows") };
            let Datum::List(row) = &rows[0] else { panic!("no row") };
            of_key.entry(text(&row[0]).to_owned()).or_default().push(text(&row[1]).to_owned());
        }
        let expected: Vec<_> = (0..8).map(|round| format!(r#"{{"note":"{round}"}}"#)).collect();
        assert_eq!(of_key.len(), 10);
        assert!(of_key.values().all(|told| *told == expected), "{of_key:?}");
        assert_eq!(server.told().len(), data.len());
    });
}

#[test]
fn a_transaction_is_told_by_all_partitions_that_it_touched() {
    block_on(async {
        let server = server(Dialect::GoogleSql, Faults::none());
        let mut client = Client::connect(&server).await;
        let start = server.now();
        server.commit((0..20).map(|id| put(id, "x")).collect::<Vec<_>>()).unwrap();
        server.commit(vec![delete(1), put(1, "y"), put(2, "z"), delete(3), put(99, "")]).unwrap();
        server.commit(vec![put(100, ""), delete(100)]).unwrap();
        let data = all(&mut client, &server, start).await;
        let of = |transaction: &Datum| -> Vec<_> {
            data.iter().filter(|record| record[2] == *transaction).collect()
        };
        let first = of(&data[0][2]);
        assert_eq!(first.len(), 2, "one record a partition");
        assert!(
            first
                .iter()
                .all(|record| record[10] == Datum::int(2) && record[3] == Datum::Bool(true))
        );
        let second = data.iter().find(|record| record[2] != data[0][2]).unwrap();
        let mut kinds: Vec<_> = of(&second[2]).iter().map(|record| text(&record[7])).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds, ["DELETE", "INSERT", "UPDATE"]);
        let sequences: HashSet<_> = of(&second[2]).iter().map(|record| text(&record[1])).collect();
        assert_eq!(sequences.len(), of(&second[2]).len());
        let told: usize = data
            .iter()
            .filter_map(|record| match &record[6] {
                Datum::List(rows) => Some(rows.len()),
                _ => None,
            })
            .sum();
        assert_eq!(told, 24, "of a row that came and went nothing is told");
    });
}

#[test]
fn nothing_is_committed_behind_a_heartbeat() {
    block_on(async {
        let server = server(Dialect::GoogleSql, Faults::none());
        let mut client = Client::connect(&server).await;
        let token = server.live().remove(0);
        let mut query = Query::of(Some(&token), server.now(), None);
        query.parameters[3] = Datum::int(10);
        let mut stream = client.query(query).await.unwrap();
        for _ in 0..5 {
            let message = stream.message().await.unwrap().unwrap();
            let beats = records(&values(&[message]), 1);
            let Some(beat) = beats.first() else { continue };
            let at: Timestamp = text(&beat[0]).parse().unwrap();
            assert!(server.commit(vec![put(1, "x")]).unwrap() > at);
        }
        assert_eq!(server.open_queries(), 1);
        drop(stream);
        while server.open_queries() > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_query_is_resumed_behind_each_of_its_messages() {
    block_on(async {
        for (tokens, is_exact) in [(Tokens::Unique, true), (Tokens::Constant, false)] {
            let faults = Faults { seed: 3, tokens, shuffle: 1000, chunk: 300, ..Faults::none() };
            let server = server(Dialect::GoogleSql, faults);
            let mut client = Client::connect(&server).await;
            let (start, token) = (server.now(), server.live().remove(0));
            for id in 0..40 {
                let together = [id, id + 100, id + 200].map(|id| vec![put(id, "x")].into());
                server.commit_together(&together).unwrap();
            }
            server.reshape(std::slice::from_ref(&token), 2).unwrap();
            let query = Query::of(Some(&token), start, None);
            let whole = client.messages(query.clone()).await.unwrap();
            assert!(whole[0].metadata.is_some() && whole.len() > 40);
            for (index, message) in whole.iter().enumerate() {
                if message.resume_token.is_empty() {
                    assert!(message.chunked_value);
                    continue;
                }
                let resume_token = message.resume_token.clone();
                let rest = client.messages(Query { resume_token, ..query.clone() }).await.unwrap();
                assert!(rest.iter().all(|message| message.metadata.is_none()));
                let count = |messages: &[crate::messages::PartialResultSet]| {
                    messages.iter().filter(|message| !message.chunked_value).count()
                };
                let expected = if is_exact { count(&whole[index + 1..]) } else { count(&whole) };
                assert_eq!(count(&rest), expected, "after message {index}");
            }
        }
    });
}

#[test]
fn some_of_the_roots_are_told_and_the_next_query_tells_them_all() {
    block_on(async {
        let mut counts = HashSet::new();
        for seed in 0..20 {
            let faults = Faults { seed, end: 300, ..Faults::none() };
            let options = Options { partitions: 60, faults, ..Options::default() };
            let server = Server::start(options).unwrap();
            let mut client = Client::connect(&server).await;
            let query = Query::of(None, server.now(), None);
            let mut told = async || client.rows(query.clone()).await.unwrap().len();
            counts.insert(told().await);
            server.set_faults(Faults::none());
            assert_eq!(told().await, 3, "records of twenty partitions each");
        }
        assert!(counts.contains(&1) && counts.contains(&3), "{counts:?}");
    });
}

#[test]
fn a_seed_decides_what_becomes_of_a_query() {
    block_on(async {
        let mut outcomes = HashSet::new();
        for seed in 0..12 {
            let server = server(Dialect::GoogleSql, Faults::seeded(seed));
            let mut client = Client::connect(&server).await;
            let (start, token) = (server.now(), server.live().remove(0));
            for id in 0..50 {
                server.commit(vec![put(id, "x")]).unwrap();
            }
            server.reshape(std::slice::from_ref(&token), 2).unwrap();
            let query = Query::of(Some(&token), start, None);
            outcomes.insert(match client.messages(query).await {
                Ok(messages) => format!("{}", messages.len()),
                Err(status) => format!("{:?}", status.code()),
            });
        }
        assert!(outcomes.len() > 4, "{outcomes:?}");
    });
}

#[test]
fn postgresql_tells_the_same_in_json() {
    block_on(async {
        let server = server(Dialect::Postgres, Faults::none());
        let mut client = Client::connect(&server).await;
        let start = server.now();
        let token = server.live().remove(0);
        let id = (0..).find(|id| {
            server.commit(vec![put(*id, "x")]).unwrap();
            server.told().iter().any(|told| told.token == token)
        });
        server.reshape(std::slice::from_ref(&token), 1).unwrap();
        let sql = "SELECT * FROM \"spanner\".\"read_json_changes\" ($1, $2, $3, $4, null)";
        let query = Query { sql: sql.to_owned(), ..Query::of(Some(&token), start, None) };
        let rows = client.rows(query).await.unwrap();
        let json: Vec<Json> =
            rows.iter().map(|row| serde_json::from_str(text(row)).unwrap()).collect();
        let data = &json[0]["data_change_record"];
        assert_eq!(data["mods"][0]["keys"]["id"], Json::from(id.unwrap().to_string()));
        assert_eq!(data["column_types"][0]["type"]["code"], "INT64");
        let child = &json[1]["child_partitions_record"]["child_partitions"][0];
        assert_eq!(child["parent_partition_tokens"][0], Json::from(token));
    });
}

#[test]
fn rows_are_read_as_they_were() {
    block_on(async {
        let server = server(Dialect::GoogleSql, Faults::none());
        let mut client = Client::connect(&server).await;
        server.commit((0..5).map(|id| put(id, "old")).collect::<Vec<_>>()).unwrap();
        let then = server.now();
        server.commit(vec![put(1, "new"), delete(2)]).unwrap();
        let bound = crate::messages::TimestampBound::ReadTimestamp(prost_types::Timestamp {
            seconds: then.as_second(),
            nanos: then.subsec_nanosecond(),
        });
        let read_only =
            crate::messages::ReadOnly { return_read_timestamp: false, bound: Some(bound) };
        let mode = Some(crate::messages::Mode::ReadOnly(read_only));
        let options = crate::messages::TransactionOptions { mode };
        let selector = Some(crate::messages::Selector::SingleUse(options));
        let mut request = ReadRequest {
            session: client.session.clone(),
            transaction: Some(crate::messages::TransactionSelector { selector }),
            table: "items".to_owned(),
            columns: vec!["note".to_owned()],
            key_set: Some(KeySet { all: true, ..KeySet::default() }),
            ..ReadRequest::default()
        };
        for (transaction, expected) in [
            (request.transaction.clone(), vec!["old"; 5]),
            (None, vec!["old", "new", "old", "old"]),
        ] {
            request.transaction = transaction;
            let mut stream = client.stream("StreamingRead", request.clone()).await.unwrap();
            let mut messages = Vec::new();
            while let Some(message) = stream.message().await.unwrap() {
                messages.push(message);
            }
            assert_eq!(values(&messages).iter().map(text).collect::<Vec<_>>(), expected);
        }
    });
}
