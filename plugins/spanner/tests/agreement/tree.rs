//! How partitions follow each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use rowtide_core::{Error, Result};
use rowtide_fake_spanner::{Capture, Server};
use serde_json::Value as Json;

use crate::{
    DIALECTS, block_on,
    emulator::Emulator,
    side::{Query, Said, Side, both, time},
};

/// How long partitions come and go.
const WINDOW: Duration = Duration::from_secs(6);

/// What was told of a partition by those that go on in it.
#[derive(Clone, Debug, PartialEq)]
struct Announced {
    start: Timestamp,
    parents: BTreeSet<String>,
}

#[derive(Default)]
struct Tree {
    announced: BTreeMap<String, Announced>,
    /// Who has announced each.
    by: BTreeMap<String, BTreeSet<String>>,
    ended: BTreeSet<String>,
}

impl Tree {
    fn take(&mut self, by: Option<&str>, record: &Json) -> Result<(), String> {
        let start = time(&record["start_timestamp"]);
        for child in record["child_partitions"].as_array().into_iter().flatten() {
            let token = child["token"].as_str().ok_or("no token")?.to_owned();
            let parents = child["parent_partition_tokens"].as_array().into_iter().flatten();
            let parents = parents.filter_map(|parent| parent.as_str().map(str::to_owned)).collect();
            let announced = Announced { start, parents };
            match by {
                None if !announced.parents.is_empty() => {
                    return Err(format!("a root with parents: {announced:?}"));
                }
                Some(by) if !announced.parents.contains(by) => {
                    return Err(format!("{by} announces {announced:?}"));
                }
                _ => {}
            }
            if let Some(by) = by {
                self.by.entry(token.clone()).or_default().insert(by.to_owned());
            }
            let known = self.announced.entry(token).or_insert_with(|| announced.clone());
            if *known != announced {
                return Err(format!("{announced:?} and {known:?} are one partition"));
            }
        }
        Ok(())
    }

    /// Whoever has ended and is a parent of one that is known has announced it, and nobody begins
    /// before a parent.
    fn check(&self) -> Result<(), String> {
        for (token, child) in &self.announced {
            for parent in child.parents.iter().filter(|parent| self.ended.contains(*parent)) {
                if !self.by.get(token).is_some_and(|by| by.contains(parent)) {
                    return Err(format!("{parent} does not announce {token}"));
                }
                if self.announced.get(parent).is_some_and(|parent| parent.start >= child.start) {
                    return Err(format!("{token} begins before {parent}"));
                }
            }
        }
        Ok(())
    }
}

/// Reads all partitions of a window, twice each.
async fn crawl(side: &Side, start: Timestamp, end: Timestamp) -> Result<Tree> {
    let failed = |what: String| Error::fatal(format!("{}: {what}", side.name));
    let mut tree = Tree::default();
    let mut waiting = vec![None];
    let mut seen = BTreeSet::new();
    while let Some(token) = waiting.pop() {
        let token: Option<String> = token;
        let start = token.as_ref().map_or(start, |token| tree.announced[token].start);
        let query = Query::of(token.as_deref(), start, Some(end));
        let children = |said: Vec<Said>| -> Vec<_> {
            let children = said.into_iter().filter_map(|said| match said {
                Said::Children(record) => Some(record),
                _ => None,
            });
            children.collect()
        };
        let ask = async || side.ask(&query).await.map_err(|refusal| failed(format!("{refusal:?}")));
        let records = children(ask().await?);
        if token.is_some() && children(ask().await?) != records {
            return Err(failed(format!("{token:?} has other children when it is read again")));
        }
        for record in &records {
            tree.take(token.as_deref(), record).map_err(failed)?;
            if token.is_none() && time(&record["start_timestamp"]) != start {
                return Err(failed("a root begins at another time".to_owned()));
            }
        }
        tree.ended.extend(token.filter(|_| !records.is_empty()));
        let new = tree.announced.iter().filter(|(_, child)| child.start < end);
        let new: Vec<_> = new.map(|(token, _)| token.clone()).collect();
        waiting.extend(new.into_iter().filter(|token| seen.insert(token.clone())).map(Some));
    }
    tree.check().map_err(failed)?;
    Ok(tree)
}

fn churn(server: &Server) -> Result<()> {
    for round in 0..12 {
        let live = server.live();
        let (parents, children) = match round % 3 {
            0 => (&live[..1], 2),
            1 => (&live[..1], 1),
            _ => (&live[..2], 1),
        };
        let reshaped = server.reshape(parents, children);
        reshaped.map_err(|status| Error::fatal("no churn").because(status))?;
    }
    Ok(())
}

pub(crate) fn partitions_of_both_follow_the_same_rules() -> Result<()> {
    block_on(async {
        for dialect in DIALECTS {
            for side in both(Emulator::Churning, dialect, Capture::NewRow).await? {
                let start = side.now().await?;
                match &side.scripted {
                    Some(server) => churn(server)?,
                    None => tokio::time::sleep(WINDOW).await,
                }
                let tree = crawl(&side, start, side.now().await?).await?;
                let merges = tree.announced.values().filter(|child| child.parents.len() > 1);
                let counts = (tree.ended.len(), merges.count());
                println!("{dialect:?}, {}: {counts:?} ended and merged", side.name);
                assert!(counts.0 >= 4 && counts.1 >= 1, "{counts:?} prove nothing");
                side.drop().await?;
            }
        }
        Ok(())
    })
}
