//! The suite itself is tested: the reference passes every scenario, each scenario catches its
//! mutants, and none could be left out because another one catches all of them.

#![expect(clippy::unwrap_used, reason = "these are tests, which `main` runs")]

mod reference;
mod verdicts;

use std::{collections::BTreeMap, process::ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use reference::{sink, store, upstream};
use rowtide_conformance::{Failure, Suite, Verdict};

/// What a mutant does wrong, after the scenario that must catch it.
type Mutant = (&'static str, &'static str);

const SOURCES: &[Mutant] = &[
    ("delivers_every_operation", "a truncate is lost"),
    ("delivers_every_operation", "a value that becomes null is unknown"),
    ("keeps_the_order_of_each_key", "two transactions change places"),
    ("keeps_transactions_together", "no transaction is told"),
    ("tells_when_it_has_caught_up", "idle only when nothing is left"),
    ("snapshot_then_stream_has_no_gap", "the stream begins at the end of the snapshot"),
    ("snapshot_then_stream_has_no_gap", "what is written during the snapshot is lost"),
    ("resumes_after_every_position", "resuming a snapshot skips a row"),
    ("resumes_after_every_position", "resuming repeats a transaction"),
    ("redelivery_is_identical", "an id is counted by the stream"),
    ("acknowledging_prunes_nothing_unacknowledged", "an acknowledgement prunes everything"),
    ("acknowledging_needs_no_polling", "a stream locks out acknowledgements"),
    ("dropping_the_stream_releases_everything", "a dropped stream keeps its connection"),
    ("children_follow_parents", "a child has no parent"),
    ("children_follow_parents", "the first change of a child is lost"),
    ("a_quiet_partition_makes_progress", "a quiet partition stands still"),
    ("refuses_a_position_it_cannot_read", "a strange position is a fresh start"),
    ("fails_loudly_when_the_position_is_lost", "what was pruned is skipped"),
    ("fails_loudly_when_the_position_is_lost", "another incarnation is taken for the same"),
    ("an_upstream_restart_is_transient", "a restart is fatal"),
    ("every_type_round_trips", "a value of the snapshot is rounded"),
    ("every_type_round_trips", "a null is unknown"),
    ("every_type_round_trips", "a null of the snapshot is unknown"),
];

/// Each is a plugin of its own, since settings are types.
const SETTINGS: &[Mutant] = &[
    ("settings_reject_unknown_keys", "unknown keys are ignored"),
    ("settings_name_missing_keys", "a missing key is made up"),
    ("settings_document_every_key", "a key is not documented"),
    ("settings_document_every_key", "a key of a shape of an item is not documented"),
    ("settings_hide_secrets", "a password is a text"),
    ("settings_hide_secrets", "debug shows a secret"),
    ("settings_are_validated_without_input_or_output", "validation looks at the world"),
];

const SINKS: &[Mutant] = &[
    ("what_is_flushed_is_durable", "the fifth flush does nothing"),
    ("keeps_the_order_of_each_key", "changes of a key are turned round"),
    ("tolerates_redelivery", "a duplicate is fatal"),
    ("tolerates_redelivery", "a duplicate in a span is fatal"),
    ("empty_writes_and_flushes_are_fine", "an empty flush is fatal"),
    ("carries_every_operation_and_value", "a decimal is made a float"),
    ("carries_every_operation_and_value", "a row of a snapshot is an insert"),
    ("a_poison_change_is_rejected_by_index", "neighbours of a poison change are lost"),
    ("a_poison_change_is_rejected_by_index", "indexes are counted from the opening"),
    ("a_downstream_restart_is_transient", "a restart is fatal"),
    ("a_lost_response_is_survived", "a lost answer is fatal"),
    ("a_lost_request_is_survived", "a lost request is taken for delivered"),
    ("a_lost_request_is_survived", "a lost request is fatal"),
    ("back_pressure_is_bounded", "nothing bounds what is taken"),
    ("a_dropped_sink_leaves_nothing_behind", "a flush does not wait"),
    ("a_dropped_sink_leaves_nothing_behind", "a dropped sink keeps its connection"),
    ("a_dropped_sink_leaves_nothing_behind", "what a dropped sink held arrives later"),
];

const STORES: &[Mutant] = &[
    ("is_empty_for_an_unknown_pipeline", "an unknown pipeline is an error"),
    ("what_is_saved_is_loaded_elsewhere", "the start of a partition is lost"),
    ("pipelines_are_separate", "names ignore case"),
    ("replaces_only_what_is_given", "a save replaces everything"),
    ("forgets_what_it_is_told_to", "nothing is forgotten"),
    ("refuses_an_older_claim", "an older claim may save"),
    ("refuses_an_older_claim", "an older claim may save later"),
    ("refuses_an_older_claim", "a lost claim is an ordinary error"),
    ("an_empty_save_proves_a_claim", "an empty save is skipped"),
    ("a_second_owner_is_told_of_the_first", "a second owner is refused without a name"),
    ("notices_the_damage_of_any_byte", "no checksum is checked"),
    ("notices_the_damage_of_any_byte", "a claim mends damage by forgetting"),
    ("notices_the_damage_of_any_byte", "a damaged store is waited for at opening"),
    ("notices_the_damage_of_any_byte", "a damaged store is waited for at a claim"),
    ("saves_all_or_nothing_when_killed", "partitions are saved one after another"),
];

fn main() -> ExitCode {
    // The suite starts this binary again to have a store saved to by a process that is killed.
    if std::env::var_os("ROWTIDE_CONFORMANCE_SAVE").is_some() {
        return rowtide_conformance::main(vec![Role::Checkpoint.suite("")]);
    }
    let trials = vec![
        Trial::test("sources", || check(Role::Source, SOURCES)),
        Trial::test("settings", || check(Role::Settings, SETTINGS)),
        Trial::test("sinks", || check(Role::Sink, SINKS)),
        Trial::test("checkpoint_stores", || check(Role::Checkpoint, STORES)),
        Trial::test("waivers_and_lacks", verdicts::are_what_they_say),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

#[derive(Clone, Copy)]
enum Role {
    Source,
    Settings,
    Sink,
    Checkpoint,
}

impl Role {
    /// The suite for the reference, or for a mutant of it.
    fn suite(self, defect: &'static str) -> Suite {
        match self {
            Role::Source => Suite::source(upstream::Harness("reference", defect)),
            Role::Settings if defect.is_empty() => Role::Source.suite(defect),
            Role::Settings => Suite::source(upstream::Harness(defect, "")),
            Role::Sink => Suite::sink(sink::Harness(defect)),
            Role::Checkpoint => Suite::checkpoint(store::Harness(defect)),
        }
    }

    /// The scenarios that are this role's to test; those of settings are the same for all.
    fn scenarios(self) -> Vec<&'static str> {
        let of_settings = |name: &&str| name.starts_with("settings_");
        let all = self.suite("").scenarios().into_iter();
        match self {
            Role::Settings => all.filter(of_settings).collect(),
            _ => all.filter(|name| !of_settings(name)).collect(),
        }
    }

    /// Which scenarios fail with this defect.
    fn caught(self, defect: &'static str) -> Vec<&'static str> {
        let fails = |name: &&str| matches!(run(&self.suite(defect), name), Err(Failure::Broken(_)));
        self.scenarios().into_iter().filter(fails).collect()
    }
}

/// Runs a scenario in virtual time, so that what never comes is not waited for.
fn run(suite: &Suite, name: &str) -> Verdict {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    runtime.block_on(suite.check(name))
}

fn check(role: Role, mutants: &[Mutant]) -> Result<(), Failed> {
    let scenarios = role.scenarios();
    let mut wrong = Vec::new();
    for name in &scenarios {
        if let Err(failure) = run(&role.suite(""), name) {
            wrong.push(format!("the reference does not pass {name}: {failure}"));
        }
    }
    let mut caught: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (scenario, defect) in mutants {
        caught.insert(defect, role.caught(defect));
        println!("{scenario} / {defect}: caught by {}", caught[defect].join(", "));
        if !caught[defect].contains(scenario) {
            wrong.push(format!("{scenario} does not catch: {defect}"));
        }
    }
    for scenario in &scenarios {
        let own: Vec<_> = mutants.iter().filter(|(of, _)| of == scenario).collect();
        if own.is_empty() {
            wrong.push(format!("{scenario} has no mutant"));
            continue;
        }
        let catches_all =
            |other: &&&str| own.iter().all(|(_, defect)| caught[defect].contains(*other));
        if let Some(other) = scenarios.iter().filter(|other| *other != scenario).find(catches_all) {
            wrong.push(format!("{other} catches all mutants of {scenario}; merge them"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}
