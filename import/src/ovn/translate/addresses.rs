//! The columns `addresses` and `port_security` of `Logical_Switch_Port`.

use super::super::error::OvnError;
use super::super::tables::SwitchPort;
use super::row_error;
use ipnet::IpNet;
use spanwire_topology::model::Mac;
use std::net::IpAddr;

const TABLE: &str = "Logical_Switch_Port";

/// What a port is reached by.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Addresses {
    /// Each MAC address with its IP addresses, in the order of the column.
    pub(super) known: Vec<(Mac, Vec<IpAddr>)>,
    /// True if the port also gets packets to addresses that nobody knows.
    pub(super) unknown: bool,
    /// True if OVN was to choose an address and has not done so yet.
    pub(super) unassigned: bool,
}

/// One element of `port_security`.
#[derive(Debug, PartialEq)]
pub(super) enum Allowed {
    /// A MAC address, and the IP addresses that it may be used with; none means all.
    Pair(Mac, Vec<IpNet>),
    /// A rule of another form.
    Other(String),
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty())
}

/// An address; a prefix length only says how large the subnet is.
fn parse_address(word: &str) -> Option<IpAddr> {
    word.parse().ok().or_else(|| word.parse::<IpNet>().ok().map(|net| net.addr()))
}

fn is_endpoint(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || broadcast)
}

impl Addresses {
    /// Reads the column `addresses`, and `dynamic_addresses` where that was asked for.
    pub(super) fn read(row: &SwitchPort) -> Result<Addresses, OvnError> {
        let mut addresses = Addresses::default();
        for text in &row.addresses {
            let mut dynamic = false;
            addresses.read_element(row, "addresses", text, &mut dynamic)?;
            match &row.dynamic_addresses {
                Some(assigned) if dynamic => {
                    addresses.read_element(row, "dynamic_addresses", assigned, &mut false)?;
                }
                _ => addresses.unassigned |= dynamic,
            }
        }
        Ok(addresses)
    }

    fn read_element(
        &mut self,
        row: &SwitchPort,
        column: &str,
        text: &str,
        dynamic: &mut bool,
    ) -> Result<(), OvnError> {
        let bad = |problem: String| row_error(TABLE, &row.name, column, problem);
        let mut mac = None;
        let mut found = Vec::new();
        for (n, word) in words(text).enumerate() {
            match word {
                "unknown" if n == 0 => self.unknown = true,
                "dynamic" => *dynamic = true,
                _ if n == 0 && !text.trim_start().starts_with("dynamic") => {
                    mac = Some(word.parse::<Mac>().map_err(|error| bad(error.to_string()))?);
                }
                _ => {
                    let address = parse_address(word)
                        .ok_or_else(|| bad(format!("{word:?} is no IP address")))?;
                    if !is_endpoint(address) {
                        return Err(bad(format!("{word} is not the address of one endpoint")));
                    }
                    found.push(address);
                }
            }
        }
        // Next to `dynamic` the words only say what is wished for: what was assigned stands in
        // dynamic_addresses, whole.
        if let (Some(mac), false) = (mac, *dynamic) {
            match self.known.iter_mut().find(|(known, _)| *known == mac) {
                Some((_, addresses)) => addresses.extend(found),
                None => self.known.push((mac, found)),
            }
        }
        Ok(())
    }
}

/// Reads the column `port_security`.
pub(super) fn read_port_security(row: &SwitchPort) -> Result<Vec<Allowed>, OvnError> {
    let bad = |problem: String| row_error(TABLE, &row.name, "port_security", problem);
    let mut elements = Vec::new();
    for text in &row.port_security {
        if text.starts_with("VRRPv") {
            elements.push(Allowed::Other(text.clone()));
            continue;
        }
        let mut words = words(text);
        let mac = words.next().unwrap_or_default();
        let mac = mac.parse::<Mac>().map_err(|error| bad(error.to_string()))?;
        let nets = words.map(|word| {
            allowed_net(word).ok_or_else(|| bad(format!("{word:?} is neither address nor block")))
        });
        elements.push(Allowed::Pair(mac, nets.collect::<Result<_, _>>()?));
    }
    Ok(elements)
}

