//! G1, G2, G3, G4, G6: what a host enforces is, at every moment, exactly what the state at one revision
//! gives it. The reference is the engine; that the engine is right is the oracle's to say, which is
//! asked at the end.

use super::{Finding, Reference, finding};
use spanwire_oracle::{Network, engine_view_canonical};
use spanwire_topology::Engine;
use spanwire_topology::model::{Kind, Text};
use spanwire_topology::view::{HostView, ItemKey};
use std::collections::BTreeSet;

/// A host has put a view into its datapath. What was `altered` in it may be wrong; what is right again
/// counts as altered no more.
pub fn check_view(
    reference: &Reference,
    host: &Text,
    view: &HostView,
    altered: &mut BTreeSet<ItemKey>,
) -> Result<(), Finding> {
    let check = "G1-G4, G6 views";
    let Some(expected) = reference.view_at(host, view.revision) else {
        let what = format!("{host} has revision {}, which is not committed", view.revision);
        return Err(finding(check, what));
    };
    altered.retain(|key| expected.items.get(key) != view.items.get(key));
    if expected.items == view.items {
        return Ok(());
    }
    let differ: BTreeSet<String> = expected
        .items
        .keys()
        .chain(view.items.keys())
        .filter(|key| expected.items.get(key) != view.items.get(key) && !altered.contains(key))
        .map(|key| {
            let version = |view: &HostView| view.items.get(key).map(|item| item.version);
            format!("{key} is {:?}, not {:?}", version(view), version(&expected))
        })
        .collect();
    if differ.is_empty() {
        return Ok(());
    }
    let differ: Vec<String> = differ.into_iter().collect();
    let what = format!("{host} at revision {}: {}", view.revision, differ.join("; "));
    Err(finding(check, what))
}

/// What the engine gives each host is what the definitions give it.
pub fn check_oracle(engine: &Engine) -> Result<(), Finding> {
    let resources = Kind::ALL.iter().flat_map(|kind| engine.list(*kind, None, None));
    let resources = resources.map(|o| (o.resource.key(), o.resource.clone())).collect();
    let network = Network::new(&resources);
    for object in engine.list(Kind::Host, None, None) {
        let name = &object.resource.metadata.name;
        let Some(host) = engine.host_id(name) else { continue };
        let engines = engine_view_canonical(engine, host);
        let engines = engines.map_err(|error| finding("oracle", error.0))?;
        if engines != network.host_view(name) {
            let what = format!("the engine's view of {name} is not the oracle's");
            return Err(finding("G1-G3, G6 oracle", what));
        }
    }
    Ok(())
}
