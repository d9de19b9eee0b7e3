//! Both dumps, whole: a campus of 12 tenants and a metropolitan network of 200.
#![allow(clippy::unwrap_used)] // A panic in a test's own function is a failed test too.

use spanwire_import::Import;
use spanwire_import::ovn::{OvnOptions, ProjectRule, import_file};
use spanwire_topology::model::{
    Action, GroupTerm, Kind, LogicalPortSpec, LogicalRouterSpec, ObjectKey, ObjectRef, Resource,
    Spec,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn campus() -> Import {
    import_file(&data("campus-12-tenants.json"), &OvnOptions::default()).unwrap()
}

fn count(import: &Import, kind: Kind) -> usize {
    import.resources.iter().filter(|resource| resource.spec.kind() == kind).count()
}

fn find<'a>(import: &'a Import, kind: Kind, project: &str, name: &str) -> &'a Resource {
    let key = ObjectKey::new(kind, project, name);
    import.resources.iter().find(|resource| resource.key() == key).unwrap()
}

fn router<'a>(import: &'a Import, project: &str, name: &str) -> &'a LogicalRouterSpec {
    match &*find(import, Kind::LogicalRouter, project, name).spec {
        Spec::LogicalRouter(router) => router,
        other => panic!("{other:?}"),
    }
}

/// The oracle finds nothing wrong, and no key is there twice.
fn check_sound(import: &Import) {
    let resources: BTreeMap<ObjectKey, Resource> =
        import.resources.iter().map(|resource| (resource.key(), resource.clone())).collect();
    assert_eq!(resources.len(), import.resources.len());
    assert_eq!(spanwire_oracle::problems(&resources), []);
}

#[test]
fn the_campus_comes_over_whole() {
    let import = campus();
    assert_eq!(import.unsupported, []);
    // The dump asks for 23 chassis: host-18 of 24 has no port.
    let counts: Vec<usize> = Kind::ALL.iter().map(|kind| count(&import, *kind)).collect();
    // 73 port groups, 2 address sets, and the two groups of all addresses of one IP version.
    assert_eq!(counts[..5], [23, 54, 13, 508, 77]);
    check_sound(&import);
    let notes: Vec<String> = import.notes.iter().map(ToString::to_string).collect();
    assert_eq!(notes.len(), 3, "{notes:#?}");
    assert!(notes[0].contains("23 were given tunnel endpoints from 198.18.0.0/15"), "{}", notes[0]);
    assert_eq!(notes[1], "Logical_Switch join: only joins routers: they are linked directly here");
    assert!(notes[2].contains("81 ports have addresses outside"), "{}", notes[2]);
}

#[test]
fn the_metropolitan_network_comes_over_whole() {
    let import = import_file(&data("metro-200-tenants.json.gz"), &OvnOptions::default()).unwrap();
    assert_eq!(import.unsupported, []);
    let counts: Vec<usize> = Kind::ALL.iter().map(|kind| count(&import, *kind)).collect();
    assert_eq!(counts[..5], [400, 781, 201, 18_284, 992]);
    check_sound(&import);
    assert_eq!(router(&import, "t198", "t198-router").uplinks.len(), 1);
    assert_eq!(router(&import, "t199", "t199-router").uplinks, []);
}

#[test]
fn routed_tenants_advertise_to_the_provider_and_isolated_ones_do_not() {
    let import = campus();
    let provider = ObjectRef::new("default", "provider");
    for tenant in 0..12 {
        let project = format!("t{tenant:02}");
        let router = router(&import, &project, &format!("{project}-router"));
        let uplinks: &[ObjectRef] =
            if tenant % 2 == 0 { std::slice::from_ref(&provider) } else { &[] };
        assert_eq!(router.uplinks, uplinks, "{project}");
        assert!(router.advertise, "{project}");
        assert_eq!(router.peerings, [], "{project}");
    }
    let provider = router(&import, "default", "provider");
    assert_eq!(provider, &LogicalRouterSpec::default());
}

#[test]
fn a_port_is_carried_with_everything() {
    let import = campus();
    let port = find(&import, Kind::LogicalPort, "t00", "t00-web-002");
    let labels: Vec<String> =
        port.metadata.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(labels, ["env=prod", "tenant=t00", "tier=web"]);
    let Spec::LogicalPort(spec) = &*port.spec else { panic!("{port:?}") };
    let expected = LogicalPortSpec {
        switch: ObjectRef::new("t00", "t00-web"),
        mac: "0a:00:00:00:00:06".parse().unwrap(),
        addresses: ["10.20.0.12", "fd00:14::c"].map(|a| a.parse().unwrap()).into_iter().collect(),
        host: Some("host-01".into()),
        attachment: Default::default(),
        port_security: true,
    };
    assert_eq!(spec, &expected);
    let Spec::Host(host) = &*find(&import, Kind::Host, "system", "host-01").spec else { panic!() };
    assert_eq!(host.vtep, Some("198.18.0.2".parse().unwrap()));
}

#[test]
fn groups_cut_across_tenants_and_policies_stay_in_theirs() {
    let import = campus();
    let Spec::Group(group) = &*find(&import, Kind::Group, "default", "pg_all_web").spec else {
        panic!()
    };
    assert_eq!(group.terms.len(), 104);
    let projects: std::collections::BTreeSet<_> = group
        .terms
        .iter()
        .map(|term| match term {
            GroupTerm::Port(port) => port.project.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(projects.len(), 12);
    let Spec::SecurityPolicy(policy) =
        &*find(&import, Kind::SecurityPolicy, "t00", "pg_t00_db.1012.ip4").spec
    else {
        panic!()
    };
    assert_eq!(policy.applied_to, [ObjectRef::new("t00", "pg_t00_db")]);
    assert_eq!((policy.tier, policy.priority), (504, 98_988));
    let rule = &policy.rules[0];
    assert_eq!(rule.action, Action::Allow);
    assert_eq!(rule.peers[0].group, ObjectRef::new("default", "pg_all_db"));
}

#[test]
fn everything_can_be_in_one_project() {
    let options = OvnOptions {
        project: "campus".to_owned(),
        project_rule: ProjectRule::Single,
        vtep_subnet: "192.0.2.0/24".parse().unwrap(),
        ..OvnOptions::default()
    };
    let import = import_file(&data("campus-12-tenants.json"), &options).unwrap();
    assert_eq!(import.unsupported, []);
    check_sound(&import);
    for resource in &import.resources {
        let expected = if resource.spec.kind() == Kind::Host { "system" } else { "campus" };
        assert_eq!(&*resource.metadata.project, expected);
    }
    let small = OvnOptions { vtep_subnet: "192.0.2.0/28".parse().unwrap(), ..options };
    let error = import_file(&data("campus-12-tenants.json"), &small).unwrap_err().to_string();
    assert_eq!(
        error,
        "23 hosts need tunnel endpoints and 192.0.2.0/28 has 14: give a larger subnet"
    );
}

#[test]
fn an_import_is_the_same_every_time() {
    assert_eq!(campus(), campus());
}
