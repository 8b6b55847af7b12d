//! A standby knows nothing of the transactions that are open on its primary.

use std::{fs, os::unix::fs::MetadataExt, path::Path, process::Command};

use rowtide_core::{ErrorKind, Position};
use rowtide_servers::{Kind, Server};
use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::relays::{Poller, Relay as _, Scheme};
use crate::{
    relay::{Outcome, Relay, context, factory, run},
    world::World,
};

pub(crate) fn a_standby_is_refused_and_so_is_a_position_from_before_its_promotion() -> Outcome {
    run(async {
        let world = World::new().await?;
        let standby = Standby::of(&world).await?;
        let error = standby.open("delete").await.err().ok_or("it reads a standby")?;
        assert_eq!((error.kind(), error.setting()), (&ErrorKind::Transient, Some("database")));
        differences_skip(&world, &standby).await?;
        promoted(&world, &standby).await
    })
}

/// The scheme that is right on a primary is a mutant on a standby.
async fn differences_skip(world: &World, standby: &Standby) -> Outcome {
    let mut late = world.writer().await?;
    late.insert("late").await?;
    let mut soon = world.writer().await?;
    soon.insert("soon").await?;
    soon.commit().await?;
    standby.has(1).await?;
    // Both begin while one transaction is open.
    let mut right = Poller::open(world.connect().await?, Scheme::Differences).await?;
    let mut wrong = Poller::open(standby.connect().await?, Scheme::Differences).await?;
    late.commit().await?;
    standby.has(2).await?;
    assert_eq!(right.poll().await?, ["late"]);
    match &wrong.poll().await?[..] {
        [] => Ok(()),
        found => Err(format!("{found:?} came from a standby as from a primary").into()),
    }
}

/// What a standby did not get before it was made the primary may be in a position, and its numbers
/// are given out again.
async fn promoted(world: &World, standby: &Standby) -> Outcome {
    let kept = position_of_all(world, "keep").await?;
    let pending = position_of_all(world, "delete").await?;
    let promote = sqlx::query_scalar("SELECT pg_promote()");
    assert!(promote.fetch_one(&mut standby.connect().await?).await?);
    let source = standby.open("keep").await?;
    let error = Relay::new(&*source, Some(kept)).next().await.err().ok_or("it goes on")?;
    assert_eq!(error.kind(), &ErrorKind::PositionLost, "{error}");
    drop(source);
    // What is pending elsewhere is neither left out here nor deleted.
    let source = standby.open("delete").await?;
    let mut relay = Relay::new(&*source, Some(pending));
    relay.acknowledge().await?;
    assert_eq!(relay.read(2).await?.len(), 2);
    relay.acknowledge().await?;
    Ok(())
}

/// The position of a relay that has read all and cleared nothing away.
async fn position_of_all(world: &World, done: &str) -> Outcome<Position> {
    let source = world.open(json!({ "done": done }), &context()).await?;
    let mut relay = Relay::new(&*source, None);
    relay.read(2).await?;
    Ok(relay.position.ok_or("no position")?)
}

struct Standby {
    _server: Server,
    url: String,
}

impl Standby {
    /// A server that follows the one of `world`.
    async fn of(world: &World) -> Outcome<Self> {
        let start = || Server::start_with(Kind::Postgres, &[]);
        let server = tokio::task::spawn_blocking(start).await??;
        let url = format!("{}?sslmode=disable", server.variable("ROWTIDE_POSTGRES_URL")?);
        let program = fs::read_link(format!("/proc/{}/exe", server.pid()?))?;
        let mut connection = PgConnection::connect(&url).await?;
        let folder: String =
            sqlx::query_scalar("SHOW data_directory").fetch_one(&mut connection).await?;
        drop(connection);
        server.stop()?;
        copy(&program.with_file_name("pg_basebackup"), &world.url, Path::new(&folder))?;
        server.restart()?;
        Ok(Self { _server: server, url })
    }

    async fn connect(&self) -> Outcome<PgConnection> {
        Ok(PgConnection::connect(&self.url).await?)
    }

    async fn open(&self, done: &str) -> rowtide_core::Result<Box<dyn rowtide_core::Source>> {
        factory(&self.url, &json!({ "done": done }))?.open(&context()).await
    }

    /// Waits until so many messages have come.
    async fn has(&self, messages: i64) -> Outcome {
        let mut connection = self.connect().await?;
        let count = "SELECT count(*) FROM outbox";
        while sqlx::query_scalar::<_, i64>(count).fetch_one(&mut connection).await? < messages {}
        Ok(())
    }
}

/// Puts a copy of a server that runs into the folder of one that does not.
fn copy(program: &Path, from: &str, folder: &Path) -> Outcome {
    let owner = fs::metadata(folder)?;
    let owner = format!("{}:{}", owner.uid(), owner.gid());
    fs::remove_dir_all(folder)?;
    let mut backup = Command::new(program);
    backup.args([
        "--write-recovery-conf",
        "--checkpoint=fast",
        "--no-sync",
        "--dbname",
        from,
        "-D",
    ]);
    let mut chown = Command::new("chown");
    chown.args(["--recursive", &owner]);
    for command in [&mut backup, &mut chown] {
        let output = command.arg(folder).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
    }
    Ok(())
}
