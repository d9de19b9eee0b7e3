//! The match language of ACLs, case by case.

use spanwire_import::ovn::expr::{CONJUNCTS_MAX, MATCH_BYTES_MAX, NESTING_MAX, normalize, parse};

/// A match in its normal form: conjuncts joined by `|`.
fn normal(text: &str) -> Result<String, String> {
    let conjuncts = parse(text).and_then(|expression| normalize(&expression));
    let conjuncts = conjuncts.map_err(|error| error.to_string())?;
    Ok(conjuncts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | "))
}

#[test]
fn matches_are_understood() {
    // In the normal form `nd` is neighbour discovery, which is IPv6 but never judged, and `other`
    // is everything that is not IP. An empty form matches nothing.
    let cases = [
        ("1", "ip4|ip6|nd|other"),
        ("0", ""),
        ("ip", "ip4|ip6|nd"),
        ("ip4", "ip4"),
        ("ip6", "ip6|nd"),
        ("arp", "other"),
        ("tcp", "ip4|ip6|nd proto=6"),
        ("udp", "ip4|ip6|nd proto=17"),
        ("sctp", "ip4|ip6|nd proto=132"),
        ("icmp", "ip4 proto=1 | ip6|nd proto=58"),
        ("icmp4", "ip4 proto=1"),
        ("icmp6", "ip6|nd proto=58"),
        ("nd", "nd"),
        ("!ip", "other"),
        ("!ip4", "ip6|nd|other"),
        ("!arp", "ip4|ip6|nd|other"),
        ("!tcp", "ip4|ip6|nd proto=!6 | other"),
        ("!icmp", "ip4 proto=!1 | ip6|nd proto=!58 | other"),
        ("!icmp6", "ip6|nd proto=!58 | ip4|other"),
        ("!nd", "ip4|ip6|other"),
        ("ip && !tcp", "ip4|ip6|nd proto=!6"),
        (r#"inport == "lp0""#, r#"ip4|ip6|nd|other in="lp0""#),
        (r#"inport == {"lp1", "lp0"}"#, r#"ip4|ip6|nd|other in="lp0","lp1""#),
        ("outport == @pg_web", "ip4|ip6|nd|other out=@pg_web"),
        (r#"outport == {@a, @b "lp"}"#, r#"ip4|ip6|nd|other out="lp",@a,@b"#),
        ("inport == @a && inport == @b", "ip4|ip6|nd|other in=@a in=@b"),
        ("ip4.src == 10.0.0.1", "ip4 src=10.0.0.1/32"),
        ("ip4.src == 10.0.0.0/255.255.0.0", "ip4 src=10.0.0.0/16"),
        ("ip4.dst != 10.0.0.0/8", "ip4 dst=!10.0.0.0/8"),
        ("!(ip4.dst == 10.0.0.0/8)", "ip4 dst=!10.0.0.0/8"),
        (
            "ip4.src == {10.0.0.1, 10.0.0.2 10.0.0.3,}",
            "ip4 src=10.0.0.1/32,10.0.0.2/32,10.0.0.3/32",
        ),
        ("ip4.src == {$as, 10.0.0.0/8}", "ip4 src=10.0.0.0/8,$as"),
        ("ip4.src != {$as, 10.0.0.0/8}", "ip4 src=!10.0.0.0/8,$as"),
        ("ip6.src == $pg_web_ip6 && ip6.dst == fd00::/64", "ip6|nd src=$pg_web_ip6 dst=fd00::/64"),
        ("ip6.dst == ::1", "ip6|nd dst=::1/128"),
        ("ip4.src == 10.0.0.0/8 && ip4.src != $bad", "ip4 src=10.0.0.0/8 src=!$bad"),
        ("tcp.dst == 80", "ip4|ip6|nd proto=6 dport=80"),
        ("tcp.dst != 80", "ip4|ip6|nd proto=6 dport=0-79,81-65535"),
        ("!(tcp.dst == 80)", "ip4|ip6|nd proto=6 dport=0-79,81-65535"),
        ("tcp.dst == {80, 443}", "ip4|ip6|nd proto=6 dport=80,443"),
        ("tcp.dst != {80, 443}", "ip4|ip6|nd proto=6 dport=0-79,81-442,444-65535"),
        ("tcp.dst >= 7000 && tcp.dst <= 7010", "ip4|ip6|nd proto=6 dport=7000-7010"),
        ("tcp.dst < 1024", "ip4|ip6|nd proto=6 dport=0-1023"),
        ("tcp.dst > 1024", "ip4|ip6|nd proto=6 dport=1025-65535"),
        ("tcp.dst < 0", ""),
        ("udp.src == 53", "ip4|ip6|nd proto=17 sport=53"),
        ("sctp.dst == 0x24", "ip4|ip6|nd proto=132 dport=36"),
        ("1024 <= tcp.dst <= 2048", "ip4|ip6|nd proto=6 dport=1024-2048"),
        ("2048 > tcp.dst", "ip4|ip6|nd proto=6 dport=0-2047"),
        ("80 == tcp.dst", "ip4|ip6|nd proto=6 dport=80"),
        ("{80, 81} == tcp.dst", "ip4|ip6|nd proto=6 dport=80-81"),
        ("tcp.dst == 8080/0xfff0", "ip4|ip6|nd proto=6 dport=8080-8095"),
        ("udp.dst == 53 && tcp", ""),
        (
            "tcp.dst == 80 || udp.dst == 53",
            "ip4|ip6|nd proto=6 dport=80 | ip4|ip6|nd proto=17 dport=53",
        ),
        ("tcp.dst == 80 && tcp.src >= 1024", "ip4|ip6|nd proto=6 sport=1024-65535 dport=80"),
        ("icmp4.type == 8", "ip4 proto=1 type=8"),
        ("icmp4.type == 8 && icmp4.code == 0", "ip4 proto=1 type=8 code=0"),
        ("icmp4.type != 8", "ip4 proto=1 type=!8"),
        ("icmp6.type == {128, 129}", "ip6|nd proto=58 type=128,129"),
        ("ip.proto == 6", "ip4|ip6|nd proto=6"),
        ("ip.proto == {6, 17}", "ip4|ip6|nd proto=6,17"),
        ("ip.proto != 6", "ip4|ip6|nd proto=!6"),
        ("eth.type == 0x800", "ip4"),
        ("eth.type == 0x806", "other"),
        ("eth.type != 0x800", "ip6|nd|other"),
        ("ip4 && ip6", ""),
        ("ip4.src == 10.0.0.1 && ip6.dst == fd00::1", ""),
        ("ip6 && nd", "nd"),
        ("icmp6 && !nd", "ip6 proto=58"),
        ("(ip4 && tcp) || (ip6 && udp)", "ip4 proto=6 | ip6|nd proto=17"),
        (
            "!((ip4.src == 10.0.0.1) || tcp.dst == 80)",
            "ip4 proto=6 dport=0-79,81-65535 src=!10.0.0.1/32",
        ),
        (
            "!(ip4.src == 10.0.0.1 && tcp.dst == 80)",
            "ip4 src=!10.0.0.1/32 | ip4|ip6|nd proto=6 dport=0-79,81-65535",
        ),
        ("!!(tcp)", "ip4|ip6|nd proto=6"),
        ("((((ip))))", "ip4|ip6|nd"),
        (
            "outport == @pg && ip4.src == $pg_ip4 && tcp.dst == {80, 443, 8000} // web",
            "ip4 proto=6 dport=80,443,8000 out=@pg src=$pg_ip4",
        ),
        ("ip4 /* any */ && tcp", "ip4 proto=6"),
        (r#"inport == "a\"b""#, r#"ip4|ip6|nd|other in="a\"b""#),
    ];
    for (text, expected) in cases {
        assert_eq!(normal(text).as_deref(), Ok(expected), "{text}");
    }
}

/// What is said of a constant that is none, written `IS_NO` below.
const IS_NO_CONSTANT: &str =
    "is no number, address or block (whose bits outside of the mask must be 0)";

#[test]
fn bad_matches_say_where() {
    let cases = [
        ("ip4.src == 10.0.0.1/24", r#"syntax error at byte 11: "10.0.0.1/24" IS_NO"#),
        ("tcp.dst == 8081/0xfff0", r#"syntax error at byte 11: "8081/0xfff0" IS_NO"#),
        ("", "syntax error at byte 0: expected a field, a predicate, ! or ("),
        ("ip4 &&", "syntax error at byte 6: expected a field, a predicate, ! or ("),
        ("(ip4", "syntax error at byte 4: expected )"),
        ("ip4)", "syntax error at byte 3: expected && or || or the end"),
        ("ip4 tcp", "syntax error at byte 4: expected && or || or the end"),
        (
            "ip4 && tcp || udp",
            "syntax error at byte 11: && and || must be set apart by parentheses",
        ),
        ("ip4 & tcp", "syntax error at byte 4: unexpected '&'"),
        ("!tcp.dst == 80", "syntax error at byte 1: what ! applies to must be in parentheses"),
        ("tcp.dst", "syntax error at byte 7: expected ==, !=, <, <=, > or >= after tcp.dst"),
        ("tcp.dst == ", "syntax error at byte 11: expected a constant"),
        ("tcp.dst = 80", "syntax error at byte 8: expected ==, !=, <, <=, > or >= after tcp.dst"),
        ("tcp.dst == 65536", "syntax error at byte 0: 65536 is too large: the most is 65535"),
        (r#"tcp.dst == "80""#, "syntax error at byte 0: expected a number"),
        ("tcp.dst == $as", "an address set of numbers at byte 0 has no counterpart"),
        (
            "tcp.dst < {80, 81}",
            "syntax error at byte 10: only == and != take more than one constant",
        ),
        ("tcp.dst == {}", "syntax error at byte 12: expected a constant"),
        ("tcp.dst == {80", "syntax error at byte 14: expected a constant"),
        ("tcp.dst == 80/0x10000", r#"syntax error at byte 11: "80/0x10000" IS_NO"#),
        ("tcp.dst == 80/0xff0f", r#"syntax error at byte 11: "80/0xff0f" IS_NO"#),
        (
            "1 < tcp.dst > 2",
            "syntax error at byte 14: both comparisons of a range must point the same way",
        ),
        ("ip4.src == fd00::1", "syntax error at byte 0: fd00::1/128 is no IPv4 address"),
        ("ip6.src == 10.0.0.1", "syntax error at byte 0: 10.0.0.1/32 is no IPv6 address"),
        ("ip4.src == 10.0.0.256", r#"syntax error at byte 11: "10.0.0.256" IS_NO"#),
        ("ip4.src == 10.0.0.0/33", r#"syntax error at byte 11: "10.0.0.0/33" IS_NO"#),
        (
            "ip4.src == 10.0.0.0/255.0.255.0",
            "the mask 255.0.255.0, whose ones are not all on the left, at byte 11 has no \
             counterpart",
        ),
        ("ip4.src < 10.0.0.1", "an order of addresses at byte 0 has no counterpart"),
        ("ip4.src == 167772161", "an address as a number at byte 0 has no counterpart"),
        ("ip4.src == @pg", "syntax error at byte 0: expected an address, a block or $set"),
        (r#"ip4.src == "x""#, "syntax error at byte 0: expected an address, a block or $set"),
        ("inport == 1", r#"syntax error at byte 0: a port is compared with "name" or @group"#),
        (
            r#"inport != "lp0""#,
            "syntax error at byte 0: a port can only be tested for equality, `!` included",
        ),
        (
            r#"!(inport == "lp0")"#,
            "syntax error at byte 2: a port can only be tested for equality, `!` included",
        ),
        (
            r#"inport < "lp0""#,
            "syntax error at byte 0: a port can only be tested for equality, `!` included",
        ),
        (
            "eth.src == 0a:00:00:00:00:01",
            r#"the field or predicate "eth.src" at byte 0 has no counterpart"#,
        ),
        (
            "ip4.src == 0a:00:00:00:00:01",
            "syntax error at byte 0: expected an address, a block or $set",
        ),
        ("ip.ttl == 1", r#"the field or predicate "ip.ttl" at byte 0 has no counterpart"#),
        ("ip.dscp == 46", r#"the field or predicate "ip.dscp" at byte 0 has no counterpart"#),
        ("tcp.flags == 2", r#"the field or predicate "tcp.flags" at byte 0 has no counterpart"#),
        ("eth.src[40] == 1", "a part of the bits of eth.src at byte 0 has no counterpart"),
        (
            r#"is_chassis_resident("lp0")"#,
            r#"the field or predicate "is_chassis_resident" at byte 0 has no counterpart"#,
        ),
        ("ct.est", r#"the field or predicate "ct.est" at byte 0 has no counterpart"#),
        ("tcp == 1", "a comparison of the predicate tcp at byte 0 has no counterpart"),
        ("^var", "a template variable at byte 0 has no counterpart"),
        (r#"inport == "lp0"#, "syntax error at byte 10: the text has no closing quote"),
        (
            r#"inport == "\x""#,
            "syntax error at byte 10: bad text in quotes: invalid escape at line 1 column 3",
        ),
        ("$", "syntax error at byte 0: the name of an address set is missing"),
        ("@", "syntax error at byte 0: the name of a port group is missing"),
        ("ip4.src == $", "syntax error at byte 11: the name of an address set is missing"),
        ("/* x", "syntax error at byte 0: the comment has no end"),
        ("ip4 ; tcp", "syntax error at byte 4: unexpected ';'"),
        ("ärger", "syntax error at byte 0: unexpected 'ä'"),
        ("2", "syntax error at byte 1: expected ==, !=, <, <=, > or >= after the constant"),
        ("icmp4.type == 256", "syntax error at byte 0: 256 is too large: the most is 255"),
        ("ip.proto == 300", "syntax error at byte 0: 300 is too large: the most is 255"),
        ("eth.type == 65536", "syntax error at byte 0: 65536 is too large: the most is 65535"),
    ];
    for (text, expected) in cases {
        let expected = expected.replace("IS_NO", IS_NO_CONSTANT);
        assert_eq!(normal(text).unwrap_err(), expected, "{text}");
    }
}

#[test]
fn limits_hold() {
    let nested = |depth| format!("{}ip{}", "(".repeat(depth), ")".repeat(depth));
    assert!(normal(&nested(NESTING_MAX)).is_ok());
    assert!(normal(&nested(NESTING_MAX + 1)).unwrap_err().contains("nested too deeply"));
    assert!(normal(&nested(100_000)).unwrap_err().contains("nested too deeply"));
    assert!(normal(&"!".repeat(100_000)).unwrap_err().contains("nested too deeply"));

    let any = |n| (0..n).map(|p| format!("tcp.dst == {p}")).collect::<Vec<_>>().join(" || ");
    assert!(normal(&any(CONJUNCTS_MAX)).is_ok());
    assert!(normal(&any(CONJUNCTS_MAX + 1)).unwrap_err().contains("more than 256 alternatives"));
    let product = "(icmp4.type == 1 || tcp.src == 1) && (ip4.src == 1.1.1.1 || ip4.dst == 1.1.1.1)";
    assert_eq!(normal(product).unwrap().split(" | ").count(), 4);

    let long = format!("ip4 // {}", "x".repeat(MATCH_BYTES_MAX));
    assert!(normal(&long).unwrap_err().contains("the most is"));
    // A set is one condition, however large.
    let set: Vec<String> = (0..5000).map(|n| format!("10.0.{}.{}", n / 250, n % 250)).collect();
    assert!(normal(&format!("ip4.src == {{{}}}", set.join(", "))).is_ok());
}
