//! Security policies mean what the network policies meant: each case is judged by a direct reading
//! of the Kubernetes documentation on the one side and by the oracle, on the resources that were
//! made, on the other, for every pair of pods and some addresses outside.
#![allow(clippy::unwrap_used)] // A panic in a test's own function is a failed test too.

mod common;

use ipnet::IpNet;
use serde_json::{Value, json};
use spanwire_import::Import;
use spanwire_import::kubernetes::{KubernetesOptions, import_documents};
use spanwire_oracle::Network;
use spanwire_topology::engine::{Endpoint, PacketKind, Verdict};
use spanwire_topology::model::{Kind, ObjectKey, TransportProtocol};
use std::net::IpAddr;

const CLUSTER: &str = r#"
kind: List
items:
- {kind: Node, metadata: {name: n1}, spec: {podCIDRs: [10.0.0.0/16, "fd00::/64"]},
   status: {addresses: [{type: Hostname, address: n1}, {type: InternalIP, address: 192.0.2.1}]}}
- {kind: Namespace, metadata: {name: a, labels: {team: red, env: prod}}}
- {kind: Namespace, metadata: {name: b, labels: {team: blue, env: prod}}}
- {kind: Namespace, metadata: {name: c, labels: {kubernetes.io/metadata.name: c}}}
- {kind: Pod, metadata: {name: host, namespace: a, labels: {app: web}},
   spec: {nodeName: n1, hostNetwork: true}, status: {podIPs: [{ip: 192.0.2.1}]}}
- {kind: Pod, metadata: {name: done, namespace: a, labels: {app: web}},
   spec: {nodeName: n1}, status: {phase: Succeeded, podIPs: [{ip: 10.0.1.1}]}}
- {kind: Pod, metadata: {name: starting, namespace: a}, spec: {}, status: {phase: Pending}}
"#;

/// Namespace, name, labels, named ports.
type PodRow = (&'static str, &'static str, &'static str, &'static str);

const PODS: [PodRow; 7] = [
    ("a", "web", "app=web", "http/TCP/80 metrics/UDP/9100"),
    ("a", "web2", "app=web track=canary", "http/TCP/8080"),
    ("a", "db", "app=db", ""),
    ("a", "plain", "", ""),
    ("b", "web", "app=web track=canary", "http/TCP/8080 dns/UDP/53 dns-tcp/TCP/53"),
    ("b", "api", "app=api", "http/TCP/8080 http/UDP/53"),
    ("c", "web", "app=web", "http/TCP/80"),
];

fn pairs(text: &str) -> Value {
    let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
    Value::Object(pairs.map(|(key, value)| (key.to_owned(), json!(value))).collect())
}

fn pod_object(n: usize, (namespace, name, labels, ports): PodRow) -> Value {
    let ports: Vec<Value> = ports
        .split_whitespace()
        .map(|port| {
            let parts: Vec<&str> = port.split('/').collect();
            let number: u16 = parts[2].parse().unwrap();
            // TCP is what a port is that says nothing.
            match parts[1] {
                "TCP" => json!({ "name": parts[0], "containerPort": number }),
                protocol => {
                    json!({ "name": parts[0], "protocol": protocol, "containerPort": number })
                }
            }
        })
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": namespace, "labels": pairs(labels) },
        "spec": { "nodeName": "n1", "containers": [{ "ports": ports }] },
        "status": {
            "phase": "Running",
            "podIPs": [{ "ip": pod_address(n, true) }, { "ip": pod_address(n, false) }],
        },
    })
}

fn pod_address(n: usize, is_v4: bool) -> IpAddr {
    let text = if is_v4 { format!("10.0.0.{}", n + 1) } else { format!("fd00::{}", n + 1) };
    text.parse().unwrap()
}

