//! What the engine says in the log, and what it never says.

use std::{
    fmt, io,
    sync::{Arc, Mutex, Once},
    time::Duration,
};

use jiff::Timestamp;
use rowtide_core::{Change, Error, Event, Metadata, Partition, Row, Value, settings::ByteSize};
use rowtide_engine::{Delivery, OnRejected, Until};
use serde_json::Value as Json;
use tokio::time::Instant;
use tracing::{level_filters::LevelFilter, subscriber::DefaultGuard};
use tracing_subscriber::fmt::{MakeWriter, format::Writer, time::FormatTime};

use crate::{
    script::{Lines, Script, change, changes, idle, place, seconds},
    skip, whole,
};

/// All that is logged on this thread, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

/// Virtual time, in whole seconds since the log began.
struct Clock(Instant);

impl Log {
    fn begin() -> (Self, DefaultGuard) {
        // Without one that lasts, whoever logs first on a thread without a subscriber may have the
        // place taken for one that nobody listens to.
        static LASTING: Once = Once::new();
        LASTING.call_once(|| {
            let all = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE);
            tracing::subscriber::set_global_default(all.with_writer(io::sink).finish()).unwrap();
        });
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_max_level(LevelFilter::TRACE)
            .with_timer(Clock(Instant::now()))
            .with_writer(log.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn lines(&self) -> Vec<Json> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The status lines: at which second, and what else they say.
    fn status(&self) -> Vec<(String, Json)> {
        let lines = self.lines().into_iter().filter(|line| line["state"].is_string());
        lines.map(|line| (text(&line, "timestamp").to_owned(), line)).collect()
    }

    /// The one line whose message contains `words`.
    fn line(&self, words: &str) -> Json {
        let all = self.lines();
        let mut found = all.iter().filter(|line| text(line, "message").contains(words));
        let line = found.next().unwrap_or_else(|| panic!("no `{words}` in {all:#?}")).clone();
        assert!(found.next().is_none(), "twice: {line}");
        line
    }
}

fn text<'l>(line: &'l Json, field: &str) -> &'l str {
    line[field].as_str().unwrap_or_default()
}

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", self.0.elapsed().as_secs())
    }
}

impl<'w> MakeWriter<'w> for Log {
    type Writer = Log;

