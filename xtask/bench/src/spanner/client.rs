//! A loop of the same client that only counts what comes.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use google_cloud_auth::credentials::anonymous;
use google_cloud_spanner::{
    client::{DatabaseClient, Spanner},
    mutation::Mutation,
    statement::Statement,
    types,
    value::Value,
};
use serde_json::Value as Json;
use tokio::{runtime::Runtime, task::JoinSet};

use super::Stream;
use crate::Result;

pub(super) async fn connect(endpoint: &str, database: &str) -> Result<DatabaseClient> {
    let spanner = Spanner::builder()
        .with_endpoint(endpoint)
        .with_credentials(anonymous::Builder::new().build())
        .build()
        .await?;
    Ok(spanner.database_client(database).build().await?)
}

/// Writes a row in a transaction of its own, and returns when it was committed.
pub(super) async fn insert(client: &DatabaseClient, mutation: Mutation) -> Result<String> {
    let transaction = client.write_only_transaction().build();
    let committed = transaction.write_at_least_once(vec![mutation]).await?.commit_timestamp;
    Ok(committed.map(String::from).ok_or("a commit without a time")?)
}

/// What a query tells: how many records, and the partitions that it goes on in.
#[derive(Default)]
struct Told {
    records: usize,
    children: Vec<(String, String)>,
}

/// The time that it takes to read all partitions, each once it is announced.
pub(super) fn count(stream: &Stream, runtime: &Runtime) -> Result<Duration> {
    let begun = Instant::now();
    let counted = runtime.block_on(async {
        let client = connect(&stream.endpoint, &stream.database).await?;
        let mut queries = JoinSet::new();
        queries.spawn(read(client.clone(), statement(stream, None, &stream.start)));
        let (mut seen, mut counted) = (BTreeSet::new(), 0);
        while let Some(told) = queries.join_next().await {
            let told = told??;
            counted += told.records;
            for (token, start) in told.children {
                if seen.insert(token.clone()) {
                    let statement = statement(stream, Some(&token), &start);
                    queries.spawn(read(client.clone(), statement));
                }
            }
        }
        Ok::<_, Box<dyn std::error::Error>>(counted)
    })?;
    match counted == stream.records {
        true => Ok(begun.elapsed()),
        false => {
            Err(format!("the client counted {counted} records, not {}", stream.records).into())
        }
    }
}

fn statement(stream: &Stream, token: Option<&str>, start: &str) -> Statement {
    Statement::builder(
        "SELECT ChangeRecord FROM READ_changes (start_timestamp => @p1, end_timestamp => @p2, \
         partition_token => @p3, heartbeat_milliseconds => 10000)",
    )
    .add_typed_param("p1", Value::from(start), types::timestamp())
    .add_typed_param("p2", Value::from(stream.end.as_str()), types::timestamp())
    .add_typed_param("p3", token.map_or_else(Value::null, Value::from), types::string())
    .build()
}

/// Rows are looked at as little as possible: only those that tell of partitions are taken apart.
async fn read(client: DatabaseClient, statement: Statement) -> google_cloud_spanner::Result<Told> {
    let mut rows = client.single_use().build().execute_query(statement).await?;
    let mut told = Told::default();
    while let Some(row) = rows.next().await.transpose()? {
        let elements = row.raw_values().first().and_then(Value::as_list);
        let mut has_children = false;
        for element in elements.into_iter().flat_map(|elements| elements.iter()) {
            let has = |index: usize| {
                let list = element.as_list().and_then(|element| element.get(index)?.as_list());
                list.is_some_and(|list| !list.is_empty())
            };
            told.records += usize::from(has(0));
            has_children |= has(2);
        }
        if has_children {
            told.children.extend(children(&row.get(0)?));
        }
    }
    Ok(told)
}

fn children(row: &Json) -> Vec<(String, String)> {
    let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
    let elements = row.as_array().into_iter().flatten();
    let records = elements
        .flat_map(|element| element["child_partitions_record"].as_array().into_iter().flatten());
    let of_record = |record: &Json| {
        let start = text(&record["start_timestamp"]);
        let children = record["child_partitions"].as_array().into_iter().flatten();
        children.map(|child| (text(&child["token"]), start.clone())).collect::<Vec<_>>()
    };
    records.flat_map(of_record).collect()
}
