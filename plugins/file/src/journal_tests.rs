use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::SystemTime,
};

use rowtide_core::ErrorKind;

use super::*;
use crate::names::{Closed, with_suffix};

fn rotation(bytes: u64, compression: Option<Compression>) -> Rotation {
    Rotation { bytes: Some(ByteSize(bytes)), every: None, compression }
}

fn open_at(directory: &Path, rotation: Rotation) -> Journal {
    Journal::open(&directory.join("out.jsonl"), rotation).unwrap()
}

/// The lines of all files, in the order of their names; the active one is the last. Where a file is
/// plain and compressed, the plain one counts.
fn lines(directory: &Path) -> Vec<String> {
    let names = Names::new(directory.join("out.jsonl"));
    let mut text = String::new();
    for closed in names.closed().unwrap() {
        if !closed.suffix.is_empty() && closed.plain.exists() {
            continue;
        }
        match closed.suffix.as_str() {
            "" => text += &fs::read_to_string(closed.path()).unwrap(),
            ".gz" => {
                let file = File::open(closed.path()).unwrap();
                flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
            }
            other => panic!("{other}"),
        }
    }
    text += &fs::read_to_string(&names.active).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn suffixes(directory: &Path) -> Vec<String> {
    let names = Names::new(directory.join("out.jsonl"));
    let mut closed = names.closed().unwrap();
    closed.sort_by_key(Closed::path);
    closed.into_iter().map(|closed| closed.suffix).collect()
}

/// Makes a closed file of `text`, which a crash of this process left, and returns its path.
fn closed_file(directory: &Path, text: &str) -> PathBuf {
    let path = Names::new(directory.join("out.jsonl"))
        .next(Timestamp::now(), DateTime::MIN)
        .unwrap()
        .plain;
    fs::write(&path, text).unwrap();
    path
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_torn_last_line_is_cut_off_wherever_it_was_torn() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.jsonl");
    let long = "z".repeat(40_000);
    let whole = format!("first\n{long}\nlast\n");
    for length in (0..20).chain(40_000..=whole.len()) {
        fs::write(&path, &whole[..length]).unwrap();
        let mut journal = open_at(directory.path(), Rotation::default());
        journal.append(b"next\n").unwrap();
        journal.flush().unwrap();
        let kept = whole[..length].rfind('\n').map_or(0, |index| index + 1);
        let expected = format!("{}next\n", &whole[..kept]);
        assert_eq!(fs::read_to_string(&path).unwrap(), expected, "cut at {length}");
    }
}

#[test]
fn files_are_closed_by_size_and_no_line_is_divided_or_lost() {
    for compression in [None, Some(Compression::Gzip)] {
        for limit in [1, 7, 40, 1000] {
            let directory = tempfile::tempdir().unwrap();
            let mut expected = Vec::new();
            let mut journal = open_at(directory.path(), rotation(limit, compression));
            for batch in 0..6 {
                let numbers = (0..batch * 3).map(|number| format!("{batch}-{number}"));
                let batch: Vec<_> = numbers.collect();
                journal
                    .append(
                        batch.iter().map(|line| format!("{line}\n")).collect::<String>().as_bytes(),
                    )
                    .unwrap();
                expected.extend(batch);
                if expected.len() % 2 == 0 {
                    journal.flush().unwrap();
                }
            }
            journal.flush().unwrap();
            assert_eq!(lines(directory.path()), expected, "{limit} {compression:?}");
            let closed = suffixes(directory.path());
            assert_eq!(closed.is_empty(), limit == 1000);
            assert!(closed.iter().all(|suffix| suffix.is_empty() == compression.is_none()));
        }
    }
}

#[test]
fn a_file_is_closed_by_age_when_a_line_arrives() {
    let directory = tempfile::tempdir().unwrap();
    let every = Some(Duration::from_secs(60));
    let mut journal = open_at(directory.path(), Rotation { every, ..Rotation::default() });
    journal.append(b"a\n").unwrap();
    journal.append(b"b\n").unwrap();
    assert_eq!(suffixes(directory.path()).len(), 0);
    journal.age = Age::since(SystemTime::now() - Duration::from_secs(61));
    journal.append(b"c\n").unwrap();
    journal.flush().unwrap();
    assert_eq!(suffixes(directory.path()).len(), 1);
    assert_eq!(lines(directory.path()), ["a", "b", "c"]);
    journal.append(b"d\n").unwrap();
    assert_eq!(suffixes(directory.path()).len(), 1);
}

#[test]
fn a_clock_that_went_back_keeps_no_file_open() {
    let directory = tempfile::tempdir().unwrap();
    let every = Some(Duration::from_secs(60));
    let mut journal = open_at(directory.path(), Rotation { every, ..Rotation::default() });
    journal.append(b"a\n").unwrap();
    // As if it had been opened now, and made by a clock that was an hour ahead.
    journal.age = Age::since(SystemTime::now() + Duration::from_secs(3600));
    journal.append(b"b\nc\n").unwrap();
    assert_eq!(suffixes(directory.path()).len(), 1);
    journal.append(b"d\n").unwrap();
    assert_eq!(suffixes(directory.path()).len(), 1);
}

/// The closed files, which are moved away.
fn taken(directory: &Path) -> Vec<PathBuf> {
    let closed = Names::new(directory.join("out.jsonl")).closed().unwrap();
    let paths: Vec<_> = closed.iter().map(Closed::path).collect();
    paths.iter().for_each(|path| fs::remove_file(path).unwrap());
    paths
}

#[test]
fn names_sort_behind_files_that_were_moved_away_before_the_clock_went_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open_at(directory.path(), rotation(1, None));
    let ahead = Timestamp::now() + Duration::from_secs(3600);
    let mut names = Vec::new();
    // The last closing was by a clock that was an hour ahead.
    journal.last_closing = TimeZone::UTC.to_datetime(ahead);
    journal.append(b"a\nb\n").unwrap();
    names.extend(taken(directory.path()));
    journal.append(b"c\n").unwrap();
    names.extend(taken(directory.path()));
    drop(journal);

    // So was the last write, before a restart.
    let active = File::options().append(true).open(directory.path().join("out.jsonl")).unwrap();
    active.set_modified((ahead + Duration::from_secs(3600)).into()).unwrap();
    let mut journal = open_at(directory.path(), rotation(1, None));
    journal.append(b"d\n").unwrap();
    names.extend(taken(directory.path()));
    let last = Closed::path(
        &journal.names.next(ahead + Duration::from_secs(3600), DateTime::MIN).unwrap(),
    );
    names.insert(2, last);
    assert_eq!(names.len(), 4);
    assert!(names.is_sorted_by(|one, next| one < next), "{names:?}");
}

