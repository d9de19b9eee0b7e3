//! An engine beside the oracle, and everything that must hold after each step.

use crate::coverage::Coverage;
use crate::findings::{Found, check_explanations, check_findings, with_repetitions};
use crate::replay::Mirror;
use crate::script::{Probe, Step};
use crate::snapshot::{
    NamedChanges, Snapshot, check_domains, check_items, check_objects, check_prediction,
};
use crate::spans::check_spans;
use crate::support::{Check, about, check_same, check_same_table, describe, fail};
use crate::universe::reference;
use crate::verdicts::Explained;
use proptest::test_runner::TestCaseError;
use spanwire_oracle::{CanonicalView, Network, Resources, State, engine_view_canonical};
use spanwire_topology::engine::{Changes, HostId, Outcome, QueryError, Verdict};
use spanwire_topology::model::*;
use spanwire_topology::view::ItemKey;
use spanwire_topology::{Engine, Kind};
use std::collections::{BTreeMap, BTreeSet};

/// An engine with the hosts that watch it.
#[derive(Default)]
struct Replica {
    engine: Engine,
    /// What the watching hosts hold, by name.
    mirrors: BTreeMap<Text, Mirror>,
}

/// Engines that are fed the same transactions, and what they must come to.
#[derive(Default)]
pub(crate) struct Harness {
    /// Some of its hosts are watched. It is asked for dry runs.
    one: Replica,
    /// All of its hosts are watched. It is made anew from a snapshot now and then.
    twin: Replica,
    state: State,
    history: Vec<Transaction>,
    /// Who has had each uid.
    uids: BTreeMap<Uid, (ObjectKey, Revision)>,
    /// The domains of the last step, and identities that are gone.
    live_vnis: BTreeSet<Vni>,
    dead_vnis: BTreeSet<Vni>,
    pub(crate) coverage: Coverage,
}

impl Replica {
    fn host_id(&self, name: &str) -> Result<HostId, TestCaseError> {
        match self.engine.host_id(name) {
            Some(id) => Ok(id),
            None => fail(format!("host {name} has no id")),
        }
    }

    fn names(&self) -> BTreeMap<HostId, Text> {
        let hosts = self.engine.list(Kind::Host, None, None);
        let names = hosts.map(|host| host.resource.metadata.name.clone());
        names.filter_map(|name| Some((self.engine.host_id(&name)?, name))).collect()
    }

    fn watch(&mut self, name: &Text, watched: bool) {
        let Some(id) = self.engine.host_id(name) else { return };
        self.engine.set_watched(id, watched);
        if !watched {
            self.mirrors.remove(name);
        } else if !self.mirrors.contains_key(name) {
            self.mirrors.insert(name.clone(), Mirror::of(&self.engine, id));
        }
    }

    fn watch_all(&mut self) {
        for name in self.names().into_values() {
            self.watch(&name, true);
        }
    }

    /// Writes the engine down and makes it anew: a replica that was restarted.
    fn restart(&mut self) -> Check {
        let before = Snapshot::of(&self.engine);
        match Engine::import(self.engine.export()) {
            Ok(engine) => self.engine = engine,
            Err(error) => return fail(error.to_string()),
        }
        let watched: Vec<Text> = std::mem::take(&mut self.mirrors).into_keys().collect();
        watched.iter().for_each(|name| self.watch(name, true));
        about(Snapshot::of(&self.engine).check_same_as(&before), || "restarted".into())
    }

    /// Brings the copies up to date by the changes alone, and compares them with the views.
    fn follow(&mut self, changes: &Changes) -> Check {
        for (_, name) in &changes.hosts_deleted {
            self.mirrors.remove(name);
        }
        for (name, mirror) in &mut self.mirrors {
            let Some(id) = self.engine.host_id(name) else {
                return fail(format!("host {name} is gone and was not reported"));
            };
            about(mirror.follow(&self.engine, id, changes), || format!("copy of {name}"))?;
            let view = self.engine.host_view(id).items;
            check_same_table(&format!("copy of {name}"), &mirror.items, &view)?;
        }
        Ok(())
    }
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

    /// Checks what lint says of the state.
    pub(crate) fn check_findings(&self, found: &mut Found) -> Check {
        let resources = self.state.resources();
        let told = || self.history.iter().map(describe).collect::<String>();
        about(check_explanations(&self.one.engine), || format!("after\n{}", told()))?;
        about(check_findings(&self.one.engine, &resources, found), || {
            format!("after\n{}", told())
        })?;
        let repeated = with_repetitions(&resources);
        match Engine::load(repeated.values().cloned()) {
            Ok(engine) => about(check_findings(&engine, &repeated, found), || {
                format!("with repetitions, after\n{}", told())
            }),
            Err(refusal) => fail(format!("the state with repetitions is refused: {refusal}")),
        }
    }

