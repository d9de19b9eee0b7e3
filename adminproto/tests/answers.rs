//! What the controller answers: refusals, host views, explanations.
#![allow(clippy::unwrap_used)] // of literals, in builders that are no tests themselves

use prost::Message;
use spanwire_adminproto::convert::{
    from_explanation, from_host_view, query_status, refusal_of, refusal_status,
};
use spanwire_adminproto::{FILE_DESCRIPTOR_SET, wire};
use spanwire_topology::Refusal;
use spanwire_topology::engine::{ExplainStep, Explanation, QueryError};
use spanwire_topology::model::{
    Action, DefaultActions, Direction, Kind, ObjectKey, PortAttachment, Uid, Vni,
};
use spanwire_topology::view::{
    DomainItem, HostView, Item, ItemKey, Locator, Locators, PeerItem, PolicyItem, PortItem,
    RuleItem, VersionedItem,
};
use std::sync::Arc;
use tonic::Code;

/// What gRPC clients take in headers by default.
const HEADERS_MAX: usize = 16 * 1024;

fn group(name: &str) -> ObjectKey {
    ObjectKey::new(Kind::Group, "default", name)
}

fn wire_key(kind: &str, name: &str) -> wire::ObjectKey {
    wire::ObjectKey { kind: kind.into(), project: "default".into(), name: name.into() }
}

#[test]
fn refusals_travel_in_the_details() {
    let refusal = Refusal::StillUsed { key: group("a"), users: vec![group("b"), group("c")] };
    let status = refusal_status(&refusal);
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(status.message(), refusal.to_string());
    assert_eq!(
        refusal_of(&status).unwrap(),
        wire::Refusal {
            object: Some(wire_key("Group", "a")),
            others: vec![wire_key("Group", "b"), wire_key("Group", "c")],
            message: refusal.to_string(),
        }
    );
    assert_eq!(refusal_of(&tonic::Status::internal("no details")), None);
}

#[test]
fn every_refusal_has_its_code() {
    let key = group("a");
    let cases = [
        (Refusal::NamedTwice { key: key.clone() }, Code::InvalidArgument),
        (Refusal::Conflict { key: key.clone(), expected: 1, found: 2 }, Code::FailedPrecondition),
        (Refusal::StateConflict { expected: 1, found: 2 }, Code::FailedPrecondition),
        (Refusal::NotFound { key: key.clone() }, Code::NotFound),
        (
            Refusal::DanglingReference { key: key.clone(), target: group("b") },
            Code::FailedPrecondition,
        ),
        (Refusal::GroupCycle { cycle: vec![key.clone(), key.clone()] }, Code::FailedPrecondition),
        (
            Refusal::DuplicateAddress {
                address: "10.0.0.1".parse().unwrap(),
                first: key.clone(),
                second: group("b"),
            },
            Code::FailedPrecondition,
        ),
        (Refusal::Invalid { key, problem: "bad".into() }, Code::InvalidArgument),
        (Refusal::TooLarge { operations: 2, max: 1 }, Code::InvalidArgument),
    ];
    for (refusal, code) in cases {
        let status = refusal_status(&refusal);
        assert_eq!(status.code(), code, "{refusal}");
        assert_eq!(refusal_of(&status).unwrap().message, refusal.to_string());
    }
}

#[test]
fn a_huge_refusal_fits_into_the_headers() {
    let long = |n: usize| group(&format!("{n:0>250}"));
    let cases = [
        Refusal::StillUsed { key: long(0), users: (1..10_000).map(long).collect() },
        Refusal::GroupCycle { cycle: (0..10_000).map(long).collect() },
        Refusal::Invalid { key: long(0), problem: "ä".repeat(10_000) },
    ];
    for refusal in cases {
        let status = refusal_status(&refusal);
        let headers = status.clone().into_http::<()>().into_parts().0.headers;
        let size: usize = headers.iter().map(|(k, v)| k.as_str().len() + v.len() + 32).sum();
        assert!(size < HEADERS_MAX, "{size}");
        assert!(refusal_of(&status).is_some());
    }
}

#[test]
fn questions_without_an_answer_have_their_code() {
    let address = "10.0.0.1".parse().unwrap();
    assert_eq!(query_status(&QueryError::NotFound(group("a"))).code(), Code::NotFound);
    assert_eq!(query_status(&QueryError::NoSuchAddress(address)).code(), Code::NotFound);
    let status = query_status(&QueryError::Addresses("no family in common".into()));
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "no family in common"));
}

#[test]
fn explanations_are_carried() {
    let explanation = Explanation {
        has_member: false,
        steps: vec![ExplainStep {
            condition: "the port is a member".into(),
            holds: false,
            finding: "its labels do not match".into(),
            objects: vec![group("a")],
            depth: 1,
        }],
    };
    assert_eq!(
        from_explanation(&explanation, 7),
        wire::ExplainResponse {
            has_member: false,
            steps: vec![wire::ExplainStep {
                condition: "the port is a member".into(),
                holds: false,
                finding: "its labels do not match".into(),
                objects: vec![wire_key("Group", "a")],
                depth: 1,
            }],
            revision: 7,
        }
    );
}

