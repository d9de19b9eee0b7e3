//! From an expression to a disjunction of conjuncts.
//!
//! Negation follows OVN: `!` turns the operator of a comparison round and leaves its prerequisite
//! alone, so `!(tcp.dst == 80)` is TCP to another port, not everything else. Only predicates are
//! negated as a whole.

use super::MatchError;
use super::parser::{Comparison, Expression, Field, Operator, Predicate, Value};
use super::sets::{Bytes, PortSet};
use ipnet::IpNet;
use std::fmt;
use std::sync::Arc;

/// The most conjuncts that a match may come to.
pub const CONJUNCTS_MAX: usize = 256;

/// A set of kinds of frames. Every frame is of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frames(u8);

impl Frames {
    /// IPv4.
    pub const V4: Frames = Frames(1);
    /// IPv6 but for neighbour discovery.
    pub const V6: Frames = Frames(2);
    /// Neighbour discovery.
    pub const DISCOVERY: Frames = Frames(4);
    /// ARP, and everything that is not IP.
    pub const OTHER: Frames = Frames(8);
    /// Every frame.
    pub const ALL: Frames = Frames(15);

    /// What is in either.
    pub const fn or(self, other: Frames) -> Frames {
        Frames(self.0 | other.0)
    }

    /// What is in both.
    pub const fn and(self, other: Frames) -> Frames {
        Frames(self.0 & other.0)
    }

    /// What is not in it.
    pub const fn complement(self) -> Frames {
        Frames(!self.0 & 15)
    }

    /// True if there is nothing in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

const IP6: Frames = Frames::V6.or(Frames::DISCOVERY);
const IP: Frames = Frames::V4.or(IP6);

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// A condition on an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressTerm {
    /// True if the address must be in none of these, false if it must be in one.
    pub negated: bool,
    /// Blocks, sorted.
    pub blocks: Vec<IpNet>,
    /// Address sets, sorted.
    pub sets: Vec<String>,
}

/// A condition on a port: it is one of these.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortTerm {
    /// Names of ports, sorted.
    pub names: Vec<String>,
    /// Port groups, sorted.
    pub groups: Vec<String>,
}

/// Conditions that must all hold. None of the sets is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conjunct {
    /// Kinds of frames.
    pub frames: Frames,
    /// IP protocols.
    pub protocols: Bytes,
    /// Source ports. Not all only if the protocol is the one they belong to.
    pub source_ports: PortSet,
    /// Destination ports. Not all only if the protocol is the one they belong to.
    pub ports: PortSet,
    /// ICMP types. Not all only if the protocol is the ICMP they belong to.
    pub icmp_types: Bytes,
    /// ICMP codes. Not all only if the protocol is the ICMP they belong to.
    pub icmp_codes: Bytes,
    /// Conditions on the port a packet comes from.
    pub inport: Vec<Arc<PortTerm>>,
    /// Conditions on the port a packet goes to.
    pub outport: Vec<Arc<PortTerm>>,
    /// Conditions on the source address.
    pub source: Vec<Arc<AddressTerm>>,
    /// Conditions on the destination address.
    pub destination: Vec<Arc<AddressTerm>>,
}

impl Conjunct {
    /// The conjunct that every frame meets.
    pub fn everything() -> Conjunct {
        Conjunct {
            frames: Frames::ALL,
            protocols: Bytes::ALL,
            source_ports: PortSet::all(),
            ports: PortSet::all(),
            icmp_types: Bytes::ALL,
            icmp_codes: Bytes::ALL,
            inport: Vec::new(),
            outport: Vec::new(),
            source: Vec::new(),
            destination: Vec::new(),
        }
    }

    fn of(frames: Frames, protocols: Bytes) -> Conjunct {
        Conjunct { frames, protocols, ..Conjunct::everything() }
    }

