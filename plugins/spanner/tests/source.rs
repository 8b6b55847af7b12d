//! What a change stream of the emulator is read as.

mod emulator;

use std::{process::ExitCode, time::Duration};

use futures_util::StreamExt;
use google_cloud_spanner::{client::DatabaseClient, mutation::Mutation, statement::Statement};
use jiff::Timestamp;
use rowtide_core::{Change, ErrorKind, Event, Operation, Partition, Position, Result, Value};
use rowtide_servers::{Kind, trials};
use rowtide_spanner as _;

use emulator::{
    Database, Dialect, Emulator, failed,
    run::{Run, open, run},
    world::connect,
};

const DIALECTS: [Dialect; 2] = [Dialect::GoogleSql, Dialect::Postgres];

/// A database with a table, and a stream that captures in one of the four ways.
struct Items {
    database: Database,
    client: DatabaseClient,
    start: Timestamp,
}

impl Items {
    async fn make(emulator: Emulator, dialect: Dialect, capture: &str) -> Result<Self> {
        let (table, clause) = match dialect {
            Dialect::GoogleSql => (
                "CREATE TABLE items (id INT64 NOT NULL, a STRING(MAX), b INT64) PRIMARY KEY (id)",
                "OPTIONS",
            ),
            Dialect::Postgres => {
                ("CREATE TABLE items (id bigint PRIMARY KEY, a varchar, b bigint)", "WITH")
            }
        };
        let stream = format!(
            "CREATE CHANGE STREAM changes FOR ALL {clause} (value_capture_type = '{capture}')"
        );
        let database = emulator.database(dialect, &[table.to_owned(), stream]).await?;
        let client = connect(&database).await?;
        Ok(Self { database, client, start: Timestamp::now() })
    }

    async fn execute(&self, sql: &str) -> Result<()> {
        let runner = self.client.read_write_transaction().build();
        let executed = runner
            .run(async |transaction| transaction.execute_update(Statement::from(sql)).await)
            .await;
        executed.map(drop).map_err(|error| failed("writing")(error.into()))
    }

    /// Changes one column alone; a statement would make the emulator write them all.
    async fn set_a(&self, id: i64, a: &str) -> Result<()> {
        let update = Mutation::new_update_builder("items").set("id").to(id).set("a").to(a).build();
        let written = self.client.write_only_transaction().build().write(vec![update]).await;
        written.map(drop).map_err(|error| failed("writing")(error.into()))
    }

    /// Settings of a pipeline that ends now.
    async fn settings(&self, more: &str) -> String {
        // A commit can be ahead of the clock.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let (start, end) = (self.start, Timestamp::now());
        format!("start = '{start}'\nend = '{end}'\n{}{more}\n", self.endless())
    }

    fn endless(&self) -> String {
        let Database { name, endpoint, .. } = &self.database;
        format!(
            "database = '{name}'\nendpoint = '{endpoint}'\nchange_stream = 'changes'\n\
             heartbeat_every = '100ms'\n"
        )
    }
}

fn block_on<T>(test: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test)
}

/// The rows of a change, in short.
fn rows(change: &Change) -> (Operation, Option<Vec<Value>>, Option<Vec<Value>>) {
    let row = |row: &Option<rowtide_core::Row>| row.as_ref().map(|row| row.values().to_vec());
    (change.operation, row(&change.before), row(&change.after))
}

