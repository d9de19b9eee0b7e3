//! Our table as nft lists it, and how it differs from what it should be.

use super::ruleset::{Chain, Content, Element, Rule, Ruleset, Set, SetKind};
use crate::datapath::{DatapathError, Finding, FindingKind};
use ipnet::IpNet;
use serde_json::Value;
use spanwire_topology::model::{AddressBlocks, Mac, Text};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What a rule without a comment of ours is known by. No rule of ours has it.
const FOREIGN_RULE: &str = "(foreign rule)";
/// What leads to a chain that is no `goto`.
const FOREIGN_VERDICT: &str = "(foreign verdict)";

/// Reads a listing. What is in the table but not of a form that we make comes out as something that
/// equals nothing of ours, so that it is found and put right.
///
/// # Errors
///
/// If it is no listing.
pub(crate) fn parse(listing: &[u8]) -> Result<Ruleset, DatapathError> {
    let malformed = |message: String| DatapathError::NftListing { message };
    let document: Value =
        serde_json::from_slice(listing).map_err(|error| malformed(error.to_string()))?;
    let objects = document
        .get("nftables")
        .and_then(Value::as_array)
        .ok_or_else(|| malformed("it has no list \"nftables\"".to_owned()))?;
    let mut ruleset = Ruleset::default();
    for object in objects {
        let Some((kind, body)) = object.as_object().and_then(|fields| fields.iter().next()) else {
            continue;
        };
        let text = |field: &str| body.get(field).and_then(Value::as_str).unwrap_or_default();
        match kind.as_str() {
            "chain" => {
                ruleset.chains.entry(text("name").to_owned()).or_default();
            }
            "rule" => {
                let comment = body.get("comment").and_then(Value::as_str);
                let comment = comment.unwrap_or(FOREIGN_RULE).to_owned();
                let chain: &mut Chain = ruleset.chains.entry(text("chain").to_owned()).or_default();
                chain.rules.push(Rule { comment, expressions: Vec::new() });
            }
            "set" => {
                let set = set(body);
                ruleset.sets.insert(text("name").to_owned(), set);
            }
            "map" => {
                ruleset.maps.insert(text("name").to_owned(), map(body));
            }
            _ => {}
        }
    }
    Ok(ruleset)
}

fn elements(body: &Value) -> impl Iterator<Item = &Value> {
    let list = body.get("elem").and_then(Value::as_array);
    // With a comment, timeout or counter the element itself is one level down.
    list.into_iter().flatten().map(|element| {
        element.get("elem").and_then(|wrapped| wrapped.get("val")).unwrap_or(element)
    })
}

fn set(body: &Value) -> Set {
    let types: Vec<&str> = match body.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let flags = body.get("flags");
    let interval = match flags {
        Some(Value::String(flag)) => flag == "interval",
        Some(Value::Array(flags)) => flags.iter().any(|flag| flag == "interval"),
        _ => false,
    };
    const KINDS: [SetKind; 8] = [
        SetKind::Ipv4,
        SetKind::Ipv6,
        SetKind::Ipv4Blocks,
        SetKind::Ipv6Blocks,
        SetKind::Device,
        SetKind::DeviceMac,
        SetKind::DeviceMacIpv4,
        SetKind::DeviceMacIpv6,
    ];
    let kind = KINDS
        .into_iter()
        .find(|kind| kind.types() == types.as_slice() && kind.is_interval() == interval)
        // Of another kind than any of ours; a set of devices with nothing in it will do.
        .unwrap_or(SetKind::Device);
    let own = if kind.is_interval() {
        let nets = elements(body).flat_map(nets);
        AddressBlocks::from_nets(nets).to_nets().into_iter().map(Element::Net).collect()
    } else {
        elements(body).filter_map(|value| element(kind, value)).collect()
    };
    Set { kind, content: Content::Own(own) }
}