fn import(policies: &str) -> Import {
    let pods: Vec<Value> = PODS.iter().enumerate().map(|(n, pod)| pod_object(n, *pod)).collect();
    let pods = json!({ "kind": "PodList", "items": pods });
    let documents = [
        ("cluster.yaml".to_owned(), CLUSTER.as_bytes().to_vec()),
        ("pods.json".to_owned(), pods.to_string().into_bytes()),
        ("policies.yaml".to_owned(), policies.as_bytes().to_vec()),
    ];
    import_documents(&documents, &KubernetesOptions::default()).unwrap()
}

// --- A direct reading of Kubernetes ------------------------------------------------------------

/// A pod by its index, or the address outside.
type End = Option<usize>;

#[derive(Debug, Clone, Copy)]
struct Packet {
    from: End,
    to: End,
    is_v4: bool,
    protocol: TransportProtocol,
    port: u16,
}

fn address(end: End, is_v4: bool) -> IpAddr {
    match (end, is_v4) {
        (Some(pod), _) => pod_address(pod, is_v4),
        (None, true) => "203.0.113.7".parse().unwrap(),
        (None, false) => "2001:db8::7".parse().unwrap(),
    }
}

fn namespace_labels(name: &str) -> Value {
    let mut labels = match name {
        "a" => pairs("team=red env=prod"),
        "b" => pairs("team=blue env=prod"),
        _ => json!({}),
    };
    labels["kubernetes.io/metadata.name"] = json!(name);
    labels
}

fn selects(selector: &Value, labels: &Value) -> bool {
    let of_labels = selector["matchLabels"].as_object();
    let mut expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    of_labels.into_iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
        && expressions.all(|expression| {
            let found = labels.get(expression["key"].as_str().unwrap());
            let listed = |value| expression["values"].as_array().unwrap().contains(value);
            match expression["operator"].as_str().unwrap() {
                "In" => found.is_some_and(listed),
                "NotIn" => !found.is_some_and(listed),
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                other => panic!("{other}"),
            }
        })
}

fn peer_matches(peer: &Value, policy_namespace: &str, end: End, is_v4: bool) -> bool {
    if let Some(cidr) = peer["ipBlock"]["cidr"].as_str() {
        let inside = |text: &str| text.parse::<IpNet>().unwrap().contains(&address(end, is_v4));
        let mut except = peer["ipBlock"]["except"].as_array().into_iter().flatten();
        return inside(cidr) && !except.any(|net| inside(net.as_str().unwrap()));
    }
    let Some(pod) = end else { return false };
    let (namespace, _, labels, _) = PODS[pod];
    let namespace_fits = match &peer["namespaceSelector"] {
        Value::Null => namespace == policy_namespace,
        selector => selects(selector, &namespace_labels(namespace)),
    };
    namespace_fits
        && (peer["podSelector"].is_null() || selects(&peer["podSelector"], &pairs(labels)))
}

fn port_matches(port: &Value, packet: &Packet) -> bool {
    let protocol = port["protocol"].as_str().unwrap_or("TCP").to_lowercase();
    if protocol != packet.protocol.as_str() {
        return false;
    }
    match &port["port"] {
        Value::Null => true,
        Value::String(name) => {
            // The name is looked up in the pod that is spoken to.
            let Some(pod) = packet.to else { return false };
            PODS[pod]
                .3
                .split_whitespace()
                .any(|port| port.to_lowercase() == format!("{name}/{protocol}/{}", packet.port))
        }
        number => {
            let first = number.as_u64().unwrap();
            let last = port["endPort"].as_u64().unwrap_or(first);
            (first..=last).contains(&u64::from(packet.port))
        }
    }
}

fn rule_matches(rule: &Value, peers: &str, namespace: &str, other: End, packet: &Packet) -> bool {
    let empty = Vec::new();
    let list = |name: &str| rule[name].as_array().unwrap_or(&empty);
    let peer_fits = list(peers).is_empty()
        || list(peers).iter().any(|peer| peer_matches(peer, namespace, other, packet.is_v4));
    let port_fits =
        list("ports").is_empty() || list("ports").iter().any(|port| port_matches(port, packet));
    peer_fits && port_fits
}

