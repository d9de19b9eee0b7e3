//! The way between two switches, and where it ends.

use crate::engine;
use crate::notation::key;
use spanwire_topology::Kind;

/// ```text
///        (top)                      s8 [no router]
///       /     \                    (r9)    s9 below (r9), connected to nothing else
///    (r1)     (r2)!══(r5)
///   [s1 s1b]  [s2]   [s5]    (r5) is also below (far), where [s6] is
/// ```
const NETWORK: &str = "
    switch s1
    switch s1b
    switch s2
    switch s3
    switch s5
    switch s6
    switch s8
    switch s9
    router top on s3
    router r1 on s1,s1b up top
    router r2 on s2 up top peer r5 silent
    router far on s6
    router r5 on s5 up far silent
    router r9 on s9
";

fn check(from: &str, to: &str, expected: &str) {
    let engine = engine(NETWORK);
    let path = engine.path(&key(Kind::LogicalSwitch, from), &key(Kind::LogicalSwitch, to)).unwrap();
    assert_eq!(path.to_string().replace("p/", ""), expected, "from {from} to {to}");
    assert_eq!(path.arrives(), !expected.contains("ends"));
}

#[test]
fn a_path_names_every_place() {
    check("s1", "s1", "switch s1");
    check("s1", "s1b", "switch s1 -> router r1 -> switch s1b");
    check("s1", "s3", "switch s1 -> router r1 -> uplink router top -> switch s3");
    check("s3", "s1", "switch s3 -> router top -> down to router r1 -> switch s1");
    check("s2", "s3", "switch s2 -> router r2 -> uplink router top -> switch s3");
    check(
        "s2",
        "s1",
        "switch s2 -> router r2 -> uplink router top -> down to router r1 -> switch s1",
    );
    check("s2", "s5", "switch s2 -> router r2 -> peer router r5 -> switch s5");
    check("s5", "s2", "switch s5 -> router r5 -> peer router r2 -> switch s2");
}

#[test]
fn a_path_that_ends_says_where_and_why() {
    check("s8", "s1", "switch s8, where it ends: switch s8 has no router");
    check(
        "s9",
        "s1",
        "switch s9 -> router r9, where it ends: no uplink or peering of router r9 leads further",
    );
    check(
        "s1",
        "s9",
        "switch s1 -> router r1 -> uplink router top, where it ends: no uplink or peering of \
         router top leads further",
    );
    check(
        "s3",
        "s2",
        "switch s3 -> router top, where it ends: router r2 has router top as uplink but does not \
         advertise",
    );
    check(
        "s2",
        "s6",
        "switch s2 -> router r2 -> peer router r5, where it ends: a peering leads no further than \
         the peer's domain, and router far lies beyond",
    );
    check(
        "s6",
        "s5",
        "switch s6 -> router far, where it ends: router r5 has router far as uplink but does not \
         advertise",
    );
}

/// ```text
///   (a)!──up──(b)══(c)     [s1] below (a), [s3] below (c): from s1 the peering carries nothing
/// ```
#[test]
fn a_peering_carries_only_what_starts_in_its_domain() {
    let engine = engine(
        "switch s1
         switch s3
         router b peer c
         router a on s1 up b silent
         router c on s3",
    );
    let [s1, s3] = ["s1", "s3"].map(|name| key(Kind::LogicalSwitch, name));
    assert_eq!(
        engine.path(&s1, &s3).unwrap().to_string(),
        "switch p/s1 -> router p/a -> uplink router p/b, where it ends: the peering of router p/b \
         with router p/c carries only what starts in the domain of router p/b"
    );
}

#[test]
fn only_switches_have_paths() {
    let engine = engine(NETWORK);
    let s1 = key(Kind::LogicalSwitch, "s1");
    for other in [key(Kind::LogicalRouter, "r1"), key(Kind::LogicalSwitch, "nowhere")] {
        let error = engine.path(&s1, &other).unwrap_err().to_string();
        assert_eq!(error, format!("{other} does not exist"));
    }
}