/// ovn-nb(5): a masked address whose host part is zero allows the whole subnet; otherwise the mask
/// only says how large the subnet is.
fn allowed_net(word: &str) -> Option<IpNet> {
    match word.parse::<IpNet>() {
        Ok(net) if net.trunc() == net => Some(net),
        Ok(net) => Some(IpNet::from(net.addr())),
        Err(_) => word.parse::<IpAddr>().ok().map(IpNet::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(addresses: &[&str], dynamic: Option<&str>, security: &[&str]) -> SwitchPort {
        SwitchPort {
            name: "p".to_owned(),
            kind: String::new(),
            addresses: addresses.iter().map(|text| (*text).to_owned()).collect(),
            dynamic_addresses: dynamic.map(str::to_owned),
            port_security: security.iter().map(|text| (*text).to_owned()).collect(),
            options: Default::default(),
            external_ids: Default::default(),
            enabled: true,
            parent_name: None,
        }
    }

    fn text(addresses: &Addresses) -> String {
        let known: Vec<String> = addresses
            .known
            .iter()
            .map(|(mac, list)| {
                let list: Vec<String> = list.iter().map(ToString::to_string).collect();
                format!("{mac}[{}]", list.join(","))
            })
            .collect();
        let flags = [(addresses.unknown, "unknown"), (addresses.unassigned, "unassigned")];
        let flags = flags.iter().filter(|(set, _)| *set).map(|(_, name)| (*name).to_owned());
        known.into_iter().chain(flags).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn addresses_are_read_as_ovn_does() {
        let cases: [(&[&str], Option<&str>, &str); 11] = [
            (&["0a:00:00:00:00:04 10.0.0.1"], None, "0a:00:00:00:00:04[10.0.0.1]"),
            (
                &["0a:00:00:00:00:04 10.0.0.1 fd00:14:0::c"],
                None,
                "0a:00:00:00:00:04[10.0.0.1,fd00:14::c]",
            ),
            (&["0a:00:00:00:00:04, 10.0.0.1/24"], None, "0a:00:00:00:00:04[10.0.0.1]"),
            (&["0a:00:00:00:00:04"], None, "0a:00:00:00:00:04[]"),
            (&["0a:00:00:00:00:04", "unknown"], None, "0a:00:00:00:00:04[] unknown"),
            (&["unknown"], None, "unknown"),
            (&[], None, ""),
            (&["dynamic"], None, "unassigned"),
            (&["dynamic"], Some("0a:00:00:00:00:05 10.0.0.9"), "0a:00:00:00:00:05[10.0.0.9]"),
            (
                &["0a:00:00:00:00:06 dynamic"],
                Some("0a:00:00:00:00:06 10.0.0.9"),
                "0a:00:00:00:00:06[10.0.0.9]",
            ),
            (
                &["0a:00:00:00:00:04 10.0.0.1", "0a:00:00:00:00:05 10.0.0.2"],
                None,
                "0a:00:00:00:00:04[10.0.0.1] 0a:00:00:00:00:05[10.0.0.2]",
            ),
        ];
        for (column, dynamic, expected) in cases {
            let read = Addresses::read(&port(column, dynamic, &[])).unwrap();
            assert_eq!(text(&read), expected, "{column:?}");
        }
    }

    #[test]
    fn bad_addresses_name_row_and_column() {
        for (bad, expected) in [
            (
                "10.0.0.1",
                "table Logical_Switch_Port, row p, column addresses: \"10.0.0.1\" is not a MAC",
            ),
            ("0a:00:00:00:00:04 10.0.0.256", "\"10.0.0.256\" is no IP address"),
            ("01:00:00:00:00:04 10.0.0.1", "multicast"),
            ("0a:00:00:00:00:04 224.0.0.1", "224.0.0.1 is not the address of one endpoint"),
        ] {
            let error = Addresses::read(&port(&[bad], None, &[])).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn port_security_is_read_as_ovn_does() {
        let mac: Mac = "0a:00:00:00:00:04".parse().unwrap();
        let nets = |text: &str| text.split_whitespace().map(|n| n.parse().unwrap()).collect();
        let read = |text: &str| read_port_security(&port(&[], None, &[text])).unwrap();
        assert_eq!(read("0a:00:00:00:00:04"), [Allowed::Pair(mac, vec![])]);
        assert_eq!(
            read("0a:00:00:00:00:04 10.0.0.4 10.1.0.0/16 10.2.0.9/16"),
            [Allowed::Pair(mac, nets("10.0.0.4/32 10.1.0.0/16 10.2.0.9/32"))]
        );
        assert_eq!(read("VRRPv3 x"), [Allowed::Other("VRRPv3 x".to_owned())]);
        let error = read_port_security(&port(&[], None, &["junk"])).unwrap_err().to_string();
        assert!(error.contains("column port_security"), "{error}");
    }
}
