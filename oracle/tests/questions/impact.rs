//! What a change would do to domains and packets.

use crate::engine;
use crate::notation::{key, network};
use spanwire_topology::engine::{
    DomainMoveKind, Endpoint, FLIPS_MAX, Forecast, PacketKind, Verdict,
};
use spanwire_topology::model::Operation;
use spanwire_topology::{Engine, Kind, ObjectKey, Transaction};

/// ```text
///        (top)
///       /     \
///   (r1)       (r2)           (r3)
///   [s1] web@h1 [s2] db@h2   [s3] far@h2
/// ```
const NETWORK: &str = "
    host h1 192.0.2.1
    host h2 192.0.2.2
    switch s1
    switch s2
    switch s3
    router top
    router r1 on s1 up top
    router r2 on s2 up top
    router r3 on s3
    port web on s1 at h1 ip 10.1.0.1 labels app=web
    port db on s2 at h2 ip 10.2.0.1 labels app=db
    port far on s3 at h2 ip 10.3.0.1 labels app=web
    group web select app=web
    group db select app=db
    policy P to db default in=drop
    rule P in allow from web svc tcp:5432
";

/// Puts the objects of a text, and deletes others.
fn transaction(text: &str, deletes: &[ObjectKey]) -> Transaction {
    // References may lead to what is there already, so the text need not be whole.
    let mut transaction = Transaction::put(network(text).into_values());
    transaction.operations.extend(deletes.iter().map(|key| Operation::Delete {
        key: key.clone(),
        cascade: true,
        expected_revision: None,
    }));
    transaction
}

fn forecast(engine: &mut Engine, text: &str, deletes: &[ObjectKey]) -> Forecast<()> {
    let before = engine.export();
    let forecast = engine.forecast(&transaction(text, deletes), |_, _| ()).unwrap();
    assert_eq!(format!("{:?}", engine.export()), format!("{before:?}"), "it left a trace");
    forecast
}

fn moves(forecast: &Forecast<()>) -> Vec<String> {
    let line = |part: &spanwire_topology::engine::DomainMove| {
        let switches: Vec<&str> = part.switches.iter().map(|key| &*key.name).collect();
        format!("{:?} {}", part.kind, switches.join(" "))
    };
    forecast.domain_moves.iter().map(line).collect()
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Unreachable { .. } => "unreachable",
        Verdict::DeniedAtSource(_) | Verdict::DeniedAtDestination(..) => "denied",
        Verdict::Allowed(..) => "allowed",
    }
}

fn flips(forecast: &Forecast<()>) -> Vec<String> {
    let end = |end: &Endpoint| match end {
        Endpoint::Port(key, _) => key.name.to_string(),
        Endpoint::Outside(address) => address.to_string(),
    };
    let port = |packet: &PacketKind| match packet {
        PacketKind::Transport { port, .. } => port.to_string(),
        PacketKind::Icmp { icmp_type, .. } => format!("icmp {icmp_type}"),
    };
    let line = |flip: &spanwire_topology::engine::VerdictFlip| {
        format!(
            "{} to {} {}: {} to {}",
            end(&flip.source),
            end(&flip.destination),
            port(&flip.packet),
            word(&flip.before),
            word(&flip.after)
        )
    };
    forecast.verdicts.flips.iter().map(line).collect()
}

fn check(text: &str, deletes: &[ObjectKey], expected_moves: &[&str], expected_flips: &[&str]) {
    let mut engine = engine(NETWORK);
    let forecast = forecast(&mut engine, text, deletes);
    assert_eq!(moves(&forecast), expected_moves, "moves of\n{text}");
    assert_eq!(flips(&forecast), expected_flips, "flips of\n{text}");
    assert!(forecast.verdicts.compared > 0 && !forecast.verdicts.is_cut);
    check_true(&mut engine, &transaction(text, deletes), &forecast);
}

/// What is foretold is what happens.
fn check_true(engine: &mut Engine, transaction: &Transaction, forecast: &Forecast<()>) {
    for flip in &forecast.verdicts.flips {
        let now = engine.verdict(&flip.source, &flip.destination, flip.packet).unwrap();
        assert_eq!(now, flip.before);
    }
    engine.apply(transaction, 2).unwrap();
    for flip in &forecast.verdicts.flips {
        let then = engine.verdict(&flip.source, &flip.destination, flip.packet).unwrap();
        assert_eq!(word(&then), word(&flip.after));
    }
}

#[test]
fn a_change_of_labels_flips_what_the_policy_allows() {
    check(
        "port web on s1 at h1 ip 10.1.0.1 labels app=other",
        &[],
        &[],
        &["web to db 5432: allowed to denied"],
    );
}

#[test]
fn a_change_of_a_policy_flips_its_packets_alone() {
    check(
        "policy P to db default in=drop
         rule P in allow from web svc tcp:80",
        &[],
        &[],
        &["web to db 5432: allowed to denied", "web to db 80: denied to allowed"],
    );
    check("", &[key(Kind::SecurityPolicy, "P")], &[], &["web to db 9: denied to allowed"]);
    // The same again.
    check(
        "policy P to db default in=drop
         rule P in allow from web svc tcp:5432",
        &[],
        &[],
        &[],
    );
}

#[test]
fn a_change_of_a_group_flips_its_members() {
    check("group web select app=none", &[], &[], &["web to db 5432: allowed to denied"]);
}

#[test]
fn domains_merge_and_split() {
    check(
        "router r3 on s3 up top",
        &[],
        &["Merge s3"],
        &[
            "db to far 5432: unreachable to allowed",
            "db to far 9: unreachable to allowed",
            "far to db 5432: unreachable to allowed",
            "far to db 9: unreachable to denied",
            "far to web 5432: unreachable to allowed",
            "far to web 9: unreachable to allowed",
            "web to far 5432: unreachable to allowed",
            "web to far 9: unreachable to allowed",
        ],
    );
    let mut engine = engine(NETWORK);
    let cut = forecast(&mut engine, "router r1 on s1", &[]);
    assert_eq!(moves(&cut), ["Split s1"]);
    assert_eq!(cut.domain_moves[0].kind, DomainMoveKind::Split);
    assert_eq!(
        flips(&cut),
        [
            "db to web 5432: allowed to unreachable",
            "db to web 9: allowed to unreachable",
            "web to db 5432: allowed to unreachable",
            "web to db 9: denied to unreachable",
        ]
    );
    // A part that leaves one domain for another.
    let moved = forecast(&mut engine, "router r1 on s1 up r3", &[]);
    assert_eq!(moves(&moved), ["Move s1"]);
    // Switches that are new or deleted come from nowhere.
    let new = forecast(&mut engine, "switch s9\nrouter r9 on s9 up top", &[]);
    assert_eq!(moves(&new), Vec::<String>::new());
}

#[test]
fn what_is_listed_and_tried_is_bounded() {
    let mut text = String::from(NETWORK);
    for n in 0..200 {
        text.push_str(&format!("port w{n} on s1 at h1 ip 10.1.1.{n} labels app=web\n"));
    }
    let mut engine = engine(&text);
    let forecast = forecast(&mut engine, "policy P to db default in=drop,out=drop", &[]);
    let report = &forecast.verdicts;
    assert!(report.flips.len() <= FLIPS_MAX && !report.flips.is_empty());
    let forecast = self::forecast(&mut engine, "group web select app=none", &[]);
    assert!(forecast.verdicts.is_cut, "200 ports leave the group, and not all are tried");
    assert!(!forecast.verdicts.flips.is_empty());
}
