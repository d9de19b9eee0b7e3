//! What rules need, and what they decide.

use super::notation::{key, network};
use super::{check_groups, check_lines, check_verdicts, check_view};
use spanwire_oracle::Network;
use spanwire_topology::engine::{Decision, Endpoint, PacketKind, Verdict};
use spanwire_topology::model::{Action, Kind};

/// ```text
///   [s1] a@h1  b(security SECURITY)     [s2] x@h2
/// ```
fn guarded(security: &str, rule: &str) -> String {
    format!(
        "
        host h1 192.0.2.1
        host h2 192.0.2.2
        switch s1
        switch s2
        port a on s1 at h1 ip 10.0.0.1 labels app=db
        port b on s1 ip 10.0.0.2 {security}
        port x on s2 at h2 ip 10.0.0.3 labels app=bad
        group db select app=db
        group bad select app=bad
        policy P to db
        rule P in {rule}
        "
    )
}

#[test]
fn deny_rules_get_the_whole_group_where_addresses_can_be_forged() {
    // G3. b could send with x's address: the rule that drops it must know it.
    let whole = ["shard bad in s2: 10.0.0.3"];
    check_lines(&guarded("open", "drop from bad"), "h1", "shard", &whole);
    check_lines(&guarded("open", "reject from bad"), "h1", "shard", &whole);
    check_lines(&guarded("open", "allow from !bad"), "h1", "shard", &whole);
    check_lines(
        &guarded("open", "drop from bad"),
        "h1",
        "domain",
        &["domain s1: sees s1, reaches s1, spoofable"],
    );
}

#[test]
fn deny_rules_are_pruned_where_port_security_is_on() {
    check_lines(&guarded("", "drop from bad"), "h1", "shard", &[]);
    check_lines(&guarded("", "allow from !bad"), "h1", "shard", &[]);
    check_lines(&guarded("open", "allow from bad"), "h1", "shard", &[]);
    check_lines(&guarded("open", "pass from bad"), "h1", "shard", &[]);
}

#[test]
fn one_negated_peer_protects_the_whole_rule() {
    // The plain peer `db` of a rule with a negated one is matched in every domain as well.
    let text = guarded("open", "allow from db,!bad")
        + "port y on s2 ip 10.0.0.4 labels app=db
           ";
    check_lines(
        &text,
        "h1",
        "shard",
        &["shard bad in s2: 10.0.0.3", "shard db in s1: 10.0.0.1", "shard db in s2: 10.0.0.4"],
    );
}

#[test]
fn security_off_in_a_domain_that_is_only_seen_is_enough() {
    //   (r1)-[s1] a  ==  (r2)-[s2] b(open)     [s3] x
    check_lines(
        "
        host h1 192.0.2.1
        switch s1
        switch s2
        switch s3
        router r1 on s1 peer r2
        router r2 on s2
        port a on s1 at h1 ip 10.0.0.1
        port b on s2 ip 10.0.0.2 open
        port x on s3 ip 10.0.0.3
        group a port a
        group x port x
        policy P to a
        rule P in drop from x
        ",
        "h1",
        "shard",
        &["shard x in s3: 10.0.0.3"],
    );
}

#[test]
fn group_terms_are_sets_of_ports() {
    //   (r)-[s1] a b     [s2] c     other project: [q/s3] q/d
    let text = "
        switch s1
        switch s2
        switch q/s3
        router r on s1
        port a on s1 ip 10.0.0.1 labels app=web,tier=1
        port b on s1 ip 10.0.0.2 labels app=db
        port c on s2 ip 10.0.0.3 labels app=web
        port q/d on q/s3 ip 10.0.0.4 labels app=web
        group web select app=web
        group everyweb select app=web all
        group listed select app=web q
        group onswitch switch s1
        group onrouter router r
        group one port c
        group nested group web | port b
        group both and web,onswitch
        group rest less everyweb,web
        group restofrest less nested,both,one
        group none
        group q/own select app=web
    ";
    check_groups(
        text,
        &[
            ("web", "a c"),
            ("everyweb", "a c q/d"),
            ("listed", "q/d"),
            ("onswitch", "a b"),
            ("onrouter", "a b"),
            ("one", "c"),
            ("nested", "a b c"),
            ("both", "a"),
            ("rest", "q/d"),
            ("restofrest", "b"),
            ("none", ""),
            ("q/own", "q/d"),
        ],
    );
}

#[test]
fn blocks_are_sets_of_addresses_and_go_wherever_the_rule_goes() {
    // Ports and blocks are kept apart: c's address lies in the block, c is still no member.
    check_view(
        "
        host h1 192.0.2.1
        switch s
        port a on s at h1 ip 10.0.0.1
        port c on s ip 10.1.0.1
        group a port a
        group wide
        blocks wide 10.0.0.0/8 except 10.2.0.0/16
        blocks wide fd00::/64
        group hole
        blocks hole 10.0.0.0/9
        group rest less wide,hole
        group common and wide,hole
        policy P to a
        rule P out allow from rest,common
        ",
        "h1",
        &[
            "domain s: sees s, reaches s",
            "port a: in s, 10.0.0.1, groups a",
            "policy P: 1 rules for a",
            "blocks common: 10.0.0.0/15 10.3.0.0/16 10.4.0.0/14 10.8.0.0/13 10.16.0.0/12 \
             10.32.0.0/11 10.64.0.0/10",
            "blocks rest: 10.128.0.0/9 fd00::/64",
            "locators s: 10.0.0.1@192.0.2.1",
        ],
    );
}