    /// Both, or `None` if nothing can meet both.
    fn and(&self, other: &Conjunct) -> Option<Conjunct> {
        fn joined<T: Ord + Clone>(left: &[T], right: &[T]) -> Vec<T> {
            let mut all: Vec<T> = left.iter().chain(right).cloned().collect();
            all.sort_unstable();
            all.dedup();
            all
        }
        let both = Conjunct {
            frames: self.frames.and(other.frames),
            protocols: self.protocols.intersection(other.protocols),
            source_ports: self.source_ports.intersection(&other.source_ports),
            ports: self.ports.intersection(&other.ports),
            icmp_types: self.icmp_types.intersection(other.icmp_types),
            icmp_codes: self.icmp_codes.intersection(other.icmp_codes),
            inport: joined(&self.inport, &other.inport),
            outport: joined(&self.outport, &other.outport),
            source: joined(&self.source, &other.source),
            destination: joined(&self.destination, &other.destination),
        };
        both.can_match().then_some(both)
    }

    fn can_match(&self) -> bool {
        !(self.frames.is_empty()
            || self.protocols.is_empty()
            || self.source_ports.is_empty()
            || self.ports.is_empty()
            || self.icmp_types.is_empty()
            || self.icmp_codes.is_empty())
    }
}

/// The conjuncts of an expression, sorted, at most [`CONJUNCTS_MAX`]. None means that nothing
/// matches.
pub fn normalize(expression: &Expression) -> Result<Vec<Conjunct>, MatchError> {
    let mut conjuncts = walk(expression, true)?;
    conjuncts.sort_unstable();
    conjuncts.dedup();
    Ok(conjuncts)
}

fn walk(expression: &Expression, positive: bool) -> Result<Vec<Conjunct>, MatchError> {
    match (expression, positive) {
        (Expression::Constant(value), _) if *value == positive => Ok(vec![Conjunct::everything()]),
        (Expression::Constant(_), _) => Ok(Vec::new()),
        (Expression::Predicate(predicate), true) => Ok(holds(*predicate)),
        (Expression::Predicate(predicate), false) => Ok(does_not_hold(*predicate)),
        (Expression::Comparison(comparison), _) => compare(comparison, positive),
        (Expression::Not(inner), _) => walk(inner, !positive),
        (Expression::And(terms), true) | (Expression::Or(terms), false) => all(terms, positive),
        (Expression::Or(terms), true) | (Expression::And(terms), false) => any(terms, positive),
    }
}

fn any(terms: &[Expression], positive: bool) -> Result<Vec<Conjunct>, MatchError> {
    let mut conjuncts = Vec::new();
    for term in terms {
        conjuncts.extend(walk(term, positive)?);
        if conjuncts.len() > CONJUNCTS_MAX {
            return Err(MatchError::TooComplex { max: CONJUNCTS_MAX });
        }
    }
    Ok(conjuncts)
}

fn all(terms: &[Expression], positive: bool) -> Result<Vec<Conjunct>, MatchError> {
    let mut conjuncts = vec![Conjunct::everything()];
    for term in terms {
        let alternatives = walk(term, positive)?;
        let mut product = Vec::new();
        for left in &conjuncts {
            product.extend(alternatives.iter().filter_map(|right| left.and(right)));
            if product.len() > CONJUNCTS_MAX {
                return Err(MatchError::TooComplex { max: CONJUNCTS_MAX });
            }
        }
        conjuncts = product;
    }
    Ok(conjuncts)
}

fn holds(predicate: Predicate) -> Vec<Conjunct> {
    let any = Bytes::ALL;
    let only = |number| Bytes::new([number]);
    let icmp4 = Conjunct::of(Frames::V4, only(ICMP));
    let icmp6 = Conjunct::of(IP6, only(ICMPV6));
    match predicate {
        Predicate::Ip => vec![Conjunct::of(IP, any)],
        Predicate::Ip4 => vec![Conjunct::of(Frames::V4, any)],
        Predicate::Ip6 => vec![Conjunct::of(IP6, any)],
        Predicate::Arp => vec![Conjunct::of(Frames::OTHER, any)],
        Predicate::Tcp => vec![Conjunct::of(IP, only(TCP))],
        Predicate::Udp => vec![Conjunct::of(IP, only(UDP))],
        Predicate::Sctp => vec![Conjunct::of(IP, only(SCTP))],
        Predicate::Icmp => vec![icmp4, icmp6],
        Predicate::Icmp4 => vec![icmp4],
        Predicate::Icmp6 => vec![icmp6],
        Predicate::NeighborDiscovery => vec![Conjunct::of(Frames::DISCOVERY, any)],
    }
}