fn element(kind: SetKind, value: &Value) -> Option<Element> {
    let parts: Vec<&str> = match value.get("concat") {
        Some(parts) => parts.as_array()?.iter().filter_map(Value::as_str).collect(),
        None => vec![value.as_str()?],
    };
    let mac = |text: &str| text.parse::<Mac>().ok();
    let address = |text: &str| text.parse::<IpAddr>().ok();
    Some(match (kind, parts.as_slice()) {
        (SetKind::Ipv4 | SetKind::Ipv6, [text]) => Element::Address(address(text)?),
        (SetKind::Device, [device]) => Element::Device(Text::from(*device)),
        (SetKind::DeviceMac, [device, text]) => Element::DeviceMac(Text::from(*device), mac(text)?),
        (SetKind::DeviceMacIpv4 | SetKind::DeviceMacIpv6, [device, text, ip]) => {
            Element::DeviceMacAddress(Text::from(*device), mac(text)?, address(ip)?)
        }
        _ => return None,
    })
}

/// An address, a prefix or a range.
fn nets(value: &Value) -> Vec<IpNet> {
    let address = |value: &Value| value.as_str().and_then(|text| text.parse::<IpAddr>().ok());
    if let Some(prefix) = value.get("prefix") {
        let length = prefix.get("len").and_then(Value::as_u64);
        let net = prefix
            .get("addr")
            .and_then(address)
            .zip(length)
            .and_then(|(address, length)| IpNet::new(address, u8::try_from(length).ok()?).ok());
        return net.into_iter().collect();
    }
    if let Some([first, last]) = value.get("range").and_then(Value::as_array).map(Vec::as_slice) {
        return match (address(first), address(last)) {
            (Some(IpAddr::V4(first)), Some(IpAddr::V4(last))) => {
                ipnet::Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect()
            }
            (Some(IpAddr::V6(first)), Some(IpAddr::V6(last))) => {
                ipnet::Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect()
            }
            _ => Vec::new(),
        };
    }
    address(value).map(IpNet::from).into_iter().collect()
}

fn map(body: &Value) -> BTreeMap<Text, String> {
    elements(body)
        .filter_map(|pair| {
            let [device, verdict] = pair.as_array()?.as_slice() else { return None };
            let chain = verdict.get("goto").and_then(|goto| goto.get("target"));
            let chain = chain.and_then(Value::as_str).unwrap_or(FOREIGN_VERDICT);
            Some((Text::from(device.as_str()?), chain.to_owned()))
        })
        .collect()
}

/// How what is there differs from what we had left, sorted.
pub(crate) fn differences(present: &Ruleset, expected: &Ruleset) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut compare = |kind: &str, name: &str, present: bool, expected: bool, same: bool| {
        let kind_of_difference = match (present, expected) {
            (false, true) => FindingKind::Missing,
            (true, false) => FindingKind::Foreign,
            _ if same => return,
            _ => FindingKind::Altered,
        };
        let subject = format!("nftables {kind} {name}");
        findings.push(Finding { kind: kind_of_difference, subject, repaired: false });
    };
    for name in union(&present.sets, &expected.sets) {
        let (left, right) = (present.sets.get(name), expected.sets.get(name));
        let same = left
            .zip(right)
            .is_some_and(|(left, right)| left.kind == right.kind && listed(left) == listed(right));
        compare("set", name, left.is_some(), right.is_some(), same);
    }
    for name in union(&present.maps, &expected.maps) {
        let (left, right) = (present.maps.get(name), expected.maps.get(name));
        compare("map", name, left.is_some(), right.is_some(), left == right);
    }
    for name in union(&present.chains, &expected.chains) {
        let (left, right) = (present.chains.get(name), expected.chains.get(name));
        let same = left.zip(right).is_some_and(|(left, right)| left.rules == right.rules);
        compare("chain", name, left.is_some(), right.is_some(), same);
    }
    findings.sort();
    findings
}

fn union<'a, T>(
    left: &'a BTreeMap<String, T>,
    right: &'a BTreeMap<String, T>,
) -> impl Iterator<Item = &'a String> {
    left.keys().chain(right.keys().filter(|name| !left.contains_key(*name)))
}