fn a_bounded_run_ends_and_another_reads_the_same() -> Result<()> {
    block_on(async {
        for dialect in DIALECTS {
            let items = Items::make(Emulator::Churning, dialect, "OLD_AND_NEW_VALUES").await?;
            for id in 0..60 {
                items.execute(&format!("INSERT INTO items (id, a) VALUES ({id}, 'x')")).await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let settings = items.settings("").await;
            let (first, second) = (run(&settings).await?, run(&settings).await?);
            assert_eq!(first.changes.len(), 60);
            assert_eq!(first.ids(), second.ids());
            let mut ids = first.ids();
            ids.dedup();
            assert_eq!(ids.len(), 60, "each comes once");
            assert!(first.finished.len() > 4, "there were splits: {:?}", first.finished);
            resumes_at_every_position(&settings, &first).await?;
            items.database.drop().await?;
        }
        Ok(())
    })
}

/// Each partition goes on right behind each of its positions.
async fn resumes_at_every_position(settings: &str, whole: &Run) -> Result<()> {
    let source = open(settings).await?;
    for (count, partition, position) in &whole.positions {
        let mut rest = Run::default();
        rest.partition(&*source, partition, Some(position.clone())).await?;
        let token = Value::from(partition.id.as_str());
        let is_of_partition = |change: &&Change| {
            let metadata = change.metadata.as_ref().expect("metadata");
            metadata.get("partition_token") == Some(&token)
        };
        let wanted: Vec<_> = whole.changes[*count..].iter().filter(is_of_partition).collect();
        assert_eq!(rest.changes.iter().collect::<Vec<_>>(), wanted, "after {position}");
    }
    Ok(())
}

fn each_way_to_capture_tells_what_it_knows() -> Result<()> {
    use Value::{Int, Unknown};
    let text = |text: &str| Value::from(text);
    let whole = |a: &str, b| Some(vec![Int(1), text(a), Int(b)]);
    let only_a = |a: &str| Some(vec![Int(1), text(a), Unknown]);
    let key = Some(vec![Int(1), Unknown, Unknown]);
    let captures = [
        ("OLD_AND_NEW_VALUES", only_a("x"), only_a("y"), whole("y", 2)),
        ("NEW_VALUES", None, only_a("y"), key.clone()),
        ("NEW_ROW", None, whole("y", 2), key),
        ("NEW_ROW_AND_OLD_VALUES", only_a("x"), whole("y", 2), whole("y", 2)),
    ];
    block_on(async {
        for (capture, old, new, deleted) in captures {
            for dialect in DIALECTS {
                let items = Items::make(Emulator::Calm, dialect, capture).await?;
                items.execute("INSERT INTO items (id, a, b) VALUES (1, 'x', 2)").await?;
                items.set_a(1, "y").await?;
                items.execute("DELETE FROM items WHERE id = 1").await?;
                let read = run(&items.settings("").await).await?;
                let expected = [
                    (Operation::Insert, None, whole("x", 2)),
                    (Operation::Update, old.clone(), new.clone()),
                    (Operation::Delete, deleted.clone(), None),
                ];
                let found: Vec<_> = read.changes.iter().map(rows).collect();
                assert_eq!(found, expected, "{capture} {dialect:?}");
                items.database.drop().await?;
            }
        }
        Ok(())
    })
}

fn only_what_is_wanted_is_delivered() -> Result<()> {
    block_on(async {
        let items = Items::make(Emulator::Calm, Dialect::GoogleSql, "NEW_ROW").await?;
        let more = "CREATE TABLE more (id INT64 NOT NULL) PRIMARY KEY (id)".to_owned();
        items.database.define(&[more]).await?;
        items.execute("INSERT INTO items (id, a) VALUES (1, 'x')").await?;
        items.execute("INSERT INTO more (id) VALUES (7)").await?;
        items.execute("DELETE FROM items WHERE id = 1").await?;
        let read = run(&items.settings("tables = ['more']").await).await?;
        let tables: Vec<_> = read.changes.iter().map(|change| &*change.table.name).collect();
        assert_eq!(tables, ["more"]);
        let read = run(&items.settings("operations = ['delete']").await).await?;
        let operations: Vec<_> = read.changes.iter().map(|change| change.operation).collect();
        assert_eq!(operations, [Operation::Delete]);

        let wrong = items.settings("tables = ['mare']").await;
        let error = open(&wrong).await.err().expect("there is no such table");
        assert_eq!((error.kind(), error.setting()), (&ErrorKind::Config, Some("tables")));
        let wrong = items.settings("").await.replace("'changes'", "'chanjes'");
        let error = open(&wrong).await.err().expect("there is no such stream");
        assert_eq!(error.remedy(), Some("did you mean `changes`?"));
        items.database.drop().await
    })
}

fn a_column_added_while_reading_is_told() -> Result<()> {
    block_on(async {
        let items = Items::make(Emulator::Calm, Dialect::GoogleSql, "NEW_ROW").await?;
        let source = open(&items.endless()).await?;
        let partitions = source.partitions().await?;
        items.database.define(&["ALTER TABLE items ADD COLUMN c BOOL".to_owned()]).await?;
        items.execute("INSERT INTO items (id, c) VALUES (1, true)").await?;
        let roots = Run::default().partition(&*source, &partitions[0], None).await?;
        let streams = roots.iter().map(|root| source.read(root, None));
        let mut events = futures_util::stream::select_all(streams);
        while let Some(event) = events.next().await {
            let Event::Changes { changes, .. } = event? else { continue };
            if let Some(change) = changes.first() {
                assert_eq!(&*change.table.columns[3].name, "c");
                assert_eq!(change.after.as_ref().map(|row| row[3].clone()), Some(true.into()));
                break;
            }
        }
        items.database.drop().await
    })
}

fn a_lost_position_stops_unless_the_settings_allow_to_go_on() -> Result<()> {
    block_on(async {
        let mut items = Items::make(Emulator::Calm, Dialect::GoogleSql, "NEW_ROW").await?;
        items.execute("INSERT INTO items (id) VALUES (1)").await?;
        items.start = Timestamp::now() - jiff::SignedDuration::from_hours(48);
        let settings = items.settings("").await;
        let error = run(&settings).await.err().expect("that is not kept any more");
        assert_eq!(error.kind(), &ErrorKind::PositionLost, "{error}");
        assert!(error.message().contains(&items.start.to_string()), "{error}");
        let read = run(&format!("{settings}on_lost = 'earliest'\n")).await?;
        assert_eq!(read.changes.len(), 1, "the stream is younger than its retention");
        let later = (Timestamp::now() + jiff::SignedDuration::from_secs(2)).to_string();
        let settings = format!("{}start = '{}'\nend = '{later}'\n", items.endless(), items.start);
        let read = run(&format!("{settings}on_lost = 'now'\n")).await?;
        assert_eq!(read.changes.len(), 0, "all there is was before now");
        items.database.drop().await
    })
}

/// A quiet partition lives on for as long as a pipeline stands still.
fn a_partition_that_is_still_there_goes_on_after_its_position_is_lost() -> Result<()> {
    block_on(async {
        let items = Items::make(Emulator::Calm, Dialect::GoogleSql, "NEW_ROW").await?;
        let source = open(&items.settings("").await).await?;
        let partitions = source.partitions().await?;
        let roots = Run::default().partition(&*source, &partitions[0], None).await?;
        items.execute("INSERT INTO items (id) VALUES (1)").await?;
        let long_ago = Timestamp::now() - jiff::SignedDuration::from_hours(48);
        let lost = Position::encode(&serde_json::json!({ "at": long_ago, "through": true }))?;
        let end = items.settings("on_lost = 'earliest'").await;
        let source = open(&end).await?;
        let mut run = Run::default();
        for root in &roots {
            let children = run.partition(&*source, root, Some(lost.clone())).await?;
            let is_itself = |child: &Partition| child.id == root.id;
            assert!(!children.iter().any(is_itself), "it would be taken for known, and not read");
        }
        assert_eq!(run.changes.len(), 1, "what is left is read");
        items.database.drop().await
    })
}

fn partitions_take_turns() -> Result<()> {
    block_on(async {
        let items = Items::make(Emulator::Calm, Dialect::GoogleSql, "NEW_ROW").await?;
        let source = open(&format!("{}partitions_max = 1\n", items.endless())).await?;
        let partitions = source.partitions().await?;
        let roots = Run::default().partition(&*source, &partitions[0], None).await?;
        assert_eq!(roots.len(), 2, "the emulator begins with two");
        let streams = roots.iter().enumerate().map(|(number, root)| {
            source.read(root, None).map(move |event| event.map(|event| (number, event))).boxed()
        });
        let mut events = futures_util::stream::select_all(streams);
        let mut last = Vec::new();
        let turns = async {
            while last.len() < 3 {
                let Some(event) = events.next().await else { break };
                let (number, _) = event?;
                if last.last() != Some(&number) {
                    last.push(number);
                }
            }
            Ok::<_, rowtide_core::Error>(())
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), turns).await;
        waited.expect("each has its turn, and another one")?;
        items.database.drop().await
    })
}

