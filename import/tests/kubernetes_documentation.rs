//! Network policies mean what their documentation says: cases with the verdicts that its sentences
//! call for, in `data/network-policies.yaml`, run through the importer and [`Engine::verdict`].
//!
//! `kubernetes_semantics.rs` has a second implementation in place of sentences.
#![allow(clippy::unwrap_used)] // A panic in a test's own function is a failed test too.

use serde::Deserialize;
use serde_json::{Value, json};
use spanwire_import::kubernetes::{KubernetesOptions, import_documents};
use spanwire_topology::engine::{Endpoint, PacketKind, Verdict};
use spanwire_topology::model::{Kind, ObjectKey, TransportProtocol};
use spanwire_topology::{Engine, Transaction};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

const DATA: &str = include_str!("data/network-policies.yaml");
/// Fewer would not be the documentation's.
const CASES_MIN: usize = 60;
const SOURCE_PORT: u16 = 40_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    cluster: Vec<Value>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    section: String,
    says: String,
    policies: Vec<Policy>,
    probes: BTreeMap<String, Expected>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    name: String,
    #[serde(default = "default_namespace")]
    namespace: String,
    spec: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Allowed,
    Denied,
}

fn default_namespace() -> String {
    "default".to_owned()
}

#[test]
fn policies_mean_what_the_documentation_says() {
    let table: Table = serde_saphyr::from_str(DATA).unwrap();
    assert!(table.cases.len() >= CASES_MIN, "{} cases", table.cases.len());
    let failures: Vec<String> =
        table.cases.iter().flat_map(|case| check(&table.cluster, case)).collect();
    assert!(failures.is_empty(), "{} probes fail:\n{}", failures.len(), failures.join("\n"));

    // A case that only ever allows, or only ever denies, would not tell a policy from none, but
    // for those that are about that.
    let verdicts = |case: &Case| case.probes.values().map(|v| *v as u8).collect::<BTreeSet<_>>();
    let one_sided = table.cases.iter().filter(|case| verdicts(case).len() < 2).count();
    assert!(one_sided * 4 < table.cases.len(), "{one_sided} cases are one-sided");
}

/// The probes of a case that have another verdict than the documentation calls for.
fn check(cluster: &[Value], case: &Case) -> Vec<String> {
    let policies = case.policies.iter().map(|policy| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": { "name": policy.name, "namespace": policy.namespace },
            "spec": policy.spec,
        })
    });
    let items: Vec<Value> = cluster.iter().cloned().chain(policies).collect();
    let list = json!({ "kind": "List", "items": items }).to_string();
    let documents = [("case.json".to_owned(), list.into_bytes())];
    let about = format!("{}: {}", case.section, case.says);
    let import = match import_documents(&documents, &KubernetesOptions::default()) {
        Ok(import) => import,
        Err(error) => return vec![format!("{about}: {error}")],
    };
    assert_eq!(import.unsupported, [], "{about}");
    let mut engine = Engine::new();
    engine.apply(&Transaction::put(import.resources), 1).unwrap();
    let wrong = case.probes.iter().filter_map(|(probe, expected)| {
        let (from, to, packet) = parsed(probe, cluster);
        let verdict = engine.verdict(&from, &to, packet).unwrap();
        let found = match verdict {
            Verdict::Allowed(..) => Expected::Allowed,
            Verdict::DeniedAtSource(_) | Verdict::DeniedAtDestination(..) => Expected::Denied,
            Verdict::Unreachable { .. } => panic!("{about}: {probe}: {verdict:?}"),
        };
        (found != *expected).then(|| format!("{about}: {probe}: {verdict:?}"))
    });
    wrong.collect()
}

/// `FROM -> TO PROTOCOL/PORT [over IPv6]`.
fn parsed(probe: &str, cluster: &[Value]) -> (Endpoint, Endpoint, PacketKind) {
    let (probe, v4) = match probe.strip_suffix(" over IPv6") {
        Some(probe) => (probe, false),
        None => (probe, true),
    };
    let (from, rest) = probe.split_once(" -> ").unwrap();
    let (to, service) = rest.split_once(' ').unwrap();
    let (protocol, port) = service.split_once('/').unwrap();
    let protocol = match protocol {
        "tcp" => TransportProtocol::Tcp,
        "udp" => TransportProtocol::Udp,
        "sctp" => TransportProtocol::Sctp,
        other => panic!("{other:?} is no protocol"),
    };
    let packet =
        PacketKind::Transport { protocol, source_port: SOURCE_PORT, port: port.parse().unwrap() };
    (end(from, v4, cluster), end(to, v4, cluster), packet)
}

fn end(text: &str, v4: bool, cluster: &[Value]) -> Endpoint {
    if let Ok(address) = text.parse::<IpAddr>() {
        assert_eq!(address.is_ipv4(), v4, "{text} is of the other family");
        return Endpoint::Outside(address);
    }
    let (namespace, name) = text.split_once('/').unwrap();
    let key = ObjectKey::new(Kind::LogicalPort, namespace, name);
    Endpoint::Port(key, Some(pod_address(cluster, namespace, name, v4)))
}

/// The address of a pod.
fn pod_address(cluster: &[Value], namespace: &str, name: &str, v4: bool) -> IpAddr {
    let pod = cluster.iter().find(|object| {
        object["kind"] == "Pod"
            && object["metadata"]["namespace"] == namespace
            && object["metadata"]["name"] == name
    });
    let addresses = &pod.unwrap_or_else(|| panic!("no pod {namespace}/{name}"))["status"]["podIPs"];
    let mut addresses =
        addresses.as_array().unwrap().iter().map(|ip| ip["ip"].as_str().unwrap().parse().unwrap());
    addresses.find(|address: &IpAddr| address.is_ipv4() == v4).unwrap()
}
