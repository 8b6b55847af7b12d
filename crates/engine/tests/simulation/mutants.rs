//! One engine or more for each invariant that breaks it, and that the simulation must catch.

use rowtide_engine::simulation::Mutant;

use crate::{harness::simulate, named_seed, seeds, silence_injected_panics};

const SEEDS: u64 = 300;

/// Asserts that some seed catches `mutant`, and that the engine as it is passes that same seed.
/// A seed that the user names need not be one that does.
fn is_caught(mutant: Mutant) {
    silence_injected_panics();
    for seed in seeds(SEEDS) {
        if let Err(caught) = simulate(seed, Some(mutant)) {
            println!("SEED={seed} catches {mutant:?}: {caught}");
            simulate(seed, None).unwrap_or_else(|error| panic!("SEED={seed}: {error}"));
            return;
        }
    }
    assert!(named_seed().is_some(), "{mutant:?} passes {SEEDS} seeds");
    println!("this seed does not catch {mutant:?}");
}

macro_rules! caught {
    ($($promise:ident: $mutant:ident,)*) => {
        $(
            #[test]
            fn $promise() {
                is_caught(Mutant::$mutant);
            }
        )*
    };
}

caught! {
    invariant_01_catches_a_save_before_the_flush: SavesBeforeFlush,
    invariant_01_catches_a_save_without_a_new_position: SavesWithoutNewPosition,
    invariant_01_catches_a_save_behind_a_rejected_change: SkipsWhatShouldStop,
    invariant_02_catches_an_acknowledgement_before_the_save: AcknowledgesBeforeSave,
    invariant_02_catches_a_start_without_acknowledging: ResumesWithoutAcknowledging,
    invariant_02_catches_a_failed_acknowledgement_ignored: IgnoresFailedAcknowledgement,
    invariant_03_catches_changes_out_of_order: DeliversLastFirst,
    invariant_03_catches_an_error_that_overtakes_events: ReactsToReaderErrorAtOnce,
    invariant_04_catches_a_child_started_before_the_save: StartsChildrenBeforeSave,
    invariant_04_catches_a_child_of_unknown_parents: StartsWithoutUnknownParents,
    invariant_04_catches_a_parent_forgotten_early: ForgetsParentsEarly,
    invariant_05_catches_children_saved_late: SavesChildrenLate,
    invariant_06_catches_a_position_made_up: SavesMadeUpPosition,
    invariant_07_catches_a_reader_restarted_from_elsewhere: RestartsReaderFromTheBeginning,
    invariant_07_catches_going_on_after_a_failed_flush: GoesOnAfterFailedFlush,
    invariant_08_catches_an_inbox_without_bound: GivesRoomBackAtOnce,
    invariant_09_catches_a_stop_before_the_position: StopsBeforeThePosition,
    invariant_09_catches_a_stop_without_flush: StopsWithoutFlush,
    invariant_09_catches_a_stop_without_save: StopsWithoutSave,
    invariant_10_catches_a_recovery_without_proof: SkipsTheProof,
    invariant_10_catches_a_flush_under_an_old_proof: FlushesUnderOldProof,
    invariant_10_catches_a_recovery_that_claims_anew: ClaimsAnewOnRecovery,
}
