//! Histories: sequences of steps, each a transaction that is worked out when its turn comes.

use crate::moves::any_changes;
use crate::repair::repaired;
use crate::universe::{Change, any_address, any_protocol, any_put, count, edited, key, reference};
use proptest::collection::vec;
use proptest::prelude::*;
use spanwire_oracle::{Resources, State};
use spanwire_topology::engine::{Endpoint, PacketKind};
use spanwire_topology::model::*;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// A packet to ask the fate of.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    pub(crate) from: End,
    pub(crate) to: End,
    pub(crate) packet: PacketKind,
}

/// One end of a probe.
#[derive(Debug, Clone)]
pub(crate) enum End {
    /// A port by number, and which of its addresses, counted round; or none named.
    Port(u8, Option<u8>),
    Outside(IpAddr),
}

/// What the transaction expects of the state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Expectation {
    Nothing,
    StateAsItIs,
    StateAsItIsNot,
    ObjectAsItIs,
    ObjectAsItIsNot,
    /// Not an expectation, but in the same place: the first operation stands there twice.
    NamedTwice,
}

/// Steps, one after the other.
#[derive(Clone)]
pub(crate) struct History(pub(crate) Vec<Step>);

impl fmt::Debug for History {
    /// A failure shows the transactions that came of the steps, which is more to the point.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} steps, as above", self.0.len())
    }
}

/// One step of a history.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) changes: Vec<Change>,
    /// Leave out what would make the transaction invalid.
    pub(crate) careful: bool,
    pub(crate) expectation: Expectation,
    /// How many revisions are passed over.
    pub(crate) gap: u64,
    /// One of the engines is first written down and made anew from that.
    pub(crate) restart: bool,
    /// A host by number, and whether it is watched from now on.
    pub(crate) watch: Option<(u8, bool)>,
    pub(crate) probes: Vec<Probe>,
}

/// A network to begin with, and `steps` steps of up to `changes` changes each.
pub(crate) fn any_history(
    steps: std::ops::Range<usize>,
    changes: std::ops::Range<usize>,
) -> impl Strategy<Value = History> {
    (any_start(), vec(any_step(changes), steps)).prop_map(|(start, mut steps)| {
        steps.insert(0, start);
        History(steps)
    })
}

/// Most of the objects there can be.
fn any_start() -> impl Strategy<Value = Step> {
    let objects: Vec<_> = Kind::ALL
        .into_iter()
        .flat_map(|kind| (0..count(kind)).map(move |number| (kind, number)))
        .map(|(kind, number)| proptest::option::weighted(0.9, any_put(kind, number)))
        .collect();
    objects.prop_map(|changes| Step {
        changes: changes.into_iter().flatten().collect(),
        careful: true,
        expectation: Expectation::Nothing,
        gap: 0,
        restart: false,
        watch: None,
        probes: Vec::new(),
    })
}

fn any_step(changes: std::ops::Range<usize>) -> impl Strategy<Value = Step> {
    let expectation = prop_oneof![
        20 => Just(Expectation::Nothing),
        1 => Just(Expectation::StateAsItIs),
        1 => Just(Expectation::StateAsItIsNot),
        1 => Just(Expectation::ObjectAsItIs),
        1 => Just(Expectation::ObjectAsItIsNot),
        1 => Just(Expectation::NamedTwice),
    ];
    (
        vec(any_changes(), changes).prop_map(|changes| changes.concat()),
        prop::bool::weighted(0.8),
        expectation,
        prop_oneof![4 => Just(0), 1 => 1u64..3],
        prop::bool::weighted(0.15),
        proptest::option::of((0..count(Kind::Host), prop::bool::weighted(0.7))),
        vec(any_probe(), 0..12),
    )
        .prop_map(|(changes, careful, expectation, gap, restart, watch, probes)| Step {
            changes,
            careful,
            expectation,
            gap,
            restart,
            watch,
            probes,
        })
}

fn any_probe() -> impl Strategy<Value = Probe> {
    let end = || {
        prop_oneof![
            8 => (0..count(Kind::LogicalPort), proptest::option::weighted(0.8, 0u8..3))
                .prop_map(|(port, address)| End::Port(port, address)),
            1 => any_address().prop_map(End::Outside),
        ]
    };
    let packet = prop_oneof![
        2 => (any_protocol(), 0u16..4, 0u16..4).prop_map(|(protocol, source_port, port)| {
            PacketKind::Transport { protocol, source_port, port }
        }),
        1 => (0u8..3, 0u8..2)
            .prop_map(|(icmp_type, code)| PacketKind::Icmp { icmp_type, code }),
    ];
    (end(), end(), packet).prop_map(|(from, to, packet)| Probe { from, to, packet })
}

