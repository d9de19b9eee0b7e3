//! The hot paths, for callgrind to look at: what it counts is what runs inside of [`collected`],
//! and it writes down and clears its counts after each path.

use crate::measure::Views;
use crate::scenarios::{Loaded, STEPS, mk_steps};
use crate::workloads::metro::Metro;
use crate::workloads::{Batches, compute};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use spanwire_hostproto::codec::encode_delta;
use spanwire_topology::model::{Uid, Vni};
use spanwire_topology::view::{ItemDelta, ItemKey};
use spanwire_topology::{Engine, Resource, Transaction};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

/// The names, as callgrind sees them, of [`collected`] and [`last_of_path`].
pub(super) const COLLECTED: &str = "hot_paths::collected";
pub(super) const LAST_OF_PATH: &str = "hot_paths::last_of_path";

const SEED: u64 = 1;
/// Ports of the network that is changed.
const PORTS: usize = 10_000;
/// Ports that come and go.
const LIVES: usize = 50;
/// Groups redefined and policies changed, one of a tenant.
const TENANTS: usize = 20;
/// Links cut and healed.
const LINKS: usize = 3;
const COMPUTE_SCALE: f64 = 0.02;
/// Deltas encoded, and addresses that each removes and adds.
const DELTAS: usize = 100;
const DELTA_ADDRESSES: u32 = 100;

/// Runs a path and says how many operations that were.
type Run = fn(&mut State) -> Result<usize, String>;

/// The paths, in the order in which they run: each finds what the one before left.
const PATHS: [(&str, Run); 12] = [
    ("port-added", |state| state.step_ports(0)),
    ("port-relabelled", |state| state.step_ports(1)),
    ("port-migrated", |state| state.step_ports(2)),
    ("port-readdressed", |state| state.step_ports(3)),
    ("port-removed", |state| state.step_ports(4)),
    ("group-redefined", redefine_groups),
    ("policy-changed", change_policies),
    ("link-cut", |state| state.move_links(false)),
    ("link-healed", |state| state.move_links(true)),
    ("host-items", list_items),
    ("compute", run_compute),
    ("encode-shard-delta", encode_deltas),
];

/// The names of the paths.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    PATHS.iter().map(|(name, _)| *name)
}

/// Runs all paths, and prints the name of each with its number of operations.
pub(crate) fn run() -> Result<(), String> {
    let mut state = State::new()?;
    for (name, run) in PATHS {
        let operations = run(&mut state)?;
        last_of_path(operations);
        println!("{name} {operations}");
    }
    Ok(())
}

/// Only what runs in here is counted.
#[inline(never)]
fn collected<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Callgrind writes down what it counted when this returns.
#[inline(never)]
fn last_of_path(operations: usize) {
    black_box(operations);
}

struct State {
    metro: Metro,
    loaded: Loaded,
    /// What happens to each port that comes and goes.
    lives: Vec<[Transaction; STEPS.len()]>,
}

impl State {
    fn new() -> Result<State, String> {
        let metro = Metro::with_ports(PORTS, SEED);
        let mut loaded = Loaded::from_resources(metro.resources())?;
        loaded.watch_all();
        let mut random = ChaCha8Rng::seed_from_u64(SEED);
        let lives = (0..LIVES).map(|number| mk_steps(&metro, &mut random, number).1).collect();
        Ok(State { metro, loaded, lives })
    }

    fn apply(&mut self, transaction: &Transaction) -> Result<(), String> {
        let Loaded { engine, next_revision, .. } = &mut self.loaded;
        let result = collected(|| engine.apply(transaction, *next_revision).map(drop));
        *next_revision += 1;
        result.map_err(|refusal| refusal.to_string())
    }

    fn put_all(&mut self, resources: Vec<Resource>) -> Result<usize, String> {
        let count = resources.len();
        for resource in resources {
            self.apply(&Transaction::put([resource]))?;
        }
        Ok(count)
    }

    fn step_ports(&mut self, step: usize) -> Result<usize, String> {
        for life in std::mem::take(&mut self.lives) {
            self.apply(&life[step])?;
            self.lives.push(life);
        }
        Ok(LIVES)
    }

    fn move_links(&mut self, linked: bool) -> Result<usize, String> {
        let routed = (0..self.metro.tenants()).filter(|&tenant| self.metro.is_routed(tenant));
        let routers = routed.take(LINKS).map(|tenant| self.metro.mk_router(tenant, linked));
        self.put_all(routers.collect())
    }
}

/// The group of one application selects another one's ports instead.
fn redefine_groups(state: &mut State) -> Result<usize, String> {
    let groups = (0..TENANTS).map(|tenant| state.metro.mk_app_group(tenant, 3, 4)).collect();
    state.put_all(groups)
}

/// A rule admits another service.
fn change_policies(state: &mut State) -> Result<usize, String> {
    let policies = (0..TENANTS).map(|tenant| state.metro.mk_policy(tenant, 6, 1)).collect();
    state.put_all(policies)
}

fn list_items(state: &mut State) -> Result<usize, String> {
    let hosts = state.loaded.sizes.hosts;
    let engine = &state.loaded.engine;
    let views = collected(|| Views::list(engine, hosts));
    black_box(views);
    Ok(hosts)
}

/// The scenario `compute`, smaller: from the empty engine to every host's items. One operation.
fn run_compute(_: &mut State) -> Result<usize, String> {
    let mut engine = Engine::new();
    let mut batches = Batches::new(compute::resources(SEED, COMPUTE_SCALE));
    for (transaction, revision) in batches.by_ref().zip(1..) {
        collected(|| engine.apply(&transaction, revision).map(drop))
            .map_err(|refusal| refusal.to_string())?;
    }
    let hosts = batches.sizes().hosts;
    black_box(collected(|| Views::list(&engine, hosts)));
    Ok(1)
}

fn encode_deltas(_: &mut State) -> Result<usize, String> {
    let list = |first: u32| -> Vec<IpAddr> {
        let spread = (0..DELTA_ADDRESSES).map(|number| first + number * number);
        spread.map(|address| IpAddr::V4(Ipv4Addr::from(address))).collect()
    };
    let delta = ItemDelta::Shard { removed: list(0x0a00_0000), added: list(0x0a40_0000) };
    let key = ItemKey::Shard { group: Uid(100_000), domain: Vni(1_000) };
    for number in 0..DELTAS as u64 {
        black_box(collected(|| encode_delta(key, number + 1, number + 2, black_box(&delta))));
    }
    Ok(DELTAS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All paths run, and the network is in the end as it was but for what was redefined.
    #[test]
    fn the_hot_paths_run() {
        let mut state = State::new().unwrap();
        let hosts = state.loaded.sizes.hosts;
        let before = Views::list(&state.loaded.engine, hosts);
        for (name, run) in &PATHS[..9] {
            let revision = state.loaded.engine.revision();
            let operations = run(&mut state).unwrap();
            assert_eq!(state.loaded.engine.revision(), revision + operations as u64, "{name}");
        }
        let groups = (0..TENANTS).map(|tenant| state.metro.mk_app_group(tenant, 3, 3)).collect();
        state.put_all(groups).unwrap();
        assert_eq!(Views::list(&state.loaded.engine, hosts), before);
    }
}
