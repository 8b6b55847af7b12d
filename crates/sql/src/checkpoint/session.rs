use std::time::Instant;

use rowtide_core::{CheckpointUpdate, Claim, Error, Owner, PartitionState, Result};
use rowtide_failpoint::reach;

use super::{Row, Table, row::States};
use crate::failure;

/// How often a claim is tried against others that claim or save at the same time.
const CLAIM_ATTEMPTS: usize = 100;

/// One connection, and what it knows of the pipeline that was claimed or saved through it.
pub(super) struct Session<T: Table> {
    connection: T::Connection,
    used: Instant,
    held: Option<Held>,
}

/// A row as it is in the table, unless somebody else has changed it.
struct Held {
    row: Row,
    states: States,
}

impl<T: Table> Session<T> {
    pub(super) async fn connect(table: &T) -> Result<Self> {
        let connection = table.connect().await?;
        Ok(Self { connection, used: Instant::now(), held: None })
    }

    /// When it was last made use of.
    pub(super) fn used(&self) -> Instant {
        self.used
    }

    pub(super) fn note_use(&mut self) {
        self.used = Instant::now();
    }

    /// Nothing is saved of a pipeline as long as there is no table.
    pub(super) async fn load(&mut self, table: &T, pipeline: &str) -> Result<Vec<PartitionState>> {
        match table.select(&mut self.connection, pipeline).await {
            Ok(Some(row)) => states(table, &row),
            Ok(None) => self.must_be_unknown(table).await.map(|()| Vec::new()),
            Err(error) if failure::is_missing_table(&error) => Ok(Vec::new()),
            Err(error) => Err(failed(table, error)),
        }
    }

    pub(super) async fn claim(
        &mut self,
        table: &T,
        pipeline: &str,
        owner: &Owner,
    ) -> Result<Claim> {
        for _ in 0..CLAIM_ATTEMPTS {
            let (row, won) = match self.read(table, pipeline).await? {
                Some(old) => {
                    let new = old.claimed_by(owner)?;
                    let won = table.replace(&mut self.connection, &old, &new).await;
                    (new, won)
                }
                None => {
                    self.must_be_unknown(table).await?;
                    let new = Row::first(pipeline, owner)?;
                    let won = table.insert(&mut self.connection, &new).await;
                    (new, won)
                }
            };
            if won.map_err(|error| failed(table, error))? {
                reach!("sql checkpoint: claimed");
                let claim = row.claim(owner);
                self.hold(table, row)?;
                return Ok(claim);
            }
        }
        Err(Error::transient(format!("others keep claiming or saving pipeline `{pipeline}`")))
    }

    pub(super) async fn save(
        &mut self,
        table: &T,
        claim: &Claim,
        update: &CheckpointUpdate,
    ) -> Result<()> {
        if update.states.is_empty() && update.forgotten.is_empty() {
            let row = self.read_claimed(table, claim).await?;
            return self.hold(table, row);
        }
        let held = match self.held.take().filter(|held| held.row.is_held_by(claim)) {
            Some(held) => held,
            None => held(table, self.read_claimed(table, claim).await?)?,
        };
        let states = held.states.updated(update)?;
        let row = held.row.saved(&states);
        reach!("sql checkpoint: not saved yet");
        let replaced = table.replace(&mut self.connection, &held.row, &row).await;
        if replaced.map_err(|error| failed(table, error))? {
            reach!("sql checkpoint: saved");
            self.held = Some(Held { row, states });
            return Ok(());
        }
        self.read_claimed(table, claim).await?;
        // Within one claim only a save whose answer was lost can come in between.
        let message = format!("an earlier save of pipeline `{}` came late", claim.pipeline);
        Err(Error::transient(message))
    }

    /// The row of the pipeline, if its claim still holds.
    async fn read_claimed(&mut self, table: &T, claim: &Claim) -> Result<Row> {
        let pipeline = claim.pipeline.as_str();
        match self.read(table, pipeline).await? {
            Some(row) if row.is_held_by(claim) => Ok(row),
            Some(row) => match row.owner() {
                Ok(owner) => Err(Error::claim_lost(pipeline, &owner)),
                Err(_) => Err(damaged(table, pipeline)),
            },
            None => Err(Error::fatal(format!(
                "the claim of pipeline `{pipeline}` is gone from {}",
                table.place()
            ))
            .help("somebody has removed its row; restore it, or start anew")),
        }
    }

    async fn read(&mut self, table: &T, pipeline: &str) -> Result<Option<Row>> {
        let row = table.select(&mut self.connection, pipeline).await;
        let row = row.map_err(|error| failed(table, error))?;
        match row {
            Some(row) if !row.is_whole() => Err(damaged(table, pipeline)),
            row => Ok(row),
        }
    }

    /// A pipeline that is not found is a new one, unless the name in its row was damaged.
    async fn must_be_unknown(&mut self, table: &T) -> Result<()> {
        let rows = table.select_all(&mut self.connection).await;
        let rows = rows.map_err(|error| failed(table, error))?;
        match rows.iter().find(|row| !row.is_whole()) {
            Some(row) => Err(damaged(table, &row.pipeline)),
            None => Ok(()),
        }
    }

    fn hold(&mut self, table: &T, row: Row) -> Result<()> {
        self.held = Some(held(table, row)?);
        Ok(())
    }
}

fn held<T: Table>(table: &T, row: Row) -> Result<Held> {
    let states = States::of(&row).map_err(|error| unreadable(table, &row, error))?;
    Ok(Held { row, states })
}

fn states<T: Table>(table: &T, row: &Row) -> Result<Vec<PartitionState>> {
    if !row.is_whole() {
        return Err(damaged(table, &row.pipeline));
    }
    serde_json::from_str(&row.states).map_err(|error| unreadable(table, row, error))
}

/// It was written so, since the digest fits: by a version that this one does not know.
fn unreadable<T: Table>(table: &T, row: &Row, error: serde_json::Error) -> Error {
    let message =
        format!("the row of pipeline `{}` in {} is not understood", row.pipeline, table.place());
    Error::fatal(message).help("another version has written it; run that one").because(error)
}

fn damaged<T: Table>(table: &T, pipeline: &str) -> Error {
    let pipeline = pipeline.escape_debug();
    Error::fatal(format!("the row of pipeline `{pipeline}` in {} is damaged", table.place()))
        .help("restore the row from a backup; or delete it, and the pipeline begins anew")
}

fn failed<T: Table>(table: &T, error: sqlx::Error) -> Error {
    if failure::is_missing_table(&error) {
        return Error::config(format!("there is no {}", table.place()))
            .key("table")
            .help("run `rowtide setup FILE` once, which makes it");
    }
    if let sqlx::Error::ColumnDecode { .. } = &error {
        let message =
            format!("a column of {} has another type than it was made with", table.place());
        return Error::fatal(message).because(error.to_string());
    }
    failure::failure(table.place(), error)
}
