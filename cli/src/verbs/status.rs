//! `spanwire status`: how the controller and the agents are.

use crate::cli::{Format, Global};
use crate::client::{connect, to_failure};
use crate::failure::Failure;
use crate::output::{Table, print, print_json, render};
use crate::progress;
use clap::Args;
use serde_json::json;
use spanwire_adminproto::wire;

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {}

/// Runs the verb.
pub(crate) async fn run(global: &Global, _args: StatusArgs) -> Result<(), Failure> {
    let fail = |status: tonic::Status| to_failure("status", &status);
    let mut admin = connect(global).await?;
    let (cluster, hosts) = progress::during("status", async {
        let cluster = admin.cluster_status(wire::ClusterStatusRequest {}).await?.into_inner();
        let hosts = admin.host_status(wire::HostStatusRequest::default()).await?.into_inner();
        Ok::<_, tonic::Status>((cluster, hosts))
    })
    .await
    .map_err(fail)?;
    match global.output {
        Format::Table | Format::Wide => print(&to_text(&cluster, &hosts)),
        Format::Json | Format::Yaml => print_json(&to_json(&cluster, &hosts)),
    }
}

/// What the agents are, counted.
struct Agents {
    hosts: usize,
    connected: usize,
    current: usize,
    rejecting: usize,
}

impl Agents {
    fn count(hosts: &[wire::HostAgentStatus]) -> Agents {
        let count = |test: fn(&wire::HostAgentStatus) -> bool| {
            hosts.iter().filter(|host| test(host)).count()
        };
        Agents {
            hosts: hosts.len(),
            connected: count(|host| host.connected),
            current: count(|host| host.connected && host.realized_revision >= host.view_revision),
            rejecting: count(|host| !host.rejections.is_empty()),
        }
    }
}

fn to_text(cluster: &wire::ClusterStatusResponse, hosts: &wire::HostStatusResponse) -> String {
    let agents = Agents::count(&hosts.hosts);
    let mut text = format!(
        "cluster {}: revision {}, term {}, leader {}\n",
        cluster.cluster_id, cluster.revision, cluster.term, cluster.leader
    );
    text.push_str(&format!(
        "{}: {} connected, {} current, {} with rejections\n",
        render::count(agents.hosts, "host"),
        agents.connected,
        agents.current,
        agents.rejecting
    ));
    for silent in &hosts.silent {
        text.push_str(&format!(
            "replica {} at {} does not answer: its hosts count as not connected\n",
            silent.id, silent.address
        ));
    }
    let mut table = Table::new(&["REPLICA", "ADDRESS", "ROLE", "APPLIED"]);
    for replica in &cluster.replicas {
        // How far the others are, each says itself: `spanwire cluster status` asks them.
        let is_own = replica.id == cluster.replica;
        table.row([
            replica.id.to_string(),
            replica.address.clone(),
            replica.role.clone(),
            if is_own { replica.applied_revision.to_string() } else { "-".to_owned() },
        ]);
    }
    if !table.is_empty() {
        text.push_str(&table.to_text());
    }
    text
}

fn to_json(
    cluster: &wire::ClusterStatusResponse,
    hosts: &wire::HostStatusResponse,
) -> serde_json::Value {
    let agents = Agents::count(&hosts.hosts);
    let replicas: Vec<_> = cluster
        .replicas
        .iter()
        .map(|replica| {
            json!({ "id": replica.id, "address": replica.address, "role": replica.role,
                    "appliedRevision": replica.applied_revision })
        })
        .collect();
    json!({
        "clusterId": cluster.cluster_id, "leader": cluster.leader, "term": cluster.term,
        "revision": cluster.revision, "replicas": replicas,
        "silentReplicas": hosts.silent.iter().map(|silent| silent.id).collect::<Vec<_>>(),
        "hosts": { "total": agents.hosts, "connected": agents.connected,
                   "current": agents.current, "rejecting": agents.rejecting },
    })
}

/// What a host's agent says of itself.
pub(super) fn host_to_json(host: &wire::HostAgentStatus) -> serde_json::Value {
    let rejections: Vec<_> = host
        .rejections
        .iter()
        .map(|rejection| {
            json!({ "object": render::key_or_dash(rejection.object.as_ref()),
                    "item": rejection.item, "reason": rejection.reason })
        })
        .collect();
    json!({
        "host": host.host, "connected": host.connected,
        "connectedSinceMs": host.connected_since_ms, "agentVersion": host.agent_version,
        "datapath": host.datapath, "realizedRevision": host.realized_revision,
        "viewRevision": host.view_revision, "rejections": rejections,
        "driftRepaired": host.drift_repaired, "driftLast": host.drift_last,
        "checks": host.checks, "checkRepaired": host.check_repaired, "checkLast": host.check_last,
        "bytesSent": host.bytes_sent, "batchesSent": host.batches_sent, "replica": host.replica,
    })
}
