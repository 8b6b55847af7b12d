//! A metadata table on the server, which takes what the real one takes and no more.

use rowtide_core::{
    CheckpointStore, CheckpointUpdate, Context, Error, Owner, Partition, PartitionId,
    PartitionState, Position, Progress, Result, Shutdown, registry, settings::Settings,
};
use rowtide_fake_spanner::{Dialect, Faults, Options, Server, Table};
use serde_json::json;

use crate::scene;

const PIPELINE: &str = "orders";

fn server() -> Result<Server> {
    let tables = Table::of_metadata("Metadata");
    scene::start(Options { tables, ..scene::options(Dialect::GoogleSql, Faults::none()) })
}

async fn open(server: &Server) -> Result<Box<dyn CheckpointStore>> {
    let settings = json!({
        "database": server.database(), "endpoint": server.endpoint(), "table": "Metadata",
    });
    let factory = registry::checkpoint("spanner", &Settings::from(settings))?;
    factory.open(&Context::new(PIPELINE, Shutdown::never())).await
}

fn owner(host: &str) -> Owner {
    Owner { host: host.to_owned(), process: 1, since: jiff::Timestamp::UNIX_EPOCH }
}

fn state(id: &str, parents: &[&str], progress: Progress) -> PartitionState {
    let mut partition = Partition::new(id);
    partition.parents = parents.iter().map(|parent| PartitionId::new(*parent)).collect();
    partition.start = Some(at(1));
    PartitionState { partition, progress }
}

fn at(second: i64) -> Position {
    let at = jiff::Timestamp::from_second(second).expect("a time");
    Position::encode(&json!({ "at": at })).expect("a position")
}

/// A root tells of more partitions at once than fit in a transaction, and all of them move on.
pub(crate) async fn an_update_of_any_size_is_saved() -> Result<()> {
    const PARTITIONS: usize = 12_000;
    let server = server()?;
    let store = open(&server).await?;
    let claim = store.claim(PIPELINE, &owner("first")).await?;
    let tokens: Vec<_> = (0..PARTITIONS).map(|number| format!("token {number:05}")).collect();
    let all = |progress: Progress, root: Progress| {
        let states = tokens.iter().map(|token| state(token, &["root"], progress.clone()));
        let states = states.chain([state("root", &[], root)]).collect();
        CheckpointUpdate { states, forgotten: Vec::new() }
    };
    store.save(&claim, &all(Progress::Waiting, Progress::Delivered(at(2)))).await?;
    let forgets = CheckpointUpdate {
        forgotten: vec![PartitionId::new("root")],
        ..all(Progress::Delivered(at(3)), Progress::Finished(None))
    };
    store.save(&claim, &forgets).await?;
    let saved = store.load(PIPELINE).await?;
    let has_moved = |state: &PartitionState| state.progress.position().is_some();
    assert_eq!((saved.len(), saved.iter().all(has_moved)), (PARTITIONS, true));
    // Each was written when it was announced, and when it moved.
    let writes = server.writes("Metadata").map_err(scene::failed)?;
    assert_eq!(writes.len(), 2 * PARTITIONS + 1);
    Ok(())
}

pub(crate) async fn who_claims_while_another_saves_is_not_overwritten() -> Result<()> {
    let server = server()?;
    let (old, new) = (open(&server).await?, open(&server).await?);
    let claim = old.claim(PIPELINE, &owner("old")).await?;
    let update = |second| CheckpointUpdate {
        states: vec![state("a", &[], Progress::Delivered(at(second)))],
        forgotten: Vec::new(),
    };
    for second in 2..30 {
        let update = update(second);
        let saves = old.save(&claim, &update);
        let owner = owner("new");
        let claims = async {
            if second == 10 { new.claim(PIPELINE, &owner).await.map(Some) } else { Ok(None) }
        };
        let (saved, claimed) = tokio::join!(saves, claims);
        claimed?;
        match saved {
            Ok(()) if second > 10 => return Err(Error::fatal("saved under a lost claim")),
            Err(error) if second < 10 => return Err(error),
            _ => {}
        }
    }
    let saved = new.load(PIPELINE).await?;
    let position = saved[0].progress.position().expect("a position");
    assert!([at(9), at(10)].iter().any(|at| at.text() == position.text()), "{position}");
    Ok(())
}