fn does_not_hold(predicate: Predicate) -> Vec<Conjunct> {
    let any = Bytes::ALL;
    let but = |number| Bytes::new([number]).complement();
    let not_ip = Conjunct::of(Frames::OTHER, any);
    match predicate {
        Predicate::Ip => vec![not_ip],
        Predicate::Ip4 => vec![Conjunct::of(Frames::V4.complement(), any)],
        Predicate::Ip6 => vec![Conjunct::of(IP6.complement(), any)],
        // ARP is one of several things that are not IP.
        Predicate::Arp => vec![Conjunct::everything()],
        Predicate::Tcp => vec![Conjunct::of(IP, but(TCP)), not_ip],
        Predicate::Udp => vec![Conjunct::of(IP, but(UDP)), not_ip],
        Predicate::Sctp => vec![Conjunct::of(IP, but(SCTP)), not_ip],
        Predicate::Icmp => {
            vec![Conjunct::of(Frames::V4, but(ICMP)), Conjunct::of(IP6, but(ICMPV6)), not_ip]
        }
        Predicate::Icmp4 => {
            vec![Conjunct::of(Frames::V4, but(ICMP)), Conjunct::of(Frames::V4.complement(), any)]
        }
        Predicate::Icmp6 => {
            vec![Conjunct::of(IP6, but(ICMPV6)), Conjunct::of(IP6.complement(), any)]
        }
        Predicate::NeighborDiscovery => {
            vec![Conjunct::of(Frames::DISCOVERY.complement(), any)]
        }
    }
}

fn syntax(comparison: &Comparison, problem: &str) -> MatchError {
    MatchError::Syntax { at: comparison.at, problem: problem.to_owned() }
}

fn unsupported(comparison: &Comparison, what: &str) -> MatchError {
    MatchError::Unsupported { at: comparison.at, what: what.to_owned() }
}

fn compare(comparison: &Comparison, positive: bool) -> Result<Vec<Conjunct>, MatchError> {
    let operator = if positive { comparison.operator } else { comparison.operator.negated() };
    let conjunct = match comparison.field {
        Field::InPort => Conjunct {
            inport: vec![Arc::new(port_term(comparison, operator)?)],
            ..Conjunct::everything()
        },
        Field::OutPort => Conjunct {
            outport: vec![Arc::new(port_term(comparison, operator)?)],
            ..Conjunct::everything()
        },
        Field::Ip4Source | Field::Ip6Source => Conjunct {
            frames: if comparison.field == Field::Ip4Source { Frames::V4 } else { IP6 },
            source: vec![Arc::new(address_term(comparison, operator)?)],
            ..Conjunct::everything()
        },
        Field::Ip4Destination | Field::Ip6Destination => Conjunct {
            frames: if comparison.field == Field::Ip4Destination { Frames::V4 } else { IP6 },
            destination: vec![Arc::new(address_term(comparison, operator)?)],
            ..Conjunct::everything()
        },
        Field::SourcePort(protocol) => Conjunct {
            source_ports: numbers(comparison, operator, u16::MAX)?,
            ..Conjunct::of(IP, Bytes::new([protocol]))
        },
        Field::DestinationPort(protocol) => Conjunct {
            ports: numbers(comparison, operator, u16::MAX)?,
            ..Conjunct::of(IP, Bytes::new([protocol]))
        },
        Field::Icmp4Type => Conjunct {
            icmp_types: bytes(comparison, operator)?,
            ..Conjunct::of(Frames::V4, Bytes::new([ICMP]))
        },
        Field::Icmp4Code => Conjunct {
            icmp_codes: bytes(comparison, operator)?,
            ..Conjunct::of(Frames::V4, Bytes::new([ICMP]))
        },
        Field::Icmp6Type => Conjunct {
            icmp_types: bytes(comparison, operator)?,
            ..Conjunct::of(IP6, Bytes::new([ICMPV6]))
        },
        Field::Icmp6Code => Conjunct {
            icmp_codes: bytes(comparison, operator)?,
            ..Conjunct::of(IP6, Bytes::new([ICMPV6]))
        },
        Field::Protocol => Conjunct::of(IP, bytes(comparison, operator)?),
        Field::EthernetType => Conjunct::of(ethernet_types(comparison, operator)?, Bytes::ALL),
    };
    Ok(if conjunct.can_match() { vec![conjunct] } else { Vec::new() })
}

