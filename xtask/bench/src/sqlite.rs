//! SQLite: a backlog into a file, a commit to a line, and what the triggers cost the application.

mod drain;
mod latency;
mod triggers;

use crate::{Arguments, Part, Result, report::Report, rowtide::Rowtide};

pub(crate) fn measure(rowtide: &Rowtide, arguments: &Arguments, report: &mut Report) -> Result {
    if arguments.wants(Part::Drain) {
        drain::measure(rowtide, report)?;
    }
    if arguments.wants(Part::Latency) {
        latency::measure(rowtide, report)?;
    }
    if arguments.wants(Part::Triggers) {
        triggers::measure(rowtide, &arguments.columns, report)?;
    }
    Ok(())
}
