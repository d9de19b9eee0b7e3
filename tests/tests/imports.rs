//! Both northbound dumps, imported and applied: every host's view equals the oracle's.

use spanwire_import::ovn::{self, OvnOptions};
use spanwire_oracle::{Network, Resources, engine_view_canonical};
use spanwire_topology::model::TRANSACTION_OPERATIONS_MAX;
use spanwire_topology::{Engine, Kind, Resource, Transaction};
use std::path::Path;

fn check(dump: &str, ports: usize, hosts: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../import/tests/data").join(dump);
    let import = ovn::import_file(&path, &OvnOptions::default()).expect("the dump imports");
    assert!(import.unsupported.is_empty(), "{:?}", import.unsupported);
    let count = |kind| import.resources.iter().filter(|r| r.spec.kind() == kind).count();
    assert_eq!((count(Kind::LogicalPort), count(Kind::Host)), (ports, hosts));

    let mut engine = Engine::new();
    assert!(import.resources.len() <= TRANSACTION_OPERATIONS_MAX);
    engine.apply(&Transaction::put(import.resources.clone()), 1).expect("it applies");

    let resources: Resources =
        import.resources.into_iter().map(|resource: Resource| (resource.key(), resource)).collect();
    let network = Network::new(&resources);
    let mut members = 0;
    for host in engine.list(Kind::Host, None, None) {
        let name = &host.resource.metadata.name;
        let id = engine.host_id(name).expect("a listed host exists");
        let found = engine_view_canonical(&engine, id).expect("a view has names");
        let expected = network.host_view(name);
        assert!(found == expected, "{dump}: the view of {name} differs from the oracle's");
        members += found.len();
    }
    assert!(members > hosts, "{dump}: the views are all but empty");
}

#[test]
fn every_host_of_the_campus_has_the_view_of_the_oracle() {
    // The dump asks for 23 chassis: none of its ports is bound to host-18.
    check("campus-12-tenants.json", 508, 23);
}

#[test]
fn every_host_of_the_metro_has_the_view_of_the_oracle() {
    check("metro-200-tenants.json.gz", 18_284, 400);
}
