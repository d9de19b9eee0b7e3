//! Questions as people write them: words on the command line, lines of a batch.

use super::Expected;
use crate::target::parse_name;
use spanwire_adminproto::convert::{SOURCE_PORT_DEFAULT, VerdictEnd, VerdictPacket, VerdictQuery};
use spanwire_adminproto::wire;
use spanwire_topology::engine::PacketKind;
use spanwire_topology::model::{Kind, TransportProtocol, quoted};
use std::net::IpAddr;
use std::str::FromStr;

/// The words of a line, at most.
const WORDS_MAX: usize = 5;

/// A line of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// What is asked.
    pub(super) query: VerdictQuery,
    /// What is expected, if anything is.
    pub(super) expected: Option<Expected>,
}

/// A type and perhaps a code of ICMP, as `--icmp` takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Icmp(pub(super) VerdictPacket);

impl FromStr for Icmp {
    type Err = String;

    fn from_str(text: &str) -> Result<Icmp, String> {
        if text == "echo" {
            return Ok(Icmp(VerdictPacket::Echo));
        }
        let (icmp_type, code) = text.split_once('/').unwrap_or((text, "0"));
        match (icmp_type.parse(), code.parse()) {
            (Ok(icmp_type), Ok(code)) => {
                Ok(Icmp(VerdictPacket::Kind(PacketKind::Icmp { icmp_type, code })))
            }
            _ => Err(format!(
                "{} is no ICMP type: expected echo, a type from 0 to 255, or TYPE/CODE as 3/4",
                quoted(text)
            )),
        }
    }
}

/// One end: an address, a port, or a port with one of its addresses.
pub(super) fn parse_end(text: &str, project: Option<&str>) -> Result<VerdictEnd, String> {
    if let Ok(address) = text.parse() {
        return Ok(VerdictEnd::Address(address));
    }
    let name = text.strip_prefix("port/").unwrap_or(text);
    // A name may have an @ in it, and hardly an address behind that.
    let with_address = name
        .rsplit_once('@')
        .and_then(|(name, address)| Some((name, address.parse::<IpAddr>().ok()?)));
    let (name, address) = match with_address {
        Some((name, address)) => (name, Some(address)),
        None => (name, None),
    };
    match parse_name(Kind::LogicalPort, name, project) {
        Ok(key) => Ok(VerdictEnd::Port(key, address)),
        Err(failure) => Err(format!(
            "{} is neither a port nor an address ({}): expected NAME, PROJECT/NAME, NAME@ADDRESS \
             or an address",
            quoted(text),
            failure.message()
        )),
    }
}

/// What is sent, from a protocol and a port or type.
fn parse_packet(protocol: &str, port: &str) -> Result<VerdictPacket, String> {
    let protocol = match protocol {
        "tcp" => TransportProtocol::Tcp,
        "udp" => TransportProtocol::Udp,
        "sctp" => TransportProtocol::Sctp,
        "icmp" => return port.parse().map(|Icmp(packet)| packet),
        other => {
            let other = quoted(other);
            return Err(format!("{other} is no protocol: expected tcp, udp, sctp or icmp"));
        }
    };
    match port.parse() {
        Ok(port) => Ok(VerdictPacket::Kind(PacketKind::Transport {
            protocol,
            source_port: SOURCE_PORT_DEFAULT,
            port,
        })),
        Err(_) => Err(format!("{} is no port: expected a number from 0 to 65535", quoted(port))),
    }
}

/// The question of a line; nothing if it is empty or a comment.
pub(super) fn parse_line(line: &str, project: Option<&str>) -> Result<Option<Question>, String> {
    let text = line.split('#').next().unwrap_or_default();
    let words: Vec<&str> = text.split_whitespace().take(WORDS_MAX + 1).collect();
    let (source, destination, protocol, port, expected) = match words.as_slice() {
        [] => return Ok(None),
        [source, destination, protocol, port] => (source, destination, protocol, port, None),
        [source, destination, protocol, port, expected] => {
            (source, destination, protocol, port, Some(*expected))
        }
        [_, _, "icmp"] => return Err("no ICMP type: expected echo, TYPE or TYPE/CODE".to_owned()),
        words => {
            let count = if words.len() > WORDS_MAX {
                format!("more than {WORDS_MAX} words")
            } else {
                format!("{} of 4 words", words.len())
            };
            return Err(format!(
                "{count}: expected SOURCE DESTINATION PROTOCOL PORT, and EXPECTED or nothing"
            ));
        }
    };
    let expected = match expected {
        None => None,
        Some("allowed") => Some(Expected::Allowed),
        Some("denied") => Some(Expected::Denied),
        Some("unreachable") => Some(Expected::Unreachable),
        Some(other) => {
            return Err(format!(
                "{} is no verdict: expected allowed, denied or unreachable",
                quoted(other)
            ));
        }
    };
    let query = VerdictQuery {
        source: parse_end(source, project)?,
        destination: parse_end(destination, project)?,
        packet: parse_packet(protocol, port)?,
    };
    Ok(Some(Question { query, expected }))
}