/// Whether a pod may receive, or send, a packet.
fn pod_allows(policies: &[Value], pod: End, is_in: bool, packet: &Packet) -> bool {
    let Some(pod) = pod else { return true };
    let (namespace, _, labels, _) = PODS[pod];
    let (wanted, rules, peers) =
        if is_in { ("Ingress", "ingress", "from") } else { ("Egress", "egress", "to") };
    let mut isolated = false;
    for policy in policies {
        let spec = &policy["spec"];
        let of_type = match spec["policyTypes"].as_array() {
            Some(types) if !types.is_empty() => types.contains(&json!(wanted)),
            _ => is_in || spec["egress"].as_array().is_some_and(|rules| !rules.is_empty()),
        };
        if policy["metadata"]["namespace"] != namespace
            || !of_type
            || !selects(&spec["podSelector"], &pairs(labels))
        {
            continue;
        }
        isolated = true;
        let other = if is_in { packet.from } else { packet.to };
        let mut listed = spec[rules].as_array().into_iter().flatten();
        if listed.any(|rule| rule_matches(rule, peers, namespace, other, packet)) {
            return true;
        }
    }
    !isolated
}

// --- The comparison ----------------------------------------------------------------------------

fn packets() -> Vec<Packet> {
    use TransportProtocol::{Sctp, Tcp, Udp};
    let kinds = [
        (Tcp, 80),
        (Tcp, 8080),
        (Tcp, 443),
        (Tcp, 53),
        (Tcp, 6000),
        (Udp, 53),
        (Udp, 9100),
        (Sctp, 80),
    ];
    let ends: Vec<End> = (0..PODS.len()).map(Some).chain([None]).collect();
    let mut packets = Vec::new();
    for &from in &ends {
        for &to in ends.iter().filter(|to| **to != from) {
            for is_v4 in [true, false] {
                packets.extend(kinds.map(|(protocol, port)| Packet {
                    from,
                    to,
                    is_v4,
                    protocol,
                    port,
                }));
            }
        }
    }
    packets
}

fn endpoint(end: End, is_v4: bool) -> Endpoint {
    let address = address(end, is_v4);
    match end {
        None => Endpoint::Outside(address),
        Some(pod) => {
            let key = ObjectKey::new(Kind::LogicalPort, PODS[pod].0, PODS[pod].1);
            Endpoint::Port(key, Some(address))
        }
    }
}

/// Compares every packet; gives back how many are denied.
fn compare(name: &str, policies: &str) -> usize {
    let import = import(policies);
    assert_eq!(import.unsupported, [], "{name}");
    let policies: Vec<Value> = serde_saphyr::from_multiple(policies).unwrap();
    let resources = common::sound(&import);
    let oracle = Network::new(&resources);
    let mut denied = 0;
    for packet in packets() {
        let kind = PacketKind::Transport {
            protocol: packet.protocol,
            source_port: 40_000,
            port: packet.port,
        };
        let (from, to) = (endpoint(packet.from, packet.is_v4), endpoint(packet.to, packet.is_v4));
        let verdict = oracle.verdict(&from, &to, kind).unwrap();
        let expected = pod_allows(&policies, packet.from, false, &packet)
            && pod_allows(&policies, packet.to, true, &packet);
        denied += usize::from(!expected);
        assert_eq!(
            matches!(verdict, Verdict::Allowed(..)),
            expected,
            "{name}: {packet:?}: {verdict:?}"
        );
    }
    denied
}

/// A policy of namespace `a` by its spec.
fn policy(spec: &str) -> String {
    policy_of("a", "np", spec)
}

fn policy_of(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "kind: NetworkPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: \
         {{{spec}}}\n"
    )
}

