//! Writes to a cluster of three, next to etcd: the same bytes, as many clients, on the same disk, in
//! turns.

use crate::cluster::{
    Client, ClusterOptions, Controllers, Directory, Etcd, Measured, PutClient, Write, close_loop,
    connect, mk_apply, spanwire,
};
use crate::measure::{Report, rounded};
use crate::scenarios::targets::{Target, Targets};
use prost::Message as _;
use serde_json::{Map, Value};
use spanwire_adminproto::wire;
use spanwire_topology::model::{
    HostSpec, Labels, LogicalPortSpec, LogicalSwitchSpec, Mac, PortAttachment,
};
use spanwire_topology::{ObjectRef, Resource, Spec};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Members of each cluster.
const MEMBERS: usize = 3;
/// The number of clients for which the target holds.
const TARGET_CLIENTS: usize = 100;
/// How long the clients write before it counts.
const WARM_UP: Duration = Duration::from_millis(500);
/// Turns of each cluster.
const TURNS: usize = 3;
/// Bytes of the label that makes a value as large as it is.
const PAYLOAD_BYTES: usize = 230;
/// The least that our rate with so many clients shall be of etcd's.
const RATIO_TARGET: f64 = 1.5;
/// The address of the first client's port, 10.0.0.1; the others follow.
const FIRST_ADDRESS: u32 = 0x0a00_0001;
const PROJECT: &str = "bench";

/// Who clients talk to.
#[derive(Clone, Copy, PartialEq)]
enum To {
    Leader,
    All,
}

impl To {
    fn as_str(self) -> &'static str {
        match self {
            To::Leader => "leader",
            To::All => "all members",
        }
    }

    /// The members of `all` that the clients with numbers from 0 talk to.
    fn choose(self, leader: SocketAddr, all: &[SocketAddr], client: usize) -> SocketAddr {
        match self {
            To::Leader => leader,
            To::All => all[client % all.len()],
        }
    }
}

/// Measures with so many clients at one time, each turn for so many seconds.
pub(crate) async fn run(
    seed: u64,
    clients: &[usize],
    turn_seconds: f64,
    options: &ClusterOptions,
) -> Result<Report, String> {
    let binary = spanwire(options)?;
    let directory = Directory::make(options)?;
    let syncs = directory.time_syncs()?;
    let mut controllers = Controllers::of(MEMBERS as u64, &binary, &directory).await?;
    let leader = controllers.leader().await?;
    let leader = controllers.address(leader);
    let prelude = mk_prelude();
    let applied = connect(leader).await?.apply(mk_apply(prelude)).await;
    applied.map_err(|status| format!("the network is refused: {status}"))?;
    let version = Etcd::version();
    let mut etcd = match &version {
        Some(_) => Some(Etcd::of(MEMBERS, &directory).await?),
        None => None,
    };

    let mut report = Report::new("writes", seed);
    report.set("members", MEMBERS);
    report.set("value_bytes", mk_value(0, 0).len());
    report.set("turns", TURNS);
    report.measure("turn_seconds", turn_seconds);
    report.measure("sync_p50_us", syncs.at(50.0));
    report.measure("sync_p99_us", syncs.at(99.0));
    report.set("etcd", version.as_deref().unwrap_or("not installed: see the package etcd-server"));
    let turn = Duration::from_secs_f64(turn_seconds);
    let mut rows = Vec::new();
    let mut targets = Targets::default();
    for to in [To::Leader, To::All] {
        for &count in clients {
            let mut ours = Vec::new();
            for client in 0..count {
                let address = to.choose(leader, &controllers.addresses(), client);
                ours.push(ApplyClient { client: connect(address).await?, number: client, next: 0 });
            }
            let mut theirs = Vec::new();
            if let Some(etcd) = &mut etcd {
                let leader = etcd.leader().await?;
                for client in 0..count {
                    let address = to.choose(leader, &etcd.addresses(), client);
                    let make = move |number| mk_value(client, number);
                    theirs.push(PutClient::connect(address, mk_name(client), make).await?);
                }
            }
            let (mut spanwire, mut other) = (Side::default(), Side::default());
            for _ in 0..TURNS {
                ours = spanwire.take(ours, turn, &|| controllers.cpu()).await?;
                if let Some(etcd) = &etcd {
                    theirs = other.take(theirs, turn, &|| etcd.cpu()).await?;
                }
            }
            let ratio = spanwire.measured.rate() / other.measured.rate().max(1e-9);
            let mut row = Map::new();
            row.insert("to".into(), to.as_str().into());
            row.insert("clients".into(), count.into());
            spanwire.describe("spanwire", &mut row);
            if etcd.is_some() {
                other.describe("etcd", &mut row);
                row.insert("ratio_to_etcd".into(), rounded(ratio).into());
            }
            rows.push(Value::Object(row));
            if etcd.is_some() && to == To::Leader && count == TARGET_CLIENTS {
                targets.add("ratio_to_etcd", ratio, Target::AtLeast(RATIO_TARGET));
            }
        }
    }
    report.set("rows", rows);
    targets.report(&mut report);
    Ok(report)
}

