//! Transactions in an order that somebody's scheme does not bear.

use sqlx::Executor;

use super::relays::{Plugin, Poller, Relay, Scheme};
use crate::{
    relay::{Outcome, run},
    world::{LEAVE, World},
};

/// What a relay is put through. Messages with numbers are of one aggregate, in that order; `x` and
/// `y` are of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interleaving {
    LateCommitter,
    LateCommitterBeforeClearing,
    EarlyTransactionWritesLast,
    LaterTransactionWritesFirst,
    Savepoint,
    PreparedTransaction,
    RolledBackSavepoint,
    ManyInOneTransaction,
    PlaceOfADeadRow,
}

impl Interleaving {
    const ALL: [Interleaving; 9] = [
        Interleaving::LateCommitter,
        Interleaving::LateCommitterBeforeClearing,
        Interleaving::EarlyTransactionWritesLast,
        Interleaving::LaterTransactionWritesFirst,
        Interleaving::Savepoint,
        Interleaving::PreparedTransaction,
        Interleaving::RolledBackSavepoint,
        Interleaving::ManyInOneTransaction,
        Interleaving::PlaceOfADeadRow,
    ];

    /// The messages that are committed.
    fn committed(self) -> &'static [&'static str] {
        match self {
            Interleaving::EarlyTransactionWritesLast
            | Interleaving::LaterTransactionWritesFirst
            | Interleaving::PlaceOfADeadRow => &["1", "2"],
            Interleaving::ManyInOneTransaction => &["1", "2", "3", "4", "5", "6", "7", "8", "9"],
            _ => &["x", "y"],
        }
    }
}

pub(crate) fn no_interleaving_skips_or_reorders() -> Outcome {
    run(async {
        let world = World::new().await?;
        for done in ["delete", "keep"] {
            for interleaving in Interleaving::ALL {
                let found = put_through(&world, interleaving, done, None).await?;
                judge(interleaving, &found).map_err(|why| format!("{done}: {why}"))?;
            }
        }
        Ok(())
    })
}

pub(crate) fn each_wrong_scheme_is_caught() -> Outcome {
    run(async {
        let world = World::new().await?;
        for scheme in Scheme::ALL {
            let mut caught = Vec::new();
            for interleaving in Interleaving::ALL {
                let found = put_through(&world, interleaving, "delete", Some(scheme)).await?;
                if judge(interleaving, &found).is_err() {
                    caught.push(interleaving);
                }
            }
            let meant = match scheme {
                Scheme::SeqAfterLast => Interleaving::LateCommitter,
                Scheme::BelowTheHorizon => Interleaving::EarlyTransactionWritesLast,
                Scheme::BetweenHorizons => Interleaving::LaterTransactionWritesFirst,
                Scheme::RangeDelete => Interleaving::LateCommitterBeforeClearing,
                Scheme::RowXmin => Interleaving::Savepoint,
                Scheme::ById => Interleaving::ManyInOneTransaction,
                Scheme::ByPlace => Interleaving::PlaceOfADeadRow,
                Scheme::Differences => continue,
            };
            if !caught.contains(&meant) {
                return Err(format!("{scheme:?} passes {meant:?}; caught by {caught:?}").into());
            }
        }
        Ok(())
    })
}

/// Every message once, none that was rolled back, those of one aggregate in order.
fn judge(interleaving: Interleaving, found: &[String]) -> Outcome {
    let mut sorted = found.to_vec();
    sorted.sort();
    if sorted != interleaving.committed() {
        return Err(format!("{interleaving:?}: {found:?} came").into());
    }
    if interleaving.committed()[0] == "1" && found != interleaving.committed() {
        return Err(format!("{interleaving:?}: {found:?} came in the wrong order").into());
    }
    Ok(())
}

async fn put_through(
    world: &World,
    interleaving: Interleaving,
    done: &str,
    scheme: Option<Scheme>,
) -> Outcome<Vec<String>> {
    let mut connection = world.connect().await?;
    // Whoever held the lock before is gone, and no transaction is left over.
    connection.fetch_all(LEAVE).await?;
    connection.execute("TRUNCATE outbox").await?;
    let mut relay: Box<dyn Relay> = match scheme {
        None => Box::new(Plugin::open(world, done, None).await?),
        Some(scheme) => Box::new(Poller::open(world.connect().await?, scheme).await?),
    };
    let mut found = relay.poll().await?;
    found.extend(stages(world, interleaving, relay.as_mut()).await?);
    relay.acknowledge().await?;
    found.extend(relay.poll().await?);
    found.retain(|label| label != FILLER);
    Ok(found)
}