fn a_large_table_is_read_in_ranges_and_resumed_in_each() -> Result<()> {
    block_on(async {
        for dialect in DIALECTS {
            let items = Items::make(Emulator::Calm, dialect, "NEW_ROW").await?;
            for first in (0..3000).step_by(500) {
                let rows = (first..first + 500).map(|id| format!("({id}, '{}')", "x".repeat(400)));
                let rows = rows.collect::<Vec<_>>().join(", ");
                items.execute(&format!("INSERT INTO items (id, a) VALUES {rows}")).await?;
            }
            let settings = format!("{}snapshot = 'only'\n", items.endless());
            let source = open(&settings).await?;
            let mut whole = Run::default();
            let partitions = source.partitions().await?;
            items.execute("DELETE FROM items WHERE id < 1000").await?;
            whole.read(&*source, partitions).await?;
            let operation = |operation| {
                whole.changes.iter().filter(|change| change.operation == operation).count()
            };
            assert_eq!(operation(Operation::Read), 3000, "as they were at the beginning");
            assert_eq!((whole.changes[0].operation), Operation::SnapshotBegin);
            assert_eq!(
                whole.changes.last().map(|change| change.operation),
                Some(Operation::SnapshotEnd)
            );
            let mut ids = whole.ids();
            ids.dedup();
            assert_eq!(ids.len(), 3002);
            assert_eq!(whole.finished.len(), 11, "eight ranges, who tells of them, and two marks");
            for (count, partition, position) in &whole.positions {
                let mut rest = Run::default();
                rest.partition(&*source, partition, Some(position.clone())).await?;
                let next = whole.changes.get(*count..*count + rest.changes.len());
                assert_eq!(Some(&*rest.changes), next, "after {position}");
            }
            items.database.drop().await?;
        }
        Ok(())
    })
}