/// Elements in a form in which nft's own joining of ranges makes no difference.
fn listed(set: &Set) -> Vec<Element> {
    let elements = set.elements();
    if !set.kind.is_interval() {
        return elements;
    }
    let nets = elements.iter().filter_map(|element| match element {
        Element::Net(net) => Some(*net),
        _ => None,
    });
    AddressBlocks::from_nets(nets).to_nets().into_iter().map(Element::Net).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As nft 1.0.6 prints it.
    const LISTING: &str = r#"{"nftables": [
        {"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
        {"table": {"family": "inet", "name": "spanwire", "handle": 1}},
        {"set": {"family": "inet", "name": "g1_d2_v4", "table": "spanwire", "type": "ipv4_addr",
            "handle": 2, "elem": ["10.0.0.1", "10.0.0.2"]}},
        {"set": {"family": "inet", "name": "b1_v4", "table": "spanwire", "type": "ipv4_addr",
            "handle": 3, "flags": ["interval"], "elem": ["10.1.0.1",
                {"prefix": {"addr": "10.2.0.0", "len": 16}}, {"range": ["10.3.0.0", "10.3.0.2"]}]}},
        {"set": {"family": "inet", "name": "own_v4", "table": "spanwire",
            "type": ["ifname", "ether_addr", "ipv4_addr"], "handle": 4,
            "elem": [{"concat": ["spw1", "0a:58:00:00:00:01", "10.0.0.1"]}]}},
        {"map": {"family": "inet", "name": "inbound", "table": "spanwire", "type": "ifname",
            "handle": 5, "map": "verdict", "elem": [["spw1", {"goto": {"target": "t1_in"}}],
                ["spw2", {"drop": null}]]}},
        {"chain": {"family": "inet", "table": "spanwire", "name": "t1_in", "handle": 6}},
        {"rule": {"family": "inet", "table": "spanwire", "chain": "t1_in", "handle": 7,
            "comment": "policy t/p #0123", "expr": [{"accept": null}]}},
        {"rule": {"family": "inet", "table": "spanwire", "chain": "t1_in", "handle": 8,
            "expr": [{"drop": null}]}}
    ]}"#;

    #[test]
    fn a_listing_is_read() {
        let ruleset = parse(LISTING.as_bytes()).unwrap();
        let elements = |name: &str| ruleset.sets[name].elements();
        let address = |text: &str| Element::Address(text.parse().unwrap());
        assert_eq!(elements("g1_d2_v4"), [address("10.0.0.1"), address("10.0.0.2")]);
        let nets = ["10.1.0.1/32", "10.2.0.0/16", "10.3.0.0/31", "10.3.0.2/32"];
        assert_eq!(elements("b1_v4"), nets.map(|net| Element::Net(net.parse().unwrap())));
        let mac = "0a:58:00:00:00:01".parse().unwrap();
        let own = Element::DeviceMacAddress("spw1".into(), mac, "10.0.0.1".parse().unwrap());
        assert_eq!(elements("own_v4"), [own]);
        assert_eq!(ruleset.maps["inbound"]["spw1"], "t1_in");
        assert_eq!(ruleset.maps["inbound"]["spw2"], FOREIGN_VERDICT);
        let comments: Vec<&str> =
            ruleset.chains["t1_in"].rules.iter().map(|rule| rule.comment.as_str()).collect();
        assert_eq!(comments, ["policy t/p #0123", FOREIGN_RULE]);
        assert_eq!(differences(&ruleset, &ruleset), []);
        let names = |findings: Vec<Finding>| -> Vec<String> {
            findings.iter().map(ToString::to_string).collect()
        };
        let mut other = ruleset.clone();
        other.sets.remove("b1_v4");
        other.chains.get_mut("t1_in").unwrap().rules.pop();
        other.chains.insert("mine".to_owned(), Chain::default());
        assert_eq!(
            names(differences(&ruleset, &other)),
            [
                "nftables chain mine was missing: not put right",
                "nftables chain t1_in was altered: not put right",
                "nftables set b1_v4 was foreign: not put right",
            ]
        );
    }

    proptest! {
        /// Whatever nft may print, it is read or refused.
        #[test]
        fn nothing_that_is_printed_is_too_strange(
            at in 0..LISTING.len(),
            length in 0usize..40,
            text in "[\\PC]{0,6}",
        ) {
            let end = (at + length).min(LISTING.len());
            let mutated = format!("{}{text}{}", &LISTING[..at], &LISTING[end..]);
            let _ = parse(mutated.as_bytes());
        }
    }
}
