//! A disk that is full for a while: nothing is lost, and everything arrives once there is room.
//!
//! It needs a file system of its own, which only root can mount; elsewhere the test is ignored.

#![expect(clippy::unwrap_used, reason = "what is missing fails the test")]

use std::{fs, path::Path, process::Command, sync::Arc};

use libtest_mimic::{Arguments, Trial};
use rowtide_core::{
    Change, ChangeId, Column, ColumnType, Context, Operation, Row, Shutdown, Sink, Table, Value,
    registry, settings::Settings,
};
use rowtide_file as _;

fn main() {
    let arguments = Arguments::from_args();
    let directory = tempfile::tempdir().unwrap();
    let mount = Mount::new(directory.path());
    let is_impossible = mount.is_none();
    let trial = |promise: &str, check: fn(&Path)| {
        let path = directory.path().to_owned();
        let run = move || {
            check(&path);
            Ok(())
        };
        Trial::test(promise, run).with_ignored_flag(is_impossible)
    };
    let trials = vec![
        trial("everything_arrives_once_there_is_room", check_sink),
        trial("a_checkpoint_survives_a_full_disk", check_store),
    ];
    let arguments = Arguments { test_threads: Some(1), ..arguments };
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(mount);
    conclusion.exit();
}

/// A file system of half a mebibyte, until it is dropped.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn new(at: &'a Path) -> Option<Self> {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]).arg(at);
        command.output().is_ok_and(|output| output.status.success()).then_some(Self(at))
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

fn open(path: &Path) -> rowtide_core::Result<Box<dyn Sink>> {
    let path = path.to_str().unwrap().to_owned();
    let settings = Settings::Table(vec![
        ("path".to_owned(), Settings::Text(path)),
        ("rotate_bytes".to_owned(), Settings::Text("100KiB".to_owned())),
    ]);
    let config = registry::sink("file", &settings)?;
    block_on(config.open(&Context::new("p", Shutdown::never())))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn changes(numbers: std::ops::Range<u64>) -> Vec<Change> {
    let columns = ["number", "text"].map(|name| Column::new(name, ColumnType::Any));
    let table = Arc::new(Table::new("t", columns.to_vec()));
    let change = |number| {
        let id = ChangeId::new("s").major(number);
        let mut change = Change::new(id, Arc::clone(&table), Operation::Insert);
        let text = Value::from("x".repeat(1000));
        change.after = Some(Row::new([Value::Int(number as i64), text]));
        change
    };
    numbers.map(change).collect()
}

fn deliver(sink: &mut dyn Sink, changes: &[Change]) -> rowtide_core::Result<()> {
    block_on(async {
        sink.write(changes).await?;
        sink.flush().await
    })
}

fn check_sink(directory: &Path) {
    let filler = directory.join("filler");
    let path = directory.join("out.jsonl");
    let mut sink = open(&path).unwrap();
    deliver(sink.as_mut(), &changes(0..100)).unwrap();
    fs::write(&filler, vec![0; 250 << 10]).unwrap();

    let error = deliver(sink.as_mut(), &changes(100..400)).unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(error.remedy().unwrap().contains("make room"), "{error}");
    drop(sink);
    for _ in 0..3 {
        let again = open(&path).and_then(|mut sink| deliver(sink.as_mut(), &changes(100..400)));
        let error = again.unwrap_err();
        assert!(error.is_transient(), "{error}");
    }

    fs::remove_file(&filler).unwrap();
    let mut sink = open(&path).unwrap();
    deliver(sink.as_mut(), &changes(100..300)).unwrap();
    let numbers = numbers(directory);
    // What was written and not flushed may come twice, in runs; nothing is missing or torn.
    let mut distinct = numbers.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct, (0..300).chain(300..*distinct.last().unwrap() + 1).collect::<Vec<_>>());
    assert_eq!(numbers.last(), Some(&299));
    for file in fs::read_dir(directory).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
}

fn numbers(directory: &Path) -> Vec<u64> {
    let mut paths: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    // The closed files by name, then the active one.
    paths.sort_by_key(|path| (path.file_name().unwrap() == "out.jsonl", path.clone()));
    let texts = paths.iter().filter(|path| path.extension().unwrap_or_default() == "jsonl");
    let text: String = texts.map(|path| fs::read_to_string(path).unwrap()).collect();
    let number = |line: &str| {
        assert!(line.ends_with('}'), "{line}");
        let (_, rest) = line.split_once("\"id\":\"s:").unwrap();
        rest.split_once('"').unwrap().0.parse().unwrap()
    };
    text.lines().map(number).collect()
}

fn check_store(directory: &Path) {
    use rowtide_core::{CheckpointUpdate, Owner, Partition, PartitionState, Position, Progress};

    let path = directory.to_str().unwrap().to_owned();
    let settings = Settings::Table(vec![("path".to_owned(), Settings::Text(path))]);
    let config = registry::checkpoint("file", &settings).unwrap();
    block_on(async {
        let store = config.open(&Context::new("p", Shutdown::never())).await.unwrap();
        let owner = Owner { host: "h".into(), process: 1, since: jiff::Timestamp::UNIX_EPOCH };
        let claim = store.claim("p", &owner).await.unwrap();
        let update = |position: &str| CheckpointUpdate {
            states: vec![PartitionState {
                partition: Partition::whole(),
                progress: Progress::Delivered(Position::encode(&position).unwrap()),
            }],
            forgotten: Vec::new(),
        };
        let saved = update("small");
        store.save(&claim, &saved).await.unwrap();
        let filler = directory.join("filler");
        fs::write(&filler, vec![0; 400 << 10]).unwrap();
        let large = update(&"x".repeat(200 << 10));
        let error = store.save(&claim, &large).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert_eq!(store.load("p").await.unwrap(), saved.states);
        fs::remove_file(&filler).unwrap();
        store.save(&claim, &large).await.unwrap();
        assert_eq!(store.load("p").await.unwrap(), large.states);
    });
}
