//! What must hold of the lines that were delivered.

use std::{
    collections::HashMap,
    fs::File,
    io::{ErrorKind, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use rowtide_fake_spanner::Told;
use serde_json::Value as Json;

use crate::Outcome;

/// Reads lines as they are delivered, and refuses what is wrong.
pub(crate) struct Reader {
    path: PathBuf,
    /// How much of the file is read.
    at: u64,
    rest: Vec<u8>,
    judge: Judge,
}

/// What was really told, and what has come of it.
struct Judge {
    /// The row, the time and the place in its transaction of each change, by its id.
    truth: HashMap<String, (String, Timestamp, String)>,
    seen: HashMap<String, String>,
    /// The last change of each row that came for the first time.
    rows: HashMap<String, (Timestamp, String)>,
    lines: usize,
}

impl Reader {
    pub(crate) fn new(path: PathBuf, truth: &[Told]) -> Self {
        Self { path, at: 0, rest: Vec::new(), judge: Judge::new(truth) }
    }

    /// Whether everything has come.
    pub(crate) fn has_all(&mut self) -> Outcome<bool> {
        for byte in read_from(&self.path, &mut self.at)? {
            if byte != b'\n' {
                self.rest.push(byte);
                continue;
            }
            let line = std::mem::take(&mut self.rest);
            self.judge.line(&String::from_utf8(line)?)?;
        }
        Ok(self.missing() == 0)
    }

    pub(crate) fn missing(&self) -> usize {
        self.judge.truth.len() - self.judge.seen.len()
    }

    pub(crate) fn lines(&self) -> usize {
        self.judge.lines
    }
}

fn read_from(path: &Path, at: &mut u64) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        file => {
            let mut file = file?;
            file.seek(SeekFrom::Start(*at))?;
            file.read_to_end(&mut bytes)?;
        }
    }
    *at += bytes.len() as u64;
    Ok(bytes)
}

impl Judge {
    fn new(truth: &[Told]) -> Self {
        let told = |told: &Told| {
            let sequence: u64 = told.sequence.parse().unwrap_or_default();
            let (at, transaction, number) = (told.committed_at, &told.transaction, told.number);
            let id = format!("{at}/{transaction}:{sequence}:{number}");
            (id, (told.keys.clone(), at, told.sequence.clone()))
        };
        let truth = truth.iter().map(told).collect();
        Self { truth, seen: HashMap::new(), rows: HashMap::new(), lines: 0 }
    }

    fn line(&mut self, line: &str) -> Outcome<()> {
        self.lines += 1;
        let json: Json = serde_json::from_str(line)?;
        let id = json["id"].as_str().ok_or("a line without an id")?.to_owned();
        let Some((row, at, sequence)) = self.truth.get(&id) else {
            return Err(format!("{id} was never told").into());
        };
        let key = json["key"]["id"].as_i64().ok_or("a line without a key")?;
        if *row != format!("{{\"id\":\"{key}\"}}") {
            return Err(format!("{id} is of the row {row}, and came with {key}").into());
        }
        if let Some(before) = self.seen.get(&id) {
            let is_same = before == line;
            return is_same.then_some(()).ok_or_else(|| format!("{id} came in two ways").into());
        }
        self.seen.insert(id.clone(), line.to_owned());
        let place = (*at, sequence.clone());
        match self.rows.insert(row.clone(), place.clone()) {
            Some(last) if last > place => Err(format!("{id} came after that of {last:?}").into()),
            _ => Ok(()),
        }
    }
}

/// Says how often rows were saved, unless one was too often: beside once a second when it was there,
/// when it was read, when it had ended, and after each kill.
pub(crate) fn saves(
    saves: &HashMap<String, Vec<Timestamp>>,
    killed: &[Timestamp],
) -> Outcome<String> {
    let mut most = 0;
    for (token, times) in saves {
        let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) else { continue };
        let lived = last.duration_since(*first).as_secs_f64();
        let kills = killed.iter().filter(|at| (first..=last).contains(at)).count();
        if times.len() as f64 > lived.ceil() + 3.0 + kills as f64 {
            let count = times.len();
            return Err(format!("{token} was saved {count} times in {lived:.1} s").into());
        }
        most = most.max(times.len());
    }
    let count: usize = saves.values().map(Vec::len).sum();
    Ok(format!("{count} rows of metadata written, one {most} times at most"))
}

/// A verdict that cannot refuse is none.
pub(crate) fn refuses_what_is_wrong() -> Outcome<()> {
    let at = |second: i64| Timestamp::from_second(second);
    let times = [at(1)?, at(1)?, at(2)?, at(2)?, at(2)?];
    for (killed, is_fine) in [(vec![], false), (vec![at(2)?], true), (vec![at(3)?], false)] {
        let of_one = HashMap::from([("p".to_owned(), times.to_vec())]);
        if saves(&of_one, &killed).is_ok() != is_fine {
            return Err(format!("five saves in a second, and {killed:?}").into());
        }
    }
    let told = |second: i64| -> Outcome<Told> {
        Ok(Told {
            token: "p".to_owned(),
            committed_at: Timestamp::from_second(second)?,
            transaction: second.to_string(),
            sequence: "00000000".to_owned(),
            number: 0,
            table: "items".to_owned(),
            mod_type: "UPDATE",
            keys: r#"{"id":"7"}"#.to_owned(),
            new_values: "{}".to_owned(),
            old_values: "{}".to_owned(),
        })
    };
    let truth = [told(1)?, told(2)?];
    let line = |second: i64, key: i64, note: &str| -> Outcome<String> {
        let at = Timestamp::from_second(second)?;
        Ok(format!(
            r#"{{"id":"{at}/{second}:0:0","key":{{"id":{key}}},"after":{{"note":"{note}"}}}}"#
        ))
    };
    let judged = |lines: &[String]| {
        let mut judge = Judge::new(&truth);
        let wrong = lines.iter().any(|line| judge.line(line).is_err());
        (wrong, judge.truth.len() - judge.seen.len())
    };
    let (first, second) = (line(1, 7, "a")?, line(2, 7, "b")?);
    let cases = [
        ("as it was", vec![first.clone(), second.clone(), second.clone()], (false, 0)),
        ("one left out", vec![first.clone()], (false, 1)),
        ("in another order", vec![second.clone(), first.clone()], (true, 0)),
        ("one of another row", vec![line(1, 8, "a")?], (true, 2)),
        ("one that never was", vec![line(3, 7, "a")?], (true, 2)),
        ("one in two ways", vec![first.clone(), line(1, 7, "c")?], (true, 1)),
    ];
    for (what, lines, expected) in cases {
        let found = judged(&lines);
        if found != expected {
            return Err(format!("{what}: {found:?} and not {expected:?}").into());
        }
    }
    Ok(())
}