fn port_term(comparison: &Comparison, operator: Operator) -> Result<PortTerm, MatchError> {
    if operator != Operator::Equal {
        // ovn-controller refuses this too: a port name is a nominal field.
        return Err(syntax(comparison, "a port can only be tested for equality, `!` included"));
    }
    let mut term = PortTerm { names: Vec::new(), groups: Vec::new() };
    for value in &comparison.values {
        match value {
            Value::Text(name) => term.names.push(name.clone()),
            Value::PortGroup(name) => term.groups.push(name.clone()),
            _ => return Err(syntax(comparison, "a port is compared with \"name\" or @group")),
        }
    }
    term.names.sort_unstable();
    term.names.dedup();
    term.groups.sort_unstable();
    term.groups.dedup();
    Ok(term)
}

fn address_term(comparison: &Comparison, operator: Operator) -> Result<AddressTerm, MatchError> {
    let negated = match operator {
        Operator::Equal => false,
        Operator::NotEqual => true,
        _ => return Err(unsupported(comparison, "an order of addresses")),
    };
    let is_v4 = matches!(comparison.field, Field::Ip4Source | Field::Ip4Destination);
    let mut term = AddressTerm { negated, blocks: Vec::new(), sets: Vec::new() };
    for value in &comparison.values {
        match value {
            Value::Net(net) if matches!(net, IpNet::V4(_)) == is_v4 => term.blocks.push(*net),
            Value::Net(net) => {
                let family = if is_v4 { "IPv4" } else { "IPv6" };
                return Err(syntax(comparison, &format!("{net} is no {family} address")));
            }
            Value::AddressSet(name) => term.sets.push(name.clone()),
            Value::Number(..) => return Err(unsupported(comparison, "an address as a number")),
            Value::Text(_) | Value::PortGroup(_) | Value::Ethernet => {
                return Err(syntax(comparison, "expected an address, a block or $set"));
            }
        }
    }
    term.blocks.sort_unstable();
    term.blocks.dedup();
    term.sets.sort_unstable();
    term.sets.dedup();
    Ok(term)
}

/// The numbers from 0 to `max` for which a comparison holds.
fn numbers(comparison: &Comparison, operator: Operator, max: u16) -> Result<PortSet, MatchError> {
    let mut ranges = Vec::new();
    for value in &comparison.values {
        let (value, mask) = match value {
            Value::Number(value, mask) => (*value, *mask),
            Value::AddressSet(_) => {
                return Err(unsupported(comparison, "an address set of numbers"));
            }
            _ => return Err(syntax(comparison, "expected a number")),
        };
        let value = u16::try_from(value).ok().filter(|value| *value <= max).ok_or_else(|| {
            syntax(comparison, &format!("{value} is too large: the most is {max}"))
        })?;
        let range = match (operator, mask) {
            (Operator::Equal | Operator::NotEqual, None) => (value, value),
            (Operator::Equal | Operator::NotEqual, Some(mask)) => {
                masked(comparison, value, mask, max)?
            }
            (_, Some(_)) => return Err(syntax(comparison, "only == and != take a mask")),
            (Operator::Less, None) => match value.checked_sub(1) {
                Some(before) => (0, before),
                None => continue,
            },
            (Operator::LessOrEqual, None) => (0, value),
            (Operator::Greater, None) => match value.checked_add(1) {
                Some(after) => (after, max),
                None => continue,
            },
            (Operator::GreaterOrEqual, None) => (value, max),
        };
        ranges.push(range);
    }
    let set = PortSet::new(ranges);
    Ok(match operator {
        Operator::NotEqual => set.complement().intersection(&PortSet::new([(0, max)])),
        _ => set,
    })
}

