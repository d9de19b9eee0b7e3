//! A controller in this process, a client, and a small network.
//!
//! ```text
//!   host-1 (192.0.2.1)          host-2 (192.0.2.2)          host-3 (192.0.2.3)
//!     a/web-1 10.0.1.1            a/db-1 10.0.1.2             b/web-1 10.0.1.1
//!          └──── switch a/net ────────┘                        └── switch b/net
//!
//!   project a: policy a/db guards group a/db (app=db): in from group a/web (app=web)
//!   project b has equal addresses and is not connected to a.
//! ```

// Each test binary uses its own part of this, and a panic here is a failed test.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod cluster;
pub mod fake_host;

use spanwire_adminproto::convert::{from_key, from_puts, from_resource};
use spanwire_adminproto::wire;
use spanwire_adminproto::wire::admin_client::AdminClient;
use spanwire_controller::{Config, Controller, RunningController};
use spanwire_topology::model::{
    Action, DefaultActions, Direction, GroupSpec, GroupTerm, HostSpec, Kind, Labels,
    LogicalPortSpec, LogicalSwitchSpec, Mac, ObjectKey, ObjectRef, Peer, PortAttachment,
    ProjectScope, Resource, Rule, SecurityPolicySpec, Selector, Spec,
};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub type Client = AdminClient<Channel>;

pub async fn start(data_dir: &Path) -> RunningController {
    Controller::start(mk_config(data_dir)).await.expect("the controller starts")
}

/// A controller that has the network of the picture, its data directory, a client, and the revision.
pub async fn start_with_network() -> (tempfile::TempDir, RunningController, Client, u64) {
    let root = tempfile::tempdir().unwrap();
    let controller = start(root.path()).await;
    let mut client = connect(&controller).await;
    let revision = apply(&mut client, network()).await.unwrap();
    (root, controller, client, revision)
}

pub fn mk_config(data_dir: &Path) -> Config {
    Config { listen: "127.0.0.1:0".parse().unwrap(), ..Config::new(data_dir) }
}

/// A connection to a controller, for any of its services.
pub async fn open(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::new(format!("http://{address}")).unwrap();
    endpoint.connect().await.expect("connects")
}

pub async fn connect(controller: &RunningController) -> Client {
    let client = AdminClient::new(open(controller.address()).await);
    client.max_decoding_message_size(usize::MAX)
}

pub fn key(kind: Kind, project: &str, name: &str) -> ObjectKey {
    ObjectKey::new(kind, project, name)
}

pub fn wire_key(kind: Kind, project: &str, name: &str) -> Option<wire::ObjectKey> {
    Some(from_key(&key(kind, project, name)))
}

fn labels(text: &str) -> Labels {
    let pairs = text.split_whitespace().map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(key, value)| (key.into(), value.into())).collect()
}

pub fn mk_host(name: &str, vtep: &str) -> Resource {
    let spec = HostSpec { vtep: Some(vtep.parse().unwrap()) };
    Resource::new("system", name, Labels::new(), Spec::Host(spec))
}

pub fn mk_switch(project: &str, name: &str, subnet: &str) -> Resource {
    let spec = LogicalSwitchSpec { subnets: vec![subnet.parse().unwrap()] };
    Resource::new(project, name, Labels::new(), Spec::LogicalSwitch(spec))
}

pub fn mk_port(project: &str, name: &str, address: &str, host: &str, with: &str) -> Resource {
    let address: IpAddr = address.parse().unwrap();
    let spec = LogicalPortSpec {
        switch: ObjectRef::new(project, "net"),
        mac: Mac::derived_from(address),
        addresses: [address].into_iter().collect(),
        host: (!host.is_empty()).then(|| host.into()),
        attachment: PortAttachment::Derived,
        port_security: true,
    };
    Resource::new(project, name, labels(with), Spec::LogicalPort(spec))
}

pub fn mk_group(project: &str, name: &str, selector: &str) -> Resource {
    let selector: Selector = selector.parse().unwrap();
    let term = GroupTerm::Selector { selector, projects: ProjectScope::Own };
    let spec = GroupSpec { terms: vec![term], blocks: Vec::new() };
    Resource::new(project, name, Labels::new(), Spec::Group(spec))
}

pub fn mk_policy(project: &str, name: &str, applied_to: &str, from: &str) -> Resource {
    let rule = Rule {
        name: None,
        direction: Direction::In,
        peers: vec![Peer { group: ObjectRef::new(project, from), negate: false }],
        services: Vec::new(),
        action: Action::Allow,
        log: false,
    };
    let spec = SecurityPolicySpec {
        applied_to: vec![ObjectRef::new(project, applied_to)],
        tier: SecurityPolicySpec::TIER_DEFAULT,
        priority: 100,
        defaults: DefaultActions { inbound: Some(Action::Drop), outbound: None },
        rules: vec![rule],
    };
    Resource::new(project, name, Labels::new(), Spec::SecurityPolicy(spec))
}

/// The network drawn above.
pub fn network() -> Vec<Resource> {
    let mut all = vec![
        mk_host("host-1", "192.0.2.1"),
        mk_host("host-2", "192.0.2.2"),
        mk_host("host-3", "192.0.2.3"),
    ];
    for project in ["a", "b"] {
        all.push(mk_switch(project, "net", "10.0.1.0/24"));
        all.push(mk_group(project, "web", "app=web"));
        all.push(mk_group(project, "db", "app=db"));
        all.push(mk_policy(project, "db", "db", "web"));
    }
    all.push(mk_port("a", "web-1", "10.0.1.1", "host-1", "app=web"));
    all.push(mk_port("a", "db-1", "10.0.1.2", "host-2", "app=db"));
    all.push(mk_port("b", "web-1", "10.0.1.1", "host-3", "app=web"));
    all
}

pub fn mk_apply(resources: impl IntoIterator<Item = Resource>) -> wire::ApplyRequest {
    let items = from_puts(resources.into_iter().map(|resource| (resource, None)));
    wire::ApplyRequest { items, ..wire::ApplyRequest::default() }
}

/// Applies resources, and gives the revision.
pub async fn apply(
    client: &mut Client,
    resources: impl IntoIterator<Item = Resource>,
) -> Result<u64, tonic::Status> {
    client.apply(mk_apply(resources)).await.map(|response| response.into_inner().revision)
}

pub async fn get(client: &mut Client, key: &ObjectKey) -> Result<wire::Resource, tonic::Status> {
    let request = wire::GetRequest { key: Some(from_key(key)) };
    let response = client.get(request).await?.into_inner();
    Ok(response.resource.expect("an answer has the resource"))
}

/// A resource as an answer has it, without its status.
pub fn stripped(resource: &wire::Resource) -> wire::Resource {
    wire::Resource { status: None, ..resource.clone() }
}

pub fn as_wire(resource: &Resource) -> wire::Resource {
    from_resource(resource)
}

/// Waits for a condition, with a bound.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