/// A packet as people read it, with the family that the answer tells.
pub(super) fn to_text(packet: VerdictPacket, answer: &wire::VerdictAnswer) -> String {
    let is_v6 = answer.source.as_ref().is_some_and(|source| source.address.contains(':'));
    let icmp = if is_v6 { "icmpv6" } else { "icmp" };
    match packet {
        VerdictPacket::Kind(PacketKind::Transport { protocol, source_port, port }) => {
            let from = match source_port {
                SOURCE_PORT_DEFAULT => String::new(),
                port => format!(" from port {port}"),
            };
            format!("{} {port}{from}", protocol.as_str())
        }
        VerdictPacket::Kind(PacketKind::Icmp { icmp_type, code }) => {
            format!("{icmp} type {icmp_type} code {code}")
        }
        VerdictPacket::Echo => format!("{icmp} echo"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use spanwire_topology::ObjectKey;

    fn port(project: &str, name: &str, address: Option<&str>) -> VerdictEnd {
        let key = ObjectKey::new(Kind::LogicalPort, project, name);
        VerdictEnd::Port(key, address.map(|address| address.parse().unwrap()))
    }

    #[test]
    fn ends_can_be_named_in_these_ways() {
        let cases = [
            ("web-0", None, port("default", "web-0", None)),
            ("web-0", Some("shop"), port("shop", "web-0", None)),
            ("shop/web-0", None, port("shop", "web-0", None)),
            ("port/shop/web-0", None, port("shop", "web-0", None)),
            ("port/10.0.0.1", None, port("default", "10.0.0.1", None)),
            ("shop/web-0@fd00::1", None, port("shop", "web-0", Some("fd00::1"))),
            ("a@b", None, port("default", "a@b", None)),
            ("10.0.0.1", None, VerdictEnd::Address("10.0.0.1".parse().unwrap())),
            ("fd00::1", Some("shop"), VerdictEnd::Address("fd00::1".parse().unwrap())),
        ];
        for (text, project, expected) in cases {
            assert_eq!(parse_end(text, project), Ok(expected), "{text}");
        }
        for text in ["a/b/c", "", "10.0.0.1/", "-x"] {
            let error = parse_end(text, None).unwrap_err();
            assert!(error.contains("expected NAME, PROJECT/NAME"), "{error}");
        }
    }

    #[test]
    fn lines_say_what_is_asked_and_expected() {
        let line = |text| parse_line(text, Some("shop")).unwrap();
        assert_eq!(line(""), None);
        assert_eq!(line("  # a comment"), None);
        let found = line("a  b\ttcp 80 # why").unwrap();
        assert_eq!(found.query.source, port("shop", "a", None));
        assert_eq!(found.expected, None);
        let packet = PacketKind::Transport {
            protocol: TransportProtocol::Tcp,
            source_port: SOURCE_PORT_DEFAULT,
            port: 80,
        };
        assert_eq!(found.query.packet, VerdictPacket::Kind(packet));
        let found = line("a b icmp 3/4 denied").unwrap();
        let packet = PacketKind::Icmp { icmp_type: 3, code: 4 };
        assert_eq!(found.query.packet, VerdictPacket::Kind(packet));
        assert_eq!(found.expected, Some(Expected::Denied));
        assert_eq!(line("a b icmp echo").unwrap().query.packet, VerdictPacket::Echo);
    }

    #[test]
    fn malformed_lines_say_what_was_expected() {
        let cases = [
            ("a b tcp", "3 of 4 words: expected SOURCE DESTINATION PROTOCOL PORT"),
            ("a b icmp", "no ICMP type: expected echo"),
            ("a b tcp 80 allowed now", "more than 5 words"),
            ("a b tcp http", "\"http\" is no port"),
            ("a b tcp 65536", "\"65536\" is no port"),
            ("a b icmp 256", "\"256\" is no ICMP type"),
            ("a b icmp 3/", "\"3/\" is no ICMP type"),
            ("a b gre 1", "\"gre\" is no protocol: expected tcp, udp, sctp or icmp"),
            ("a b tcp 80 allow", "\"allow\" is no verdict: expected allowed, denied"),
            ("a/b/c b tcp 80", "\"a/b/c\" is neither a port nor an address"),
        ];
        for (text, expected) in cases {
            let error = parse_line(text, None).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in any::<String>(), project in "[a-z]{0,3}") {
            let _ = parse_line(&line, Some(&project));
        }

        #[test]
        fn no_words_make_it_panic(
            words in proptest::collection::vec("[a-z0-9/@:.#é]{0,6}|tcp|icmp|allowed|[0-9]{1,9}", 0..8)
        ) {
            let line = words.join(" ");
            // What is read is asked: four words at least, and none left out.
            if let Ok(Some(_)) = parse_line(&line, None) {
                let asked = line.split('#').next().unwrap_or_default().split_whitespace().count();
                prop_assert!(asked == 4 || asked == 5, "{line:?}");
            }
        }
    }
}
