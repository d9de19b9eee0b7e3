//! Both ends of the stream against a simple model: hosts and replicas do everything that can happen
//! to them, in any order, and after every step each host's view is exactly the truth at the
//! revision that it stands for.
//!
//! ```text
//!   history (the truth, revision by revision)
//!      │ Advance            │ Advance
//!   replica 0            replica 1          each with its own log, somewhere in history
//!      │ ControllerSession    │
//!      └──── Send, Deliver ───┴──── HostSession ×2 ──── Applied
//! ```

// Helpers of tests unwrap as the tests do: a panic is a failed test.
#![allow(clippy::unwrap_used)]

mod world;

use proptest::prelude::*;
use world::{Action, Mutation, World};

fn any_mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        4 => (0usize..6, 0u8..6).prop_map(|(item, number)| Mutation::Toggle { item, number }),
        1 => (0usize..6, any::<u8>()).prop_map(|(item, seed)| Mutation::Replace { item, seed }),
        1 => (0usize..6).prop_map(|item| Mutation::Remove { item }),
        4 => (0usize..2, 0usize..6).prop_map(|(host, item)| Mutation::Span { host, item }),
    ]
}

fn any_action() -> impl Strategy<Value = Action> {
    let host = 0usize..2;
    let replica = 0usize..2;
    prop_oneof![
        10 => prop::collection::vec(any_mutation(), 0..4).prop_map(Action::Change),
        10 => (replica.clone(), 1u8..4, any::<bool>()).prop_map(
            |(replica, steps, items_first)| Action::Advance { replica, steps, items_first }
        ),
        12 => (host.clone(), 1u8..16).prop_map(|(host, steps)| Action::Pump { host, steps }),
        2 => host.clone().prop_map(Action::Send),
        2 => host.clone().prop_map(Action::DeliverToHost),
        2 => host.clone().prop_map(Action::DeliverToController),
        2 => (host.clone(), any::<bool>())
            .prop_map(|(host, rejects)| Action::Applied { host, rejects }),
        6 => (host.clone(), replica.clone())
            .prop_map(|(host, replica)| Action::Connect { host, replica }),
        2 => host.clone().prop_map(Action::Cut),
        1 => host.clone().prop_map(Action::RestartAgent),
        1 => replica.prop_map(Action::RestartReplica),
        1 => host.clone().prop_map(Action::Damage),
        1 => host.clone().prop_map(Action::Repair),
        3 => host.prop_map(Action::Check),
        3 => Just(Action::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn hosts_hold_the_truth_at_every_step_and_the_newest_in_the_end(
        actions in prop::collection::vec(any_action(), 0..150),
        log_bytes_max in prop_oneof![Just(0usize), 0usize..400, Just(1 << 20)],
    ) {
        let mut world = World::new(log_bytes_max);
        for action in &actions {
            world.act(action);
            world.check();
        }
        world.heal();
        world.check_converged();
        world.check_reconnect_is_free();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Guarantee G13.
    #[test]
    fn a_check_finds_what_is_wrong_and_repairs_just_that(
        actions in prop::collection::vec(any_action(), 0..60),
        host in 0usize..2,
        wrong in prop::collection::vec(0usize..6, 0..4),
        meanwhile in prop::collection::vec(any_mutation(), 0..3),
    ) {
        let mut world = World::new(1 << 20);
        // Something to be wrong about.
        world.act(&Action::Change((0..6).map(|item| Mutation::Toggle { item, number: 1 }).collect()));
        world.act(&Action::Change(
            (0..12).map(|n| Mutation::Span { host: n / 6, item: n % 6 }).collect(),
        ));
        for action in &actions {
            world.act(action);
        }
        world.heal();
        world.check_finds(host, &wrong, &meanwhile);
    }
}

/// The random histories must reach what they are meant to; a generator that stopped doing so would
/// otherwise go unnoticed.
#[test]
fn the_histories_reach_every_corner() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut seen = std::collections::BTreeMap::<&str, usize>::new();
    for _ in 0..100 {
        let actions = prop::collection::vec(any_action(), 150).new_tree(&mut runner).unwrap();
        let mut world = World::new(1 << 20);
        for action in &actions.current() {
            world.act(action);
            world.check();
        }
        world.heal();
        for (corner, count) in world.seen() {
            *seen.entry(corner).or_default() += count;
        }
    }
    for corner in [
        "batch of several parts",
        "batch cut off",
        "deltas",
        "full items",
        "ranges asked for",
        "ranges",
        "removals",
        "resume current",
        "resume by inventory",
        "resume by snapshot",
        "replica behind the host",
        "check",
        "checked",
        "complaint",
        "empty batch",
        "refused",
    ] {
        assert!(seen.get(corner).is_some_and(|count| *count > 3), "{corner}: {seen:?}");
    }
}