    fn transact(&mut self, transaction: &Transaction, step: &Step) -> Check {
        let revision = self.state.revision + 1 + step.gap;
        if let Some((number, watched)) = step.watch {
            self.one.watch(&reference(Kind::Host, number).name, watched);
        }
        if step.restart {
            about(self.twin.restart(), || "the twin".into())?;
        }
        self.twin.watch_all();
        let before = Snapshot::of(&self.one.engine);
        let (names, twin_names) = (self.one.names(), self.twin.names());
        let predicted = self.one.engine.dry_run(transaction);
        about(Snapshot::of(&self.one.engine).check_same_as(&before), || {
            format!("after a dry run that ended with {:?}", predicted.as_ref().err())
        })?;

        let result = self.one.engine.apply(transaction, revision);
        let twin_result = self.twin.engine.apply(transaction, revision);
        let after = Snapshot::of(&self.one.engine);
        match (result, twin_result, predicted) {
            (Ok(changes), Ok(twin_changes), Ok(predicted)) => {
                self.coverage.applied += 1;
                self.coverage.transitions.count(&before, &after);
                let (state, outcomes) = match self.state.apply(transaction, revision) {
                    Ok(expected) => expected,
                    Err(reasons) => return fail(format!("applied in spite of {reasons:?}")),
                };
                self.state = state;
                let named = NamedChanges::of(&changes, &names)?;
                let twin_named = NamedChanges::of(&twin_changes, &twin_names)?;
                check_objects(&after, &self.state, &changes, &outcomes)?;
                check_items(&before, &after, &changes)?;
                self.check_watched(&before, &changes, &named)?;
                check_prediction(NamedChanges::of(&predicted, &names)?, &twin_named, &before)?;
                check_twin(&named, &twin_named)?;
                self.check_gone(&changes)?;
                self.one.follow(&changes)?;
                about(self.twin.follow(&twin_changes), || "the twin".into())?;
            }
            (Err(refusal), twin_result, predicted) => {
                self.coverage.refused += 1;
                check_same("the twin's refusal", &twin_result, &Err(refusal.clone()))?;
                check_same("the predicted refusal", &predicted, &Err(refusal.clone()))?;
                if !self.state.justifies(transaction, &refusal) {
                    let reasons = self.state.apply(transaction, revision).err();
                    return fail(format!("refused without reason: {refusal}; found {reasons:?}"));
                }
                about(after.check_same_as(&before), || format!("refused: {refusal}"))?;
            }
            (one, twin, predicted) => {
                return fail(format!("one: {one:?}, twin: {twin:?}, dry run: {predicted:?}"));
            }
        }
        about(Snapshot::of(&self.twin.engine).check_same_as(&after), || "the twin".into())?;
        let resources = self.state.resources();
        let network = Network::new(&resources);
        self.coverage.count(&after);
        self.check_identities(&after)?;
        self.check_views(&after, &network)?;
        check_domains(&after, &network)?;
        self.check_subscribers(&before, &after)?;
        self.check_lookups(&resources)?;
        self.check_explanations(&after, &network)?;
        check_spans(&self.one.engine, &after, &network)?;
        self.check_rebuilt(&resources)?;
        for probe in &step.probes {
            self.check_probe(probe, &resources, &network)?;
            let (from, to) = probe.endpoints(&resources);
            let explained =
                Explained { engine: &self.one.engine, resources: &resources, network: &network };
            let met = about(explained.check(&from, &to, probe.packet), || {
                format!("verdict from {from:?} to {to:?}, {:?}", probe.packet)
            })?;
            self.coverage.verdicts.add(met);
        }
        Ok(())
    }

    /// Only watched hosts are reported, and all deleted ones.
    fn check_watched(&self, before: &Snapshot, changes: &Changes, named: &NamedChanges) -> Check {
        for (name, (gained, lost)) in &named.hosts {
            if !self.one.mirrors.contains_key(name) {
                return fail(format!("host {name} is not watched, and reported"));
            }
            if gained.is_empty() && lost.is_empty() {
                return fail(format!("host {name} is reported with nothing"));
            }
            for list in [gained, lost] {
                if !list.windows(2).all(|pair| pair[0] < pair[1]) {
                    return fail(format!("not sorted, or not unique: {list:?}"));
                }
            }
        }
        if !changes.hosts.windows(2).all(|pair| pair[0].host < pair[1].host) {
            return fail(format!("hosts are not sorted, or not unique: {:?}", changes.hosts));
        }
        let deleted = changes.objects.iter().filter(|c| c.outcome == Outcome::Deleted);
        let mut expected: Vec<Text> = deleted
            .map(|change| change.object.resource.key())
            .filter(|key| key.kind == Kind::Host && before.hosts.contains_key(&key.name))
            .map(|key| key.name)
            .collect();
        expected.sort();
        check_same("hosts that were deleted", &named.hosts_deleted, &expected)
    }

