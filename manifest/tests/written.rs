//! What written documents look like: short, in a fixed order, without defaults.

use spanwire_manifest::{read_str, to_json_value, write_yaml, write_yaml_at};
use spanwire_topology::Resource;

fn read(text: &str) -> Resource {
    let mut documents =
        read_str("x.yaml", text, "shop").unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    assert_eq!(documents.len(), 1);
    documents.remove(0).resource
}

/// Checks that a document is written as it stands here.
fn check(text: &str) {
    assert_eq!(write_yaml(&read(text)), text);
}

/// Checks how a document is written that could be shorter.
fn check_becomes(text: &str, expected: &str) {
    assert_eq!(write_yaml(&read(text)), expected);
    check(expected);
}

#[test]
fn written_documents_are_short() {
    check("kind: Host\nmetadata:\n  name: host-01\nspec:\n  vtep: 192.0.2.1\n");
    check("kind: Host\nmetadata:\n  name: host-01\nspec: {}\n");
    check(
        "kind: LogicalSwitch\nmetadata:\n  project: shop\n  name: web\nspec:\n  subnets: \
         [10.20.0.0/24, \"fd00:20::/64\"]\n",
    );
    check(
        "kind: LogicalRouter\nmetadata:\n  project: shop\n  name: main\nspec:\n  interfaces:\n  \
         - switch: web\n    addresses: [10.20.0.1]\n  - switch: infra/shared\n  advertise: false\n  \
         uplinks: [infra/provider]\n",
    );
    check(
        "kind: Service\nmetadata:\n  project: shop\n  name: x\nspec:\n  entries:\n  - protocol: \
         tcp\n    ports: [80, \"8000-8080\"]\n  - protocol: icmp\n    type: 8\n    code: 0\n  - \
         protocol: any\n",
    );
    check(
        "kind: SecurityPolicy\nmetadata:\n  project: shop\n  name: web\nspec:\n  appliedTo: \
         [web]\n  tier: 10\n  defaults:\n    in: drop\n  rules:\n  - name: a\n    direction: in\n    \
         peers:\n    - app\n    - group: infra/dns\n      negate: true\n    services:\n    - https\n    \
         - protocol: tcp\n      ports: [443]\n    action: allow\n    log: true\n",
    );
}

#[test]
fn what_is_the_default_is_left_out() {
    check_becomes(
        "kind: LogicalPort\nmetadata: {name: web-0, labels: {b: c, a: \"1\"}}\nspec: {switch: \
         shop/web, mac: 0a:58:0a:14:00:0a, addresses: [10.20.0.10], hostStack: false, \
         portSecurity: true}",
        "kind: LogicalPort\nmetadata:\n  project: shop\n  name: web-0\n  labels:\n    a: \"1\"\n    \
         b: c\nspec:\n  switch: web\n  addresses: [10.20.0.10]\n",
    );
    check_becomes(
        "kind: SecurityPolicy\nmetadata: {name: web}\nspec: {appliedTo: [], tier: 500, priority: \
         1000, defaults: {}, rules: [{direction: out, peers: [], services: [], action: pass, log: \
         false}]}",
        "kind: SecurityPolicy\nmetadata:\n  project: shop\n  name: web\nspec:\n  appliedTo: []\n  \
         rules:\n  - direction: out\n    action: pass\n",
    );
}

#[test]
fn groups_are_written_with_the_fields_that_fit() {
    let group =
        |spec: &str| format!("kind: Group\nmetadata:\n  project: shop\n  name: x\nspec:\n{spec}");
    check(&group("  selector: app=web,tier in (a,b)\n"));
    check(&group("  selector: app=web\n  projects: [a, b]\n"));
    check(&group("  selector: {}\n  projects: \"*\"\n"));
    check(&group(
        "  selectors:\n  - selector: a=b\n  - selector: c\n    projects: \"*\"\n  switches: [s]\n  \
         routers: [r]\n  ports: [p]\n  groups: [g, infra/h]\n  intersection: [g, h]\n  \
         difference:\n    of: g\n    minus: [h]\n  cidrs:\n  - 10.0.0.0/8\n  - cidr: \
         172.16.0.0/12\n    except: [172.16.1.0/24]\n",
    ));
    check(&group("  terms:\n  - intersection: [a, b]\n  - intersection: [c, d]\n"));
    check(&group("  terms:\n  - port: p\n  - selector: a=b\n    projects: \"*\"\n"));
    // The order of fields of their own does not matter.
    check_becomes(&group("  ports: [p]\n  selector: a\n"), &group("  selector: a\n  ports: [p]\n"));
    // A value that means something in kubectl's syntax.
    check_becomes(
        &group("  selector: {matchLabels: {a: \"=\"}}\n"),
        &group(
            "  selector:\n    matchExpressions:\n    - key: a\n      operator: In\n      \
             values: [\"=\"]\n",
        ),
    );
}

#[test]
fn json_and_revisions() {
    let resource = read("kind: Host\nmetadata: {name: a}\nspec: {vtep: 192.0.2.1}");
    assert_eq!(
        to_json_value(&resource).to_string(),
        r#"{"kind":"Host","metadata":{"name":"a"},"spec":{"vtep":"192.0.2.1"}}"#
    );
    assert_eq!(
        write_yaml_at(&resource, 17),
        "kind: Host\nmetadata:\n  name: a\n  revision: 17\nspec:\n  vtep: 192.0.2.1\n"
    );
}