#[test]
fn a_crash_during_compression_leaves_every_line_once() {
    // The settings may have changed before the next start.
    let cases: [(_, &[&str]); 2] =
        [(None, &["", "", ".gz"]), (Some(Compression::Gzip), &[".gz", ".gz"])];
    for (compression, left) in cases {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = open_at(directory.path(), rotation(1, None));
        journal.append(b"a\nb\nc\n").unwrap();
        journal.flush().unwrap();
        drop(journal);
        let names = Names::new(directory.path().join("out.jsonl"));
        let closed = names.closed().unwrap();
        // Before the rename, and between the rename and the removal.
        let torn = with_suffix(&closed[0].plain, ".gz.tmp");
        fs::write(torn, "torn").unwrap();
        let plain = fs::read(&closed[1].plain).unwrap();
        Compression::Gzip.compress(&closed[1].plain).unwrap();
        fs::write(&closed[1].plain, plain).unwrap();

        drop(open_at(directory.path(), rotation(100, compression)));
        assert_eq!(lines(directory.path()), ["a", "b", "c"]);
        assert_eq!(suffixes(directory.path()), left);
    }
}

#[test]
fn a_plain_file_outlives_what_another_program_left_of_its_compression() {
    let text = (0..5_000).map(|number| format!("{}\n", number * 7919)).collect::<String>();
    let whole = gzip(&text);
    for compression in [None, Some(Compression::Gzip)] {
        for length in [0, 1, 12, whole.len() / 2, whole.len() - 1] {
            let directory = tempfile::tempdir().unwrap();
            let plain = closed_file(directory.path(), &text);
            fs::write(with_suffix(&plain, ".gz"), &whole[..length]).unwrap();
            drop(open_at(directory.path(), rotation(100, compression)));
            assert_eq!(lines(directory.path()), text.lines().collect::<Vec<_>>(), "{length}");
            let left: &[&str] = if compression.is_some() { &[".gz"] } else { &["", ".gz"] };
            assert_eq!(suffixes(directory.path()), left);
        }
    }
}

#[test]
fn a_compressed_file_outlives_what_another_program_left_of_its_unpacking() {
    for (left, other) in [("a\n", ".gz"), ("", ".gz"), ("x\nb\nc\n", ".gz"), ("a\nb\nc\n", ".zst")]
    {
        let directory = tempfile::tempdir().unwrap();
        let plain = closed_file(directory.path(), left);
        let compressed = with_suffix(&plain, other);
        fs::write(&compressed, gzip("a\nb\nc\n")).unwrap();
        drop(open_at(directory.path(), rotation(100, Some(Compression::Gzip))));
        assert_eq!(fs::read(&compressed).unwrap(), gzip("a\nb\nc\n"));
        assert_eq!(fs::read_to_string(&plain).unwrap(), left);
    }
}

#[test]
fn a_closed_file_that_somebody_has_taken_is_done() {
    let directory = tempfile::tempdir().unwrap();
    let plain = closed_file(directory.path(), "a\n");
    let closed = Names::new(directory.path().join("out.jsonl")).closed().unwrap().remove(0);
    fs::remove_file(&plain).unwrap();
    Compression::Gzip.compress(&plain).unwrap();
    assert_eq!(suffixes(directory.path()).len(), 0);
    // It is listed, and taken before it is looked at.
    let compressed = Closed { suffix: ".gz".to_owned(), ..closed };
    assert!(!Compression::Gzip.surpasses(&compressed).unwrap());
    fs::write(&plain, "a\n").unwrap();
    assert!(Compression::Gzip.surpasses(&compressed).unwrap());
}