/// A message that is of no importance.
const FILLER: &str = "filler";

async fn stages(
    world: &World,
    interleaving: Interleaving,
    relay: &mut dyn Relay,
) -> Outcome<Vec<String>> {
    let mut found = match interleaving {
        Interleaving::ManyInOneTransaction => {
            let mut one = world.writer().await?;
            for label in interleaving.committed() {
                one.insert(label).await?;
            }
            one.commit().await?;
            Vec::new()
        }
        Interleaving::PlaceOfADeadRow => place_of_a_dead_row(world, relay).await?,
        _ => at_once(world, interleaving, relay).await?,
    };
    found.extend(relay.poll().await?);
    Ok(found)
}

/// A row that was deleted leaves its place to one that comes later, before one that came earlier.
async fn place_of_a_dead_row(world: &World, relay: &mut dyn Relay) -> Outcome<Vec<String>> {
    let (mut filling, mut one) = (world.writer().await?, world.writer().await?);
    for _ in 0..20 {
        filling.insert(FILLER).await?;
    }
    filling.commit().await?;
    let found = relay.poll().await?;
    one.insert("1").await?;
    one.commit().await?;
    let mut cleaner = world.connect().await?;
    cleaner.execute("DELETE FROM outbox WHERE type = 'filler'").await?;
    cleaner.execute("VACUUM outbox").await?;
    let mut two = world.writer().await?;
    two.insert("2").await?;
    two.commit().await?;
    Ok(found)
}

/// Of transactions that are open at once.
async fn at_once(
    world: &World,
    interleaving: Interleaving,
    relay: &mut dyn Relay,
) -> Outcome<Vec<String>> {
    let (mut one, mut two, mut three) =
        (world.writer().await?, world.writer().await?, world.writer().await?);
    let mut found = Vec::new();
    match interleaving {
        Interleaving::LateCommitter | Interleaving::LateCommitterBeforeClearing => {
            one.insert("x").await?;
            two.insert("y").await?;
            two.commit().await?;
            found.extend(relay.poll().await?);
            one.commit().await?;
            if interleaving == Interleaving::LateCommitterBeforeClearing {
                relay.acknowledge().await?;
            }
        }
        Interleaving::EarlyTransactionWritesLast => {
            two.write_elsewhere().await?;
            one.insert("1").await?;
            one.commit().await?;
            two.insert("2").await?;
            two.commit().await?;
        }
        Interleaving::LaterTransactionWritesFirst => {
            one.write_elsewhere().await?;
            three.write_elsewhere().await?;
            two.insert("1").await?;
            two.commit().await?;
            one.insert("2").await?;
            one.commit().await?;
            found.extend(relay.poll().await?);
            three.roll_back().await?;
        }
        Interleaving::Savepoint => {
            one.run("SAVEPOINT s").await?;
            one.insert("x").await?;
            two.insert("y").await?;
            two.commit().await?;
            found.extend(relay.poll().await?);
            one.commit().await?;
        }
        Interleaving::PreparedTransaction => {
            one.insert("x").await?;
            one.run("PREPARE TRANSACTION 'p'").await?;
            two.insert("y").await?;
            two.commit().await?;
            found.extend(relay.poll().await?);
            world.connect().await?.execute("COMMIT PREPARED 'p'").await?;
        }
        Interleaving::RolledBackSavepoint => {
            one.insert("x").await?;
            one.run("SAVEPOINT s").await?;
            one.insert("never").await?;
            one.run("ROLLBACK TO s").await?;
            two.insert("never").await?;
            two.roll_back().await?;
            one.insert("y").await?;
            found.extend(relay.poll().await?);
            one.commit().await?;
        }
        Interleaving::ManyInOneTransaction | Interleaving::PlaceOfADeadRow => {}
    }
    Ok(found)
}
