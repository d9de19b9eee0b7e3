//! The groups of a tenant, and those across all tenants.

use super::super::parts::{mk_group_spec, mk_ref, mk_resource, mk_selector_spec};
use super::super::texts::Texts;
use super::{APPS, ENVIRONMENTS, Metro, TIERS, mk_app};
use ipnet::{IpNet, Ipv4Net};
use spanwire_topology::model::{CidrBlock, GroupSpec, GroupTerm, ProjectScope, Selector, Text};
use spanwire_topology::{ObjectRef, Resource, Spec};
use std::net::Ipv4Addr;

/// Applications whose ports in production are a group of their own.
const APPS_SPLIT: usize = 5;
/// Applications in the group `suite`.
const SUITE_APPS: usize = 5;
/// Groups of CIDR blocks.
const PARTNERS: usize = 4;
/// One tenant in so many has a group of its router's ports, the others of a switch's.
const ROUTER_GROUP_EVERY: usize = 10;

/// Names and selectors of groups, the same in every tenant.
pub(super) struct GroupNames {
    /// `tenant`: all ports of the tenant.
    pub(super) tenant: Text,
    pub(super) frontend: Text,
    pub(super) backend: Text,
    pub(super) dmz: Text,
    pub(super) edge: Text,
    pub(super) legacy: Text,
    pub(super) bastions: Text,
    suite: Text,
    pub(super) partners: Vec<Text>,
    /// By application: name and selector.
    pub(super) apps: Vec<(Text, Selector)>,
    tiers: Vec<(Text, Selector)>,
    /// The first applications in production.
    split: Vec<(Text, Selector)>,
    /// Groups across all tenants.
    pub(super) shared: Vec<(Text, Selector)>,
}

impl GroupNames {
    pub(super) fn new(texts: &mut Texts) -> GroupNames {
        let mut named =
            |name: String, selector: &str| (texts.text(&name), texts.selector(selector));
        let apps = (0..APPS).map(mk_app).map(|app| named(app.clone(), &format!("app={app}")));
        let apps: Vec<_> = apps.collect();
        let tiers: Vec<_> = TIERS
            .iter()
            .map(|tier| named(format!("tier-{tier}"), &format!("tier={tier}")))
            .collect();
        let mut split = |app: usize, environment: &str| {
            let app = mk_app(app);
            named(format!("{app}-{environment}"), &format!("app={app},env={environment}"))
        };
        let shared = (0..APPS).flat_map(|app| ENVIRONMENTS.map(|environment| (app, environment)));
        let mut shared: Vec<_> = shared.map(|(app, environment)| split(app, environment)).collect();
        shared.extend(tiers.iter().cloned());
        GroupNames {
            split: (0..APPS_SPLIT).map(|app| split(app, ENVIRONMENTS[0])).collect(),
            apps,
            tiers,
            shared,
            tenant: texts.text("tenant"),
            frontend: texts.text("frontend"),
            backend: texts.text("backend"),
            dmz: texts.text("dmz"),
            edge: texts.text("edge"),
            legacy: texts.text("legacy"),
            bastions: texts.text("bastions"),
            suite: texts.text("suite"),
            partners: (0..PARTNERS).map(|n| texts.text(&format!("partner-{n}"))).collect(),
        }
    }
}

impl Metro {
    /// The groups across all tenants.
    pub(super) fn mk_shared_groups(&self) -> impl Iterator<Item = Resource> {
        self.groups.shared.iter().map(|(name, selector)| {
            let spec = mk_selector_spec(selector.clone(), ProjectScope::All);
            mk_resource(&self.provider, name, &self.none, spec)
        })
    }

    /// The group of an application of a tenant, as selecting the ports of another one.
    pub(crate) fn mk_app_group(&self, tenant: usize, app: usize, selected: usize) -> Resource {
        let (project, (name, _)) = (&self.tenants[tenant], &self.groups.apps[app]);
        let selector = self.groups.apps[selected].1.clone();
        mk_resource(project, name, &self.none, mk_selector_spec(selector, ProjectScope::Own))
    }

    pub(super) fn mk_groups(&self, tenant: usize) -> Vec<Resource> {
        let (names, project) = (&self.groups, &self.tenants[tenant]);
        let group = |name: &Text, spec| mk_resource(project, name, &self.none, spec);
        let of = |name: &Text| mk_ref(project, name);
        let own = |selector: &Selector| mk_selector_spec(selector.clone(), ProjectScope::Own);

        let mut list = vec![group(&names.tenant, own(&Selector::default()))];
        let selected = names.apps.iter().chain(&names.tiers).chain(&names.split);
        list.extend(selected.map(|(name, selector)| group(name, own(selector))));

        let term = |term| mk_group_spec(vec![term]);
        list.push(group(&names.dmz, term(GroupTerm::Switch(of(&self.switches[0])))));
        list.push(group(&names.edge, term(self.mk_edge(tenant))));
        let union = |groups: &mut dyn Iterator<Item = ObjectRef>| {
            mk_group_spec(groups.map(GroupTerm::Group).collect())
        };
        let apps = &names.apps[..SUITE_APPS];
        list.push(group(&names.suite, union(&mut apps.iter().map(|(name, _)| of(name)))));
        let frontend = [of(&names.tiers[0].0), of(&names.dmz)];
        list.push(group(&names.frontend, union(&mut frontend.into_iter())));
        let backend = vec![of(&names.tiers[2].0), of(&names.suite)];
        list.push(group(&names.backend, term(GroupTerm::Intersection(backend))));
        let legacy =
            GroupTerm::Difference { of: of(&names.dmz), minus: vec![of(&names.tiers[0].0)] };
        list.push(group(&names.legacy, term(legacy)));
        let bastions = self.ports[..2].iter().map(|port| GroupTerm::Port(of(port)));
        list.push(group(&names.bastions, mk_group_spec(bastions.collect())));
        let partners = names.partners.iter().enumerate();
        list.extend(partners.map(|(number, name)| group(name, mk_partner(number))));
        list
    }

    fn mk_edge(&self, tenant: usize) -> GroupTerm {
        let project = &self.tenants[tenant];
        if tenant.is_multiple_of(ROUTER_GROUP_EVERY) {
            GroupTerm::Router(mk_ref(project, &self.router))
        } else {
            GroupTerm::Switch(mk_ref(project, &self.switches[1]))
        }
    }
}

/// A network outside with a part left out: 198.18.n.0/24 without its last quarter.
fn mk_partner(number: usize) -> Spec {
    let net = |last, prefix| {
        let address = Ipv4Addr::new(198, 18, number as u8, last);
        // The prefixes are constants below 33.
        Ipv4Net::new(address, prefix).ok().map(IpNet::V4)
    };
    let blocks = net(0, 24)
        .zip(net(192, 26))
        .and_then(|(cidr, except)| CidrBlock::new(cidr, vec![except]).ok());
    Spec::Group(GroupSpec { terms: Vec::new(), blocks: blocks.into_iter().collect() })
}
