//! An engine beside the oracle, and everything that must hold after each step.

use crate::replay::Mirror;
use crate::script::{Probe, Step};
use crate::support::{Check, about, check_same, check_same_table, describe, fail};
use crate::universe::reference;
use spanwire_oracle::{
    CanonicalKey, CanonicalView, Network, Resources, State, engine_view_canonical,
};
use spanwire_topology::engine::{
    Changes, DomainSummary, HostId, ItemChangeKind, Object, Outcome, QueryError, Refusal, Verdict,
};
use spanwire_topology::model::*;
use spanwire_topology::view::{HostView, ItemKey, VersionedItem};
use spanwire_topology::{Engine, Kind};
use std::collections::{BTreeMap, BTreeSet};

/// Engines that are fed the same transactions, and what they must come to.
#[derive(Default)]
pub(crate) struct Harness {
    /// Some of its hosts are watched.
    engine: Engine,
    /// All of its hosts are watched.
    twin: Engine,
    mirrors: BTreeMap<HostId, Mirror>,
    twin_mirrors: BTreeMap<HostId, Mirror>,
    state: State,
    history: Vec<Transaction>,
    /// Who has had each uid.
    uids: BTreeMap<Uid, (ObjectKey, Revision)>,
    /// The domains of the last step, and identities that are gone.
    live_vnis: BTreeSet<Vni>,
    dead_vnis: BTreeSet<Vni>,
    /// How many transactions were applied, and how many refused.
    pub(crate) applied: u64,
    pub(crate) refused: u64,
}

/// Everything that can be seen of an engine from outside.
#[derive(Debug, PartialEq)]
struct Snapshot {
    revision: Revision,
    objects: BTreeMap<ObjectKey, Object>,
    hosts: BTreeMap<HostId, (Text, HostView)>,
    /// All items, whether a host has them or not.
    items: BTreeMap<ItemKey, VersionedItem>,
    domains: Vec<DomainSummary>,
}

impl Snapshot {
    fn of(engine: &Engine) -> Snapshot {
        let objects: BTreeMap<ObjectKey, Object> = Kind::ALL
            .into_iter()
            .flat_map(|kind| engine.list(kind, None, None))
            .map(|object| (object.resource.key(), object.clone()))
            .collect();
        let hosts = objects
            .keys()
            .filter(|key| key.kind == Kind::Host)
            .filter_map(|key| Some((engine.host_id(&key.name)?, key.name.clone())))
            .map(|(id, name)| (id, (name, engine.host_view(id))))
            .collect();
        let domains = engine.domains();
        let items = possible_keys(&objects, &domains)
            .into_iter()
            .filter_map(|key| Some((key, engine.item(key)?)))
            .collect();
        Snapshot { revision: engine.revision(), objects, hosts, items, domains }
    }

