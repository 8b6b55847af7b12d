//! A database that answers as a test says, in a time that passes only while all wait.

use std::{collections::VecDeque, future::pending, sync::Arc, time::Duration};

use jiff::Timestamp;
use rowtide_core::{Error, PartitionId, Result, async_trait};
use tokio::{sync::Mutex, time::sleep};

use super::{Clock, Place, ROOT, Reader, Room, Shared, SnapshotReader, snapshot};
use crate::{
    catalog::Catalog,
    client::{Cell, Client, Code, Failure, Raw, ReadRequest, Rows, Statement, Type, Work},
    config::SpannerConfig,
};

/// One step of an answer.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A row of a change stream, which is JSON.
    Row(String),
    Wait(Duration),
    Fail(Code),
    Silence,
    Panic,
}

/// What is answered to the n-th query that is not about the schema.
pub(super) type Script = fn(usize) -> Vec<Step>;

pub(super) struct Stage {
    script: Script,
    asked: std::sync::atomic::AtomicUsize,
}

struct Played {
    columns: Vec<(String, Type)>,
    steps: VecDeque<Step>,
}

/// The time of the database: the second hour of its days.
pub(super) fn now() -> Timestamp {
    second(2 * 60 * 60)
}

pub(super) fn second(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or_default()
}