#[test]
fn network_policies_mean_the_same() {
    // The name of the case, and the spec of a policy in namespace a.
    let cases = [
        ("default deny in", "podSelector: {}"),
        ("default deny in, said", "podSelector: {}, policyTypes: [Ingress]"),
        ("default deny out", "podSelector: {}, policyTypes: [Egress]"),
        ("default deny both", "podSelector: {}, policyTypes: [Ingress, Egress]"),
        ("empty lists of rules", "podSelector: {}, ingress: [], egress: []"),
        ("empty types are no types", "podSelector: {}, policyTypes: [], egress: [{}]"),
        ("allow all in", "podSelector: {}, ingress: [{}]"),
        ("allow all out", "podSelector: {}, policyTypes: [Egress], egress: [{}]"),
        ("egress rules imply the type", "podSelector: {}, egress: [{to: [{podSelector: {}}]}]"),
        ("rules of a type not named", "podSelector: {}, policyTypes: [Egress], ingress: [{}]"),
        ("one pod", "podSelector: {matchLabels: {app: db}}"),
        ("two labels", "podSelector: {matchLabels: {app: web, track: canary}}"),
        ("In", "podSelector: {matchExpressions: [{key: app, operator: In, values: [db, web]}]}"),
        ("NotIn", "podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [db]}]}"),
        ("Exists", "podSelector: {matchExpressions: [{key: app, operator: Exists}]}"),
        ("DoesNotExist", "podSelector: {matchExpressions: [{key: app, operator: DoesNotExist}]}"),
        (
            "labels and expressions",
            "podSelector: {matchLabels: {app: web}, matchExpressions: [{key: track, operator: \
             DoesNotExist}]}",
        ),
        ("no pod", "podSelector: {matchLabels: {app: nobody}}"),
        ("empty from", "podSelector: {}, ingress: [{from: []}]"),
        ("empty from with ports", "podSelector: {}, ingress: [{from: [], ports: [{port: 80}]}]"),
        ("empty ports", "podSelector: {}, ingress: [{from: [{podSelector: {}}], ports: []}]"),
        (
            "pods of the namespace",
            "podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]",
        ),
        ("all pods of the namespace", "podSelector: {}, ingress: [{from: [{podSelector: {}}]}]"),
        ("all namespaces", "podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]"),
        (
            "namespaces by label",
            "podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: \
             blue}}}]}]",
        ),
        (
            "namespaces by expression",
            "podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: \
             team, operator: NotIn, values: [red]}]}}]}]",
        ),
        (
            "namespaces without a label",
            "podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: \
             team, operator: DoesNotExist}]}}]}]",
        ),
        (
            "a namespace by name",
            "podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: \
             {kubernetes.io/metadata.name: c}}}]}]",
        ),
        (
            "pods of namespaces: both must hold",
            "podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {env: prod}}, \
             podSelector: {matchLabels: {app: web}}}]}]",
        ),
        (
            "pods of all namespaces",
            "podSelector: {}, ingress: [{from: [{namespaceSelector: {}, podSelector: \
             {matchLabels: {app: web}}}]}]",
        ),
        (
            "pods, or namespaces: one must hold",
            "podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}}, \
             {podSelector: {matchLabels: {app: db}}}]}]",
        ),
        (
            "nobody",
            "podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: nobody}}}]}]",
        ),
        ("a block", "podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24}}]}]"),
        (
            "everything as a block",
            "podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]",
        ),
        (
            "a block with exceptions",
            "podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/30, \
             203.0.113.7/32]}}]}]",
        ),
        (
            "an IPv6 block",
            "podSelector: {}, egress: [{to: [{ipBlock: {cidr: \"2001:db8::/32\"}}]}]",
        ),
        (
            "two blocks and pods",
            "podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.0.0.4/30}}, {ipBlock: {cidr: \
             203.0.113.0/24}}, {podSelector: {matchLabels: {app: db}}}]}]",
        ),
        ("the protocol is TCP unless said", "podSelector: {}, ingress: [{ports: [{port: 53}]}]"),
        ("UDP", "podSelector: {}, ingress: [{ports: [{port: 53, protocol: UDP}]}]"),
        ("SCTP", "podSelector: {}, ingress: [{ports: [{port: 80, protocol: SCTP}]}]"),
        ("a protocol without port", "podSelector: {}, ingress: [{ports: [{protocol: UDP}]}]"),
        ("neither protocol nor port", "podSelector: {}, ingress: [{ports: [{}]}]"),
        ("a range", "podSelector: {}, ingress: [{ports: [{port: 443, endPort: 8080}]}]"),
        ("a range of one", "podSelector: {}, ingress: [{ports: [{port: 443, endPort: 443}]}]"),
        (
            "several ports",
            "podSelector: {}, egress: [{ports: [{port: 80}, {port: 53, protocol: UDP}]}]",
        ),
        ("a port by name, in", "podSelector: {}, ingress: [{ports: [{port: http}]}]"),
        (
            "a port by name, in, from pods",
            "podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: \
             blue}}}], ports: [{port: http}]}]",
        ),
        (
            "a UDP port by name",
            "podSelector: {}, ingress: [{ports: [{port: metrics, protocol: UDP}]}]",
        ),
        (
            "a port by name of the other protocol",
            "podSelector: {}, ingress: [{ports: [{port: metrics}]}]",
        ),
        ("a port that nobody has", "podSelector: {}, ingress: [{ports: [{port: nothing}]}]"),
        (
            "by name and by number",
            "podSelector: {}, ingress: [{ports: [{port: http}, {port: 443}]}]",
        ),
        ("a port by name, out", "podSelector: {}, egress: [{ports: [{port: http}]}]"),
        (
            "a port by name, out, to pods",
            "podSelector: {}, egress: [{to: [{podSelector: {matchLabels: {app: web}}}], ports: \
             [{port: http}]}]",
        ),
        (
            "a port by name, out, to namespaces",
            "podSelector: {}, egress: [{to: [{namespaceSelector: {matchLabels: {env: prod}}}], \
             ports: [{port: http}, {port: dns, protocol: UDP}]}]",
        ),
        (
            "a UDP port of the same name, out",
            "podSelector: {}, egress: [{to: [{namespaceSelector: {}}], ports: [{port: http, \
             protocol: UDP}]}]",
        ),
        ("a port that nobody has, out", "podSelector: {}, egress: [{ports: [{port: nothing}]}]"),
        (
            "several rules",
            "podSelector: {}, ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}, {from: \
             [{namespaceSelector: {matchLabels: {team: blue}}}], ports: [{port: 443}]}, {ports: \
             [{port: 53, protocol: UDP}]}]",
        ),
        (
            "both directions",
            "podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress], ingress: \
             [{from: [{podSelector: {matchLabels: {app: db}}}]}], egress: [{to: [{podSelector: \
             {matchLabels: {app: db}}}], ports: [{port: 443}]}]",
        ),
    ];
    let all = packets().len();
    let (mut some, mut none) = (0, 0);
    for (name, spec) in cases {
        match compare(name, &policy(spec)) {
            0 => none += 1,
            denied if denied < all => some += 1,
            _ => panic!("{name}: nothing passes"),
        }
    }
    // A case in which nothing is denied is one of those that say so.
    assert_eq!((none, some), (4, cases.len() - 4));
}

