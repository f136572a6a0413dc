//! Deliberate bugs, for the crash tests to notice: a test that cannot fail proves nothing.
//!
//! Each [`Mutant`] is one duty of the protocol that is left out while it is on. Only a build with the feature `mutants`
//! and with debug assertions, as tests have, can switch one on, by the environment variable [`VARIABLE`]; in any other
//! build [`on`] is `false` and costs nothing.

/// Names the mutant that is on in this process.
pub const VARIABLE: &str = "LODESTORE_MUTANT";

macro_rules! mutants {
    ($(#[doc = $what:literal] $name:ident,)*) => {
        /// A duty left undone.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Mutant {
            $(#[doc = $what] $name,)*
        }

        impl Mutant {
            /// Every mutant.
            pub const ALL: &[Mutant] = &[$(Mutant::$name,)*];

            /// What is left undone.
            pub fn what(self) -> &'static str {
                match self {
                    $(Mutant::$name => $what.trim_ascii(),)*
                }
            }
        }
    };
}

mutants! {
    /// Log groups are not synced
    LogUnsynced,
    /// A new log file's name is not synced
    LogNameUnsynced,
    /// The catalogue is made durable before the log, of which it has more than the checkpoint
    CatalogueFirst,
    /// Pages applied in place are not synced
    PagesUnsynced,
    /// A page that was changed again is given back
    ChangedPageDropped,
    /// Checkpoint files are not synced
    CheckpointUnsynced,
    /// A checkpoint file's name is not synced
    CheckpointNameUnsynced,
    /// A frozen page is not copied before it changes
    NoCapture,
    /// Slots are not synced before SUPER relies on them
    SlotsUnsynced,
    /// SUPER never says that a checkpoint is pending
    NeverPending,
    /// Opening believes log files without syncing them
    OldLogUnsynced,
    /// Opening believes the system's cache
    NoEviction,
    /// Opening believes SUPER without syncing it
    OldSuperUnsynced,
    /// What was acknowledged shares a block with what follows
    SharedBlock,
    /// Old log files go at S4, not at S8
    LogRemovedEarly,
    /// Pages are applied in place before SUPER says so
    AppliedEarly,
    /// SUPER has one slot
    OneSuperSlot,
    /// Nobody looks whether a log file continues the one before
    ContinuationUnchecked,
    /// A log file found at opening is appended to
    OldTailAppended,
    /// A catalogue that was not closed is believed without a sync and from the cache
    OldCatalogueUnsynced,
    /// A compaction's log record is not synced before the catalogue moves
    CompactionUnsynced,
    /// A collection's new generation is not synced before the log names it
    GenerationUnsynced,
    /// Writing goes on after a failed sync of the log
    FailedSyncForgotten,
}

/// Whether the code is to behave as this mutant.
#[cfg(all(feature = "mutants", debug_assertions))]
pub fn on(mutant: Mutant) -> bool {
    static ON: std::sync::OnceLock<Option<Mutant>> = std::sync::OnceLock::new();
    let chosen = ON.get_or_init(|| {
        let name = std::env::var(VARIABLE).ok()?;
        let named = Mutant::ALL.iter().copied().find(|mutant| format!("{mutant:?}") == name);
        Some(named.unwrap_or_else(|| panic!("{VARIABLE}={name}: there is no such mutant")))
    });
    *chosen == Some(mutant)
}

/// Whether the code is to behave as this mutant.
#[cfg(not(all(feature = "mutants", debug_assertions)))]
#[inline(always)]
pub const fn on(_mutant: Mutant) -> bool {
    false
}

/// Carries out a duty, unless it is the one to be left undone.
#[inline(always)]
pub fn unless<E>(mutant: Mutant, duty: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
    if on(mutant) { Ok(()) } else { duty() }
}