#[test]
fn both_families_stand_in_one_shard_ipv4_first() {
    check_lines(
        "
        host h1 192.0.2.1
        switch s
        port a on s at h1 ip fd00::1,10.0.0.9
        port b on s ip 10.0.0.2,fd00::2
        group all select *
        policy P to all
        rule P in allow from all
        ",
        "h1",
        "shard",
        &["shard all in s: 10.0.0.2 10.0.0.9 fd00::1 fd00::2"],
    );
}

#[test]
fn a_member_without_an_address_makes_an_empty_shard() {
    check_lines(
        "
        host h1 192.0.2.1
        switch s
        switch t
        port a on s at h1
        group all select *
        policy P to all
        rule P in allow from all
        ",
        "h1",
        "shard",
        &["shard all in s: "],
    );
}

#[test]
fn tiers_priorities_pass_and_defaults_decide_in_order() {
    //   [s] a b c
    let text = "
        host h 192.0.2.1
        switch s
        port a on s at h ip 10.0.0.1
        port b on s at h ip 10.0.0.2
        port c on s at h ip 10.0.0.3
        group a port a
        group b port b
        group c port c
        group all select *
        # Tier 1: a may not reach c, whatever follows; b is passed on over the default.
        policy first to c tier 1 prio 2 default in=drop
        rule first in drop from a
        rule first in pass from b
        # The smaller priority goes first, though its name comes later.
        policy sooner to c tier 1 prio 1
        rule sooner in allow from a svc tcp:22
        # Tier 2 lets only port 80 through.
        policy second to c tier 2 default in=reject
        rule second in allow from all svc tcp:80-81
    ";
    check_verdicts(
        text,
        80,
        &[("a", "c", "destination"), ("b", "c", "allowed"), ("c", "c", "destination")],
    );
    check_verdicts(
        text,
        22,
        &[("a", "c", "allowed"), ("b", "c", "destination"), ("b", "a", "allowed")],
    );
}

#[test]
fn both_ends_judge_and_the_source_judges_first() {
    let text = "
        host h 192.0.2.1
        switch s
        port a on s at h ip 10.0.0.1
        port b on s at h ip 10.0.0.2
        port c on s at h ip 10.0.0.3
        group a port a
        group b port b
        policy A to a
        rule A out drop from b svc tcp:1
        policy B to b
        rule B in drop from a svc tcp:1-2
        # A rule for both directions judges packets from c's point of view, out and in.
        group c port c
        policy C to c
        rule C both reject from b svc tcp:3
    ";
    check_verdicts(text, 1, &[("a", "b", "source"), ("b", "a", "allowed")]);
    check_verdicts(text, 2, &[("a", "b", "destination"), ("c", "b", "allowed")]);
    check_verdicts(text, 3, &[("c", "b", "source"), ("b", "c", "destination")]);
}

#[test]
fn outside_addresses_are_matched_by_blocks_and_negated_peers() {
    let text = "
        host h 192.0.2.1
        switch s
        port a on s at h ip 10.0.0.1
        port b on s ip 10.0.0.2
        group a port a
        group office
        blocks office 198.51.100.0/24
        policy P to a
        rule P in drop from !office svc tcp
    ";
    check_verdicts(
        text,
        80,
        &[
            ("198.51.100.7", "a", "allowed"),
            ("203.0.113.7", "a", "destination"),
            ("a", "203.0.113.7", "allowed"),
            // b is bound to no host.
            ("a", "b", "unreachable"),
        ],
    );
}

#[test]
fn empty_services_match_nothing_and_no_services_everything() {
    let text = "
        host h 192.0.2.1
        switch s
        port a on s at h ip 10.0.0.1
        port b on s at h ip 10.0.0.2
        port c on s at h ip 10.0.0.3
        service nothing
        service web tcp:80 tcp:443
        group a port a
        group b port b
        policy A to a default in=allow
        rule A in drop svc nothing
        policy B to b default in=allow
        rule B in drop svc nothing,web
    ";
    check_verdicts(text, 443, &[("c", "a", "allowed"), ("c", "b", "destination")]);
    check_verdicts(text, 22, &[("c", "b", "allowed")]);
}

#[test]
fn icmp_is_matched_by_family_type_and_code() {
    let resources = network(
        "
        host h 192.0.2.1
        switch s
        port a on s at h ip 10.0.0.1,fd00::1
        port b on s at h ip 10.0.0.2,fd00::2
        group b port b
        policy P to b default in=allow
        rule P in drop svc icmp:8
        ",
    );
    let network = Network::new(&resources);
    let verdict = |from: &str, to: &str, icmp_type| {
        let port = |name, address: &str| {
            Endpoint::Port(key(Kind::LogicalPort, name), Some(address.parse().unwrap()))
        };
        let packet = PacketKind::Icmp { icmp_type, code: 0 };
        network.verdict(&port("a", from), &port("b", to), packet).unwrap()
    };
    let policy = key(Kind::SecurityPolicy, "P");
    assert_eq!(
        verdict("10.0.0.1", "10.0.0.2", 8),
        Verdict::DeniedAtDestination(
            Decision::NoneApplies,
            Decision::Rule { policy: policy.clone(), index: 0, name: None, action: Action::Drop },
        )
    );
    let allowed = Verdict::Allowed(
        Decision::NoneApplies,
        Decision::Default { policy, action: Action::Allow },
    );
    assert_eq!(verdict("10.0.0.1", "10.0.0.2", 0), allowed);
    assert_eq!(verdict("fd00::1", "fd00::2", 8), allowed);
}
