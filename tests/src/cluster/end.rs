//! What must hold when nothing goes wrong any more.

use super::clients::Clients;
use super::load::{HOSTS, Possible, Record, Seen, from_wire, host_name};
use super::{Cluster, WAIT};
use crate::process::AgentProcess;
use crate::wait_for;
use spanwire_adminproto::wire;
use spanwire_agent::Status as AgentStatus;
use spanwire_topology::model::Kind;
use spanwire_topology::{ObjectKey, Resource, Revision};
use std::collections::{BTreeMap, BTreeSet};

/// Agents that are started again at the end, to compare what they hold with what they should.
const RESTARTED: usize = 10;

/// Objects with the revisions of their last changes.
type State = BTreeMap<ObjectKey, (Resource, Revision)>;

/// Nothing acknowledged is lost: each port is as its last acknowledged write left it, or as a later
/// one would have left it whose outcome is unknown. Every controller says the same.
pub fn check_state(cluster: &mut Cluster, records: &[Record]) {
    let mut states: Vec<(String, State)> = Vec::new();
    for address in cluster.addresses() {
        let state = wait_for("the ports", WAIT, || {
            let ports = cluster.clients.list_all(&address, Kind::LogicalPort.as_str());
            let ports = ports.map_err(|status| format!("{address}: {status}"))?;
            Ok(ports.iter().map(from_wire).map(|(r, at)| (r.key(), (r, at))).collect())
        });
        states.push((address, state));
    }
    for (key, possible) in records.iter().flat_map(|record| &record.ports) {
        for (address, state) in &states {
            let found = state.get(key);
            assert!(
                may_be(possible, found),
                "{address} says that {key} is {found:?}; it may be {possible:?}"
            );
        }
    }
    let (first, rest) = states.split_first().expect("there are controllers");
    for state in rest {
        assert!(state.1 == first.1, "{} and {} have different ports", state.0, first.0);
    }
}

fn may_be(possible: &Possible, found: Option<&(Resource, Revision)>) -> bool {
    let resource = found.map(|(resource, _)| resource);
    let as_acknowledged = match (&possible.acknowledged, found) {
        (Some((Some(wanted), revision)), Some((resource, at))) => {
            wanted == resource && revision == at
        }
        (Some((None, _)) | None, None) => true,
        _ => false,
    };
    as_acknowledged || possible.unknown.as_ref().is_some_and(|wanted| wanted.as_ref() == resource)
}

/// Nothing was applied twice: each write has a revision of its own, and the watch saw it there, and
/// nowhere else.
pub fn check_once(records: &[Record], seen: &Seen) {
    let mut revisions = BTreeSet::new();
    for revision in records.iter().flat_map(|record| &record.revisions) {
        assert!(
            revisions.insert(revision),
            "two writes were told that they are revision {revision}"
        );
    }
    for (name, revision) in records.iter().flat_map(|record| &record.puts) {
        let may_be_missing =
            seen.gaps.iter().any(|(after, up_to)| revision > after && revision <= up_to);
        match seen.puts.get(name) {
            Some(at) => assert_eq!(at, revision, "write {name} was acknowledged as {revision}"),
            None => assert!(
                may_be_missing,
                "write {name} was acknowledged as revision {revision}, and no watch saw it"
            ),
        }
    }
}

/// Every controller and every replica's own word: all is well.
pub fn check_status(cluster: &mut Cluster) {
    cluster.check_running();
    wait_for("every replica to be ok", WAIT, || {
        let text = cluster.verb(&["cluster", "status", "-o", "json"])?;
        let status: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let replicas = status["replicas"].as_array().ok_or_else(|| text.clone())?;
        let is_ok =
            |replica: &serde_json::Value| replica["state"] == "ok" && replica["voter"] == true;
        if replicas.len() == cluster.numbers().len() && replicas.iter().all(is_ok) {
            Ok(())
        } else {
            Err(text)
        }
    });
}

