//! How soon a commit is yielded, and what waiting costs. Run with `--ignored --nocapture`.

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::support::{Upstream, changes, next, until_idle};

const TABLE: &str = "CREATE TABLE t (a INTEGER PRIMARY KEY, b)";
const WRITES: u32 = 500;

#[test]
#[ignore = "it measures, for half a minute"]
fn a_commit_is_yielded_within_fifty_milliseconds() {
    for mode in ["wal", "delete"] {
        for synchronous in ["off", "full"] {
            let mut times = measure(mode, synchronous);
            times.sort();
            let at = |part: usize| times[times.len() * part / 100];
            println!("{mode}, synchronous {synchronous}: p50 {:?}, p99 {:?}", at(50), at(99));
            assert!(at(99) < Duration::from_millis(50));
        }
    }
}

#[tokio::main]
async fn measure(mode: &str, synchronous: &'static str) -> Vec<Duration> {
    let upstream = Upstream::new(TABLE).with("poll_every", "250ms");
    upstream.connect().pragma_update(None, "journal_mode", mode).unwrap();
    let partition = upstream.first().await;
    let source = upstream.open().await;
    let mut stream = source.read(&partition, None);
    until_idle(&mut stream).await.unwrap();
    let application = upstream.connect();
    application.pragma_update(None, "synchronous", synchronous).unwrap();
    let writer = std::thread::spawn(move || {
        let mut committed = Vec::new();
        for _ in 0..WRITES {
            std::thread::sleep(Duration::from_millis(10));
            application.execute("INSERT INTO t(b) VALUES (1)", []).unwrap();
            committed.push(Instant::now());
        }
        committed
    });
    let mut yielded = Vec::new();
    while yielded.len() < WRITES as usize {
        let event = next(&mut stream).await.unwrap();
        yielded.extend(changes(&[event]).iter().map(|_| Instant::now()));
    }
    let committed = writer.join().unwrap();
    yielded
        .iter()
        .zip(committed)
        .map(|(there, here)| there.saturating_duration_since(here))
        .collect()
}

#[tokio::test]
#[ignore = "it measures, for ten seconds"]
async fn waiting_costs_less_than_a_hundredth_of_a_processor() {
    let upstream = Upstream::new(TABLE).with("poll_every", "250ms");
    let partition = upstream.first().await;
    let source = upstream.open().await;
    let mut stream = source.read(&partition, None);
    until_idle(&mut stream).await.unwrap();
    let (begun, spent) = (Instant::now(), processor_time());
    tokio::time::sleep(Duration::from_secs(10)).await;
    let share = (processor_time() - spent).as_secs_f64() / begun.elapsed().as_secs_f64();
    println!("idle: {:.3} % of a processor", share * 100.0);
    assert!(share < 0.01);
}

/// What this process has used, user and system, in hundredths of a second.
fn processor_time() -> Duration {
    let text = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = text.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}
