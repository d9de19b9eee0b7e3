//! Replicas that applied the same transactions tell each host the same bytes, whatever else became
//! of them: one was made anew from its snapshot on the way, and another was asked, and watched
//! hosts, in between.

use crate::universe;
use proptest::collection::vec;
use proptest::prelude::*;
use spanwire_hostproto::codec::{encode_delta, encode_full, encode_removed};
use spanwire_topology::Engine;
use spanwire_topology::engine::{Changes, ItemChangeKind};
use spanwire_topology::model::{Kind, Operation, Text, Transaction};
use spanwire_topology::view::ItemKey;
use std::collections::BTreeMap;

/// What happens to the other replicas before a transaction.
#[derive(Debug, Clone)]
struct Whim {
    /// One is made anew.
    restart: bool,
    /// Another watches these hosts from now on, by bit, and no others.
    watched: u8,
    /// And is asked about everything.
    asked: bool,
    /// And predicts the transaction first.
    predicted: bool,
}

fn any_whim() -> impl Strategy<Value = Whim> {
    (prop::bool::weighted(0.2), 0..1u8 << universe::HOSTS, any::<bool>(), any::<bool>()).prop_map(
        |(restart, watched, asked, predicted)| Whim { restart, watched, asked, predicted },
    )
}

/// What every host is told, in the encoding of the wire.
fn projections(engine: &Engine) -> BTreeMap<Text, Vec<u8>> {
    let hosts = engine.list(Kind::Host, None, None);
    let names = hosts.map(|host| host.resource.metadata.name.clone());
    let told = names.map(|name| {
        let view = engine.host_view(engine.host_id(&name).unwrap());
        let items = view.items.iter();
        let bytes = items.flat_map(|(key, item)| encode_full(*key, item.version, &item.item));
        (name, bytes.collect())
    });
    told.collect()
}

/// What a host that has every item is sent of a transaction.
fn differences(engine: &Engine, changes: &Changes) -> Vec<(ItemKey, Vec<u8>)> {
    let items = changes.items.iter();
    let sent = items.map(|change| {
        let bytes = match &change.kind {
            ItemChangeKind::Removed => encode_removed(change.key),
            ItemChangeKind::Delta(delta) => {
                encode_delta(change.key, change.previous_version, changes.revision, delta)
            }
            ItemChangeKind::Created | ItemChangeKind::Replaced => {
                let item = engine.item(change.key).unwrap();
                encode_full(change.key, item.version, &item.item)
            }
        };
        (change.key, bytes.to_vec())
    });
    sent.collect()
}

/// Asks about everything; what is answered does not matter here.
fn ask_everything(engine: &Engine) {
    for kind in Kind::ALL {
        for object in engine.list(kind, None, None) {
            let key = object.resource.key();
            let _ = (engine.users(&key), engine.span(&key));
        }
    }
    let items = engine.list(Kind::Host, None, None).filter_map(|host| {
        let id = engine.host_id(&host.resource.metadata.name)?;
        Some(engine.host_items(id))
    });
    for (key, _) in items.flatten() {
        let _ = (engine.subscribers(key), engine.item(key));
    }
    let _ = (engine.domains(), engine.export());
}

fn watch(engine: &mut Engine, hosts: u8) {
    for number in 0..universe::HOSTS {
        if let Some(id) = engine.host_id(&universe::host_name(number)) {
            engine.set_watched(id, hosts & (1 << number) != 0);
        }
    }
}

/// Applies the same transactions to the three, and compares them after each. Gives back how many
/// bytes hosts were told in all.
fn compare(start: Vec<Operation>, steps: Vec<(Vec<Operation>, Whim)>) -> usize {
    let calm = Whim { restart: false, watched: 0, asked: false, predicted: false };
    let start = start.into_iter().map(|operation| (vec![operation], calm.clone()));
    let (mut plain, mut restarted, mut busy) = (Engine::new(), Engine::new(), Engine::new());
    let mut told = 0;
    for (number, (operations, whim)) in start.chain(steps).enumerate() {
        let transaction = Transaction { operations, expected_revision: None };
        let revision = number as u64 + 1;
        if whim.restart {
            restarted = Engine::import(restarted.export()).unwrap();
        }
        watch(&mut busy, whim.watched);
        if whim.asked {
            ask_everything(&busy);
        }
        if whim.predicted {
            let _ = busy.dry_run(&transaction);
        }
        let expected = plain.apply(&transaction, revision);
        let expected = expected.map(|changes| differences(&plain, &changes));
        let (expected_views, expected_state) = (projections(&plain), plain.export());
        told += expected_views.values().map(Vec::len).sum::<usize>();
        for (name, other) in [("restarted", &mut restarted), ("busy", &mut busy)] {
            let found = other.apply(&transaction, revision);
            let found = found.map(|changes| differences(other, &changes));
            assert_eq!(found, expected, "the {name} replica sends another difference");
            assert_eq!(projections(other), expected_views, "the {name} replica tells other views");
            assert_eq!(other.export(), expected_state, "the {name} replica has another state");
        }
    }
    told
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn replicas_tell_the_same_bytes(
        start in universe::any_start(),
        steps in vec((universe::any_operations(), any_whim()), 0..60),
    ) {
        compare(start, steps);
    }
}

/// The comparison above compares something.
#[test]
fn the_replicas_tell_something() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let start = universe::any_start().new_tree(&mut runner).unwrap().current();
    let steps = vec((universe::any_operations(), any_whim()), 60);
    let steps = steps.new_tree(&mut runner).unwrap().current();
    assert!(compare(start, steps) > 10_000);
}