/// Every agent has what the controllers say that its host is told, and all of it is in force.
pub fn check_agents(cluster: &mut Cluster, agents: &mut [AgentProcess], last: Revision) {
    let addresses = cluster.addresses();
    let clients = &mut cluster.clients;
    wait_for("all hosts to have the last revision", WAIT, || {
        let answer = host_status(clients, &addresses)?;
        let missing: Vec<_> = answer
            .hosts
            .iter()
            .filter(|host| !host.connected || host.realized_revision < host.view_revision)
            .collect();
        if missing.is_empty() && answer.hosts.len() == HOSTS && answer.revision >= last {
            Ok(())
        } else {
            Err(format!("{} of {HOSTS} hosts, missing {missing:?}", answer.hosts.len()))
        }
    });
    for (index, agent) in agents.iter().enumerate() {
        let host = host_name(index);
        let address = &addresses[index % addresses.len()];
        let status = wait_for("an agent to have its view", WAIT, || {
            let status = AgentStatus::read(&agent.state_dir()).map_err(|e| e.to_string())?;
            let view = clients.host_view(address, &host).map_err(|status| status.to_string())?;
            let items = items_of(&view);
            if status.connected && status.items == items && status.rejections_total == 0 {
                Ok(status)
            } else {
                Err(format!("{status:?}, and {address} tells it {items} items"))
            }
        });
        assert!(status.problem.is_none(), "{status:?}");
    }
    // An agent that connects says a digest of what it holds. Where it is that of what the controller
    // wants it to hold, nothing is sent.
    for agent in agents.iter_mut().take(RESTARTED) {
        let before = AgentStatus::read(&agent.state_dir()).expect("the status is there");
        agent.restart();
        let after = wait_for("an agent that was started again", WAIT, || {
            let status = AgentStatus::read(&agent.state_dir()).map_err(|e| e.to_string())?;
            let started = status.pid != before.pid && status.connected;
            if started { Ok(status) } else { Err(format!("{status:?}")) }
        });
        assert_eq!(after.items, before.items);
        wait_for("the controller to see the agent again", WAIT, || {
            let answer = host_status(clients, &addresses)?;
            let host = answer.hosts.iter().find(|host| host.host == before.host);
            match host {
                Some(host) if host.connected && host.realized_revision >= host.view_revision => {
                    assert_eq!(host.batches_sent, 0, "it held something else: {host:?}");
                    Ok(())
                }
                other => Err(format!("{other:?}")),
            }
        });
    }
}

/// The hosts are spread over the controllers: none has so many that it would let some go.
pub fn check_balance(cluster: &mut Cluster) -> Vec<usize> {
    // As in `controller/src/balance.rs`: a quarter and eight more than the average.
    let addresses = cluster.addresses();
    let average = HOSTS.div_ceil(addresses.len());
    let most = average + average / 4 + 8;
    let clients = &mut cluster.clients;
    wait_for("the hosts to be spread over the controllers", WAIT, || {
        let answer = host_status(clients, &addresses)?;
        let mut hosts: BTreeMap<u64, usize> = BTreeMap::new();
        for host in answer.hosts.iter().filter(|host| host.connected) {
            *hosts.entry(host.replica).or_default() += 1;
        }
        let connected: usize = hosts.values().sum();
        if connected == HOSTS && hosts.values().all(|count| *count <= most) {
            Ok(hosts.into_values().collect())
        } else {
            Err(format!("{hosts:?}, where {most} are the most"))
        }
    })
}

/// How the agents are, by the word of the first controller that says it.
fn host_status(
    clients: &mut Clients,
    addresses: &[String],
) -> Result<wire::HostStatusResponse, String> {
    let answer = clients.host_status(&addresses[0]).map_err(|status| status.to_string())?;
    if answer.silent.is_empty() { Ok(answer) } else { Err(format!("{:?}", answer.silent)) }
}

/// How many items a host's view has.
fn items_of(view: &wire::HostViewResponse) -> usize {
    view.domains.len()
        + view.ports.len()
        + view.policies.len()
        + view.shards.len()
        + view.blocks.len()
        + view.locators.len()
}
