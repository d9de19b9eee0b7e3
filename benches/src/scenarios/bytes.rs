//! What hosts are sent, in bytes: their first view and single changes, against full groups sent to
//! everyone and against the same members as texts.

use super::loaded::Loaded;
use super::targets::{Target, Targets};
use super::told::{broadcast, tell};
use crate::measure::{Report, rounded};
use crate::workloads::metro::Metro;
use crate::workloads::segments::{self, Layout};
use rand::seq::IteratorRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use spanwire_hostproto::codec::{encode_addresses, encode_delta, encode_full};
use spanwire_topology::Engine;
use spanwire_topology::engine::HostId;
use spanwire_topology::view::{Item, ItemDelta, ItemKey};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// A shard of so many members is large.
const LARGE: usize = 1_000;
/// Of a large shard, an IPv4 member takes no more.
const MEMBER_BYTES: f64 = 3.0;
/// Changes that are looked at in each network.
const CHANGES: usize = 1_000;
/// Members drawn by chance from networks of these prefix lengths: the further apart, the dearer.
const SPARSE: [u8; 3] = [16, 12, 8];

/// Measures the layouts of `cut`, and `metro` with so many ports.
pub(crate) fn run(seed: u64, ports: usize) -> Result<Report, String> {
    let mut rows: Vec<Value> = Vec::new();
    let mut large = Shards::default();
    for layout in Layout::ALL {
        let loaded = Loaded::from_resources(segments::resources(seed, layout))?;
        large = large.plus(add_row(&mut rows, layout.as_str(), &loaded, seed));
    }
    let loaded = Loaded::from_resources(Metro::with_ports(ports, seed).resources())?;
    large = large.plus(add_row(&mut rows, "metro", &loaded, seed));

    let mut report = Report::new("bytes", seed);
    report.set("networks", rows);
    report.set("sparse", SPARSE.map(|prefix| mk_sparse_row(prefix, seed)).to_vec());
    report.set("large_shards", large.count);
    report.set("large_shard_members", large.members);
    let mut targets = Targets::default();
    targets.add("bytes_per_member", large.bytes_per_member(), Target::AtMost(MEMBER_BYTES));
    targets.report(&mut report);
    Ok(report)
}

/// Shards, added up: packed, and as texts.
#[derive(Clone, Copy, Default)]
struct Shards {
    count: usize,
    members: usize,
    packed: usize,
    texts: usize,
}

impl Shards {
    fn add(&mut self, members: &[IpAddr]) {
        self.count += 1;
        self.members += members.len();
        self.packed += encode_addresses(members).len();
        self.texts += as_texts(members);
    }

    fn plus(self, other: Shards) -> Shards {
        Shards {
            count: self.count + other.count,
            members: self.members + other.members,
            packed: self.packed + other.packed,
            texts: self.texts + other.texts,
        }
    }

    fn bytes_per_member(self) -> f64 {
        self.packed as f64 / self.members.max(1) as f64
    }
}

/// What members take as `repeated string` of protobuf: a byte of tag and one of length each.
fn as_texts(members: &[IpAddr]) -> usize {
    members.iter().map(|member| 2 + member.to_string().len()).sum()
}

/// Measures a network, and gives its large shards.
fn add_row(rows: &mut Vec<Value>, network: &str, loaded: &Loaded, seed: u64) -> Shards {
    let (engine, hosts) = (&loaded.engine, loaded.sizes.hosts);
    let (told, broadcast) = (tell(engine, hosts), broadcast(engine, hosts));
    let mut sizes: BTreeMap<ItemKey, Shards> = BTreeMap::new();
    for (key, _) in engine.export().versions {
        if let Some(found) = engine.item(key)
            && let Item::Shard(members) = &*found.item
        {
            sizes.entry(key).or_default().add(members);
        }
    }
    let large = sizes.values().filter(|shard| shard.members >= LARGE);
    let large = large.fold(Shards::default(), |sum, shard| sum.plus(*shard));
    let mut sent = Shards::default();
    for host in 0..hosts as u32 {
        for (key, _) in engine.host_items(HostId(host)) {
            sent = sent.plus(sizes.get(&key).copied().unwrap_or_default());
        }
    }
    let changes = Changes::measure(engine, hosts, seed);
    let each = |bytes: usize| rounded(bytes as f64 / hosts.max(1) as f64);
    let change = |bytes: usize| rounded(bytes as f64 / changes.count.max(1) as f64);
    rows.push(json!({
        "network": network,
        "hosts": hosts,
        "first_bytes_per_host": each(told.bytes),
        "first_bytes_per_host_broadcast": each(broadcast.bytes),
        "shard_bytes_per_host": each(sent.packed),
        "shard_bytes_per_host_as_texts": each(sent.texts),
        "hosts_per_change": change(changes.hosts),
        "bytes_per_change": change(changes.bytes),
        "bytes_per_change_broadcast": change(changes.bytes_broadcast),
        "bytes_per_change_as_texts": change(changes.bytes_as_texts),
        "bytes_per_change_full_groups": change(changes.bytes_full),
    }));
    large
}