    /// A host that is gone has nothing, whoever still asks by its id.
    fn check_gone(&self, changes: &Changes) -> Check {
        for (id, name) in &changes.hosts_deleted {
            if self.one.engine.host_name(*id).is_none() {
                let left = self.one.engine.host_items(*id);
                check_same(&format!("items of deleted host {name}"), &left, &Vec::new())?;
                let view = self.one.engine.host_view(*id).items.len();
                check_same(&format!("view of deleted host {name}"), &view, &0)?;
            }
        }
        Ok(())
    }

    /// An identity is never given to another.
    fn check_identities(&mut self, after: &Snapshot) -> Check {
        for (key, object) in &after.objects {
            let now = (key.clone(), object.created_revision);
            let owner = self.uids.entry(object.uid).or_insert_with(|| now.clone()).clone();
            check_same(&format!("owner of uid {}", object.uid), &now, &owner)?;
            check_same("key_of", &self.one.engine.key_of(object.uid), &Some(key.clone()))?;
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
        for (name, view) in &after.hosts {
            let id = self.one.host_id(name)?;
            let found = match engine_view_canonical(&self.one.engine, id) {
                Ok(found) => found,
                Err(error) => return fail(format!("view of {name}: {error}")),
            };
            check_same_table(&format!("view of {name}"), &found, &network.host_view(name))?;
            check_same("host_name", &self.one.engine.host_name(id), &Some(&**name))?;
            check_same("revision of the view", &view.revision, &after.revision)?;
            let versions: Vec<(ItemKey, Revision)> =
                view.items.iter().map(|(key, item)| (*key, item.version)).collect();
            check_same("host_items", &self.one.engine.host_items(id), &versions)?;
            // An item is the same for every host that has it.
            for (key, item) in &view.items {
                check_same(&format!("{key} of {name}"), &Some(item), &after.items.get(key))?;
            }
        }
        Ok(())
    }

    fn check_subscribers(&self, before: &Snapshot, after: &Snapshot) -> Check {
        let engine = &self.one.engine;
        let names = self.one.names();
        // Also those that were there before: nobody has them now.
        let keys: BTreeSet<&ItemKey> = before.items.keys().chain(after.items.keys()).collect();
        for key in keys {
            let has = |name: &Text| after.hosts[name].items.contains_key(key);
            let expected: Vec<HostId> =
                names.iter().filter(|(_, name)| has(name)).map(|(id, _)| *id).collect();
            check_same(&format!("subscribers of {key}"), &engine.subscribers(*key), &expected)?;
            for (id, name) in &names {
                let what = format!("has_item({name}, {key})");
                check_same(&what, &engine.has_item(*id, *key), &has(name))?;
            }
        }
        Ok(())
    }

    /// An explanation ends with what is so.
    fn check_explanations(&self, after: &Snapshot, network: &Network<'_>) -> Check {
        let engine = &self.one.engine;
        let of_kind = |kind| after.objects.iter().filter(move |(key, _)| key.kind == kind);
        for (group, object) in of_kind(Kind::Group) {
            for (port, _) in of_kind(Kind::LogicalPort) {
                let Spec::LogicalPort(spec) = &*after.objects[port].resource.spec else { continue };
                let switch = spec.switch.to_key(Kind::LogicalSwitch);
                let domain = after.domains.iter().find(|d| d.switches.contains(&switch));
                let shard = domain.map(|d| ItemKey::Shard { group: object.uid, domain: d.vni });
                let is_member = network.group_ports(group).is_some_and(|g| g.contains(port));
                for (host, view) in &after.hosts {
                    let has = is_member && shard.is_some_and(|s| view.items.contains_key(&s));
                    let explained = engine.explain(host, port, group).map(|e| e.has_member);
                    let what = format!("explanation of {port} in {group} for host {host}");
                    check_same(&what, &explained, &Ok(has))?;
                }
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
            check_same(&format!("users of {key}"), &self.one.engine.users(key), &users)?;
            if let Spec::LogicalPort(port) = &*resource.spec {
                for address in &port.addresses {
                    by_address.entry(*address).or_default().push(key.clone());
                }
            }
        }
        for (address, ports) in by_address {
            let found = self.one.engine.ports_with_address(address);
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
        check_same_table("rebuilt", &views(&rebuilt), &views(&self.one.engine))
    }

    fn check_probe(&self, probe: &Probe, resources: &Resources, network: &Network<'_>) -> Check {
        let (from, to) = probe.endpoints(resources);
        let found = self.one.engine.verdict(&from, &to, probe.packet).map(plain);
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

/// Replicas report the same, whoever is watched.
fn check_twin(named: &NamedChanges, twin_named: &NamedChanges) -> Check {
    let without_hosts =
        |changes: &NamedChanges| NamedChanges { hosts: BTreeMap::new(), ..changes.clone() };
    check_same("the twin's changes", &without_hosts(twin_named), &without_hosts(named))?;
    for (name, change) in &named.hosts {
        let twins = twin_named.hosts.get(name);
        check_same(&format!("the twin's change of host {name}"), &twins, &Some(change))?;
    }
    Ok(())
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
