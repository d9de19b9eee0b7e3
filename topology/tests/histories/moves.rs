//! Changes that belong together in one transaction, as a person would make them.

use crate::universe::{Change, Edit, any_change, count, port_edits, reference};
use proptest::prelude::*;
use spanwire_topology::Kind;

/// One change, or several that belong together.
pub(crate) fn any_changes() -> impl Strategy<Value = Vec<Change>> {
    prop_oneof![
        36 => any_change().prop_map(|change| vec![change]),
        1 => switch_to_another_router(),
        1 => whole_port(),
        // Most hosts exist most of the time, so few that take another name have one to take.
        3 => host_renamed(),
        1 => host_removed(),
    ]
}

fn edit(kind: Kind, number: u8, edit: Edit) -> Change {
    Change::Edit { kind, number, edit }
}

/// A switch leaves one router and joins another, if it is on just one of the two.
fn switch_to_another_router() -> impl Strategy<Value = Vec<Change>> {
    let routers = count(Kind::LogicalRouter);
    (0..count(Kind::LogicalSwitch), 0..routers, 1..routers).prop_map(move |(switch, one, step)| {
        let toggle = |router| {
            let switch = reference(Kind::LogicalSwitch, switch);
            edit(Kind::LogicalRouter, router % routers, Edit::ToggleInterface(switch))
        };
        vec![toggle(one), toggle(one + step)]
    })
}

/// A port gets other labels and addresses, and goes to another switch and host.
fn whole_port() -> impl Strategy<Value = Vec<Change>> {
    (0..count(Kind::LogicalPort)).prop_flat_map(|number| {
        port_edits(number).prop_map(move |edits| {
            edits.into_iter().map(|e| edit(Kind::LogicalPort, number, e)).collect()
        })
    })
}

/// A host goes, and its ports are on one that takes its place.
fn host_renamed() -> impl Strategy<Value = Vec<Change>> {
    let hosts = count(Kind::Host);
    let new = (0..hosts).prop_flat_map(|number| crate::universe::any_put(Kind::Host, number));
    (0..hosts, new).prop_map(move |(old, put)| {
        let Change::Put { number: new, .. } = &put else { return vec![put] };
        if *new == old {
            return vec![put];
        }
        let name = |number| reference(Kind::Host, number).name;
        let rebind = Edit::Rebind { from: name(old), to: name(*new) };
        let ports = 0..count(Kind::LogicalPort);
        let mut changes = vec![put.clone()];
        changes.extend(ports.map(|port| edit(Kind::LogicalPort, port, rebind.clone())));
        changes.push(Change::Delete { kind: Kind::Host, number: old, cascade: false });
        changes
    })
}

/// A host goes with the ports on it.
fn host_removed() -> impl Strategy<Value = Vec<Change>> {
    (0..count(Kind::Host))
        .prop_map(|number| vec![Change::Delete { kind: Kind::Host, number, cascade: true }])
}
