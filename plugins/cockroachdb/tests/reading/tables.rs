use rowtide_core::{ColumnType, Operation, Value};
use rowtide_fake_cockroachdb::{Faults, Options};
use serde_json::json;

use crate::cluster::{Read, after, open, read, server, server_with, until};

#[tokio::test]
async fn rows_of_a_backfill_are_told_as_such_and_never_taken_for_duplicates() {
    let server = server("CREATE TABLE t (id INT8 PRIMARY KEY); INSERT INTO t VALUES (1), (2)");
    let source = open(&server, json!({"tables": ["t"], "snapshot": "never"})).await.unwrap();
    let partition = source.partitions().await.unwrap().remove(0);
    let mut stream = source.read(&partition, None);
    let mut found = Read::default();
    server
        .execute("INSERT INTO t VALUES (3); ALTER TABLE t ADD COLUMN d DECIMAL(5,2) DEFAULT 1.50")
        .unwrap();
    until(&partition.id, &mut stream, &mut found, |read| read.said().len() >= 4).await.unwrap();
    let backfill: Vec<_> = found
        .changes
        .iter()
        .filter(|change| {
            change.metadata.as_ref().is_some_and(|said| said.get("backfill") == Some(&true.into()))
        })
        .collect();
    assert_eq!(backfill.len(), 3);
    for change in backfill {
        assert_eq!(change.operation, Operation::Update);
        assert_eq!(after(change, "d"), Some(Value::Decimal("1.50".into())));
    }
    assert_eq!(found.changes[0].operation, Operation::Insert);
    assert_eq!(after(&found.changes[0], "d"), None, "a row of before has the column of after");
}

#[tokio::test]
async fn a_renamed_column_comes_with_its_type() {
    let server = server("CREATE TABLE t (id INT8 PRIMARY KEY, u UUID)");
    let source = open(&server, json!({"tables": ["t"], "snapshot": "never"})).await.unwrap();
    let partition = source.partitions().await.unwrap().remove(0);
    let mut stream = source.read(&partition, None);
    let mut found = Read::default();
    let uuid = "'63616665-6630-3064-6465-616462656562'";
    server
        .execute(&format!("ALTER TABLE t RENAME COLUMN u TO v; INSERT INTO t VALUES (1, {uuid})"))
        .unwrap();
    until(&partition.id, &mut stream, &mut found, |read| !read.said().is_empty()).await.unwrap();
    assert_eq!(after(&found.changes[0], "v"), Some(Value::Uuid(*b"cafef00ddeadbeeb")));
    assert_eq!(found.changes[0].table.columns[1].column_type, ColumnType::Uuid);
}

#[tokio::test]
async fn each_family_is_a_change_and_the_rest_of_the_row_is_unknown() {
    let server = server(
        "CREATE TABLE t (id INT8 PRIMARY KEY, a STRING, b STRING, FAMILY f1 (id, a), FAMILY f2 (b));
         INSERT INTO t VALUES (1, 'x', 'y')",
    );
    let source = open(&server, json!({"tables": ["t"]})).await.unwrap();
    let (_, found) = read(&*source, None, |read| read.idle > 0).await.unwrap();
    let rows: Vec<_> = found.changes.iter().filter(|change| change.after.is_some()).collect();
    assert_eq!(rows.len(), 2);
    assert_eq!(after(rows[0], "a"), Some("x".into()));
    assert_eq!(after(rows[0], "b"), Some(Value::Unknown));
    // This family does not hold the key, which is told beside it.
    assert_eq!(after(rows[1], "id"), Some(1.into()));
    assert_eq!(after(rows[1], "b"), Some("y".into()));
    assert_ne!(rows[0].id(), rows[1].id());
}

