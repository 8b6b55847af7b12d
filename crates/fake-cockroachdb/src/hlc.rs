use std::{fmt, num::ParseIntError, str::FromStr};

/// A timestamp of the hybrid logical clock: nanoseconds, and a counter within one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hlc {
    /// Nanoseconds since 1970.
    pub wall: u64,
    /// Tells apart what happened in the same nanosecond.
    pub logical: u32,
}

impl Hlc {
    /// The time right before.
    #[must_use]
    pub fn previous(self) -> Self {
        match self.logical.checked_sub(1) {
            Some(logical) => Self { logical, ..self },
            None => Self { wall: self.wall - 1, logical: u32::MAX },
        }
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{:010}", self.wall, self.logical)
    }
}

impl FromStr for Hlc {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (wall, logical) = text.split_once('.').unwrap_or((text, "0"));
        Ok(Self { wall: wall.parse()?, logical: logical.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let text = "1692283563643512000.0000000042";
        let hlc: Hlc = text.parse().unwrap();
        assert_eq!(hlc, Hlc { wall: 1_692_283_563_643_512_000, logical: 42 });
        assert_eq!(hlc.to_string(), text);
    }
}