/// The numbers that agree with `value` in the bits of a mask whose ones are all on the left.
fn masked(
    comparison: &Comparison,
    value: u16,
    mask: u128,
    max: u16,
) -> Result<(u16, u16), MatchError> {
    let free = match u16::try_from(mask) {
        Ok(mask) if mask <= max => max ^ mask,
        _ => return Err(syntax(comparison, "the mask is wider than the field")),
    };
    if free & free.wrapping_add(1) != 0 {
        return Err(unsupported(comparison, "a mask whose ones are not all on the left"));
    }
    Ok((value, value | free))
}

fn bytes(comparison: &Comparison, operator: Operator) -> Result<Bytes, MatchError> {
    let set = numbers(comparison, operator, u16::from(u8::MAX))?;
    Ok(Bytes::new((0..=u8::MAX).filter(|number| set.contains(u16::from(*number)))))
}

fn ethernet_types(comparison: &Comparison, operator: Operator) -> Result<Frames, MatchError> {
    let set = numbers(comparison, operator, u16::MAX)?;
    let mut frames = Frames::OTHER.and(Frames::V4);
    if set.contains(0x0800) {
        frames = frames.or(Frames::V4);
    }
    if set.contains(0x86dd) {
        frames = frames.or(IP6);
    }
    let others = PortSet::new([(0x0800, 0x0800), (0x86dd, 0x86dd)]).complement();
    if !set.intersection(&others).is_empty() {
        frames = frames.or(Frames::OTHER);
    }
    Ok(frames)
}

impl fmt::Display for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            (Frames::V4, "ip4"),
            (Frames::V6, "ip6"),
            (Frames::DISCOVERY, "nd"),
            (Frames::OTHER, "other"),
        ];
        let there: Vec<_> =
            kinds.iter().filter(|(kind, _)| !self.and(*kind).is_empty()).map(|(_, n)| *n).collect();
        f.write_str(&there.join("|"))
    }
}

impl fmt::Display for AddressTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blocks = self.blocks.iter().map(ToString::to_string);
        let all: Vec<_> = blocks.chain(self.sets.iter().map(|set| format!("${set}"))).collect();
        write!(f, "{}{}", if self.negated { "!" } else { "" }, all.join(","))
    }
}

impl fmt::Display for PortTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names.iter().map(|name| format!("{name:?}"));
        let all: Vec<_> = names.chain(self.groups.iter().map(|g| format!("@{g}"))).collect();
        f.write_str(&all.join(","))
    }
}

impl fmt::Display for Conjunct {
    /// A compact form for tests and messages: only what is restricted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.frames)?;
        let list = |set: Bytes| {
            let (shown, sign) = if set.contains(255) { (set.complement(), "!") } else { (set, "") };
            let numbers: Vec<_> = shown.iter().map(|number| number.to_string()).collect();
            format!("{sign}{}", numbers.join(","))
        };
        for (name, set) in
            [("proto", self.protocols), ("type", self.icmp_types), ("code", self.icmp_codes)]
        {
            if set != Bytes::ALL {
                write!(f, " {name}={}", list(set))?;
            }
        }
        for (name, set) in [("sport", &self.source_ports), ("dport", &self.ports)] {
            if !set.is_all() {
                write!(f, " {name}={set}")?;
            }
        }
        for (name, terms) in [("in", &self.inport), ("out", &self.outport)] {
            for term in terms {
                write!(f, " {name}={term}")?;
            }
        }
        for (name, terms) in [("src", &self.source), ("dst", &self.destination)] {
            for term in terms {
                write!(f, " {name}={term}")?;
            }
        }
        Ok(())
    }
}
