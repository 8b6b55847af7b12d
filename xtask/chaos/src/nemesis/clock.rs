//! The clock on the wall, which jumps by years and hours, and back.

use std::{fs, path::Path};

use fastrand::Rng;

use super::{Fault, pause};
use crate::Outcome;

/// In seconds.
const JUMPS: [i64; 6] = [-3_600, 3_600, -86_400, 31_536_000, -31_536_000, 1];

/// What shows the processes of a round another time.
#[derive(Debug)]
pub(crate) struct Clock {
    environment: Vec<(String, String)>,
    file: std::path::PathBuf,
}

impl Clock {
    /// `None` where there is no library for it.
    pub(crate) fn new(folder: &Path) -> Outcome<Option<Self>> {
        let Some(library) = rowtide_servers::clock() else { return Ok(None) };
        let file = folder.join("clock");
        fs::write(&file, "+0")?;
        let text = |path: &Path| path.display().to_string();
        let environment = [
            ("LD_PRELOAD", text(&library)),
            ("FAKETIME_TIMESTAMP_FILE", text(&file)),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).into();
        Ok(Some(Self { environment, file }))
    }

    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        self.environment.clone()
    }

    pub(crate) fn fault(&self) -> Fault {
        let file = self.file.clone();
        Fault::new("clock jumped", 40, move |chance| jump(&file, chance))
    }
}

fn jump(file: &Path, chance: &mut Rng) -> Outcome {
    let by = JUMPS[chance.usize(..JUMPS.len())];
    // Read at any moment, so it is never half there.
    let show = |by: i64| {
        let next = file.with_extension("next");
        fs::write(&next, format!("{by:+}"))?;
        fs::rename(&next, file)
    };
    show(by)?;
    pause(chance, 1_500, 8_000);
    // Now and then it stays so.
    if chance.bool() {
        show(0)?;
    }
    Ok(())
}