    fn check_same_as(&self, before: &Snapshot) -> Check {
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

impl Harness {
    /// Takes a step on all sides and checks everything.
    pub(crate) fn take(&mut self, number: usize, step: &Step) -> Check {
        self.history.push(step.transaction(&self.state));
        let check = self.transact(&step.transaction(&self.state), step);
        about(check, || {
            let lines = self.history.iter().enumerate();
            let lines = lines.map(|(n, done)| format!("  transaction {n}:\n{}", describe(done)));
            format!("at step {number} of\n{}", lines.collect::<String>())
        })
    }

    fn transact(&mut self, transaction: &Transaction, step: &Step) -> Check {
        let revision = self.state.revision + 1 + step.gap;
        self.watch(step.watch);
        let before = Snapshot::of(&self.engine);
        let predicted = self.engine.dry_run(transaction);
        about(Snapshot::of(&self.engine).check_same_as(&before), || "after the dry run".into())?;

        let result = self.engine.apply(transaction, revision);
        let twin_result = self.twin.apply(transaction, revision);
        let after = Snapshot::of(&self.engine);
        match (result, twin_result) {
            (Ok(changes), Ok(twin_changes)) => {
                self.applied += 1;
                let expected = self.state.apply(transaction, revision);
                let (state, outcomes) = match expected {
                    Ok(expected) => expected,
                    Err(reasons) => return fail(format!("applied in spite of {reasons:?}")),
                };
                self.state = state;
                check_objects(&after, &self.state, &changes, &outcomes)?;
                check_items(&before, &after, &changes)?;
                self.check_watched(&before, &changes)?;
                check_prediction(predicted, &twin_changes, &before, revision)?;
                self.check_twin(&changes, &twin_changes)?;
                self.follow(&changes, &twin_changes)?;
            }
            (Err(refusal), Err(twin_refusal)) => {
                self.refused += 1;
                check_same("the twin's refusal", &twin_refusal, &refusal)?;
                check_same("the predicted refusal", &predicted, &Err(refusal.clone()))?;
                if !self.state.justifies(transaction, &refusal) {
                    let reasons = self.state.apply(transaction, revision).err();
                    return fail(format!("refused without reason: {refusal}; found {reasons:?}"));
                }
                about(after.check_same_as(&before), || format!("refused: {refusal}"))?;
            }
            (one, other) => return fail(format!("one says {one:?}, the twin says {other:?}")),
        }
        let resources = self.state.resources();
        let network = Network::new(&resources);
        self.check_identities(&after)?;
        self.check_views(&after, &network)?;
        check_domains(&after, &network)?;
        self.check_subscribers(&before, &after)?;
        self.check_lookups(&resources)?;
        self.check_rebuilt(&resources)?;
        for probe in &step.probes {
            self.check_probe(probe, &resources, &network)?;
        }
        Ok(())
    }

    fn watch(&mut self, watch: Option<(u8, bool)>) {
        let Some((number, watched)) = watch else { return };
        let Some(id) = self.engine.host_id(&reference(Kind::Host, number).name) else { return };
        self.engine.set_watched(id, watched);
        if watched {
            self.mirrors.insert(id, Mirror::of(&self.engine, id));
        } else {
            self.mirrors.remove(&id);
        }
    }

    /// Brings the copies up to date by the changes alone, and compares them with the views.
    fn follow(&mut self, changes: &Changes, twin_changes: &Changes) -> Check {
        for (engine, mirrors, changes) in [
            (&self.engine, &mut self.mirrors, changes),
            (&self.twin, &mut self.twin_mirrors, twin_changes),
        ] {
            for (host, _) in &changes.hosts_deleted {
                mirrors.remove(host);
            }
            for (host, mirror) in mirrors {
                about(mirror.follow(engine, *host, changes), || format!("copy of {host:?}"))?;
                let view = engine.host_view(*host).items;
                check_same_table(&format!("copy of {host:?}"), &mirror.items, &view)?;
            }
        }
        for object in self.twin.list(Kind::Host, None, None).cloned().collect::<Vec<_>>() {
            let Some(id) = self.twin.host_id(&object.resource.metadata.name) else { continue };
            if !self.twin_mirrors.contains_key(&id) {
                self.twin.set_watched(id, true);
                self.twin_mirrors.insert(id, Mirror::of(&self.twin, id));
            }
        }
        Ok(())
    }

    /// Only watched hosts are reported, and all deleted ones.
    fn check_watched(&self, before: &Snapshot, changes: &Changes) -> Check {
        let mut reported = BTreeSet::new();
        for change in &changes.hosts {
            reported.insert(change.host);
            if !self.mirrors.contains_key(&change.host) {
                return fail(format!("{:?} is not watched, and reported", change.host));
            }
            if change.gained.is_empty() && change.lost.is_empty() {
                return fail(format!("{:?} is reported with nothing", change.host));
            }
            for list in [&change.gained, &change.lost] {
                if !list.windows(2).all(|pair| pair[0] < pair[1]) {
                    return fail(format!("not sorted, or not unique: {list:?}"));
                }
            }
        }
        let sorted: Vec<HostId> = changes.hosts.iter().map(|change| change.host).collect();
        check_same("the order of hosts", &sorted, &reported.into_iter().collect())?;
        let gone = |outcome| outcome == Outcome::Deleted;
        let deleted: BTreeSet<Text> = changes
            .objects
            .iter()
            .filter(|change| gone(change.outcome))
            .map(|change| change.object.resource.key())
            .filter(|key| key.kind == Kind::Host)
            .map(|key| key.name)
            .collect();
        let expected: BTreeMap<HostId, Text> = before
            .hosts
            .iter()
            .filter(|(_, (name, _))| deleted.contains(name))
            .map(|(id, (name, _))| (*id, name.clone()))
            .collect();
        let found = changes.hosts_deleted.iter().cloned().collect();
        check_same_table("hosts that were deleted", &found, &expected)
    }

    /// Two engines fed the same transactions are the same, whoever is watched.
    fn check_twin(&self, changes: &Changes, twin_changes: &Changes) -> Check {
        let without_hosts = |changes: &Changes| Changes { hosts: Vec::new(), ..changes.clone() };
        check_same("the twin's changes", &without_hosts(twin_changes), &without_hosts(changes))?;
        about(Snapshot::of(&self.twin).check_same_as(&Snapshot::of(&self.engine)), || {
            "the twin".into()
        })
    }

    /// An identity is never given to another.
    fn check_identities(&mut self, after: &Snapshot) -> Check {
        for (key, object) in &after.objects {
            let now = (key.clone(), object.created_revision);
            let owner = self.uids.entry(object.uid).or_insert_with(|| now.clone()).clone();
            check_same(&format!("owner of uid {}", object.uid), &now, &owner)?;
            check_same("key_of", &self.engine.key_of(object.uid), &Some(key.clone()))?;
        }
        let vnis: BTreeSet<Vni> = after.domains.iter().map(|domain| domain.vni).collect();
        // A component of routers keeps its identity, and shows it again with its next switch.
        self.dead_vnis.extend(self.live_vnis.difference(&vnis));
        let reused = vnis
            .iter()
            .find(|vni| self.dead_vnis.contains(vni) && !self.state.objects.keys().any(is_router));
        if let Some(vni) = reused {
            return fail(format!("VNI {vni} is used again"));
        }
        self.live_vnis = vnis;
        Ok(())
    }

    /// G1, G2, G3 and G6: every host has what the oracle says, no more and no less.
    fn check_views(&self, after: &Snapshot, network: &Network<'_>) -> Check {
        for (id, (name, view)) in &after.hosts {
            let found = match engine_view_canonical(&self.engine, *id) {
                Ok(found) => found,
                Err(error) => return fail(format!("view of {name}: {error}")),
            };
            check_same_table(&format!("view of {name}"), &found, &network.host_view(name))?;
            check_same("host_name", &self.engine.host_name(*id), &Some(&**name))?;
            check_same("revision of the view", &view.revision, &after.revision)?;
            let versions: Vec<(ItemKey, Revision)> =
                view.items.iter().map(|(key, item)| (*key, item.version)).collect();
            check_same("host_items", &self.engine.host_items(*id), &versions)?;
            // An item is the same for every host that has it.
            for (key, item) in &view.items {
                check_same(&format!("{key} of {name}"), &Some(item), &after.items.get(key))?;
            }
        }
        Ok(())
    }

    fn check_subscribers(&self, before: &Snapshot, after: &Snapshot) -> Check {
        // Also those that were there before: nobody has them now.
        let keys: BTreeSet<&ItemKey> = before.items.keys().chain(after.items.keys()).collect();
        for key in keys {
            let expected: Vec<HostId> = after
                .hosts
                .iter()
                .filter(|(_, (_, view))| view.items.contains_key(key))
                .map(|(id, _)| *id)
                .collect();
            check_same(
                &format!("subscribers of {key}"),
                &self.engine.subscribers(*key),
                &expected,
            )?;
            for id in after.hosts.keys() {
                let has = self.engine.has_item(*id, *key);
                check_same(&format!("has_item({id:?}, {key})"), &has, &expected.contains(id))?;
            }
        }
        Ok(())
    }

    fn check_lookups(&self, resources: &Resources) -> Check {
        let mut by_address: BTreeMap<_, Vec<ObjectKey>> = BTreeMap::new();
        for (key, resource) in resources {
            let users: Vec<ObjectKey> = resources
                .iter()
                .filter(|(_, user)| user.spec.references().contains(key))
                .map(|(user, _)| user.clone())
                .collect();
            check_same(&format!("users of {key}"), &self.engine.users(key), &users)?;
            if let Spec::LogicalPort(port) = &*resource.spec {
                for address in &port.addresses {
                    by_address.entry(*address).or_default().push(key.clone());
                }
            }
        }
        for (address, ports) in by_address {
            let found = self.engine.ports_with_address(address);
            check_same(&format!("ports with address {address}"), &found, &ports)?;
        }
        Ok(())
    }

    /// Incremental equals rebuilt.
    fn check_rebuilt(&self, resources: &Resources) -> Check {
        let mut rebuilt = Engine::new();
        if let Err(refusal) = rebuilt.apply(&Transaction::put(resources.values().cloned()), 1) {
            return fail(format!("cannot be rebuilt: {refusal}"));
        }
        let views = |engine: &Engine| -> BTreeMap<Text, CanonicalView> {
            engine
                .list(Kind::Host, None, None)
                .map(|host| host.resource.metadata.name.clone())
                .filter_map(|name| {
                    let id = engine.host_id(&name)?;
                    Some((name, engine_view_canonical(engine, id).unwrap_or_default()))
                })
                .collect()
        };
        check_same_table("rebuilt", &views(&rebuilt), &views(&self.engine))
    }

    fn check_probe(&self, probe: &Probe, resources: &Resources, network: &Network<'_>) -> Check {
        let (from, to) = probe.endpoints(resources);
        let found = self.engine.verdict(&from, &to, probe.packet).map(plain);
        let expected = network.verdict(&from, &to, probe.packet).map(plain);
        let same = match (&found, &expected) {
            (Err(QueryError::Addresses(_)), Err(QueryError::Addresses(_))) => true,
            (found, expected) => found == expected,
        };
        if same {
            return Ok(());
        }
        fail(format!(
            "verdict from {from:?} to {to:?}, {:?}\n     found {found:?}\n  expected {expected:?}",
            probe.packet
        ))
    }
}

fn is_router(key: &ObjectKey) -> bool {
    key.kind == Kind::LogicalRouter
}

/// A verdict without the wording of its reason.
fn plain(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Unreachable { .. } => Verdict::Unreachable { reason: String::new() },
        verdict => verdict,
    }
}

/// The objects are those of the model, and the changes name just what happened to them.
fn check_objects(
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
    if !keys.windows(2).all(|pair| pair[0] < pair[1]) {
        return fail(format!("changed objects are not sorted, or not unique: {keys:?}"));
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
fn check_items(before: &Snapshot, after: &Snapshot, changes: &Changes) -> Check {
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

/// A dry run says what the transaction does, for every host that stays.
fn check_prediction(
    predicted: Result<Changes, Refusal>,
    actual: &Changes,
    before: &Snapshot,
    revision: Revision,
) -> Check {
    let mut predicted = match predicted {
        Ok(predicted) => predicted,
        Err(refusal) => return fail(format!("the dry run was refused: {refusal}")),
    };
    let next = before.revision + 1;
    check_same("the revision of the dry run", &predicted.revision, &next)?;
    predicted.revision = revision;
    for change in &mut predicted.objects {
        for stamp in [&mut change.object.created_revision, &mut change.object.revision] {
            if *stamp == next {
                *stamp = revision;
            }
        }
    }
    let deleted: BTreeSet<HostId> = actual.hosts_deleted.iter().map(|(id, _)| *id).collect();
    let mut actual = actual.clone();
    for changes in [&mut predicted, &mut actual] {
        changes.hosts.retain(|change| {
            before.hosts.contains_key(&change.host) && !deleted.contains(&change.host)
        });
    }
    check_same("the dry run", &predicted, &actual)
}

fn check_domains(after: &Snapshot, network: &Network<'_>) -> Check {
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