fn mk_view() -> HostView {
    let rule = RuleItem {
        name: None,
        direction: Direction::In,
        peers: Some(vec![PeerItem { group: Uid(3), negate: true }]),
        services: None,
        action: Action::Drop,
        log: true,
    };
    let everyone = RuleItem { peers: None, services: Some(vec![]), log: false, ..rule.clone() };
    let items = [
        (
            ItemKey::Domain(Vni(5)),
            Item::Domain(DomainItem {
                sees: vec![Vni(5), Vni(6)],
                reaches: vec![Vni(5)],
                spoofable: true,
            }),
        ),
        (
            ItemKey::Port(Uid(1)),
            Item::Port(PortItem {
                project: "default".into(),
                name: "web-0".into(),
                domain: Vni(5),
                mac: "0a:58:0a:14:00:0a".parse().unwrap(),
                addresses: vec!["10.20.0.10".parse().unwrap()],
                attachment: PortAttachment::Interface("eth1".into()),
                port_security: true,
                groups: vec![Uid(3)],
            }),
        ),
        (
            ItemKey::Policy(Uid(2)),
            Item::Policy(PolicyItem {
                project: "default".into(),
                name: "web".into(),
                applied_to: vec![Uid(3)],
                tier: 500,
                priority: 1000,
                defaults: DefaultActions { inbound: Some(Action::Drop), outbound: None },
                rules: vec![rule, everyone],
            }),
        ),
        (ItemKey::Blocks(Uid(3)), Item::Blocks(vec!["10.0.0.0/8".parse().unwrap()])),
        (
            ItemKey::Shard { group: Uid(99), domain: Vni(6) },
            Item::Shard(vec!["10.20.0.11".parse().unwrap()]),
        ),
        (
            ItemKey::Locators(Vni(5)),
            Item::Locators(Locators::from_iter([Locator {
                address: "10.20.0.11".parse().unwrap(),
                mac: "0a:58:0a:14:00:0b".parse().unwrap(),
                vtep: "192.0.2.2".parse().unwrap(),
            }])),
        ),
    ];
    let items = items
        .into_iter()
        .zip(10..)
        .map(|((key, item), version)| (key, VersionedItem { version, item: Arc::new(item) }))
        .collect();
    HostView { revision: 20, items }
}

#[test]
fn a_host_view_is_carried_with_keys_for_uids() {
    let response = from_host_view(&mk_view(), |uid| match uid.0 {
        2 => Some(ObjectKey::new(Kind::SecurityPolicy, "default", "web")),
        3 => Some(group("clients")),
        _ => None,
    });
    let clients = Some(wire_key("Group", "clients"));
    let rule = wire::ViewRule {
        name: String::new(),
        direction: wire::Direction::In.into(),
        any_peer: false,
        peers: vec![wire::ViewPeer { group: clients.clone(), negate: true }],
        any_service: true,
        services: vec![],
        action: wire::Action::Drop.into(),
        log: true,
    };
    let everyone = wire::ViewRule {
        any_peer: true,
        peers: vec![],
        any_service: false,
        log: false,
        ..rule.clone()
    };
    let unknown =
        wire::ObjectKey { kind: "Group".into(), project: String::new(), name: "uid-99".into() };
    let expected = wire::HostViewResponse {
        revision: 20,
        domains: vec![wire::ViewDomain {
            vni: 5,
            sees: vec![5, 6],
            reaches: vec![5],
            spoofable: true,
            version: 10,
        }],
        ports: vec![wire::ViewPort {
            key: Some(wire_key("LogicalPort", "web-0")),
            domain: 5,
            mac: "0a:58:0a:14:00:0a".into(),
            addresses: vec!["10.20.0.10".into()],
            port_security: true,
            policies: vec![wire_key("SecurityPolicy", "web")],
            version: 11,
            interface: "eth1".into(),
            host_stack: false,
        }],
        policies: vec![wire::ViewPolicy {
            key: Some(wire_key("SecurityPolicy", "web")),
            tier: 500,
            priority: 1000,
            default_in: wire::Action::Drop.into(),
            default_out: wire::Action::Unspecified.into(),
            rules: vec![rule, everyone],
            version: 12,
        }],
        shards: vec![wire::ViewShard {
            group: Some(unknown),
            domain: 6,
            addresses: vec!["10.20.0.11".into()],
            version: 14,
        }],
        blocks: vec![wire::ViewBlocks {
            group: clients,
            cidrs: vec!["10.0.0.0/8".into()],
            version: 13,
        }],
        locators: vec![wire::ViewLocators {
            domain: 5,
            locators: vec![wire::ViewLocator {
                address: "10.20.0.11".into(),
                mac: "0a:58:0a:14:00:0b".into(),
                vtep: "192.0.2.2".into(),
            }],
            version: 15,
        }],
    };
    assert_eq!(response, expected);
}

/// `google.protobuf.FileDescriptorSet`, as far as this test looks into it.
#[derive(Clone, PartialEq, Message)]
struct FileDescriptorSet {
    #[prost(message, repeated, tag = "1")]
    file: Vec<FileDescriptor>,
}

#[derive(Clone, PartialEq, Message)]
struct FileDescriptor {
    #[prost(string, tag = "1")]
    name: String,
}

#[test]
fn reflection_has_every_file() {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let mut names: Vec<&str> = set.file.iter().map(|file| file.name.as_str()).collect();
    names.sort_unstable();
    let expected = ["admin", "resource", "verdict"].map(|n| format!("spanwire/admin/v1/{n}.proto"));
    assert_eq!(names, expected);
}
