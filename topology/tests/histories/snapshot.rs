//! What can be seen of an engine from outside, before and after a transaction.

use crate::support::{Check, check_same, check_same_table, fail};
use proptest::test_runner::TestCaseError;
use spanwire_oracle::{CanonicalKey, Network, State};
use spanwire_topology::engine::{
    Changes, DomainSummary, HostId, ItemChange, ItemChangeKind, Object, ObjectChange, Outcome,
};
use spanwire_topology::model::*;
use spanwire_topology::view::{HostView, ItemKey, VersionedItem};
use spanwire_topology::{Engine, Kind};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that can be seen of an engine from outside.
#[derive(Debug, PartialEq)]
pub(crate) struct Snapshot {
    pub(crate) revision: Revision,
    pub(crate) objects: BTreeMap<ObjectKey, Object>,
    pub(crate) hosts: BTreeMap<Text, HostView>,
    /// All items, whether a host has them or not.
    pub(crate) items: BTreeMap<ItemKey, VersionedItem>,
    pub(crate) domains: Vec<DomainSummary>,
}

impl Snapshot {
    pub(crate) fn of(engine: &Engine) -> Snapshot {
        let objects: BTreeMap<ObjectKey, Object> = Kind::ALL
            .into_iter()
            .flat_map(|kind| engine.list(kind, None, None))
            .map(|object| (object.resource.key(), object.clone()))
            .collect();
        let hosts = objects
            .keys()
            .filter(|key| key.kind == Kind::Host)
            .filter_map(|key| Some((key.name.clone(), engine.host_id(&key.name)?)))
            .map(|(name, id)| (name, engine.host_view(id)))
            .collect();
        let domains = engine.domains();
        let items = possible_keys(&objects, &domains)
            .into_iter()
            .filter_map(|key| Some((key, engine.item(key)?)))
            .collect();
        Snapshot { revision: engine.revision(), objects, hosts, items, domains }
    }

    pub(crate) fn check_same_as(&self, before: &Snapshot) -> Check {
        check_same("the revision", &self.revision, &before.revision)?;
        check_same_table("the objects", &self.objects, &before.objects)?;
        check_same("the domains", &self.domains, &before.domains)?;
        check_same_table("the items", &self.items, &before.items)?;
        check_same_table("the hosts", &self.hosts, &before.hosts)
    }
}

/// The keys of every item that could exist.
fn possible_keys(objects: &BTreeMap<ObjectKey, Object>, domains: &[DomainSummary]) -> Vec<ItemKey> {
    let mut keys = Vec::new();
    for domain in domains {
        keys.extend([ItemKey::Domain(domain.vni), ItemKey::Locators(domain.vni)]);
    }
    for (key, object) in objects {
        match key.kind {
            Kind::LogicalPort => keys.push(ItemKey::Port(object.uid)),
            Kind::SecurityPolicy => keys.push(ItemKey::Policy(object.uid)),
            Kind::Group => {
                keys.push(ItemKey::Blocks(object.uid));
                keys.extend(
                    domains.iter().map(|d| ItemKey::Shard { group: object.uid, domain: d.vni }),
                );
            }
            _ => {}
        }
    }
    keys
}

/// The objects are those of the model, and the changes name just what happened to them.
pub(crate) fn check_objects(
    after: &Snapshot,
    state: &State,
    changes: &Changes,
    outcomes: &BTreeMap<ObjectKey, Outcome>,
) -> Check {
    let found: BTreeMap<ObjectKey, (Revision, Revision, &Resource)> = after
        .objects
        .iter()
        .map(|(key, o)| (key.clone(), (o.created_revision, o.revision, &o.resource)))
        .collect();
    let expected = state
        .objects
        .iter()
        .map(|(key, s)| (key.clone(), (s.created_revision, s.revision, &s.resource)))
        .collect();
    check_same_table("the objects", &found, &expected)?;
    check_same("the revision", &after.revision, &state.revision)?;
    check_same("the revision of the changes", &changes.revision, &state.revision)?;
    let keys: Vec<ObjectKey> =
        changes.objects.iter().map(|change| change.object.resource.key()).collect();
    if keys.iter().collect::<BTreeSet<_>>().len() < keys.len() {
        return fail(format!("changed objects are not unique: {keys:?}"));
    }
    for change in &changes.objects {
        let key = change.object.resource.key();
        if change.outcome != Outcome::Deleted {
            check_same(&format!("{key}"), &Some(&change.object), &after.objects.get(&key))?;
        }
    }
    let found = keys.into_iter().zip(changes.objects.iter().map(|c| c.outcome)).collect();
    check_same_table("outcomes", &found, outcomes)
}

