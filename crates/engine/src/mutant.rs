//! Faults that the tests switch on, one at a time, to see that the simulation notices.
//!
//! Without the feature `mutants` nothing can be switched on: [`active`] is a constant `false`. With
//! it, `ROWTIDE_MUTANT=GoesOnAfterFailedFlush` switches one on for the whole process.

/// A way in which the engine breaks one of its invariants, named after what it then does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "mutants"), expect(unreachable_pub, reason = "tests reach it"))]
pub enum Mutant {
    SavesBeforeFlush,
    SavesWithoutNewPosition,
    AcknowledgesBeforeSave,
    ResumesWithoutAcknowledging,
    IgnoresFailedAcknowledgement,
    DeliversLastFirst,
    StartsChildrenBeforeSave,
    StartsWithoutUnknownParents,
    SavesChildrenLate,
    AcceptsForeignChildren,
    SavesMadeUpPosition,
    RestartsReaderFromTheBeginning,
    ReactsToReaderErrorAtOnce,
    GoesOnAfterFailedFlush,
    GivesRoomBackAtOnce,
    StopsBeforeThePosition,
    StopsWithoutFlush,
    StopsWithoutSave,
    SkipsWhatShouldStop,
    WaitsForeverOnStop,
    SkipsTheProof,
    FlushesUnderOldProof,
    ClaimsAnewOnRecovery,
    ForgetsTheWaitForALock,
    ForgetsALostLock,
    ForgetsParentsEarly,
}

#[cfg(not(feature = "mutants"))]
pub(crate) const fn active(_: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
mod switch {
    use std::{cell::Cell, env, sync::LazyLock};

    use super::Mutant;

    thread_local! {
        static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    pub(crate) fn active(mutant: Mutant) -> bool {
        static NAMED: LazyLock<Option<String>> = LazyLock::new(|| env::var("ROWTIDE_MUTANT").ok());
        let is_named = |name: &String| *name == format!("{mutant:?}");
        ACTIVE.get() == Some(mutant) || NAMED.as_ref().is_some_and(is_named)
    }

    /// Switches `mutant` on, or all off, for what runs on this thread.
    pub fn activate(mutant: Option<Mutant>) {
        ACTIVE.set(mutant);
    }
}

#[cfg(feature = "mutants")]
pub use switch::activate;
#[cfg(feature = "mutants")]
pub(crate) use switch::active;
