//! Whatever comes in, an import comes out, or an error.
#![allow(clippy::unwrap_used)] // A panic in a test's own function is a failed test too.

mod common;

use common::Nb;
use proptest::prelude::*;
use serde_json::Value;
use spanwire_import::kubernetes::{KubernetesOptions, import_documents};
use spanwire_import::ovn::expr::{normalize, parse};
use spanwire_import::ovn::fetch::Remote;
use spanwire_import::ovn::{Datum, OvnOptions, import_dump};

fn dump(bytes: &[u8]) {
    let _ = import_dump(bytes, &OvnOptions::default());
}

fn documents(bytes: &[u8]) {
    let _ = import_documents(&[("f".to_owned(), bytes.to_vec())], &KubernetesOptions::default());
}

fn matches(text: &str) {
    if let Ok(expression) = parse(text) {
        let _ = normalize(&expression);
    }
}

/// A database with a bit of everything.
fn seed_dump() -> String {
    let mut nb = Nb::default();
    let (a, b) = (nb.port("a", "10.0.0.10 fd00::1", "tenant=x"), nb.port("b", "10.0.1.10", ""));
    let (ra, rb) = (nb.router_port("ra", &["10.0.0.1/24"]), nb.router_port("rb", &["10.0.1.1/24"]));
    let (ja, jb) =
        (nb.router_port("ja", &["100.64.0.1/24"]), nb.router_port("jb", &["100.64.0.2/24"]));
    nb.router("r1", &[ra.0, ja.0], &["0.0.0.0/0 via 100.64.0.2"]);
    nb.router("r2", &[rb.0, jb.0], &["10.0.0.0/16 via 100.64.0.1"]);
    nb.switch("s1", &[a, ra.1]);
    nb.switch("s2", &[b, rb.1]);
    nb.switch("join", &[ja.1, jb.1]);
    let allow =
        nb.acl("to-lport", 9, "outport == @g && ip4.src == $g_ip4 && tcp.dst == 80", "allow");
    let drop = nb.acl("from-lport", 8, "inport == @g && ip4.dst == {$s, 10.0.0.0/8}", "drop");
    nb.port_group("g", &[a, b], &[allow, drop]);
    nb.address_set("s", &["192.0.2.1"]);
    nb.dump()
}

const SEED_OBJECTS: &str = r#"
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {podCIDRs: [10.0.0.0/24]},
   status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}}
- {apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {team: x}}}
- apiVersion: v1
  kind: Pod
  metadata: {name: p, namespace: a, labels: {app: web}}
  spec: {nodeName: n1, containers: [{ports: [{name: http, containerPort: 80}]}]}
  status: {phase: Running, podIPs: [{ip: 10.0.0.5}]}
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: np, namespace: a}
  spec:
    podSelector: {matchExpressions: [{key: app, operator: In, values: [web]}]}
    policyTypes: [Ingress, Egress]
    ingress: [{from: [{namespaceSelector: {}}], ports: [{port: http}, {port: 1, endPort: 9}]}]
    egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]}]
"#;

