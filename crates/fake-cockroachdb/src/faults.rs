use std::str::FromStr;

use crate::sql::SqlError;

/// How the server misbehaves. All chances are in a thousand, all decided by the seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// What decides.
    pub seed: u64,
    /// That a row is followed by one that has come since the last resolved timestamp.
    pub duplicate: u32,
    /// That the rows since the last resolved timestamp, from any of them on, come again before the
    /// next one, as after an internal retry.
    pub replay: u32,
    /// That rows of different keys change places.
    pub shuffle: u32,
    /// That the connection is cut in the middle of a row.
    pub cut: u32,
    /// That the server says that it is shutting down, instead of sending a row.
    pub drain: u32,
    /// That nothing comes any more, while the connection stays.
    pub stall: u32,
    /// After how many rows of a feed the same happens for sure.
    pub stall_after: Option<u32>,
    /// That a resolved timestamp comes in the shape of another envelope.
    pub other_shape: u32,
    /// That a feed begins with a resolved timestamp of zero.
    pub zero_resolved: u32,
    /// That a range lags, as some of a cluster do by seconds: its rows come behind the next resolved
    /// timestamp, which is before them, and so before rows of other ranges that were told already.
    pub lag: u32,
    /// What is said of a cursor that is too old.
    pub gc_wording: GcWording,
}

/// The words in which versions of the server say that a cursor is too old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GcWording {
    /// "batch timestamp … must be after replica GC threshold …".
    #[default]
    Batch,
    /// "failed to resolve targets …", with a hint.
    Targets,
    /// "could not create changefeed: cursor … is older than the GC threshold …", from v25.2 on.
    Cursor,
}

impl Faults {
    /// A server that behaves.
    pub fn none() -> Self {
        Self {
            seed: 0,
            duplicate: 0,
            replay: 0,
            shuffle: 0,
            cut: 0,
            drain: 0,
            stall: 0,
            stall_after: None,
            other_shape: 0,
            zero_resolved: 0,
            lag: 0,
            gc_wording: GcWording::Batch,
        }
    }

    /// Everything that passes by itself, often enough to be met in a few hundred rows. Each seed
    /// has other chances.
    pub fn seeded(seed: u64) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed);
        Self {
            seed,
            duplicate: chance.u32(0..200),
            replay: chance.u32(0..500),
            shuffle: chance.u32(0..500),
            cut: chance.u32(0..20),
            drain: chance.u32(0..10),
            stall: 0,
            stall_after: None,
            other_shape: chance.u32(0..500),
            zero_resolved: chance.u32(0..1000),
            gc_wording: [GcWording::Batch, GcWording::Targets, GcWording::Cursor]
                [chance.usize(0..3)],
            lag: chance.u32(0..900),
        }
    }

    /// Sets one of them by its name, as `SET CLUSTER SETTING fake.duplicate = 100` does.
    ///
    /// # Errors
    /// If there is none of the name, or the value does not fit.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SqlError> {
        let place = match name {
            "seed" => {
                self.seed = number(name, value)?;
                return Ok(());
            }
            "stall_after" => {
                self.stall_after = match value {
                    "never" => None,
                    rows => Some(number(name, rows)?),
                };
                return Ok(());
            }
            "gc_wording" => {
                self.gc_wording = match value {
                    "batch" => GcWording::Batch,
                    "targets" => GcWording::Targets,
                    "cursor" => GcWording::Cursor,
                    _ => return Err(wrong(name, value)),
                };
                return Ok(());
            }
            "duplicate" => &mut self.duplicate,
            "replay" => &mut self.replay,
            "shuffle" => &mut self.shuffle,
            "cut" => &mut self.cut,
            "drain" => &mut self.drain,
            "stall" => &mut self.stall,
            "other_shape" => &mut self.other_shape,
            "zero_resolved" => &mut self.zero_resolved,
            "lag" => &mut self.lag,
            _ => return Err(SqlError::new("42704", format!("unknown setting: fake.{name}"))),
        };
        *place = number(name, value)?;
        Ok(())
    }
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, SqlError> {
    value.parse().map_err(|_| wrong(name, value))
}

fn wrong(name: &str, value: &str) -> SqlError {
    SqlError::new("22023", format!("fake.{name}: invalid value {value}"))
}