/// What one cluster did in its turns.
#[derive(Default)]
struct Side {
    measured: Measured,
    cpu: Duration,
}

impl Side {
    async fn take<W: Write>(
        &mut self,
        clients: Vec<W>,
        turn: Duration,
        cpu: &(dyn Fn() -> Duration + Sync),
    ) -> Result<Vec<W>, String> {
        let (_, clients) = close_loop(clients, WARM_UP.min(turn)).await?;
        let before = cpu();
        let (measured, clients) = close_loop(clients, turn).await?;
        self.cpu += cpu().saturating_sub(before);
        self.measured.extend(measured);
        Ok(clients)
    }

    fn describe(&self, name: &str, row: &mut Map<String, Value>) {
        let Measured { latencies, .. } = &self.measured;
        let mut set = |figure: &str, value: f64| {
            row.insert(format!("{name}_{figure}"), rounded(value).into());
        };
        set("per_second", self.measured.rate().round());
        set("p50_ms", latencies.at(50.0) / 1e3);
        set("p99_ms", latencies.at(99.0) / 1e3);
        // Of all members: the machines are shared.
        set("cpu_us_per_write", self.cpu.as_secs_f64() * 1e6 / latencies.count().max(1) as f64);
    }
}

/// Relabels one port, over and over.
struct ApplyClient {
    client: Client,
    number: usize,
    next: u64,
}

impl Write for ApplyClient {
    async fn write(&mut self) -> Result<u64, String> {
        let request = wire::ApplyRequest {
            request_id: rand::random::<[u8; 16]>().to_vec(),
            ..mk_apply([mk_port(self.number, self.next)])
        };
        self.next += 1;
        let answer = self.client.apply(request).await;
        let answer = answer.map_err(|status| format!("a write failed: {status}"))?;
        Ok(answer.into_inner().revision)
    }
}

fn mk_name(client: usize) -> String {
    format!("client-{client}")
}

/// A host and a switch.
fn mk_prelude() -> [Resource; 2] {
    let host = Spec::Host(HostSpec { vtep: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))) });
    let switch = Spec::LogicalSwitch(LogicalSwitchSpec::default());
    [
        Resource::new("system", "host", Labels::new(), host),
        Resource::new(PROJECT, "net", Labels::new(), switch),
    ]
}

/// The port of a client, with the label of a write.
fn mk_port(client: usize, number: u64) -> Resource {
    let address = IpAddr::V4(Ipv4Addr::from(FIRST_ADDRESS + client as u32));
    let spec = Spec::LogicalPort(LogicalPortSpec {
        switch: ObjectRef::new(PROJECT, "net"),
        mac: Mac::derived_from(address),
        addresses: [address].into_iter().collect(),
        host: Some("host".into()),
        attachment: PortAttachment::Derived,
        port_security: true,
    });
    let labels = [("number", number.to_string()), ("payload", "x".repeat(PAYLOAD_BYTES))];
    let labels: Labels =
        labels.iter().map(|(key, value)| ((*key).into(), value.as_str().into())).collect();
    Resource::new(PROJECT, mk_name(client), labels, spec)
}

/// The bytes that etcd is given: those that a controller is.
fn mk_value(client: usize, number: u64) -> Vec<u8> {
    mk_apply([mk_port(client, number)]).encode_to_vec()
}
