//! What a caller is told about a message that is wrong: the object, the field, what was expected.
#![allow(clippy::unwrap_used)] // in what tests share

use spanwire_adminproto::convert::{
    to_apply_transaction, to_delete_transaction, to_impact_transaction, to_key, to_resource,
};
use spanwire_adminproto::wire;
use spanwire_adminproto::wire::resource::Spec;
use spanwire_topology::model::{LABELS_MAX, PORT_ADDRESSES_MAX, TRANSACTION_OPERATIONS_MAX};

fn key(kind: &str, name: &str) -> wire::ObjectKey {
    wire::ObjectKey { kind: kind.into(), project: String::new(), name: name.into() }
}

fn reference(name: &str) -> Option<wire::ObjectRef> {
    Some(wire::ObjectRef { project: String::new(), name: name.into() })
}

fn mk_resource(kind: &str, spec: Spec) -> wire::Resource {
    wire::Resource { key: Some(key(kind, "x")), spec: Some(spec), ..Default::default() }
}

fn check(resource: wire::Resource, expected: &str) {
    let error = to_resource(&resource).unwrap_err();
    assert_eq!(error.to_string(), expected);
    assert_eq!(tonic::Status::from(error).code(), tonic::Code::InvalidArgument);
}

fn check_port(change: impl FnOnce(&mut wire::LogicalPortSpec), expected: &str) {
    let mut port = wire::LogicalPortSpec {
        switch: reference("web"),
        addresses: vec!["10.0.0.1".into()],
        ..Default::default()
    };
    change(&mut port);
    check(mk_resource("LogicalPort", Spec::LogicalPort(port)), expected);
}

fn check_group(term: Option<wire::group_term::Term>, expected: &str) {
    let spec = wire::GroupSpec { terms: vec![wire::GroupTerm { term }], blocks: vec![] };
    check(mk_resource("Group", Spec::Group(spec)), expected);
}

fn check_entry(entry: wire::ServiceEntry, expected: &str) {
    let spec = wire::ServiceSpec { entries: vec![wire::ServiceEntry::default(), entry] };
    let mut spec = spec;
    spec.entries[0].protocol = wire::service_entry::Protocol::Any.into();
    check(mk_resource("Service", Spec::Service(spec)), expected);
}

fn check_policy(change: impl FnOnce(&mut wire::SecurityPolicySpec), expected: &str) {
    let rule = wire::Rule {
        direction: wire::Direction::In.into(),
        action: wire::Action::Allow.into(),
        ..Default::default()
    };
    let mut policy = wire::SecurityPolicySpec {
        tier: 500,
        rules: vec![rule.clone(), rule],
        ..Default::default()
    };
    change(&mut policy);
    check(mk_resource("SecurityPolicy", Spec::SecurityPolicy(policy)), expected);
}

#[test]
fn keys_are_checked() {
    let cases = [
        (("", "", "x"), "key.kind: missing: expected the kind of the object, such as LogicalPort"),
        (
            ("Pod", "", "x"),
            "key.kind: unknown kind \"Pod\": expected Host, LogicalSwitch, LogicalRouter, \
             LogicalPort, Group, Service or SecurityPolicy",
        ),
        (("Group", "", ""), "key.name: name is empty: give it at least one character"),
        (
            ("Group", "a/b", "x"),
            "key.project: project \"a/b\" has '/' at byte 1: letters, digits and . _ - : @ are \
             allowed, and the first must be a letter, a digit or _",
        ),
        (
            ("Host", "t00", "x"),
            "key.project: \"t00\": hosts belong to no tenant; leave the project out, or write \
             \"system\"",
        ),
    ];
    for ((kind, project, name), expected) in cases {
        let key = wire::ObjectKey { kind: kind.into(), project: project.into(), name: name.into() };
        assert_eq!(to_key(&key).unwrap_err().to_string(), expected);
    }
    assert_eq!(to_key(&key("Group", "x")).unwrap().to_string(), "group default/x");
    assert_eq!(&*to_key(&key("Host", "x")).unwrap().project, "system");
}

