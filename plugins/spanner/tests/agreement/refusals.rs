//! What both refuse.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use rowtide_core::{Error, Result};
use rowtide_fake_spanner::Capture;

use crate::{
    DIALECTS, block_on,
    emulator::{Dialect, Emulator},
    side::{Query, Said, Side, both, time},
};

/// How long a partition of the emulator may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Something that is wrong with a query, what it is, and a word of what must be said of it.
type Wrong = (&'static str, Query, &'static str);

fn wrongs(of: &Ended) -> Vec<Wrong> {
    let good = Query::of(Some(&of.token), of.start, Some(of.end));
    let at = |seconds: i64| {
        let at = Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        Some(at.to_string())
    };
    let roots = Query { token: None, ..good.clone() };
    // At the very end the emulator tells the children, where the scripted server refuses.
    let beyond = Some((of.end + Duration::from_secs(1)).to_string());
    vec![
        ("no start", Query { start: None, ..good.clone() }, "start_timestamp"),
        ("no heartbeat", Query { heartbeat: None, ..good.clone() }, "heartbeat"),
        ("a short heartbeat", Query { heartbeat: Some(99), ..good.clone() }, "heartbeat"),
        ("a long heartbeat", Query { heartbeat: Some(300_001), ..good.clone() }, "heartbeat"),
        ("an end before the start", Query { end: at(-3600), ..good.clone() }, "start_timestamp"),
        ("long ago", Query { start: at(-40 * 86_400), end: None, ..good.clone() }, "past"),
        ("roots of long ago", Query { start: at(-40 * 86_400), ..roots.clone() }, "past"),
        ("a start to come", Query { start: at(3600), end: None, ..good.clone() }, "future"),
        ("roots to come", Query { start: at(3600), end: None, ..roots }, "future"),
        ("another token", Query { token: Some("nobody".to_owned()), ..good.clone() }, "token"),
        (
            "a start behind its end",
            Query { start: beyond.clone(), end: None, ..good.clone() },
            "start_timestamp",
        ),
        ("a condition", Query { tail: " WHERE true", ..good.clone() }, ""),
        ("a limit", Query { tail: " LIMIT 1", ..good }, ""),
    ]
}

/// A partition that has ended.
struct Ended {
    token: String,
    start: Timestamp,
    end: Timestamp,
}

impl Ended {
    async fn find(side: &Side) -> Result<Self> {
        let start = side.now().await?;
        let refused = |refusal| Error::fatal(format!("{}: {refusal:?}", side.name));
        let roots = side.ask(&Query::of(None, start, Some(start))).await.map_err(refused)?;
        let Some(Said::Children(record)) = roots.first() else { return Err(nothing(side)) };
        let token = record["child_partitions"][0]["token"].as_str().expect("a token").to_owned();
        if let Some(server) = &side.scripted {
            let split = server.reshape(&server.live()[..1], 2);
            split.map_err(|status| Error::fatal("no split").because(status))?;
        }
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let end = side.now().await?;
            let query = Query::of(Some(&token), start, Some(end));
            let said = side.ask(&query).await.map_err(refused)?;
            if let Some(Said::Children(record)) = said.last() {
                let end = time(&record["start_timestamp"]);
                return Ok(Self { token, start, end });
            }
        }
        Err(nothing(side))
    }
}

fn nothing(side: &Side) -> Error {
    Error::fatal(format!("no partition of the {} has ended", side.name))
}

pub(crate) fn both_refuse_the_same() -> Result<()> {
    block_on(async {
        for dialect in DIALECTS {
            let mut refused = Vec::new();
            for side in both(Emulator::Churning, dialect, Capture::NewRow).await? {
                refused.push(refusals(&side).await?);
                side.drop().await?;
            }
            for (real, fake) in refused[0].iter().zip(&refused[1]) {
                assert_eq!(real, fake, "{dialect:?}");
            }
            assert!(refused[0].len() > 10 && refused[0].len() == refused[1].len());
        }
        Ok(())
    })
}

/// The code that each of them is refused with.
async fn refusals(side: &Side) -> Result<Vec<(&'static str, String)>> {
    let ended = Ended::find(side).await?;
    let mut refusals = Vec::new();
    for (what, query, word) in wrongs(&ended) {
        // Those of PostgreSQL are not told apart from any other statement there.
        if side.dialect == Dialect::Postgres && !query.tail.is_empty() {
            continue;
        }
        match side.ask(&query).await {
            Ok(said) => return Err(taken(side, what, &said)),
            Err((code, message)) => {
                assert!(message.contains(word), "{}, {what}: {message}", side.name);
                refusals.push((what, code));
            }
        }
    }
    let query = Query::of(Some(&ended.token), ended.start, Some(ended.end));
    match side.ask_together(&query).await {
        Ok(said) => return Err(taken(side, "several reads", &said)),
        Err((code, _)) => refusals.push(("several reads", code)),
    }
    Ok(refusals)
}

fn taken(side: &Side, what: &str, said: &[Said]) -> Error {
    Error::fatal(format!("the {} takes {what}, and says {said:?}", side.name))
}