fn a_snapshot_is_resumed_after_columns_were_added_and_dropped() -> Result<()> {
    block_on(async {
        for dialect in DIALECTS {
            let items = Items::make(Emulator::Calm, dialect, "NEW_ROW").await?;
            items.execute("INSERT INTO items (id, a, b) VALUES (1, 'x', 2)").await?;
            let settings = format!("{}snapshot = 'only'\n", items.endless());
            let (source, mut run) = (open(&settings).await?, Run::default());
            let mut partitions = source.partitions().await?;
            for _ in ["who begins", "who tells of the ranges"] {
                partitions = run.partition(&*source, &partitions[0], None).await?;
            }
            for definition in ["ADD COLUMN c bool", "DROP COLUMN b"] {
                let definition = format!("ALTER TABLE items {definition}");
                items.database.define(&[definition]).await?;
            }
            run.partition(&*open(&settings).await?, &partitions[0], None).await?;
            let row = run.changes.last().and_then(|change| change.after.as_ref());
            let expected = [Value::Int(1), Value::from("x")];
            assert_eq!(row.map(|row| row.values()), Some(&expected[..]), "of what was and is");
            items.database.drop().await?;
        }
        Ok(())
    })
}

fn a_snapshot_that_took_too_long_is_lost() -> Result<()> {
    block_on(async {
        for dialect in DIALECTS {
            let items = Items::make(Emulator::Calm, dialect, "NEW_ROW").await?;
            let settings = format!("{}snapshot = 'initial'\n", items.endless());
            let source = open(&settings).await?;
            let mut rows = Partition::new("snapshot:0:items");
            let at = Timestamp::now() - jiff::SignedDuration::from_hours(2);
            let range = serde_json::json!({ "number": 0, "rows": 0 });
            let place =
                serde_json::json!({ "at": at, "table": "items", "part": { "rows": range } });
            rows.start = Some(Position::encode(&place)?);
            let first = source.read(&rows, None).next().await.expect("an event");
            let error = first.expect_err("the database does not keep rows for that long");
            assert_eq!(error.kind(), &ErrorKind::PositionLost, "{error}");
            let help = error.remedy().unwrap_or_default();
            assert!(help.contains("version_retention_period"), "{error}: {help}");
            items.database.drop().await?;
        }
        Ok(())
    })
}

/// A connection that is there, and dead.
fn a_server_that_never_answers_is_given_up() -> Result<()> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().expect("a runtime");
    let opened = runtime.block_on(async {
        let database = "projects/p/instances/i/databases/d";
        let settings = format!(
            "database = '{database}'\nendpoint = '{endpoint}'\nchange_stream = 'changes'\n"
        );
        tokio::time::timeout(Duration::from_secs(600), open(&settings)).await
    });
    let error = opened.expect("it is given up").err().expect("nothing was answered");
    assert_eq!(error.kind(), &ErrorKind::Transient, "{error}");
    Ok(())
}

fn main() -> ExitCode {
    trials::main(
        &[Kind::Spanner],
        rowtide_servers::trials![
            a_bounded_run_ends_and_another_reads_the_same,
            each_way_to_capture_tells_what_it_knows,
            only_what_is_wanted_is_delivered,
            a_column_added_while_reading_is_told,
            a_lost_position_stops_unless_the_settings_allow_to_go_on,
            a_partition_that_is_still_there_goes_on_after_its_position_is_lost,
            partitions_take_turns,
            a_large_table_is_read_in_ranges_and_resumed_in_each,
            a_snapshot_is_resumed_after_columns_were_added_and_dropped,
            a_snapshot_that_took_too_long_is_lost,
            a_server_that_never_answers_is_given_up,
        ],
    )
}
