//! Answers to questions: host views and explanations.

use super::fields::{from_all, from_key};
use super::policy::{from_action, from_default, from_direction};
use super::service::from_entry;
use crate::wire;
use spanwire_topology::engine::{ExplainStep, Explanation};
use spanwire_topology::model::{
    DefaultActions, Kind, ObjectKey, PortAttachment, Revision, Uid, Vni,
};
use spanwire_topology::view::{
    DomainItem, HostView, Item, ItemKey, Locator, PeerItem, PolicyItem, PortItem, RuleItem,
    VersionedItem,
};
use std::collections::{BTreeMap, BTreeSet};

/// A host view as a message. `key_of` finds the key of an object by its uid; if it finds none, the
/// answer names the object `uid-N`.
pub fn from_host_view(
    view: &HostView,
    key_of: impl Fn(Uid) -> Option<ObjectKey>,
) -> wire::HostViewResponse {
    let HostView { revision, items } = view;
    let mut response = wire::HostViewResponse { revision: *revision, ..Default::default() };
    let policies_by_group = policies_by_group(view);
    let keys = Keys { key_of: &key_of, policies_by_group: &policies_by_group };
    for (key, VersionedItem { version, item }) in items {
        push_item(&mut response, *key, item, *version, keys);
    }
    response
}

/// An explanation as a message, at the revision of the state that was asked.
pub fn from_explanation(explanation: &Explanation, revision: Revision) -> wire::ExplainResponse {
    let Explanation { has_member, steps } = explanation;
    let steps = steps
        .iter()
        .map(|ExplainStep { condition, holds, finding, objects, depth }| wire::ExplainStep {
            condition: condition.clone(),
            holds: *holds,
            finding: finding.clone(),
            objects: objects.iter().map(from_key).collect(),
            depth: *depth,
        })
        .collect();
    wire::ExplainResponse { has_member: *has_member, steps, revision }
}

/// The policies of a view by the groups that they are applied to.
fn policies_by_group(view: &HostView) -> BTreeMap<Uid, Vec<Uid>> {
    let mut policies: BTreeMap<Uid, Vec<Uid>> = BTreeMap::new();
    for (key, VersionedItem { item, .. }) in &view.items {
        if let (ItemKey::Policy(uid), Item::Policy(policy)) = (key, &**item) {
            for group in &policy.applied_to {
                policies.entry(*group).or_default().push(*uid);
            }
        }
    }
    policies
}

/// From uids to keys.
#[derive(Clone, Copy)]
struct Keys<'a> {
    key_of: &'a dyn Fn(Uid) -> Option<ObjectKey>,
    policies_by_group: &'a BTreeMap<Uid, Vec<Uid>>,
}

impl Keys<'_> {
    fn get(self, kind: Kind, uid: Uid) -> wire::ObjectKey {
        match (self.key_of)(uid) {
            Some(key) => from_key(&key),
            None => wire::ObjectKey {
                kind: kind.as_str().to_owned(),
                project: String::new(),
                name: format!("uid-{uid}"),
            },
        }
    }
}

/// Adds an item to the list of its type. The identity comes from the key, the rest from the item;
/// the engine keeps their types equal, and an item of another type than its key's says nothing.
fn push_item(
    response: &mut wire::HostViewResponse,
    key: ItemKey,
    item: &Item,
    version: Revision,
    keys: Keys<'_>,
) {
    match (key, item) {
        (ItemKey::Domain(vni), Item::Domain(domain)) => {
            response.domains.push(from_domain(vni, domain, version));
        }
        (ItemKey::Port(_), Item::Port(port)) => {
            response.ports.push(from_port_item(port, version, keys));
        }
        (ItemKey::Policy(_), Item::Policy(policy)) => {
            response.policies.push(from_policy_item(policy, version, keys));
        }
        (ItemKey::Shard { group, domain }, Item::Shard(addresses)) => {
            response.shards.push(wire::ViewShard {
                group: Some(keys.get(Kind::Group, group)),
                domain: domain.0,
                addresses: from_all(addresses),
                version,
            });
        }
        (ItemKey::Blocks(group), Item::Blocks(blocks)) => {
            response.blocks.push(wire::ViewBlocks {
                group: Some(keys.get(Kind::Group, group)),
                cidrs: from_all(blocks),
                version,
            });
        }
        (ItemKey::Locators(domain), Item::Locators(locators)) => {
            response.locators.push(wire::ViewLocators {
                domain: domain.0,
                locators: locators.iter().map(from_locator).collect(),
                version,
            });
        }
        _ => {}
    }
}