#[test]
fn several_policies_add_up() {
    let cases = [
        (
            "what one denies another allows",
            [
                policy_of("a", "deny", "podSelector: {}"),
                policy_of(
                    "a",
                    "allow",
                    "podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: http}]}]",
                ),
                policy_of("a", "more", "podSelector: {}, ingress: [{from: [{podSelector: {}}]}]"),
            ],
        ),
        (
            "policies of several namespaces",
            [
                policy_of(
                    "a",
                    "np",
                    "podSelector: {}, egress: [{to: [{namespaceSelector: {matchLabels: {team: \
                     blue}}}]}]",
                ),
                policy_of(
                    "b",
                    "np",
                    "podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: \
                     red}}}], ports: [{port: http}]}]",
                ),
                policy_of("c", "np", "podSelector: {}, policyTypes: [Ingress, Egress]"),
            ],
        ),
        (
            "equal selectors in different namespaces are different groups",
            [
                policy_of("a", "np", "podSelector: {matchLabels: {app: web}}"),
                policy_of(
                    "b",
                    "np",
                    "podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]",
                ),
                policy_of(
                    "c",
                    "np",
                    "podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: \
                     web}}}]}]",
                ),
            ],
        ),
    ];
    for (name, policies) in cases {
        assert!(compare(name, &policies.join("---\n")) > 0, "{name}");
    }
}

