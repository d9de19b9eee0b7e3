//! Verdicts with their reasons.

use crate::engine;
use crate::notation::key;
use spanwire_topology::engine::{
    Decider, Decision, Endpoint, ExplainedVerdict, PacketKind, PeerContent, Verdict,
};
use spanwire_topology::model::TransportProtocol;
use spanwire_topology::{Engine, Kind};

/// ```text
///   [s1: web db]──(r1)──(top)──(r2)──[s2: app]   (r2) does not advertise
///                         ║
///                       (peer)──[s3: other]        [s4: alone, with the address of app]
/// ```
const NETWORK: &str = "
    host h1 192.0.2.1
    host h2 192.0.2.2
    switch s1
    switch s2
    switch s3
    switch s4
    router top peer peer
    router r1 on s1 up top
    router r2 on s2 up top silent
    router peer on s3
    port web on s1 at h1 ip 10.0.1.1 labels app=web
    port db on s1 at h2 ip 10.0.1.2 labels app=db
    port new on s1 ip 10.0.1.3
    port app on s2 at h1 ip 10.0.2.1 labels app=app
    port other on s3 at h2 ip 10.0.3.1
    port alone on s4 at h2 ip 10.0.2.1 labels app=db open
    group web select app=web
    group db select app=db
    group app select app=app
    group tiers group web | less app,web
    group all group tiers | group db
    group both and all,tiers
    blocks tiers 203.0.113.0/24 except 203.0.113.128/25
    service sql tcp:5432
    policy base to db tier 900 default in=drop
    policy first to db tier 100 default in=pass
    rule first in pass from tiers svc sql
    policy db to db prio 7 default out=reject
    rule db in allow from all svc udp:53,sql
    rule db in allow from !app svc tcp:9999
";

fn end(text: &str) -> Endpoint {
    match text.parse() {
        Ok(address) => Endpoint::Outside(address),
        Err(_) => Endpoint::Port(key(Kind::LogicalPort, text), None),
    }
}

fn ask(engine: &Engine, from: &str, to: &str, port: u16) -> ExplainedVerdict {
    let protocol = TransportProtocol::Tcp;
    let packet = PacketKind::Transport { protocol, source_port: 50_000, port };
    engine.explain_verdict(&end(from), &end(to), packet).unwrap()
}

fn told(decider: &Decider) -> String {
    match &decider.decision {
        Decision::Rule { policy, index, action, .. } => {
            format!("{} {index} {}", policy.name, action.as_str())
        }
        Decision::Default { policy, action } => {
            format!("{} default {}", policy.name, action.as_str())
        }
        Decision::NoneApplies => "none".to_owned(),
    }
}

fn peer_of(decider: &Decider) -> String {
    let Some(peer) = &decider.peer else { return "everyone".to_owned() };
    let (what, steps) = match &peer.content {
        PeerContent::Port { port, in_sight, membership } => {
            let sight = if *in_sight { "" } else { " out of sight" };
            (format!("{}{sight}", port.name), membership.steps.as_slice())
        }
        PeerContent::Block { steps } => ("block".to_owned(), steps.as_slice()),
        PeerContent::Absent => ("absent".to_owned(), [].as_slice()),
    };
    let mut text = format!("{what} of {}", peer.group.name);
    for step in steps {
        text.push_str(&format!(" | {}{}", ">".repeat(step.depth as usize), step.finding));
    }
    text
}

#[test]
fn what_decides_is_told_with_what_passed_and_what_is_next() {
    let engine = engine(NETWORK);
    let found = ask(&engine, "web", "db", 5432);
    assert!(matches!(found.verdict, Verdict::Allowed(..)), "{found:?}");
    let side = found.at_destination.unwrap();
    assert_eq!(told(&side.decided), "db 0 allow");
    assert_eq!(side.passed.iter().map(told).collect::<Vec<_>>(), ["first 0 pass"]);
    assert_eq!(side.next.as_ref().map(told).unwrap(), "base default drop");
    assert_eq!(
        peer_of(&side.decided),
        "web of all | group p/all takes it from group p/tiers | >group p/tiers takes it from group \
         p/web | >>its labels match the selector app=web of group p/web"
    );
    let entry = side.decided.entry.unwrap();
    assert_eq!(entry.service.unwrap().name.as_ref(), "sql");
    assert_eq!((side.decided.tier, side.decided.priority), (500, 7));

    // Without a rule, the default; without that, the tier below.
    let found = ask(&engine, "web", "db", 22);
    let side = found.at_destination.unwrap();
    assert_eq!(side.passed.iter().map(told).collect::<Vec<_>>(), ["first default pass"]);
    assert_eq!(told(&side.decided), "base default drop");
    assert_eq!(side.next.map(|next| told(&next)).unwrap(), "none");
    assert!(matches!(found.verdict, Verdict::DeniedAtDestination(..)));

    // What the source's host keeps back is told with what would have followed.
    let found = ask(&engine, "db", "web", 80);
    assert!(matches!(found.verdict, Verdict::DeniedAtSource(_)));
    assert_eq!(told(&found.at_source.unwrap().decided), "db default reject");
    assert_eq!(told(&found.at_destination.unwrap().decided), "none");
}

