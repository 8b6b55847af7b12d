//! PostgreSQL is killed before its log is on the disk, and hands out transaction ids again.

use rowtide_core::Position;
use sqlx::Executor;

use super::relays::{Plugin, Relay};
use crate::{
    relay::{Outcome, run},
    world::World,
};

/// Nobody but a commit brings the log to the disk, and commits that are not synchronous do not.
const LAZY: [&str; 2] =
    ["ALTER SYSTEM SET wal_writer_delay = '10s'", "ALTER SYSTEM SET bgwriter_delay = '10s'"];

/// How a relay comes to the position that it saves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Saving {
    /// As the plugin yields them.
    Yielded,
    /// As soon as a message has been read: a mutant.
    AtOnce,
}

pub(crate) fn a_position_outlives_a_killed_server() -> Outcome {
    run(async {
        let found = after_a_kill(Saving::Yielded).await?;
        if !found.contains(&"after".to_owned()) {
            return Err(format!("after the kill came {found:?}").into());
        }
        Ok(())
    })
}

pub(crate) fn a_position_that_was_not_durable_is_caught() -> Outcome {
    run(async {
        match after_a_kill(Saving::AtOnce).await {
            Ok(found) if found.contains(&"after".to_owned()) => {
                Err("a position that was saved before the log was durable did no harm".into())
            }
            _ => Ok(()),
        }
    })
}

/// What comes after a kill that took back transactions which the relay had seen.
async fn after_a_kill(saving: Saving) -> Outcome<Vec<String>> {
    let world = World::new().await?;
    for statement in LAZY {
        world.execute(statement).await?;
    }
    world.server.restart()?;
    let mut writer = world.connect().await?;
    let mut relay = Plugin::open(&world, "keep", None).await?;
    writer.execute("INSERT INTO outbox (aggregateid, type) VALUES ('1', 'before')").await?;
    while relay.advance().await?.is_empty() {}
    writer.execute("SET synchronous_commit = off").await?;
    for _ in 0..100 {
        writer.execute("BEGIN; INSERT INTO elsewhere VALUES (1); ROLLBACK").await?;
    }
    writer.execute("INSERT INTO outbox (aggregateid, type) VALUES ('1', 'lost')").await?;
    while relay.advance().await? != ["lost"] {}
    let position = match saving {
        Saving::Yielded => relay.position(),
        Saving::AtOnce => Some(current(&world, relay.position().as_ref()).await?),
    };
    world.server.kill()?;
    world.server.restart()?;
    let mut writer = world.connect().await?;
    let insert = "INSERT INTO outbox (aggregateid, type) VALUES ('1', 'after')";
    writer.execute(insert).await?;
    for _ in 0..200 {
        writer.execute("INSERT INTO elsewhere VALUES (1)").await?;
    }
    let mut relay = Plugin::open(&world, "keep", position).await?;
    relay.poll().await
}

/// The position of this moment, durable or not.
async fn current(world: &World, position: Option<&Position>) -> Outcome<Position> {
    let mut connection = world.connect().await?;
    let now: String =
        sqlx::query_scalar("SELECT pg_current_snapshot()::text").fetch_one(&mut connection).await?;
    let text = position.ok_or("no position yet")?.text().to_owned();
    let mut held: serde_json::Value = serde_json::from_str(&text)?;
    held["progress"]["kept"]["snapshots"]["seen"] = now.into();
    Ok(Position::from_text(&held.to_string()))
}

/// The server was restored from a backup, say, and has lost what the position has seen.
pub(crate) fn a_position_from_the_future_is_lost() -> Outcome {
    run(async {
        let world = World::new().await?;
        let mut relay = Plugin::open(&world, "keep", None).await?;
        relay.poll().await?;
        let position = relay.position().ok_or("no position")?.text().to_owned();
        let mut held: serde_json::Value = serde_json::from_str(&position)?;
        held["progress"]["kept"]["snapshots"]["seen"] = "9000000:9000000:".into();
        world.execute(crate::world::LEAVE).await?;
        let position = Position::from_text(&held.to_string());
        let mut relay = Plugin::open(&world, "keep", Some(position)).await?;
        let error = relay.advance().await.err().ok_or("it goes on")?;
        let error = error.downcast::<rowtide_core::Error>()?;
        assert_eq!(error.kind(), &rowtide_core::ErrorKind::PositionLost, "{error}");
        Ok(())
    })
}