#[test]
fn equal_selectors_share_a_group() {
    let spec = "podSelector: {matchLabels: {app: web}}, ingress: [{from: [{namespaceSelector: \
     {matchLabels: {team: blue}}}, {ipBlock: {cidr: 10.0.0.0/8}}]}]";
    let policies =
        [policy_of("a", "one", spec), policy_of("a", "two", spec), policy_of("b", "one", spec)];
    let import = import(&policies.join("---\n"));
    let groups: Vec<String> = import
        .resources
        .iter()
        .filter(|r| r.spec.kind() == Kind::Group)
        .map(|r| r.key().to_string())
        .collect();
    assert_eq!(
        groups,
        [
            "group a/pods-app-web-4617acf8",
            "group b/pods-app-web-4617acf8",
            "group system/block-10.0.0.0-8",
            "group system/pods-ns-team-blue-c5e1b008",
        ]
    );
}

#[test]
fn nodes_pods_and_namespaces_are_carried_with_everything() {
    let import = import("");
    let keys: Vec<String> = import.resources.iter().map(|r| r.key().to_string()).collect();
    assert_eq!(
        keys,
        [
            "host n1",
            "switch system/pods",
            "port a/db",
            "port a/plain",
            "port a/web",
            "port a/web2",
            "port b/api",
            "port b/web",
            "port c/web",
        ]
    );
    let port = &import.resources[7];
    let labels: Vec<String> =
        port.metadata.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(
        labels,
        [
            "app=web",
            "ns.spanwire/env=prod",
            "ns.spanwire/kubernetes.io/metadata.name=b",
            "ns.spanwire/team=blue",
            "tcp.port.spanwire/dns-tcp=53",
            "tcp.port.spanwire/http=8080",
            "track=canary",
            "udp.port.spanwire/dns=53",
        ]
    );
    let text = format!("{:?}", port.spec);
    assert!(text.contains("mac: 0a:58:0a:00:00:05"), "{text}");
    assert!(text.contains("addresses: [10.0.0.5, fd00::5]"), "{text}");
    assert!(text.contains("host: Some(\"n1\")"), "{text}");
    assert_eq!(
        common::notes(&import),
        [
            "Pod a/host: shares the network of its host: it has no port",
            "Pod a/starting: has no address yet: it has no port",
        ]
    );
}

#[test]
fn a_named_port_in_a_block_is_listed() {
    let spec = "podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}, {podSelector: \
     {}}], ports: [{port: http}]}]";
    let import = import(&policy(spec));
    let found = common::unsupported(&import);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("NetworkPolicy a/np: spec.egress[0]: port \"http\" in an ipBlock: "),
        "{}",
        found[0]
    );
    common::sound(&import);
}