/// Replaces one value somewhere in a document.
fn with_value(value: &mut Value, at: &mut usize, new: &Value) {
    if *at == 0 {
        *value = new.clone();
    }
    *at = at.wrapping_sub(1);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| with_value(item, at, new)),
        Value::Object(fields) => fields.values_mut().for_each(|field| with_value(field, at, new)),
        _ => {}
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "\\PC{0,12}",
        prop::sample::select(vec![
            "ip",
            "@g",
            "$g_ip4",
            "dynamic",
            "unknown",
            "10.0.0.0/0",
            "::/0",
            "fd00::1",
            "router",
            "0.0.0.0/0",
            "a",
            "r1",
            "ra",
            "allow",
            "pass",
            "TCP",
            "Egress",
            "NotIn",
            "",
        ])
        .prop_map(str::to_owned),
    ];
    prop_oneof![
        text.prop_map(Value::String),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        Just(serde_json::json!([])),
        Just(serde_json::json!({})),
        Just(serde_json::json!(["set", []])),
        Just(serde_json::json!(["map", [["k", "v"]]])),
        (0u128..20).prop_map(common::uuid),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes: Vec<u8>) {
        dump(&bytes);
        documents(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        matches(&text);
        let _ = text.parse::<Remote>();
        let _ = text.parse::<Value>().map(|value| Datum::from_json(&value));
        let _ = spanwire_import::file::unpack(bytes, "x".as_ref());
    }

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        dump(text.as_bytes());
        documents(text.as_bytes());
        matches(&text);
        let _ = text.parse::<Remote>();
    }

    #[test]
    fn any_words_of_the_match_language(words in prop::collection::vec(prop::sample::select(vec![
        "(", ")", "{", "}", ",", "!", "&&", "||", "==", "!=", "<", "<=", ">", ">=", "ip", "ip4",
        "ip6", "tcp", "arp", "nd", "inport", "outport", "ip4.src", "ip6.dst", "tcp.dst", "udp.src",
        "icmp4.type", "icmp6.code", "ip.proto", "eth.type", "@g", "$s", "\"p\"", "80", "0", "1",
        "10.0.0.0/8", "fd00::/8", "0x10/0xfff0", "eth.src", "[", "]", "//", "/*", "*/",
    ]), 0..24)) {
        matches(&words.join(" "));
    }

    #[test]
    fn a_damaged_dump(cut in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = seed_dump().into_bytes();
        let at = cut.index(bytes.len());
        dump(&bytes[..at]);
        bytes[at] = byte;
        dump(&bytes);
    }

    #[test]
    fn a_dump_with_other_values(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any_value()), 1..4),
    ) {
        let tables: Vec<Value> = seed_dump().lines().map(|line| line.parse().unwrap()).collect();
        let mut tables = Value::Array(tables);
        for (at, new) in changes {
            with_value(&mut tables, &mut at.index(600), &new);
        }
        let Value::Array(tables) = tables else { return Ok(()) };
        let text: String = tables.iter().map(ToString::to_string).collect();
        dump(text.as_bytes());
    }

    #[test]
    fn damaged_objects(cut in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = SEED_OBJECTS.as_bytes().to_vec();
        let at = cut.index(bytes.len());
        documents(&bytes[..at]);
        bytes[at] = byte;
        documents(&bytes);
    }

    #[test]
    fn objects_with_other_values(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any_value()), 1..4),
    ) {
        let mut value: Value = serde_saphyr::from_str(SEED_OBJECTS).unwrap();
        for (at, new) in changes {
            with_value(&mut value, &mut at.index(110), &new);
        }
        documents(value.to_string().as_bytes());
    }
}

/// The seeds themselves are good: otherwise damaging them would show little.
#[test]
fn the_seeds_are_imported() {
    let import = import_dump(seed_dump().as_bytes(), &OvnOptions::default()).unwrap();
    assert_eq!(import.unsupported, []);
    common::sound(&import);
    let documents = [("f".to_owned(), SEED_OBJECTS.as_bytes().to_vec())];
    let import = import_documents(&documents, &KubernetesOptions::default()).unwrap();
    assert_eq!(import.unsupported, []);
    common::sound(&import);
}

/// A chain of uplinks as long as the table is no recursion.
#[test]
fn a_long_chain_of_routers() {
    let mut nb = Nb::default();
    const ROUTERS: usize = 3000;
    let address = |n: usize, last: u8| format!("100.{}.{}.{last}", n / 250, n % 250);
    let mut below: Option<u128> = None;
    for n in 0..ROUTERS {
        let up = nb.row(
            "Logical_Router_Port",
            serde_json::json!({
                "name": format!("up{n}"), "peer": format!("down{}", n + 1),
                "networks": format!("{}/24", address(n, 1)),
            }),
        );
        let ports: Vec<u128> = below.into_iter().chain([up]).collect();
        nb.router(&format!("r{n}"), &ports, &[&format!("0.0.0.0/0 via {}", address(n, 2))]);
        below = Some(nb.row(
            "Logical_Router_Port",
            serde_json::json!({
                "name": format!("down{}", n + 1), "peer": format!("up{n}"),
                "networks": format!("{}/24", address(n, 2)),
            }),
        ));
    }
    nb.router("top", &[below.unwrap()], &[]);
    nb.row("Logical_Switch_Port", serde_json::json!({ "name": "x", "addresses": common::set([]) }));
    nb.switch("s", &[]);
    let import = nb.import().unwrap();
    assert_eq!(import.resources.len(), ROUTERS + 2);
}