#[tokio::test]
async fn without_the_row_before_an_upsert_is_an_update() {
    let server = server("CREATE TABLE t (id INT8 PRIMARY KEY, s STRING)");
    let settings = json!({"tables": ["t"], "snapshot": "never", "diff": false});
    let source = open(&server, settings).await.unwrap();
    let partition = source.partitions().await.unwrap().remove(0);
    server.execute("INSERT INTO t VALUES (1, 'x'); DELETE FROM t WHERE id = 1").unwrap();
    let mut stream = source.read(&partition, None);
    let mut found = Read::default();
    until(&partition.id, &mut stream, &mut found, |read| read.said().len() >= 2).await.unwrap();
    assert_eq!(found.said(), [(Operation::Update, 1), (Operation::Delete, 1)]);
    let before = found.changes[1].before.as_ref().unwrap();
    assert_eq!(before.values(), [Value::Int(1), Value::Unknown]);
}

#[tokio::test]
async fn a_query_decides_which_columns_and_rows_come() {
    let server = server(
        "CREATE TABLE t (id INT8 PRIMARY KEY, kind STRING, s STRING);
         INSERT INTO t VALUES (1, 'a', 'x'), (2, 'b', 'y')",
    );
    let settings = json!({"query": "SELECT id, s FROM t WHERE kind = 'a'"});
    let source = open(&server, settings).await.unwrap();
    let (_, found) = read(&*source, None, |read| read.idle > 0).await.unwrap();
    let rows: Vec<_> = found.changes.iter().filter(|change| change.after.is_some()).collect();
    assert_eq!(rows.len(), 1);
    let names: Vec<_> = rows[0].table.columns.iter().map(|column| &*column.name).collect();
    assert_eq!(names, ["id", "s"]);
}

#[tokio::test]
async fn a_truncated_table_ends_the_pipeline() {
    let server = server("CREATE TABLE t (id INT8 PRIMARY KEY); INSERT INTO t VALUES (1)");
    let source = open(&server, json!({"tables": ["t"]})).await.unwrap();
    let partition = source.partitions().await.unwrap().remove(0);
    let mut stream = source.read(&partition, None);
    let mut found = Read::default();
    until(&partition.id, &mut stream, &mut found, |read| read.idle > 0).await.unwrap();
    server.execute("TRUNCATE t").unwrap();
    let error = until(&partition.id, &mut stream, &mut found, |_| false).await.unwrap_err();
    assert_eq!(error.kind(), &rowtide_core::ErrorKind::Fatal, "{error}");
    assert!(error.to_string().contains("truncated"), "{error}");
}

#[tokio::test]
async fn a_column_that_is_another_one_by_now_has_its_own_type() {
    let server = server("CREATE TABLE t (id INT8 PRIMARY KEY, c INT8)");
    let source = open(&server, json!({"tables": ["t"], "snapshot": "never"})).await.unwrap();
    let partition = source.partitions().await.unwrap().remove(0);
    let mut stream = source.read(&partition, None);
    let mut found = Read::default();
    server.execute("INSERT INTO t VALUES (1, 5)").unwrap();
    until(&partition.id, &mut stream, &mut found, |read| !read.said().is_empty()).await.unwrap();
    assert_eq!(after(&found.changes[0], "c"), Some(5.into()));
    server
        .execute(
            "ALTER TABLE t DROP COLUMN c; ALTER TABLE t ADD COLUMN c BYTES;
             INSERT INTO t VALUES (2, '\\x6162')",
        )
        .unwrap();
    // The row is rewritten without the old column, and then comes the other one.
    until(&partition.id, &mut stream, &mut found, |read| read.said().len() >= 3).await.unwrap();
    assert_eq!(after(&found.changes[2], "c"), Some(Value::Bytes((*b"ab").into())));
}

#[tokio::test]
async fn a_query_may_read_a_table_of_another_schema() {
    let server = server(
        "CREATE TABLE sales.t (id INT8 PRIMARY KEY, u UUID);
         INSERT INTO sales.t VALUES (1, '63616665-6630-3064-6465-616462656562')",
    );
    let settings = json!({"query": "SELECT id, u FROM sales.t"});
    let source = open(&server, settings).await.unwrap();
    let (_, found) = read(&*source, None, |read| read.idle > 0).await.unwrap();
    let operations: Vec<_> = found.changes.iter().map(|change| change.operation).collect();
    assert_eq!(operations, [Operation::SnapshotBegin, Operation::Read, Operation::SnapshotEnd]);
    assert!(found.changes.iter().all(|change| change.table.namespace.as_deref() == Some("sales")));
    assert_eq!(after(&found.changes[1], "u"), Some(Value::Uuid(*b"cafef00ddeadbeeb")));
}