#[test]
fn resources_are_checked() {
    check(
        wire::Resource::default(),
        "key: missing: expected the kind, project and name of the object",
    );
    check(
        wire::Resource { key: Some(key("Group", "x")), ..Default::default() },
        "group default/x: spec: missing: expected the body of the object",
    );
    check(
        mk_resource("Group", Spec::Host(wire::HostSpec::default())),
        "group default/x: spec: the key says Group: expected the field group",
    );
    let mut labelled = mk_resource("Host", Spec::Host(wire::HostSpec::default()));
    labelled.labels.insert("a b".into(), "c".into());
    check(
        labelled.clone(),
        "host x: labels: label key \"a b\" has ' ' at byte 1: letters, digits and . _ - / : @ are \
         allowed, and the first must be a letter, a digit or _",
    );
    labelled.labels = (0..=LABELS_MAX).map(|n| (format!("k{n}"), String::new())).collect();
    check(labelled, "host x: labels: 129 entries: the most is 128");
    check(
        mk_resource("Host", Spec::Host(wire::HostSpec { vtep: "192.0.2".into() })),
        "host x: spec.vtep: \"192.0.2\" is not an IP address: expected one such as 10.20.0.10 or \
         fd00:20::10",
    );
    let subnets = vec!["10.0.0.0/8".into(), "10.20.0.1/24".into()];
    check(
        mk_resource("LogicalSwitch", Spec::LogicalSwitch(wire::LogicalSwitchSpec { subnets })),
        "switch default/x: spec.subnets[1]: 10.20.0.1/24 has host bits set: the network is \
         10.20.0.0/24",
    );
    let router = wire::LogicalRouterSpec {
        interfaces: vec![wire::RouterInterface::default()],
        ..Default::default()
    };
    check(
        mk_resource("LogicalRouter", Spec::LogicalRouter(router)),
        "router default/x: spec.interfaces[0].switch: missing: expected the switch that the \
         interface is on",
    );
}

#[test]
fn ports_are_checked() {
    check_port(
        |port| port.switch = None,
        "port default/x: spec.switch: missing: expected the switch that the port is on",
    );
    check_port(
        |port| port.addresses.clear(),
        "port default/x: spec.mac: missing: expected a MAC address, or an address to derive one \
         from",
    );
    check_port(
        |port| port.mac = "0a-58-00-00-00-01".into(),
        "port default/x: spec.mac: \"0a-58-00-00-00-01\" is not a MAC address: expected six pairs \
         of hexadecimal digits, as 0a:58:0a:14:00:0a",
    );
    check_port(
        |port| port.addresses.push("10.0.0.2/24".into()),
        "port default/x: spec.addresses[1]: 10.0.0.2/24 has a prefix length: expected the address \
         alone, 10.0.0.2",
    );
    check_port(
        |port| port.addresses = vec!["10.0.0.1".into(); PORT_ADDRESSES_MAX + 1],
        "port default/x: spec.addresses: 65 entries: the most is 64",
    );
    check_port(
        |port| {
            let name = "a-device-name-too-long".to_owned();
            port.attachment = Some(wire::logical_port_spec::Attachment::Interface(name));
        },
        "port default/x: spec.interface: \"a-device-name-too-long\" cannot be the name of a \
         network device: expected 1 to 15 bytes without spaces, / or :, and neither . nor ..",
    );
    check_port(
        |port| port.host = "a/b".into(),
        "port default/x: spec.host: host \"a/b\" has '/' at byte 1: letters, digits and . _ - : @ \
         are allowed, and the first must be a letter, a digit or _",
    );
}

#[test]
fn groups_are_checked() {
    use wire::group_term::Term;
    use wire::label_requirement::Operator;
    check_group(
        None,
        "group default/x: spec.terms[0]: missing: expected a selector, switch, router, port, \
         group, intersection or difference",
    );
    check_group(
        Some(Term::Intersection(wire::GroupIntersection::default())),
        "group default/x: spec.terms[0].intersection.groups: missing: expected at least one \
         group: the intersection of none would be everything",
    );
    check_group(
        Some(Term::Difference(wire::GroupDifference::default())),
        "group default/x: spec.terms[0].difference.of: missing: expected the group to take from",
    );
    check_group(
        Some(Term::Selector(wire::SelectorTerm::default())),
        "group default/x: spec.terms[0].selector.selector: missing: expected a selector; an empty \
         one selects every port",
    );
    check_group(
        Some(Term::Selector(wire::SelectorTerm {
            selector: Some(wire::LabelSelector::default()),
            all_projects: true,
            projects: vec!["a".into()],
        })),
        "group default/x: spec.terms[0].selector.projects: all_projects is set, and projects are \
         listed: keep one of the two",
    );
    let requirement = |operator, values: &[&str]| {
        Some(Term::Selector(wire::SelectorTerm {
            selector: Some(wire::LabelSelector {
                requirements: vec![wire::LabelRequirement {
                    key: "app".into(),
                    operator,
                    values: values.iter().map(ToString::to_string).collect(),
                }],
            }),
            ..Default::default()
        }))
    };
    check_group(
        requirement(Operator::In.into(), &[]),
        "group default/x: spec.terms[0].selector.selector.requirements: In on label \"app\" has \
         no values: give at least one",
    );
    check_group(
        requirement(Operator::Exists.into(), &["a"]),
        "group default/x: spec.terms[0].selector.selector.requirements[0].values: EXISTS and \
         DOES_NOT_EXIST look at no value: leave the values out",
    );
    check_group(
        requirement(9, &["a"]),
        "group default/x: spec.terms[0].selector.selector.requirements[0].operator: unknown value \
         9: expected IN, NOT_IN, EXISTS or DOES_NOT_EXIST",
    );
    let block = wire::CidrBlock { cidr: "10.0.0.0/24".into(), except: vec!["10.1.0.0/24".into()] };
    check(
        mk_resource("Group", Spec::Group(wire::GroupSpec { terms: vec![], blocks: vec![block] })),
        "group default/x: spec.blocks[0].except: exception 10.1.0.0/24 lies outside of \
         10.0.0.0/24: an exception must be part of its block",
    );
}