#[test]
fn objects_of_other_kinds_are_listed() {
    let import = import(
        "kind: Service\nmetadata: {name: s, namespace: a}\n---\napiVersion: \
         crd.example.org/v1\n\
         kind: NetworkPolicy\nmetadata: {name: x, namespace: a}\nspec: {ingress: 7}\n",
    );
    assert_eq!(
        common::unsupported(&import),
        [
            "NetworkPolicy a/x: the object: only nodes, namespaces, pods and network policies are \
             carried over",
            "Service a/s: the object: only nodes, namespaces, pods and network policies are \
             carried over",
        ]
    );
}

#[test]
fn what_the_objects_do_not_say_is_noted() {
    let pod = r#"{"kind": "Pod", "metadata": {"name": "p", "namespace": "x"},
        "spec": {"nodeName": "n9"}, "status": {"podIP": "10.0.0.1"}}"#;
    let documents = [("p.json".to_owned(), pod.as_bytes().to_vec())];
    let import = import_documents(&documents, &KubernetesOptions::default()).unwrap();
    common::sound(&import);
    assert_eq!(
        common::notes(&import),
        [
            "Namespace x: is not among the objects: only its name is known, not its labels",
            "Node: no node has podCIDRs: the switch has no subnets",
            "Node n9: is named by pods and not among the objects: the host has no tunnel endpoint",
        ]
    );
}

#[test]
fn bad_objects_name_file_object_and_field() {
    let np = |spec: &str| policy(spec);
    let cases = [
        (String::from("- 1"), "f: document 1: kind: it is no object"),
        (String::from("a: 1"), "f: document 1: kind: it is missing"),
        (String::from("a: [1"), "f: "),
        (String::from("{\"kind\": }"), "f: line 1, column 10: expected value"),
        (
            String::from("kind: Pod"),
            "an object of kind Pod: the object: the field metadata is missing",
        ),
        (
            String::from("kind: Pod\nmetadata: {name: a/b}"),
            "metadata.name: name \"a/b\" has '/' at byte 1",
        ),
        (
            String::from("kind: Pod\nmetadata: {name: p, labels: {a: 1}}\nspec: {}"),
            "f: Pod default/p: metadata.labels[\"a\"]: 1 is not a text",
        ),
        (
            String::from("kind: Pod\nmetadata: {name: p, labels: {a: b c}}\nspec: {}"),
            "f: Pod default/p: metadata: labels: label value \"b c\" has ' ' at byte 1",
        ),
        (
            String::from("kind: Pod\nmetadata: {name: p}\nspec: {}\nstatus: {podIP: 10.0.0}"),
            "f: Pod default/p: status.podIP: \"10.0.0\" is not an IP address",
        ),
        (
            String::from(
                "kind: Pod\nmetadata: {name: p}\nspec: {containers: [{ports: [{name: http, \
                 containerPort: 0}]}]}",
            ),
            "f: Pod default/p: spec.containers[0].ports[0].containerPort: 0 is not a port number \
             from 1 to 65535",
        ),
        (
            String::from("kind: Node\nmetadata: {name: n}\nspec: {podCIDRs: [x]}"),
            "f: Node n: spec.podCIDRs[0]: \"x\" is not a CIDR",
        ),
        (
            np("podSelector: {matchLabels: [a]}"),
            "f: NetworkPolicy a/np: spec.podSelector.matchLabels: [\"a\"] is not a map",
        ),
        (
            np("podSelector: {matchLabels: {\"a b\": c}}"),
            "spec.podSelector: label key \"a b\" has ' '",
        ),
        (
            np("podSelector: {matchExpressions: [{key: a, operator: In}]}"),
            "spec.podSelector: In on label \"a\" has no values",
        ),
        (
            np("podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}"),
            "spec.podSelector.matchExpressions[0].operator: it takes no values",
        ),
        (
            np("podSelector: {matchExpressions: [{key: a, operator: Is}]}"),
            "\"Is\" is not In, NotIn, Exists or DoesNotExist",
        ),
        (np("policyTypes: [Both]"), "spec.policyTypes[0]: \"Both\" is not Ingress or Egress"),
        (np("ingress: [{from: [{}]}]"), "spec.ingress[0].from[0]: a peer needs podSelector"),
        (
            np("ingress: [{from: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]}]"),
            "spec.ingress[0].from[0]: ipBlock cannot stand beside a selector",
        ),
        (
            np("ingress: [{from: [{ipBlock: {cidr: 10.0.0.0}}]}]"),
            "spec.ingress[0].from[0].ipBlock.cidr: \"10.0.0.0\" is not a CIDR",
        ),
        (
            np("ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}]"),
            "from[0].ipBlock: exception 11.0.0.0/16 lies outside of 10.0.0.0/8",
        ),
        (
            np("egress: [{ports: [{port: 0}]}]"),
            "spec.egress[0].ports[0].port: 0 is not a port number",
        ),
        (
            np("egress: [{ports: [{port: \"80\"}]}]"),
            "spec.egress[0].ports[0].port: \"80\" is no port name",
        ),
        (
            np("egress: [{ports: [{port: 80, protocol: tcp}]}]"),
            "protocol \"tcp\" is not TCP, UDP or SCTP",
        ),
        (
            np("egress: [{ports: [{port: 80, endPort: 79}]}]"),
            "ports[0].endPort: 79 is smaller than port 80",
        ),
        (
            np("egress: [{ports: [{port: http, endPort: 80}]}]"),
            "endPort: it cannot stand beside a port by name",
        ),
        (np("egress: [{ports: [{endPort: 80}]}]"), "endPort: it needs a port to start from"),
    ];
    for (text, expected) in cases {
        let documents = [("f".to_owned(), text.clone().into_bytes())];
        let error = import_documents(&documents, &KubernetesOptions::default()).unwrap_err();
        assert!(error.to_string().contains(expected), "{text}\n{error}\nexpected {expected}");
    }
    let documents = [("f".to_owned(), vec![b'a', 0xff])];
    let error = import_documents(&documents, &KubernetesOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "f: byte 1 is not UTF-8: expected JSON or YAML from kubectl");
}