pub(super) fn heartbeat(at: Timestamp) -> Step {
    Step::Row(format!(r#"{{"heartbeat_record":{{"timestamp":"{at}"}}}}"#))
}

pub(super) fn child(token: &str) -> Step {
    let child = format!(r#"{{"token":"{token}","parent_partition_tokens":[]}}"#);
    let start = format!(r#""start_timestamp":"{}""#, second(6_900));
    let record = format!(r#"{{{start},"record_sequence":"1","child_partitions":[{child}]}}"#);
    Step::Row(format!(r#"{{"child_partitions_record":{record}}}"#))
}

/// All that readers share, of a stream that keeps an hour.
pub(super) async fn shared(script: Script, more: &str) -> Result<Arc<Shared>> {
    let client: Arc<dyn Client> = Arc::new(Stage { script, asked: Default::default() });
    let settings = format!("database = 'd'\nchange_stream = 's'\n{more}");
    let settings: SpannerConfig =
        toml::from_str(&settings).map_err(|error| Error::config(error.to_string()))?;
    Ok(Arc::new(Shared {
        catalog: Catalog::open(Arc::clone(&client), "s").await?,
        clock: Clock::new(Arc::clone(&client)),
        client,
        end: None,
        room: Room::new(settings.partitions_max, settings.bytes_max),
        restart: Mutex::default(),
        path: "d/changeStreams/s".to_owned(),
        settings,
    }))
}

/// Reads a partition from a time on.
pub(super) fn reader(shared: &Arc<Shared>, token: &str, at: Timestamp) -> Reader {
    Reader::new(Arc::clone(shared), PartitionId::new(token), Place::from(at), at)
}

impl Step {
    async fn play(self) -> Result<Option<String>, Failure> {
        match self {
            Step::Row(row) => return Ok(Some(row)),
            Step::Wait(time) => sleep(time).await,
            Step::Fail(code) => {
                return Err(Failure { code, message: "as the test says".to_owned() });
            }
            Step::Silence => pending().await,
            Step::Panic => panic!("as the test says"),
        }
        Ok(None)
    }
}

fn schema(sql: &str) -> Option<Vec<Vec<&'static str>>> {
    let source = sql.split("information_schema.").nth(1)?.split_whitespace().next()?;
    Some(match source {
        "database_options" => vec![vec!["POSTGRESQL"]],
        "change_stream_options" => vec![vec!["s", "retention_period", "1h"]],
        "change_streams" => vec![vec!["s", "YES"]],
        "index_columns" if sql.contains("column_ordering") => vec![vec!["", "t", "id", "ASC"]],
        "index_columns" => vec![vec!["", "t", "id", "1"]],
        "columns" => vec![
            vec!["", "t", "id", "bigint", "NEVER"],
            vec!["", "t", "note", "character varying", "NEVER"],
        ],
        _ => Vec::new(),
    })
}

#[async_trait]
impl Client for Stage {
    async fn query(&self, statement: Statement) -> Result<Box<dyn Rows>, Failure> {
        if let Some(rows) = schema(&statement.sql) {
            let cell = |text: &&str| Raw::from(Cell::Text((*text).to_owned()));
            let rows = rows.iter().map(|row| row.iter().map(cell).collect()).collect();
            return Ok(Box::new(All { columns: Vec::new(), rows }));
        }
        let number = self.asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let mut steps = VecDeque::from((self.script)(number));
        // As the library, which returns with the first row only.
        while let Some(step) = steps.pop_front() {
            if let Some(row) = step.play().await? {
                steps.push_front(Step::Row(row));
                break;
            }
        }
        Ok(Box::new(Played { columns: vec![("c".to_owned(), Type::Json)], steps }))
    }

    /// One row. There was nothing but its key before there was the other column.
    async fn read(&self, request: ReadRequest) -> Result<Box<dyn Rows>, Failure> {
        let is_added = |column: &&String| *column != "id" && request.at < now();
        if let Some(column) = request.columns.iter().find(is_added) {
            let message = format!("Column not found in table t: {column}");
            return Err(Failure { code: Code::NotFound, message });
        }
        let columns: Vec<_> = request.columns.into_iter().map(|name| (name, Type::Int64)).collect();
        let row = columns.iter().map(|_| Raw::from(Cell::Text("7".to_owned()))).collect();
        Ok(Box::new(All { columns, rows: vec![row].into() }))
    }

    async fn now(&self) -> Result<Timestamp, Failure> {
        Ok(now())
    }

    async fn transact(&self, _: Arc<dyn Work>) -> Result<Result<()>, Failure> {
        pending().await
    }

    async fn define(&self, _: Vec<String>) -> Result<(), Failure> {
        pending().await
    }
}

/// Rows that are there at once.
struct All {
    columns: Vec<(String, Type)>,
    rows: VecDeque<Vec<Raw>>,
}

#[async_trait]
impl Rows for All {
    fn columns(&self) -> &[(String, Type)] {
        &self.columns
    }

    async fn next(&mut self) -> Result<Option<Vec<Raw>>, Failure> {
        Ok(self.rows.pop_front())
    }
}

#[async_trait]
impl Rows for Played {
    fn columns(&self) -> &[(String, Type)] {
        &self.columns
    }

    async fn next(&mut self) -> Result<Option<Vec<Raw>>, Failure> {
        while let Some(step) = self.steps.pop_front() {
            if let Some(row) = step.play().await? {
                return Ok(Some(vec![Raw::from(Cell::Text(row))]));
            }
        }
        Ok(None)
    }
}

mod tests {
    use std::collections::BTreeMap;

    use rowtide_core::{ErrorKind, Event, Partition, Position};
    use tokio::time::timeout;

    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);

    /// How far an event says that its partition is told.
    fn attested(event: Option<Event>) -> Option<Timestamp> {
        match event? {
            Event::Idle { position } => position.attested(),
            Event::Changes { position, .. } => position?.attested(),
            _ => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_query_that_is_refused_in_the_middle_is_asked_anew() {
        let script: Script = |number| match number {
            0 => vec![heartbeat(second(7_000)), Step::Fail(Code::OutOfRange)],
            _ => vec![heartbeat(second(7_100)), Step::Silence],
        };
        let shared = shared(script, "").await.unwrap();
        let mut reader = reader(&shared, "a", second(6_900));
        for at in [7_000, 7_100] {
            assert_eq!(attested(reader.next().await.unwrap()), Some(second(at)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_is_lost_in_the_middle_of_a_query_is_lost() {
        let script: Script = |number| match number {
            0 => vec![heartbeat(second(200)), Step::Fail(Code::OutOfRange)],
            _ => vec![Step::Fail(Code::OutOfRange)],
        };
        let shared = shared(script, "").await.unwrap();
        let mut reader = reader(&shared, "a", second(100));
        assert_eq!(attested(reader.next().await.unwrap()), Some(second(200)));
        let error = reader.next().await.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::PositionLost, "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn partitions_that_take_turns_get_on_however_late_the_first_answer_comes() {
        let script: Script = |number| {
            let at = second(7_000 + i64::try_from(number).unwrap());
            vec![Step::Wait(Duration::from_secs(20)), heartbeat(at), Step::Silence]
        };
        let shared = shared(script, "partitions_max = 1\n").await.unwrap();
        let (mut one, mut other) =
            (reader(&shared, "a", second(6_900)), reader(&shared, "b", second(6_900)));
        let both = async { tokio::join!(one.next(), other.next()) };
        let (one, other) = timeout(HOUR, both).await.expect("each gets on");
        assert!(attested(one.unwrap()).is_some() && attested(other.unwrap()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_query_whose_task_is_gone_is_an_error_that_passes() {
        let script: Script = |number| match number {
            0 => vec![Step::Panic],
            _ => vec![Step::Silence],
        };
        let shared = shared(script, "").await.unwrap();
        let mut reader = reader(&shared, "a", second(6_900));
        let told = timeout(HOUR, reader.next()).await.expect("something is told");
        assert_eq!(told.unwrap_err().kind(), &ErrorKind::Transient);
    }

    #[tokio::test(start_paused = true)]
    async fn roots_that_a_query_leaves_out_are_told_by_the_next_one() {
        let script: Script = |number| match number {
            0 => vec![child("a")],
            _ => vec![child("a"), child("b")],
        };
        let shared = shared(script, "").await.unwrap();
        let mut reader = reader(&shared, ROOT, second(6_900));
        let mut tokens = Vec::new();
        while let Some(event) = reader.next().await.unwrap() {
            let Event::Children { partitions } = event else { continue };
            tokens.extend(partitions.into_iter().map(|partition| partition.id.to_string()));
        }
        assert_eq!(tokens, ["a", "b"], "each once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_whose_keys_never_come_is_read_as_one_range() {
        let shared = shared(|_| vec![Step::Silence], "snapshot = 'initial'\n").await.unwrap();
        let begin = snapshot::partitions(&shared, now()).unwrap().remove(0);
        let events = timeout(HOUR, events(&shared, &begin)).await.expect("it ends");
        assert!(matches!(events.unwrap().last(), Some(Event::Finished)));
    }

    /// All that a partition of a snapshot tells.
    async fn events(shared: &Arc<Shared>, partition: &Partition) -> Result<Vec<Event>> {
        let start = partition.start.clone().unwrap();
        let mut reader = SnapshotReader::open(Arc::clone(shared), partition, &start)?;
        let mut events = Vec::new();
        while let Some(event) = reader.next().await? {
            events.push(event);
        }
        Ok(events)
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_divided_anew_ends_after_all_that_read_it() {
        // The rows are counted, and the second time there are enough of them to look for keys.
        let script: Script = |number| match number {
            0 => vec![Step::Row("10".to_owned())],
            1 => vec![Step::Row("1600".to_owned())],
            _ => (1_000..1_800).map(|key| Step::Row(key.to_string())).collect(),
        };
        let shared = shared(script, "snapshot = 'initial'\n").await.unwrap();
        let mut waiting = snapshot::partitions(&shared, now()).unwrap();
        let mut known: BTreeMap<_, _> =
            waiting.iter().map(|begin| (begin.id.clone(), begin.clone())).collect();
        while let Some(partition) = waiting.pop() {
            // It is killed before its end is saved, and read again.
            for _ in 0..2 {
                for event in events(&shared, &partition).await.unwrap() {
                    let Event::Children { partitions } = event else { continue };
                    for child in partitions {
                        // As the engine: one that is known is left as it is.
                        if !known.contains_key(&child.id) {
                            known.insert(child.id.clone(), child.clone());
                            waiting.push(child);
                        }
                    }
                }
            }
        }
        let end = &known[&PartitionId::new("snapshot:end:t")];
        let is_range =
            |id: &PartitionId| id.as_str()["snapshot:".len()..].starts_with(char::is_numeric);
        let ranges: Vec<_> = known.keys().filter(|id| is_range(id)).collect();
        assert!(
            !ranges.is_empty() && ranges.iter().all(|id| end.parents.contains(id)),
            "{known:?}"
        );
    }

    /// A range of rows, begun with these members of its place.
    fn rows(more: &str) -> Partition {
        let part = r#""part":{"rows":{"number":0,"rows":0}}"#;
        let start = format!(r#"{{"at":"1970-01-01T01:59:59Z","table":"t",{part}{more}}}"#);
        let mut rows = Partition::new("snapshot:0:t");
        rows.start = Some(Position::from_text(&start));
        rows
    }

    #[tokio::test(start_paused = true)]
    async fn a_column_that_was_added_since_is_not_in_the_rows_of_a_snapshot() {
        let shared = shared(|_| Vec::new(), "snapshot = 'initial'\n").await.unwrap();
        let events = events(&shared, &rows(r#","columns":["id","gone"]"#)).await.unwrap();
        let Event::Changes { changes, position: Some(position) } = &events[0] else {
            panic!("{events:?}");
        };
        assert_eq!((changes.len(), changes[0].table.columns.len()), (1, 1));
        assert!(!position.text().contains("columns"), "{position}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_that_knows_no_columns_is_lost_where_one_was_added() {
        let shared = shared(|_| Vec::new(), "snapshot = 'initial'\n").await.unwrap();
        let error = events(&shared, &rows("")).await.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::PositionLost, "{error}");
        assert!(error.remedy().unwrap_or_default().contains("checkpoint reset"));
    }
}