/// The changes name just the items that differ, with the right versions.
pub(crate) fn check_items(before: &Snapshot, after: &Snapshot, changes: &Changes) -> Check {
    let mut expected: BTreeMap<ItemKey, (Revision, &str)> = BTreeMap::new();
    for (key, old) in &before.items {
        match after.items.get(key) {
            None => {
                expected.insert(*key, (old.version, "removed"));
            }
            Some(new) if new.item == old.item => {
                check_same(&format!("version of unchanged {key}"), &new.version, &old.version)?;
            }
            Some(new) => {
                check_same(&format!("version of changed {key}"), &new.version, &after.revision)?;
                expected.insert(*key, (old.version, "changed"));
            }
        }
    }
    for (key, new) in &after.items {
        if !before.items.contains_key(key) {
            check_same(&format!("version of new {key}"), &new.version, &after.revision)?;
            expected.insert(*key, (0, "created"));
        }
    }
    let found: BTreeMap<ItemKey, (Revision, &str)> = changes
        .items
        .iter()
        .map(|change| {
            let kind = match &change.kind {
                ItemChangeKind::Created => "created",
                ItemChangeKind::Removed => "removed",
                ItemChangeKind::Replaced | ItemChangeKind::Delta(_) => "changed",
            };
            (change.key, (change.previous_version, kind))
        })
        .collect();
    if !changes.items.windows(2).all(|pair| pair[0].key < pair[1].key) {
        return fail(format!("changed items are not sorted, or not unique: {:?}", changes.items));
    }
    check_same_table("changed items", &found, &expected)
}

/// Changes with hosts by name: replicas need not number them alike.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NamedChanges {
    pub(crate) revision: Revision,
    pub(crate) objects: Vec<ObjectChange>,
    pub(crate) items: Vec<ItemChange>,
    /// What hosts gained and lost.
    pub(crate) hosts: BTreeMap<Text, (Vec<ItemKey>, Vec<ItemKey>)>,
    pub(crate) hosts_deleted: Vec<Text>,
}

impl NamedChanges {
    /// `names` has those from before the transaction.
    pub(crate) fn of(
        changes: &Changes,
        names: &BTreeMap<HostId, Text>,
    ) -> Result<NamedChanges, TestCaseError> {
        let mut hosts = BTreeMap::new();
        for change in &changes.hosts {
            let Some(name) = names.get(&change.host) else {
                return fail(format!("{:?} is reported and was not there before", change.host));
            };
            hosts.insert(name.clone(), (change.gained.clone(), change.lost.clone()));
        }
        let mut hosts_deleted: Vec<Text> =
            changes.hosts_deleted.iter().map(|(_, name)| name.clone()).collect();
        hosts_deleted.sort();
        Ok(NamedChanges {
            revision: changes.revision,
            objects: changes.objects.clone(),
            items: changes.items.clone(),
            hosts,
            hosts_deleted,
        })
    }
}

/// A dry run says what the transaction does, for every host that stays.
pub(crate) fn check_prediction(
    mut predicted: NamedChanges,
    actual: &NamedChanges,
    before: &Snapshot,
) -> Check {
    let next = before.revision + 1;
    check_same("the revision of the dry run", &predicted.revision, &next)?;
    predicted.revision = actual.revision;
    for change in &mut predicted.objects {
        for stamp in [&mut change.object.created_revision, &mut change.object.revision] {
            if *stamp == next {
                *stamp = actual.revision;
            }
        }
    }
    let mut actual = actual.clone();
    for changes in [&mut predicted, &mut actual] {
        let deleted = changes.hosts_deleted.clone();
        changes.hosts.retain(|name, _| !deleted.contains(name));
    }
    check_same("objects of the dry run", &predicted.objects, &actual.objects)?;
    check_same("items of the dry run", &predicted.items, &actual.items)?;
    check_same_table("hosts of the dry run", &predicted.hosts, &actual.hosts)?;
    check_same("deleted by the dry run", &predicted.hosts_deleted, &actual.hosts_deleted)
}

pub(crate) fn check_domains(after: &Snapshot, network: &Network<'_>) -> Check {
    if !after.domains.windows(2).all(|pair| pair[0].vni < pair[1].vni) {
        return fail(format!("domains are not sorted: {:?}", after.domains));
    }
    let found: BTreeMap<CanonicalKey, u64> = after
        .domains
        .iter()
        .map(|domain| {
            (CanonicalKey::Domain(domain.switches.iter().cloned().collect()), domain.ports)
        })
        .collect();
    let expected = network
        .domain_sizes()
        .into_iter()
        .map(|(name, ports)| (CanonicalKey::Domain(name), ports))
        .collect();
    check_same_table("domains", &found, &expected)
}