#[test]
fn an_object_may_be_there_twice_if_it_is_the_same() {
    let one = policy("podSelector: {}");
    let other = policy("podSelector: {}, ingress: [{}]");
    let import = |first: &str, second: &str| {
        let documents = [("f".to_owned(), first.into()), ("g".to_owned(), second.into())];
        import_documents(&documents, &KubernetesOptions::default())
    };
    assert!(import(&one, &one).is_ok());
    assert_eq!(
        import(&one, &other).unwrap_err().to_string(),
        "NetworkPolicy a/np is in f and in g, and they differ: keep the newer"
    );
}

#[test]
fn long_namespace_labels_are_told_apart() {
    let key = |end: &str| format!("{}.example.org/{}{end}", "x".repeat(240), "k".repeat(62));
    let namespace = |name: &str, end: &str| {
        format!("kind: Namespace\nmetadata: {{name: {name}, labels: {{{}: v}}}}\n", key(end))
    };
    let policy = policy(&format!(
        "podSelector: {{}}, ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{{}: \
         v}}}}}}]}}]",
        key("1")
    ));
    let pod = |namespace: &str, last: u8| {
        format!(
            "kind: Pod\nmetadata: {{name: p, namespace: {namespace}}}\nspec: {{nodeName: \
             n}}\nstatus: {{podIP: 10.0.0.{last}}}\n"
        )
    };
    let all =
        [namespace("a", "1"), namespace("b", "2"), pod("a", 1), pod("b", 2), policy].join("---\n");
    let documents = [("f".to_owned(), all.into_bytes())];
    let import = import_documents(&documents, &KubernetesOptions::default()).unwrap();
    let resources = common::sound(&import);
    let group =
        resources.keys().find(|k| k.kind == Kind::Group && &*k.project == "system").unwrap();
    let network = Network::new(&resources);
    let members: Vec<String> =
        network.group_ports(group).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(members, ["port a/p"]);
}