    fn make_writer(&'w self) -> Log {
        self.clone()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Changes 1 to 20, and the position of a time that is 100 seconds ago.
fn attested() -> rowtide_core::Result<Event> {
    let as_of = Timestamp::now() - Duration::from_secs(100);
    Ok(Event::Changes {
        changes: (1..=20).map(change).collect(),
        position: Some(place(20).as_of(as_of)),
    })
}

#[tokio::test(start_paused = true)]
async fn a_status_line_comes_at_each_change_of_state_and_every_10_seconds() {
    let (log, _guard) = Log::begin();
    let script = whole(vec![attested()]);
    script.run_until(Until::Stopped, Delivery::default(), seconds(25)).await.unwrap();
    let status = log.status();
    let states: Vec<_> =
        status.iter().map(|(second, line)| (second.as_str(), text(line, "state"))).collect();
    let expected = [
        ("0", "opening"),
        ("0", "running"),
        ("10", "running"),
        ("20", "running"),
        ("25", "stopping"),
        ("25", "stopped"),
    ];
    assert_eq!(states, expected);
    let rates: Vec<_> =
        status.iter().map(|(_, line)| line["changes_per_second"].as_f64()).collect();
    assert_eq!(rates[2..4], [Some(2.0), Some(0.0)], "20 changes in the first 10 seconds");
    for (_, line) in &status {
        assert_eq!((text(line, "level"), &line["span"]["pipeline"]), ("INFO", &"scripted".into()));
        let named =
            ["oldest_unacknowledged", "lag"].iter().all(|name| !text(line, name).is_empty());
        assert!(named && line["partitions"].is_u64() && line["skipped"].is_u64(), "{line}");
    }
    let last = &status[3].1;
    assert_eq!((text(last, "oldest_unacknowledged"), &last["partitions"]), ("-", &1.into()));
    assert!(text(last, "lag").starts_with("100."), "{last}");
}

#[tokio::test(start_paused = true)]
async fn the_low_watermark_is_that_of_the_last_partition_and_logged_at_debug() {
    let (early, late) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + Duration::from_secs(9));
    let told = |at| Event::Changes { changes: vec![change(1)], position: Some(at) };
    let cases = [
        ([place(1).as_of(late), place(1).as_of(early)], Some(early)),
        ([place(1).as_of(late), place(1)], None),
    ];
    for (positions, expected) in cases {
        let (log, _guard) = Log::begin();
        let script = Script::new(Lines {
            partitions: vec![Partition::new("a"), Partition::new("b")],
            events: positions.into_iter().map(|at| vec![Ok(told(at))]).collect(),
            ..Lines::default()
        });
        script.run_until(Until::Stopped, Delivery::default(), seconds(15)).await.unwrap();
        let lines = log.lines();
        let marks = lines.iter().filter(|line| line["low_watermark"].is_string());
        let marks: Vec<_> = marks
            .map(|line| {
                assert_eq!(text(line, "level"), "DEBUG");
                (text(line, "timestamp"), text(line, "low_watermark").parse().unwrap())
            })
            .collect();
        let expected: Vec<(&str, Timestamp)> =
            expected.iter().flat_map(|at| ["10", "15", "15"].map(|second| (second, *at))).collect();
        assert_eq!(marks, expected, "nothing before both are saved: {lines:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_recovery_is_a_state_and_says_why() {
    let (log, _guard) = Log::begin();
    let script = whole(vec![changes(1, 2)]);
    script.lines().flushes.push_back(Err(Error::transient("gone")));
    script.lines().events.push_back(vec![changes(1, 2)]);
    script.run_until(Until::Stopped, Delivery::default(), seconds(11)).await.unwrap();
    let states: Vec<_> =
        log.status().iter().map(|(_, line)| text(line, "state").to_owned()).collect();
    let expected = [
        "opening",
        "running",
        "recovering",
        "opening",
        "running",
        "running",
        "stopping",
        "stopped",
    ];
    assert_eq!(states, expected);
    let line = log.line("pipeline resumes from its checkpoint after a pause: gone");
    assert_eq!(text(&line, "level"), "WARN");
}

#[tokio::test(start_paused = true)]
async fn the_oldest_change_that_is_not_acknowledged_has_an_age() {
    let (log, _guard) = Log::begin();
    let script = whole(vec![changes(1, 2)]);
    script.lines().flush_hangs = true;
    script.run_until(Until::Stopped, Delivery::default(), seconds(15)).await.unwrap();
    let ages: Vec<_> =
        log.status().iter().map(|(_, line)| line["oldest_unacknowledged"].clone()).collect();
    assert_eq!(ages[2], "10.0s", "{ages:?}");
}

#[tokio::test(start_paused = true)]
async fn who_has_finished_is_told_how_to_begin_again() {
    let (log, _guard) = Log::begin();
    let script = whole(vec![changes(1, 1), Ok(Event::Finished)]);
    script.run_until(Until::Stopped, Delivery::default(), seconds(10_000)).await.unwrap();
    let line = log.line("has ended for good");
    assert!(text(&line, "message").contains("`rowtide checkpoint reset`"), "{line}");
    assert!(text(&line, "message").contains("`scripted`"), "{line}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_before_the_position_of_what_was_written_says_what_is_delivered_again() {
    for (covered, is_told) in [(2, true), (3, false)] {
        let (log, _guard) = Log::begin();
        let without = Ok(Event::Changes { changes: vec![change(3)], position: None });
        let mut events = vec![changes(1, 2), without];
        events.extend((covered == 3).then(|| idle(3)));
        let script = whole(events);
        script.run_until(Until::Stopped, Delivery::default(), seconds(5)).await.unwrap();
        let said = |line: &Json| text(line, "message").starts_with("1 written changes are");
        assert_eq!(log.lines().iter().any(said), is_told);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_is_not_a_clean_one_says_what_is_delivered_again() {
    let hangs: fn(&mut Lines) = |lines| lines.flush_hangs = true;
    let fails: fn(&mut Lines) = |lines| {
        lines.flushes.extend((0..99).map(|_| Err(Error::transient("gone"))));
        lines.events.extend((0..99).map(|_| vec![changes(1, 3)]));
    };
    // The stop comes while both ends are opened again.
    let opens: fn(&mut Lines) = |lines| {
        lines.flushes.push_back(Err(Error::transient("gone")));
        lines.sink_opening_takes = Duration::from_secs(3);
    };
    for (trouble, words) in [
        (hangs, "the stop took too long"),
        (fails, "not a clean one"),
        (opens, "no position behind them"),
    ] {
        let (log, _guard) = Log::begin();
        let script = whole(vec![changes(1, 3)]);
        trouble(&mut script.lines());
        script.run_until(Until::Stopped, Delivery::default(), seconds(5)).await.unwrap();
        let line = log.line(words);
        let message = text(&line, "message");
        assert!(message.contains("3 written changes are delivered again"), "{message}");
        assert_eq!(text(&line, "level"), "WARN");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejected_change_is_named_and_counted_where_it_is_skipped() {
    for (delivery, skipped) in [(skip(), 2), (Delivery::default(), 0)] {
        let (log, _guard) = Log::begin();
        let script = whole(vec![changes(1, 2), changes(3, 4), changes(5, 5)]);
        script.lines().flushes.push_back(Err(Error::rejected(vec![0, 3], "too large")));
        let stops = delivery.on_rejected == OnRejected::Stop;
        let result = script.run_until(Until::Stopped, delivery, seconds(15)).await;
        assert_eq!(result.is_err(), stops);
        let said: Vec<_> = log
            .lines()
            .iter()
            .filter(|line| text(line, "level") == "ERROR")
            .map(|line| {
                let field = |name| text(line, name).to_owned();
                assert!(field("message").contains("too large"), "{line}");
                // A snapshot's has the key of a row in it.
                assert!(line.get("position").is_none(), "{line}");
                [field("change"), field("table"), field("partition")]
            })
            .collect();
        assert_eq!(said, [["c:1", "t", "whole"], ["c:4", "t", "whole"]]);
        let status = log.status();
        assert_eq!(status.last().unwrap().1["skipped"], skipped);
    }
}

const CANARY: &str = "canary-8642097531";

/// The change `number` with the canary wherever a change can hold a value.
fn secretive(number: u64) -> Change {
    let mut change = change(number);
    change.before = Some(Row::new([Value::from(CANARY)]));
    change.after = change.before.clone();
    change.metadata = Some(Arc::new(Metadata::default().with("said", CANARY)));
    change
}

fn secrets(from: u64, to: u64) -> rowtide_core::Result<Event> {
    let changes = (from..=to).map(secretive).collect();
    Ok(Event::Changes { changes, position: Some(place(to)) })
}

#[tokio::test(start_paused = true)]
async fn no_value_of_a_row_is_ever_logged() {
    let (log, _guard) = Log::begin();
    let mut lines = Lines { partitions: vec![Partition::whole()], ..Lines::default() };
    lines.events = [
        vec![secrets(1, 2), Err(Error::transient("the reader fails"))],
        vec![secrets(3, 4)],
        vec![secrets(1, 4), secrets(5, 6), idle(6)],
    ]
    .into();
    lines.flushes = [
        Ok(()),
        Err(Error::transient("the sink fails")),
        Err(Error::rejected(vec![0, 1], "poison")),
    ]
    .into();
    let script = Script::new(lines);
    let delivery = Delivery { bytes_max: ByteSize(1), ..skip() };
    script.run_until(Until::Stopped, delivery, seconds(15)).await.unwrap();
    let hung = whole(vec![secrets(1, 2)]);
    hung.lines().flush_hangs = true;
    hung.run_until(Until::Stopped, Delivery::default(), seconds(15)).await.unwrap();
    let refused = whole(vec![secrets(1, 2)]);
    refused.lines().flushes.push_back(Err(Error::rejected(vec![7], "nobody knows what")));
    let error = refused.run(Delivery::default(), seconds(10_000)).await.unwrap_err();
    for words in ["the reader fails", "the sink fails", "poison", "the stop took too long"] {
        assert!(log.text().contains(words), "{words} is not in {}", log.text());
    }
    let shown = format!("{} {error} {error:?}", log.text());
    assert!(!shown.contains(CANARY), "{shown}");
}