#[test]
fn addresses_outside_match_blocks_through_nesting_and_negation() {
    let engine = engine(NETWORK);
    let peer = |from: &str, port| {
        let side = ask(&engine, from, "db", port).at_destination.unwrap();
        (told(&side.decided), peer_of(&side.decided))
    };
    let (decided, block) = peer("203.0.113.5", 5432);
    assert_eq!(decided, "db 0 allow");
    assert_eq!(
        block,
        "block of all | group p/all takes it from group p/tiers | >203.0.113.5 lies in the block \
         203.0.113.0/24 of group p/tiers"
    );
    assert_eq!(peer("203.0.113.200", 5432).0, "base default drop", "the exception");
    let (decided, absent) = peer("203.0.113.200", 9999);
    assert_eq!((decided.as_str(), absent.as_str()), ("db 1 allow", "absent of app"));
}

#[test]
fn obstacles_are_told_in_the_words_of_the_model() {
    let engine = engine(NETWORK);
    let cases = [
        ("web", "new", "port p/new is not bound to a host"),
        ("web", "app", "router p/r2 has router p/top as uplink but does not advertise"),
        ("alone", "web", "switch p/s4 has no router"),
        ("web", "alone", "no uplink or peering of router p/top leads further"),
        (
            "app",
            "other",
            "the peering of router p/top with router p/peer carries only what starts in the domain \
             of router p/top",
        ),
    ];
    for (from, to, expected) in cases {
        let found = ask(&engine, from, to, 80);
        assert_eq!(found.obstacle().as_deref(), Some(expected), "from {from} to {to}");
        let reason = expected.to_owned();
        assert_eq!(found.verdict, Verdict::Unreachable { reason });
        assert_eq!((found.at_source, found.at_destination), (None, None));
    }
    let found = ask(&engine, "app", "db", 5432);
    assert_eq!(
        found.path.unwrap().to_string(),
        "switch p/s2 -> router p/r2 -> uplink router p/top -> down to router p/r1 -> switch p/s1"
    );
}

/// ```text
///   [s1: guard, open]      [s2: victim 10.0.2.1]    not connected; guard denies group bad = victim
/// ```
#[test]
fn a_member_out_of_sight_counts_where_addresses_can_be_forged() {
    let network = |security: &str| {
        engine(&format!(
            "host h1 192.0.2.1
             switch s1
             switch s2
             port guard on s1 at h1 ip 10.0.1.1 labels app=guard {security}
             port victim on s2 at h1 ip 10.0.2.1 labels app=bad
             group guard select app=guard
             group bad select app=bad
             policy p to guard
             rule p in drop from bad"
        ))
    };
    let found = ask(&network("open"), "10.0.2.1", "guard", 80);
    let side = found.at_destination.unwrap();
    assert_eq!(told(&side.decided), "p 0 drop");
    assert!(peer_of(&side.decided).starts_with("victim out of sight of bad"), "{side:?}");
    let found = ask(&network(""), "10.0.2.1", "guard", 80);
    assert_eq!(told(&found.at_destination.unwrap().decided), "none");
}

#[test]
fn an_address_stands_for_its_port_unless_several_have_it() {
    let engine = engine(NETWORK);
    let find = |address: &str| engine.endpoint_with_address(address.parse().unwrap());
    assert!(matches!(find("10.0.1.1"), Ok(Endpoint::Port(port, Some(_))) if &*port.name == "web"));
    assert!(matches!(find("192.0.2.77"), Ok(Endpoint::Outside(_))));
    assert_eq!(
        find("10.0.2.1").unwrap_err().to_string(),
        "10.0.2.1 is the address of 2 ports, in domains apart: name the one you mean: port \
         p/alone, port p/app"
    );
}
