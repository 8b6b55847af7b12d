//! What becomes of a scenario that is lacked or waived: ignored is not passed, and a waiver that is
//! no longer needed is a failure.

use std::sync::Arc;

use libtest_mimic::{Arguments, Failed};
use rowtide_conformance::{
    Capability, Downstream, Result, SinkHarness, SourceHarness, Suite, Upstream, Waiver,
    async_trait,
};

use crate::reference::{sink, upstream};

/// The reference sink with a defect, and what its harness says of it.
struct Excused {
    reference: sink::Harness,
    lacks: Option<Capability>,
    waives: Option<&'static str>,
}

#[async_trait]
impl SinkHarness for Excused {
    fn plugin(&self) -> &str {
        self.reference.plugin()
    }

    fn lacks(&self) -> Vec<(Capability, &'static str)> {
        self.lacks.map(|capability| (capability, "the test says so")).into_iter().collect()
    }

    fn waivers(&self) -> Vec<Waiver> {
        let waiver = |scenario| Waiver { scenario, reason: "the test says so" };
        self.waives.map(waiver).into_iter().collect()
    }

    async fn downstream(&self) -> Result<Arc<dyn Downstream>> {
        self.reference.downstream().await
    }
}

/// The reference source with a defect, where nobody can count what is held.
struct Uncounted(upstream::Harness);

#[async_trait]
impl SourceHarness for Uncounted {
    fn plugin(&self) -> &str {
        self.0.plugin()
    }

    fn lacks(&self) -> Vec<(Capability, &'static str)> {
        vec![(Capability::Held, "the test says so")]
    }

    async fn upstream(&self) -> Result<Arc<dyn Upstream>> {
        self.0.upstream().await
    }
}

#[derive(Debug, PartialEq)]
enum Becomes {
    Passed,
    Failed,
    Ignored,
}

const NONE: &str = "";
const FATAL: &str = "a duplicate is fatal";
const SCENARIO: &str = "tolerates_redelivery";
const POISON: &str = "a_poison_change_is_rejected_by_index";

pub(crate) fn are_what_they_say() -> std::result::Result<(), Failed> {
    let lacks = Some(Capability::Poison);
    let cases = [
        ("it passes", NONE, None, None, SCENARIO, Becomes::Passed),
        ("it fails", FATAL, None, None, SCENARIO, Becomes::Failed),
        ("it fails, and is waived", FATAL, None, Some(SCENARIO), SCENARIO, Becomes::Ignored),
        ("the waiver has expired", NONE, None, Some(SCENARIO), SCENARIO, Becomes::Failed),
        ("another is waived", FATAL, None, Some(POISON), SCENARIO, Becomes::Failed),
        ("the waiver names nothing", NONE, None, Some("nothing"), "nothing", Becomes::Failed),
        ("what it needs is there", NONE, None, None, POISON, Becomes::Passed),
        ("what it needs is lacked", NONE, lacks, None, POISON, Becomes::Ignored),
        ("what another needs is lacked", FATAL, lacks, None, SCENARIO, Becomes::Failed),
    ];
    for (what, defect, lacks, waives, trial, expected) in cases {
        let excused = Excused { reference: sink::Harness(defect), lacks, waives };
        let found = judge(Suite::sink(excused), trial);
        if found != Some(expected) {
            return Err(format!("where {what}, {trial} is {found:?}").into());
        }
    }
    what_cannot_be_counted_is_not_passed()
}

/// A part of a promise cannot be seen then, and the other part still can.
fn what_cannot_be_counted_is_not_passed() -> std::result::Result<(), Failed> {
    let trial = "dropping_the_stream_releases_everything";
    let cases = [
        (NONE, Becomes::Ignored),
        ("a dropped stream keeps its connection", Becomes::Ignored),
        ("a dropped stream locks out another", Becomes::Failed),
    ];
    for (defect, expected) in cases {
        let harness = Uncounted(upstream::Harness("reference", defect));
        let found = judge(Suite::source(harness), trial);
        if found != Some(expected) {
            return Err(format!("with `{defect}`, {trial} is {found:?}").into());
        }
    }
    Ok(())
}

/// What becomes of the one trial whose name ends like this.
fn judge(suite: Suite, trial: &str) -> Option<Becomes> {
    let mut trials = suite.into_trials();
    trials.retain(|found| found.name().ends_with(trial));
    // What it prints is not the result of this test binary.
    let folder = tempfile::tempdir().ok()?;
    let logfile = folder.path().join("log").display().to_string();
    let aside = Arguments { logfile: Some(logfile), ..Arguments::default() };
    let conclusion = libtest_mimic::run(&aside, trials);
    match (conclusion.num_passed, conclusion.num_failed, conclusion.num_ignored) {
        (1, 0, 0) => Some(Becomes::Passed),
        (0, 1, 0) => Some(Becomes::Failed),
        (0, 0, 1) => Some(Becomes::Ignored),
        _ => None,
    }
}