#[tokio::test]
async fn every_type_is_the_same_of_a_scan_and_of_a_change() {
    let columns = [
        ("mood", "public.mood", "'happy'", Value::from("happy")),
        (
            "place",
            "GEOMETRY",
            "'{\"type\": \"Point\"}'",
            Value::Json("{\"type\": \"Point\"}".into()),
        ),
        ("nan", "DECIMAL", "'NaN'", Value::Decimal("NaN".into())),
        ("price", "DECIMAL(10,2)", "26.30", Value::Decimal("26.30".into())),
        ("ratio", "FLOAT8", "'-Infinity'", Value::Float(f64::NEG_INFINITY)),
        ("wait", "INTERVAL", "'01:02:03'", Value::from("01:02:03")),
        ("host", "INET", "'192.168.0.1'", Value::from("192.168.0.1")),
        ("last", "DATE", "'infinity'", Value::from("infinity")),
        ("tags", "STRING[]", "ARRAY['a','b']", Value::Array(["a".into(), "b".into()].into())),
        ("raw", "BYTES", "'\\x00ff'", Value::Bytes([0, 255].into())),
        ("big", "INT8", "9007199254740993", Value::Int((1 << 53) + 1)),
    ];
    let declared: Vec<_> =
        columns.iter().map(|(name, kind, ..)| format!("{name} {kind}")).collect();
    let values: Vec<_> = columns.iter().map(|(_, _, literal, _)| *literal).collect();
    let server = server(&format!(
        "CREATE TABLE t (id INT8 PRIMARY KEY, {}); INSERT INTO t VALUES (1, {})",
        declared.join(", "),
        values.join(", ")
    ));
    let source = open(&server, json!({"tables": ["t"]})).await.unwrap();
    let partition = source.partitions().await.unwrap().remove(0);
    let mut stream = source.read(&partition, None);
    let mut found = Read::default();
    until(&partition.id, &mut stream, &mut found, |read| read.idle > 0).await.unwrap();
    server.execute(&format!("INSERT INTO t VALUES (2, {})", values.join(", "))).unwrap();
    until(&partition.id, &mut stream, &mut found, |read| read.said().len() > 1).await.unwrap();
    assert_eq!(found.said(), [(Operation::Read, 1), (Operation::Insert, 2)]);
    for change in found.changes.iter().filter(|change| change.after.is_some()) {
        for (name, _, _, expected) in &columns {
            assert_eq!(
                after(change, name).as_ref(),
                Some(expected),
                "{name} {}",
                change.operation.name()
            );
        }
    }
}

#[tokio::test]
async fn a_row_that_comes_twice_is_dropped_or_passed_as_the_user_says() {
    for (duplicates, expected) in [("drop", vec![1, 2]), ("pass", vec![1, 1, 2, 2])] {
        let faults = Faults { replay: 1_000, ..Faults::none() };
        let server = server_with(
            Options { faults, ..Options::default() },
            "CREATE TABLE t (id INT8 PRIMARY KEY)",
        );
        let settings = json!({"tables": ["t"], "snapshot": "never", "duplicates": duplicates});
        let source = open(&server, settings).await.unwrap();
        let partition = source.partitions().await.unwrap().remove(0);
        server.execute("INSERT INTO t VALUES (1)").unwrap();
        let mut stream = source.read(&partition, None);
        let mut found = Read::default();
        until(&partition.id, &mut stream, &mut found, |read| read.idle > 0).await.unwrap();
        server.execute("INSERT INTO t VALUES (2)").unwrap();
        let idle = found.idle;
        let enough =
            |read: &Read| read.idle > idle + 1 && read.said().contains(&(Operation::Insert, 2));
        until(&partition.id, &mut stream, &mut found, enough).await.unwrap();
        let keys: Vec<_> = found.said().into_iter().map(|(_, key)| key).collect();
        assert_eq!(keys, expected, "{duplicates}");
    }
}