fn from_vnis(vnis: &[Vni]) -> Vec<u32> {
    vnis.iter().map(|Vni(vni)| *vni).collect()
}

fn from_domain(Vni(vni): Vni, item: &DomainItem, version: Revision) -> wire::ViewDomain {
    let DomainItem { sees, reaches, spoofable } = item;
    wire::ViewDomain {
        vni,
        sees: from_vnis(sees),
        reaches: from_vnis(reaches),
        spoofable: *spoofable,
        version,
    }
}

fn from_port_item(item: &PortItem, version: Revision, keys: Keys<'_>) -> wire::ViewPort {
    let PortItem {
        project,
        name,
        domain: Vni(domain),
        mac,
        addresses,
        attachment,
        port_security,
        groups,
    } = item;
    let policies: BTreeSet<Uid> = groups
        .iter()
        .filter_map(|group| keys.policies_by_group.get(group))
        .flatten()
        .copied()
        .collect();

    let key = ObjectKey::new(Kind::LogicalPort, project.clone(), name.clone());
    let (interface, host_stack) = match attachment {
        PortAttachment::Derived => (String::new(), false),
        PortAttachment::Interface(name) => (name.to_string(), false),
        PortAttachment::HostStack => (String::new(), true),
    };
    wire::ViewPort {
        key: Some(from_key(&key)),
        domain: *domain,
        mac: mac.to_string(),
        addresses: from_all(addresses),
        port_security: *port_security,
        policies: policies.iter().map(|uid| keys.get(Kind::SecurityPolicy, *uid)).collect(),
        version,
        interface,
        host_stack,
    }
}

fn from_policy_item(item: &PolicyItem, version: Revision, keys: Keys<'_>) -> wire::ViewPolicy {
    // Which groups it is applied to shows in the policies of the ports.
    let PolicyItem { project, name, applied_to: _, tier, priority, defaults, rules } = item;
    let DefaultActions { inbound, outbound } = defaults;
    let key = ObjectKey::new(Kind::SecurityPolicy, project.clone(), name.clone());
    wire::ViewPolicy {
        key: Some(from_key(&key)),
        tier: (*tier).into(),
        priority: *priority,
        default_in: from_default(*inbound),
        default_out: from_default(*outbound),
        rules: rules.iter().map(|rule| from_rule_item(rule, keys)).collect(),
        version,
    }
}

fn from_rule_item(item: &RuleItem, keys: Keys<'_>) -> wire::ViewRule {
    let RuleItem { name, direction, peers, services, action, log } = item;
    wire::ViewRule {
        name: name.as_deref().unwrap_or_default().to_owned(),
        direction: from_direction(*direction).into(),
        any_peer: peers.is_none(),
        peers: peers
            .iter()
            .flatten()
            .map(|PeerItem { group, negate }| wire::ViewPeer {
                group: Some(keys.get(Kind::Group, *group)),
                negate: *negate,
            })
            .collect(),
        any_service: services.is_none(),
        services: services.iter().flatten().map(from_entry).collect(),
        action: from_action(*action).into(),
        log: *log,
    }
}

fn from_locator(locator: Locator) -> wire::ViewLocator {
    let Locator { address, mac, vtep } = locator;
    wire::ViewLocator { address: address.to_string(), mac: mac.to_string(), vtep: vtep.to_string() }
}