#[test]
fn services_are_checked() {
    use wire::service_entry::Protocol;
    let entry =
        |protocol: Protocol| wire::ServiceEntry { protocol: protocol.into(), ..Default::default() };
    let ports = |first, last| vec![wire::PortRange { first, last }];
    check_entry(
        entry(Protocol::Unspecified),
        "service default/x: spec.entries[1].protocol: unknown value 0: expected ANY, TCP, UDP, \
         SCTP, ICMP or ICMPV6",
    );
    check_entry(
        wire::ServiceEntry { ports: ports(80, 65_536), ..entry(Protocol::Tcp) },
        "service default/x: spec.entries[1].ports[0].last: 65536 is out of range: expected 0 to \
         65535",
    );
    check_entry(
        wire::ServiceEntry { source_ports: ports(90, 80), ..entry(Protocol::Udp) },
        "service default/x: spec.entries[1].source_ports[0]: the range 90-80 is empty: the first \
         port must not be above the last",
    );
    check_entry(
        wire::ServiceEntry { ports: ports(80, 80), ..entry(Protocol::Icmp) },
        "service default/x: spec.entries[1]: only TCP, UDP and SCTP have ports: remove them, or \
         change the protocol",
    );
    check_entry(
        wire::ServiceEntry { icmp_type: Some(8), ..entry(Protocol::Any) },
        "service default/x: spec.entries[1]: only ICMP and ICMPv6 have a type and a code: remove \
         them, or change the protocol",
    );
    check_entry(
        wire::ServiceEntry { icmp_code: Some(0), ..entry(Protocol::Icmp) },
        "service default/x: spec.entries[1].icmp_code: a code means nothing without a type: set \
         icmp_type as well",
    );
    check_entry(
        wire::ServiceEntry { icmp_type: Some(256), ..entry(Protocol::Icmpv6) },
        "service default/x: spec.entries[1].icmp_type: 256 is out of range: expected 0 to 255",
    );
}

#[test]
fn policies_are_checked() {
    check_policy(
        |policy| policy.tier = 65_536,
        "policy default/x: spec.tier: 65536 is out of range: expected 0 to 65535",
    );
    check_policy(
        |policy| policy.default_out = 7,
        "policy default/x: spec.default_out: unknown value 7: expected ALLOW, DROP, REJECT or PASS",
    );
    check_policy(
        |policy| policy.rules[1].action = 0,
        "policy default/x: spec.rules[1].action: unknown value 0: expected ALLOW, DROP, REJECT or \
         PASS",
    );
    check_policy(
        |policy| policy.rules[1].direction = 0,
        "policy default/x: spec.rules[1].direction: unknown value 0: expected IN, OUT or BOTH",
    );
    check_policy(
        |policy| policy.rules[0].peers = vec![wire::Peer::default()],
        "policy default/x: spec.rules[0].peers[0].group: missing: expected the group whose \
         members the rule looks for",
    );
    check_policy(
        |policy| policy.rules[0].services = vec![wire::ServiceMatch::default()],
        "policy default/x: spec.rules[0].services[0]: missing: expected a service, or an entry \
         written in place",
    );
    check_policy(
        |policy| policy.applied_to = vec![wire::ObjectRef::default()],
        "policy default/x: spec.applied_to[0].name: name is empty: give it at least one character",
    );
}

#[test]
fn requests_are_checked() {
    let items = vec![wire::apply_request::Item::default()];
    let request = wire::ApplyRequest { items, ..Default::default() };
    assert_eq!(
        to_apply_transaction(&request).unwrap_err().to_string(),
        "items[0].resource: missing: expected the resource to apply"
    );
    let resource = wire::Resource { key: Some(key("Pod", "x")), ..Default::default() };
    let items = vec![wire::apply_request::Item { resource: Some(resource), ..Default::default() }];
    let request = wire::ApplyRequest { items, ..Default::default() };
    let message = to_apply_transaction(&request).unwrap_err().to_string();
    assert!(message.starts_with("items[0].resource.key.kind: unknown kind"), "{message}");

    let request = wire::DeleteRequest {
        keys: vec![key("Group", "x"), key("Group", "")],
        ..Default::default()
    };
    assert_eq!(
        to_delete_transaction(&request).unwrap_err().to_string(),
        "keys[1].name: name is empty: give it at least one character"
    );

    let request = wire::ImpactRequest {
        deletes: vec![key("Group", "x"); TRANSACTION_OPERATIONS_MAX + 1],
        ..Default::default()
    };
    assert_eq!(
        to_impact_transaction(&request).unwrap_err().to_string(),
        "items: 200001 entries: the most is 200000"
    );
}
