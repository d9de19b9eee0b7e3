//! Bugs that can be planted, to see that the simulator finds them: a test of the test. Only with the
//! feature `planted-bugs`, and then only the one that was chosen with `plant`.

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Bug {
    /// A vote is not written before it is given.
    VoteNotPersisted = 1,
    /// What is appended is acknowledged before it is written.
    AcknowledgedBeforeSync,
    /// A snapshot has the members that the log began with.
    SnapshotWithoutMembership,
    /// The state is read without asking whether it is current.
    StaleRead,
    /// A host is served by a replica that is behind it.
    RevisionGoesBack,
    /// A request that is tried again is applied again.
    DoubleApplyOnRetry,
    /// A transaction is answered before it is committed.
    AnsweredBeforeCommit,
    /// The table of applied requests is not in the snapshot.
    SnapshotWithoutRequests,
    /// A snapshot that comes in parts is taken without its last part.
    SnapshotCutShort,
    /// A read is answered when it is known how far it must see, not when that is applied.
    ReadBeforeApplied,
    /// A replica that knows of no leader keeps its hosts.
    LeaderlessKeepsHosts,
    /// A check of what a host holds always comes to the end that all is right.
    CheckFindsNothing,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 12] = [
        Bug::VoteNotPersisted,
        Bug::AcknowledgedBeforeSync,
        Bug::SnapshotWithoutMembership,
        Bug::StaleRead,
        Bug::RevisionGoesBack,
        Bug::DoubleApplyOnRetry,
        Bug::AnsweredBeforeCommit,
        Bug::SnapshotWithoutRequests,
        Bug::SnapshotCutShort,
        Bug::ReadBeforeApplied,
        Bug::LeaderlessKeepsHosts,
        Bug::CheckFindsNothing,
    ];
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug in this thread, in place of the one before; or none.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// True if this bug is planted.
#[cfg(feature = "planted-bugs")]
pub(crate) fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Never true: this build has no bugs to plant.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub(crate) const fn is(_bug: Bug) -> bool {
    false
}
