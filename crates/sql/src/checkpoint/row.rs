use std::collections::BTreeMap;

use rowtide_core::{CheckpointUpdate, Claim, Error, Owner, PartitionId, PartitionState, Result};
use sha2::{Digest, Sha256};
use sqlx::{ColumnIndex, Decode, FromRow, Type};

/// All that is kept of one pipeline. The digest is of all other columns, so that no byte of them
/// can change unnoticed, and a row that has not changed is told by it alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The name, which is the table's key.
    pub pipeline: String,
    /// Grows with each claim.
    pub epoch: i64,
    /// Grows with each save under a claim.
    pub saves: i64,
    /// Who claimed the pipeline, as JSON.
    pub owner: String,
    /// The states of its partitions, as a JSON array in the order of their ids.
    pub states: String,
    /// A SHA-256.
    pub digest: Vec<u8>,
}

impl Row {
    /// The columns, in the order in which [`FromRow`] takes them.
    pub const COLUMNS: &str = "pipeline, epoch, saves, owner, states, digest";

    /// The row of a pipeline that was never claimed before.
    pub(super) fn first(pipeline: &str, owner: &Owner) -> Result<Self> {
        let row = Self {
            pipeline: pipeline.to_owned(),
            epoch: 1,
            saves: 0,
            owner: json(owner)?,
            states: "[]".to_owned(),
            digest: Vec::new(),
        };
        Ok(row.with_digest())
    }

    pub(super) fn claimed_by(&self, owner: &Owner) -> Result<Self> {
        let row = Self { epoch: self.epoch + 1, saves: 0, owner: json(owner)?, ..self.clone() };
        Ok(row.with_digest())
    }

    pub(super) fn saved(&self, states: &States) -> Self {
        let row = Self { saves: self.saves + 1, states: states.to_string(), ..self.clone() };
        row.with_digest()
    }

    /// What the claim is of the one who holds this row.
    pub(super) fn claim(&self, owner: &Owner) -> Claim {
        let epoch = self.epoch.unsigned_abs();
        Claim { pipeline: self.pipeline.clone(), epoch, owner: owner.clone() }
    }

    /// Whether `claim` is the last one. The owner counts too: once a row was removed, epochs begin
    /// anew.
    pub(super) fn is_held_by(&self, claim: &Claim) -> bool {
        let owner = self.owner().ok();
        self.epoch.unsigned_abs() == claim.epoch && owner.as_ref() == Some(&claim.owner)
    }

    pub(super) fn owner(&self) -> serde_json::Result<Owner> {
        serde_json::from_str(&self.owner)
    }

    /// Whether all of the row is as it was written.
    pub(super) fn is_whole(&self) -> bool {
        self.digest == self.computed_digest()
    }

    fn with_digest(self) -> Self {
        Self { digest: self.computed_digest(), ..self }
    }

    /// Each column goes in with its length, so that no byte can move from one to the next.
    fn computed_digest(&self) -> Vec<u8> {
        let mut digest = Sha256::new();
        let (epoch, saves) = (self.epoch.to_be_bytes(), self.saves.to_be_bytes());
        let texts = [&self.pipeline, &self.owner, &self.states].map(|text| text.as_bytes());
        for column in texts.into_iter().chain([&epoch[..], &saves[..]]) {
            digest.update((column.len() as u64).to_be_bytes());
            digest.update(column);
        }
        digest.finalize().to_vec()
    }
}

impl<'r, R> FromRow<'r, R> for Row
where
    R: sqlx::Row,
    usize: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
    Vec<u8>: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        Ok(Self {
            pipeline: row.try_get(0)?,
            epoch: row.try_get(1)?,
            saves: row.try_get(2)?,
            owner: row.try_get(3)?,
            states: row.try_get(4)?,
            digest: row.try_get(5)?,
        })
    }
}

/// The states of a row by their partition, each as its JSON: a save writes anew only those that
/// changed.
#[derive(Clone, Debug, Default)]
pub(super) struct States(BTreeMap<PartitionId, String>);

impl States {
    /// The states of a row that is whole.
    pub(super) fn of(row: &Row) -> serde_json::Result<Self> {
        let states: Vec<PartitionState> = serde_json::from_str(&row.states)?;
        let entry = |state: PartitionState| {
            Ok((state.partition.id.clone(), serde_json::to_string(&state)?))
        };
        states.into_iter().map(entry).collect::<serde_json::Result<_>>().map(Self)
    }

    pub(super) fn updated(&self, update: &CheckpointUpdate) -> Result<Self> {
        let mut states = self.0.clone();
        for state in &update.states {
            states.insert(state.partition.id.clone(), json(state)?);
        }
        for partition in &update.forgotten {
            states.remove(partition);
        }
        Ok(Self(states))
    }
}

impl std::fmt::Display for States {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut separator = "[";
        for state in self.0.values() {
            write!(formatter, "{separator}{state}")?;
            separator = ",\n";
        }
        formatter.write_str(if self.0.is_empty() { "[]" } else { "]" })
    }
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::fatal("failed to write down a checkpoint").because(error))
}

#[cfg(test)]
mod tests {
    use rowtide_core::Partition;

    use super::*;

    fn owner(process: u32) -> Owner {
        Owner { host: "h".to_owned(), process, since: "2026-11-21T12:00:00Z".parse().unwrap() }
    }

    fn states(ids: &[&str]) -> CheckpointUpdate {
        let state = |id: &&str| PartitionState::waiting(Partition::new(*id));
        CheckpointUpdate { states: ids.iter().map(state).collect(), forgotten: Vec::new() }
    }

    #[test]
    fn a_row_is_whole_until_any_column_changes() {
        let row = Row::first("orders", &owner(1)).unwrap();
        assert!(row.is_whole());
        for changed in [
            Row { pipeline: "order".to_owned(), ..row.clone() },
            Row { epoch: 2, ..row.clone() },
            Row { saves: 1, ..row.clone() },
            Row { epoch: row.saves, saves: row.epoch, ..row.clone() },
            Row { owner: row.owner.replace('1', "3"), ..row.clone() },
            Row { states: "[ ]".to_owned(), ..row.clone() },
            Row { digest: Vec::new(), ..row.clone() },
        ] {
            assert!(!changed.is_whole(), "{changed:?}");
        }
    }

    #[test]
    fn a_claim_holds_until_the_next_and_not_beyond_a_removal() {
        let first = Row::first("orders", &owner(1)).unwrap();
        let claim = first.claim(&owner(1));
        assert!(first.is_held_by(&claim));
        assert!(!first.claimed_by(&owner(1)).unwrap().is_held_by(&claim));
        assert!(!Row::first("orders", &owner(2)).unwrap().is_held_by(&claim));
    }

    #[test]
    fn states_are_written_as_they_are_read() {
        let mut update = states(&["b", "a", "c"]);
        update.forgotten.push(PartitionId::new("c"));
        let saved = States::default().updated(&update).unwrap();
        let row = Row::first("orders", &owner(1)).unwrap().saved(&saved);
        assert!(row.is_whole() && row.saves == 1);
        assert_eq!(States::of(&row).unwrap().to_string(), row.states);
        let read: Vec<PartitionState> = serde_json::from_str(&row.states).unwrap();
        assert_eq!(read, [states(&["a"]).states, states(&["b"]).states].concat());
        assert_eq!(States::default().to_string(), "[]");
    }
}