#[test]
fn names_that_a_predecessor_made_are_durable_after_the_first_flush() {
    let directory = tempfile::tempdir().unwrap();
    // One that was killed behind its rename, and one that was killed behind its first write.
    closed_file(directory.path(), "a\n");
    fs::write(directory.path().join("out.jsonl"), "b\n").unwrap();
    let mut journal = open_at(directory.path(), Rotation::default());
    assert!(journal.has_new_name);
    journal.append(b"c\n").unwrap();
    journal.flush().unwrap();
    assert!(!journal.has_new_name);
}

#[test]
fn a_crash_during_rotation_leaves_every_line_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open_at(directory.path(), rotation(100, None));
    journal.append(b"a\n").unwrap();
    journal.flush().unwrap();
    // The file has its other name, and the next one is not there yet.
    let closed = journal.names.next(Timestamp::now(), journal.last_closing).unwrap();
    fs::rename(&journal.names.active, closed.plain).unwrap();
    drop(journal);
    let mut journal = open_at(directory.path(), rotation(100, None));
    journal.append(b"b\n").unwrap();
    journal.flush().unwrap();
    assert_eq!(lines(directory.path()), ["a", "b"]);
}

#[cfg(feature = "zstd")]
#[test]
fn zstd_gives_back_what_it_took() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    let text = b"a line\n".repeat(100_000);
    fs::write(&path, &text).unwrap();
    Compression::Zstd.compress(&path).unwrap();
    assert!(!path.exists());
    let compressed = File::open(directory.path().join("x.zst")).unwrap();
    assert_eq!(zstd::decode_all(compressed).unwrap(), text);
}

#[test]
fn a_second_handle_is_refused_and_told_who_writes() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open_at(directory.path(), Rotation::default());
    let path = directory.path().join("out.jsonl");
    let error = Journal::open(&path, Rotation::default()).err().unwrap();
    assert_eq!(error.kind(), &ErrorKind::Fatal);
    let holder = format!("process {}", std::process::id());
    assert!(error.message().contains(&holder), "{error}");
    drop(journal);
    drop(Journal::open(&path, Rotation::default()).unwrap());
}

#[test]
fn a_failed_flush_is_not_tried_again_and_what_it_left_is_cut_off() {
    static SYNCS: AtomicUsize = AtomicUsize::new(0);
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open_at(directory.path(), Rotation::default());
    journal.append(b"durable\n").unwrap();
    journal.flush().unwrap();
    journal.sync = |_| {
        SYNCS.fetch_add(1, Ordering::Relaxed);
        Err(io::Error::from_raw_os_error(5))
    };
    let format = rowtide_format::Format::default();
    let encoder = rowtide_format::Encoder::new(&format, "p");
    journal.append(b"forgotten\n").unwrap();
    let mut sink = crate::sink::FileSink::new(encoder, journal);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for _ in 0..2 {
        let error = runtime.block_on(rowtide_core::Sink::flush(&mut sink)).unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert_eq!(SYNCS.load(Ordering::Relaxed), 1);
    }
    assert_eq!(lines(directory.path()), ["durable"]);
    drop(sink);
    drop(open_at(directory.path(), Rotation::default()));
}

#[test]
fn what_the_format_refuses_is_rejected_and_its_neighbours_are_durable() {
    use rowtide_core::{Change, ChangeId, Column, ColumnType, Operation, Row, Sink, Table, Value};

    let directory = tempfile::tempdir().unwrap();
    let format = rowtide_format::Format::Outbox(Box::default());
    let encoder = rowtide_format::Encoder::new(&format, "p");
    let journal = open_at(directory.path(), Rotation::default());
    let mut sink = crate::sink::FileSink::new(encoder, journal);
    let columns = ["id", "aggregatetype", "aggregateid", "payload"];
    let columns = columns.map(|name| Column::new(name, ColumnType::Text));
    let table = std::sync::Arc::new(Table::new("outbox", columns.into()));
    let change = |payload: Value| {
        let mut change = Change::new(ChangeId::new("s"), table.clone(), Operation::Insert);
        let text = || Value::from("x");
        change.after = Some(Row::new([text(), text(), text(), payload]));
        change
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        sink.write(&[change(Value::from("one"))]).await.unwrap();
        sink.write(&[change(Value::Unknown), change(Value::from("two"))]).await.unwrap();
        let error = sink.flush().await.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Rejected { indexes: vec![1] });
        assert_eq!(lines(directory.path()), ["one", "two"]);
        sink.write(&[change(Value::from("three"))]).await.unwrap();
        sink.flush().await.unwrap();
    });
    assert_eq!(lines(directory.path()), ["one", "two", "three"]);
}