impl Step {
    /// The transaction of this step, in a given state.
    pub(crate) fn transaction(&self, state: &State) -> Transaction {
        let changes: Vec<&Change> = self.changes.iter().collect();
        let mut transaction = assemble(state, &changes, self.careful);
        if self.careful && state.apply(&transaction, state.revision + 1).is_err() {
            transaction = self.valid_part(state);
        }
        if self.gap > 0 {
            // The order of operations must not matter.
            transaction.operations.reverse();
        }
        self.add_expectation(state, &mut transaction);
        transaction
    }

    /// The changes that are valid together, taken one after the other.
    fn valid_part(&self, state: &State) -> Transaction {
        let mut kept: Vec<&Change> = Vec::new();
        for change in &self.changes {
            kept.push(change);
            if state.apply(&assemble(state, &kept, true), state.revision + 1).is_err() {
                kept.pop();
            }
        }
        assemble(state, &kept, true)
    }

    fn add_expectation(&self, state: &State, transaction: &mut Transaction) {
        let revision_of = |key: &ObjectKey| state.objects.get(key).map_or(0, |o| o.revision);
        let wrong = match self.expectation {
            Expectation::Nothing => return,
            Expectation::StateAsItIs | Expectation::StateAsItIsNot => {
                let off = u64::from(self.expectation == Expectation::StateAsItIsNot);
                transaction.expected_revision = Some(state.revision + off);
                return;
            }
            Expectation::NamedTwice => {
                let first = transaction.operations.first().cloned();
                transaction.operations.extend(first);
                return;
            }
            Expectation::ObjectAsItIs => 0,
            Expectation::ObjectAsItIsNot => 1,
        };
        match transaction.operations.first_mut() {
            Some(Operation::Put { resource, expected_revision }) => {
                *expected_revision = Some(revision_of(&resource.key()) + wrong);
            }
            Some(Operation::Delete { key, expected_revision, .. }) => {
                *expected_revision = Some(revision_of(key) + wrong);
            }
            None => {}
        }
    }
}

/// A transaction of changes, of which the last to name an object counts. If it is a careful
/// one, references are made to fit.
fn assemble(state: &State, changes: &[&Change], careful: bool) -> Transaction {
    let mut now: Resources = state.resources();
    // What is to come can be referred to already.
    for change in changes {
        if let Change::Put { kind, number, labels, spec } = change {
            let resource = resource(*kind, *number, labels, spec);
            now.entry(resource.key()).or_insert(resource);
        }
    }
    let mut operations: BTreeMap<ObjectKey, Operation> = BTreeMap::new();
    for change in changes {
        let operation = match change {
            Change::Put { kind, number, labels, spec } => {
                put(resource(*kind, *number, labels, spec))
            }
            Change::Edit { kind, number, edit } => match now.get(&key(*kind, *number)) {
                Some(resource) => put(edited(resource, edit)),
                None => continue,
            },
            Change::Delete { kind, number, cascade } => Operation::Delete {
                key: key(*kind, *number),
                cascade: *cascade,
                expected_revision: None,
            },
        };
        match &operation {
            Operation::Put { resource, .. } if careful => {
                let resource = repaired(resource.clone(), &now);
                now.insert(resource.key(), resource.clone());
                operations.insert(resource.key(), put(resource));
            }
            Operation::Put { resource, .. } => {
                now.insert(resource.key(), resource.clone());
                operations.insert(resource.key(), operation);
            }
            Operation::Delete { key, .. } => {
                now.remove(key);
                operations.insert(key.clone(), operation);
            }
        }
    }
    Transaction { operations: operations.into_values().collect(), expected_revision: None }
}

fn resource(kind: Kind, number: u8, labels: &Arc<Labels>, spec: &Arc<Spec>) -> Resource {
    let ObjectRef { project, name } = reference(kind, number);
    let metadata = Metadata { project, name, labels: labels.clone() };
    Resource { metadata, spec: spec.clone() }
}

fn put(resource: Resource) -> Operation {
    Operation::Put { resource, expected_revision: None }
}

impl Probe {
    /// The two ends, as far as the ports have addresses to name.
    pub(crate) fn endpoints(&self, resources: &Resources) -> (Endpoint, Endpoint) {
        (endpoint(&self.from, resources), endpoint(&self.to, resources))
    }
}

fn endpoint(end: &End, resources: &Resources) -> Endpoint {
    match end {
        End::Outside(address) => Endpoint::Outside(*address),
        End::Port(number, which) => {
            let key = key(Kind::LogicalPort, *number);
            let addresses = match resources.get(&key).map(|resource| &*resource.spec) {
                Some(Spec::LogicalPort(port)) => port.addresses.to_vec(),
                _ => Vec::new(),
            };
            let address = which
                .filter(|_| !addresses.is_empty())
                .map(|which| addresses[usize::from(which) % addresses.len()]);
            Endpoint::Port(key, address)
        }
    }
}