/// Members that leave a shard, one at a time: what all hosts together are sent.
#[derive(Default)]
struct Changes {
    count: usize,
    hosts: usize,
    /// The difference, to the hosts that have the shard.
    bytes: usize,
    /// The same to all hosts.
    bytes_broadcast: usize,
    /// The same difference with the member as text, to the hosts that have the shard.
    bytes_as_texts: usize,
    /// The whole shard, to all hosts: that of one group in one domain, so less than the group.
    bytes_full: usize,
}

impl Changes {
    fn measure(engine: &Engine, all_hosts: usize, seed: u64) -> Changes {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let versions = engine.export().versions;
        let shards = versions.iter().filter(|(key, _)| matches!(key, ItemKey::Shard { .. }));
        let mut changes = Changes::default();
        for (key, version) in shards.sample(&mut random, CHANGES) {
            let hosts = engine.subscribers(*key).len();
            let Some(found) = engine.item(*key) else { continue };
            let Item::Shard(members) = &*found.item else { continue };
            let Some(&member) = members.iter().choose(&mut random) else { continue };
            let delta = ItemDelta::Shard { removed: vec![member], added: Vec::new() };
            let bytes = encode_delta(*key, *version, version + 1, &delta).len();
            let packed = encode_addresses(&[member]).len();
            changes.count += 1;
            changes.hosts += hosts;
            changes.bytes += bytes * hosts;
            changes.bytes_broadcast += bytes * all_hosts;
            changes.bytes_as_texts += (bytes - packed + as_texts(&[member])) * hosts;
            changes.bytes_full += encode_full(*key, *version, &found.item).len() * all_hosts;
        }
        changes
    }
}

/// [`LARGE`] members drawn by chance from a network of this prefix length.
fn mk_sparse_row(prefix: u8, seed: u64) -> Value {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let size = u32::MAX >> prefix;
    let mut drawn = BTreeSet::new();
    while drawn.len() < LARGE {
        let address = Ipv4Addr::from(0x0a00_0000 | random.random_range(0..=size));
        drawn.insert(IpAddr::from(address));
    }
    let members: Vec<IpAddr> = drawn.into_iter().collect();
    let mut shard = Shards::default();
    shard.add(&members);
    json!({
        "members": LARGE,
        "drawn_from_prefix": prefix,
        "bytes_per_member": rounded(shard.bytes_per_member()),
        "bytes_per_member_as_text": rounded(shard.texts as f64 / LARGE as f64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the flat network's two groups of 2,000 take, checked against the codec that hosts decode.
    #[test]
    fn large_shards_take_few_bytes_a_member() {
        let loaded = Loaded::from_resources(segments::resources(1, Layout::Flat)).unwrap();
        let mut rows = Vec::new();
        let large = add_row(&mut rows, "flat", &loaded, 1);
        assert_eq!((large.count, large.members), (2, 4_000));
        assert!(large.bytes_per_member() <= MEMBER_BYTES, "{}", large.bytes_per_member());
        let figure = |name: &str| rows[0][name].as_f64().unwrap();
        assert_eq!(figure("hosts_per_change"), 1_000.0, "all hosts have both");
        assert!(figure("bytes_per_change") <= figure("bytes_per_change_as_texts"));
        assert!(figure("bytes_per_change") * 10.0 < figure("bytes_per_change_full_groups"));
        assert!(figure("shard_bytes_per_host") * 4.0 < figure("shard_bytes_per_host_as_texts"));
    }
}
