//! Bugs planted on purpose, so that the tests of the engine can be tested themselves.
//!
//! This is for tests only. Without the feature `planted-bugs` the question `is` is a constant
//! `false`, and the sites below are gone from the binary; with it, a test plants one bug at a time
//! in its own thread. The `spanwire` binary refuses to be built with the feature, by [`COMPILED_IN`].
//!
//! A site is one condition. Where code moves, its site moves with it; a bug that has lost its site
//! is one that `topology/tests/histories/planted.rs` does not find.
//!
//! | Bug | Where | What goes wrong |
//! |---|---|---|
//! | [`PeerCountLeaks`](Bug::PeerCountLeaks) | `definitions`, `count_peers` | a peer that a policy gives up is counted on |
//! | [`SplitMissed`](Bug::SplitMissed) | `domains`, `split` | a cut link leaves the domain whole |
//! | [`SilentJoins`](Bug::SilentJoins) | `definitions`, `resolve_links` | an uplink that is not advertised joins domains |
//! | [`PeeringsTransitive`](Bug::PeeringsTransitive) | `domains`, `peer_domains` | visibility goes on over a second peering |
//! | [`SpoofableStale`](Bug::SpoofableStale) | `domains`, `update_protection` | port security goes off, and denials stay pruned |
//! | [`MergeByLocalId`](Bug::MergeByLocalId) | `domains`, `merge` | which identity survives differs between replicas |
//! | [`ShardNotEmptied`](Bug::ShardNotEmptied) | `membership`, `leave_shard` | a member that left stays |
//! | [`RemovalUnsaid`](Bug::RemovalUnsaid) | `membership`, `leave_shard` | a change does not say whom it removes |
//! | [`PlacementKept`](Bug::PlacementKept) | `membership`, `detach` | a port moved, and its old host keeps the domain |
//! | [`MinusForgotten`](Bug::MinusForgotten) | `membership`, `holds` | a difference is taken without what it leaves out |
//! | [`SignatureStale`](Bug::SignatureStale) | `apply`, `unplug` | a port is still found by the labels it had |
//! | [`RouterGroupStale`](Bug::RouterGroupStale) | `apply`, `detach_routed` | a group of a router keeps the ports it had |
//! | [`VtepStale`](Bug::VtepStale) | `apply`, `detach_touched` | locators keep the old tunnel endpoint of a host |
//! | [`ServiceStale`](Bug::ServiceStale) | `apply`, `detach_touched` | a policy keeps the old ports of a service |
//! | [`VersionKept`](Bug::VersionKept) | `apply`, `commit` | an item changes, and its version does not |
//! | [`UndoForgetful`](Bug::UndoForgetful) | `apply`, `restore_versions` | a dry run leaves versions behind |
//! | [`InterestStale`](Bug::InterestStale) | `settle`, `update_interests` | a new peer is not told to where its policy is applied |
//! | [`LossUnsaid`](Bug::LossUnsaid) | `settle`, `drop_shard` | a host is not told of a shard that is gone |
//! | [`ExceptionsIgnored`](Bug::ExceptionsIgnored) | `definitions`, `update_blocks` | a block is taken without its exceptions |
//! | [`NestedBlocksStale`](Bug::NestedBlocksStale) | `definitions`, `reevaluate_groups` | blocks do not reach the groups around |
//! | [`DenialPruned`](Bug::DenialPruned) | `items`, `covers` | a denial is pruned where addresses can be forged |
//! | [`PassAllows`](Bug::PassAllows) | `verdict::decide` | a rule that passes on decides |

/// Whether bugs can be planted in this build. Nothing that is shipped may say so.
pub const COMPILED_IN: bool = cfg!(feature = "planted-bugs");

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A bug that can be planted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Bug {
            $($(#[$doc])* $name,)*
        }

        impl Bug {
            /// Every one.
            pub const ALL: &[Bug] = &[$(Bug::$name,)*];
        }
    };
}

bugs! {
    /// A peer that a policy gives up is counted on.
    PeerCountLeaks,
    /// A cut link leaves the domain whole.
    SplitMissed,
    /// An uplink that is not advertised joins domains.
    SilentJoins,
    /// Visibility goes on over a second peering.
    PeeringsTransitive,
    /// Port security goes off, and denials stay pruned.
    SpoofableStale,
    /// Which identity survives a merge differs between replicas.
    MergeByLocalId,
    /// A member that left stays in its shard.
    ShardNotEmptied,
    /// A change does not say whom it removes.
    RemovalUnsaid,
    /// A port moved, and its old host keeps the domain.
    PlacementKept,
    /// A difference is taken without what it leaves out.
    MinusForgotten,
    /// A port is still found by the labels it had.
    SignatureStale,
    /// A group of a router keeps the ports it had.
    RouterGroupStale,
    /// Locators keep the old tunnel endpoint of a host.
    VtepStale,
    /// A policy keeps the old ports of a service.
    ServiceStale,
    /// An item changes by a difference, and its version does not.
    VersionKept,
    /// A dry run leaves versions behind.
    UndoForgetful,
    /// A new peer is not told to where its policy is applied.
    InterestStale,
    /// A host is not told of a shard that is gone.
    LossUnsaid,
    /// A block is taken without its exceptions.
    ExceptionsIgnored,
    /// Blocks do not reach the groups around.
    NestedBlocksStale,
    /// A denial is pruned where addresses can be forged.
    DenialPruned,
    /// A rule that passes on to the next tier decides.
    PassAllows,
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
