//! Ports as columns.
//!
//! Of a large state nearly every object is a port, and what ports say they mostly say alike: which
//! project, switch and host, which labels. As lists of numbers into a table of texts a port takes some
//! 50 bytes and a few hundred nanoseconds; as a message of its own it takes five times both.

use super::super::wire::{SnapshotPorts, SnapshotTexts};
use spanwire_topology::engine::Object;
use spanwire_topology::model::{
    LABELS_MAX, Labels, LogicalPortSpec, Mac, Metadata, ObjectRef, PORT_ADDRESSES_MAX,
    PortAttachment, Resource, Spec, Text, Uid, check_device_name, check_label_key,
    check_label_value, check_name,
};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Ports in one record, at most: what a reader must hold before it can make objects of it.
pub(super) const PORTS_PER_RECORD_MAX: usize = 16_384;

const MAC_BYTES: usize = 6;
/// How a column says that a port has none of something; other numbers are one too large.
const NONE: u32 = 0;
/// The attachments that name no device; other numbers are that of the name, and this much larger.
const DERIVED: u32 = 0;
const HOST_STACK: u32 = 1;
const INTERFACE: u32 = 2;

/// Collects ports until their record is full.
#[derive(Default)]
pub(super) struct PortsWriter {
    record: SnapshotPorts,
    texts: Table,
    label_sets: HashMap<Arc<Labels>, u32>,
}

/// Texts, each once.
#[derive(Default)]
struct Table {
    numbers: HashMap<Text, u32>,
    texts: SnapshotTexts,
}

impl Table {
    fn number(&mut self, text: &Text) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = self.numbers.len() as u32;
        self.numbers.insert(text.clone(), number);
        push_text(&mut self.texts, text);
        number
    }
}

fn push_text(texts: &mut SnapshotTexts, text: &str) {
    texts.joined.push_str(text);
    // The longest name has some hundred bytes.
    texts.lengths.push(text.len() as u32);
}

impl PortsWriter {
    /// Adds a port.
    pub(super) fn push(&mut self, object: &Object, spec: &LogicalPortSpec) {
        let Object { uid, created_revision, revision, resource } = object;
        let Metadata { project, name, labels } = &resource.metadata;
        let LogicalPortSpec { switch, mac, addresses, host, attachment, port_security } = spec;
        let record = &mut self.record;
        record.uids.push(uid.0);
        record.created_revisions.push(*created_revision);
        record.revisions.push(*revision);
        record.projects.push(self.texts.number(project));
        push_text(record.names.get_or_insert_default(), name);
        let next = self.label_sets.len() as u32;
        let set = *self.label_sets.entry(labels.clone()).or_insert_with(|| {
            record.label_counts.push(labels.len() as u32);
            for (key, value) in labels.iter() {
                record.labels.extend([self.texts.number(key), self.texts.number(value)]);
            }
            next
        });
        record.label_sets.push(set);
        record.switch_projects.push(self.texts.number(&switch.project));
        record.switch_names.push(self.texts.number(&switch.name));
        record.hosts.push(host.as_ref().map_or(NONE, |host| 1 + self.texts.number(host)));
        record.macs.extend_from_slice(&mac.octets());
        let mut families = 0;
        for (at, address) in addresses.iter().enumerate() {
            match address {
                IpAddr::V4(address) => record.v4_addresses.push(u32::from(*address)),
                IpAddr::V6(address) => {
                    families |= 1 << at;
                    record.v6_addresses.extend_from_slice(&address.octets());
                }
            }
        }
        record.address_counts.push(addresses.len() as u32);
        record.address_families.push(families);
        record.attachments.push(match attachment {
            PortAttachment::Derived => DERIVED,
            PortAttachment::HostStack => HOST_STACK,
            PortAttachment::Interface(device) => INTERFACE + self.texts.number(device),
        });
        record.port_security.push(*port_security);
    }

    /// How many ports there are.
    pub(super) fn len(&self) -> usize {
        self.record.uids.len()
    }

    /// The record of the ports so far.
    pub(super) fn finish(self) -> SnapshotPorts {
        SnapshotPorts { texts: Some(self.texts.texts), ..self.record }
    }
}

/// Makes objects of records. Texts of one record are shared with those of others.
#[derive(Default)]
pub(super) struct PortsReader {
    shared: HashSet<Text>,
}

impl PortsReader {
    /// The ports of a record, or what is wrong with it.
    pub(super) fn read(&mut self, record: &SnapshotPorts) -> Result<Vec<Object>, String> {
        let texts = self.texts(record)?;
        let label_sets = label_sets(record, &texts)?;
        let columns = Columns::new(record, &texts, &label_sets)?;
        let names = split(record.names.as_ref())?;
        if names.len() != record.uids.len() {
            return Err("its columns differ in length".to_owned());
        }
        let mut addresses = Addresses { v4: &record.v4_addresses, v6: &record.v6_addresses };
        let ports = names
            .iter()
            .enumerate()
            .map(|(at, name)| columns.port(at, name, &mut addresses))
            .collect::<Result<Vec<Object>, String>>()?;
        if !addresses.v4.is_empty() || !addresses.v6.is_empty() {
            return Err("it has addresses of no port".to_owned());
        }
        Ok(ports)
    }

    fn texts(&mut self, record: &SnapshotPorts) -> Result<Vec<Text>, String> {
        let mut texts = Vec::new();
        for text in split(record.texts.as_ref())? {
            texts.push(match self.shared.get(text) {
                Some(shared) => shared.clone(),
                None => {
                    let text = Text::from(text);
                    self.shared.insert(text.clone());
                    text
                }
            });
        }
        Ok(texts)
    }
}

/// The texts that are joined in one.
fn split(texts: Option<&SnapshotTexts>) -> Result<Vec<&str>, String> {
    let Some(SnapshotTexts { joined, lengths }) = texts else { return Ok(Vec::new()) };
    let mut rest = joined.as_str();
    let mut found = Vec::with_capacity(lengths.len());
    for &length in lengths {
        let (text, after) = rest
            .split_at_checked(length as usize)
            .ok_or_else(|| "a text reaches beyond the others".to_owned())?;
        found.push(text);
        rest = after;
    }
    if rest.is_empty() { Ok(found) } else { Err("a text has no length".to_owned()) }
}

fn label_sets(record: &SnapshotPorts, texts: &[Text]) -> Result<Vec<Arc<Labels>>, String> {
    let (pairs, odd) = record.labels.as_chunks::<2>();
    let mut pairs = pairs.iter();
    let mut sets = Vec::with_capacity(record.label_counts.len());
    for &count in &record.label_counts {
        if count as usize > LABELS_MAX {
            return Err(format!("a port has {count} labels: the most is {LABELS_MAX}"));
        }
        let mut labels = Labels::new();
        for _ in 0..count {
            let [key, value] = pairs.next().ok_or("labels are missing")?;
            let (key, value) = (text(texts, *key)?, text(texts, *value)?);
            check_label_key(key).map_err(|error| error.to_string())?;
            check_label_value(value).map_err(|error| error.to_string())?;
            if labels.insert(key.clone(), value.clone()).is_some() {
                return Err(format!("a port has label {key} twice"));
            }
        }
        sets.push(Arc::new(labels));
    }
    if odd.is_empty() && pairs.next().is_none() {
        Ok(sets)
    } else {
        Err("it has labels of no port".to_owned())
    }
}

fn text(texts: &[Text], number: u32) -> Result<&Text, String> {
    texts.get(number as usize).ok_or_else(|| format!("there is no text {number}"))
}

/// Addresses that no port has taken yet.
struct Addresses<'a> {
    v4: &'a [u32],
    v6: &'a [u8],
}

impl Addresses<'_> {
    fn take(&mut self, is_v6: bool) -> Result<IpAddr, String> {
        let missing = || "addresses are missing".to_owned();
        if is_v6 {
            let (octets, rest) = self.v6.split_first_chunk::<16>().ok_or_else(missing)?;
            self.v6 = rest;
            Ok(IpAddr::from(*octets))
        } else {
            let (number, rest) = self.v4.split_first().ok_or_else(missing)?;
            self.v4 = rest;
            Ok(IpAddr::from(number.to_be_bytes()))
        }
    }
}

/// A record whose columns are all of one length.
struct Columns<'a> {
    record: &'a SnapshotPorts,
    texts: &'a [Text],
    label_sets: &'a [Arc<Labels>],
    macs: &'a [[u8; MAC_BYTES]],
}

impl<'a> Columns<'a> {
    fn new(
        record: &'a SnapshotPorts,
        texts: &'a [Text],
        label_sets: &'a [Arc<Labels>],
    ) -> Result<Columns<'a>, String> {
        let (macs, odd) = record.macs.as_chunks::<MAC_BYTES>();
        let lengths = [
            record.created_revisions.len(),
            record.revisions.len(),
            record.projects.len(),
            record.label_sets.len(),
            record.switch_projects.len(),
            record.switch_names.len(),
            record.hosts.len(),
            macs.len(),
            record.address_counts.len(),
            record.address_families.len(),
            record.attachments.len(),
            record.port_security.len(),
        ];
        if !odd.is_empty() || lengths.iter().any(|&length| length != record.uids.len()) {
            return Err("its columns differ in length".to_owned());
        }
        Ok(Columns { record, texts, label_sets, macs })
    }

    /// A name: a text that is one.
    fn name(&self, what: &'static str, number: u32) -> Result<Text, String> {
        let name = text(self.texts, number)?;
        check_name(what, name).map_err(|error| error.to_string())?;
        Ok(name.clone())
    }

    fn port(&self, at: usize, name: &str, addresses: &mut Addresses<'_>) -> Result<Object, String> {
        let record = self.record;
        check_name("name", name).map_err(|error| error.to_string())?;
        let count = record.address_counts[at] as usize;
        if count > PORT_ADDRESSES_MAX {
            return Err(format!("a port has {count} addresses: the most is {PORT_ADDRESSES_MAX}"));
        }
        let families = record.address_families[at];
        let spec = LogicalPortSpec {
            switch: ObjectRef {
                project: self.name("project", record.switch_projects[at])?,
                name: self.name("switch", record.switch_names[at])?,
            },
            mac: Mac::new(self.macs[at]).map_err(|error| error.to_string())?,
            addresses: (0..count)
                .map(|n| addresses.take(families >> n & 1 == 1))
                .collect::<Result<_, _>>()?,
            host: match record.hosts[at] {
                NONE => None,
                host => Some(self.name("host", host - 1)?),
            },
            attachment: match record.attachments[at] {
                DERIVED => PortAttachment::Derived,
                HOST_STACK => PortAttachment::HostStack,
                device => {
                    let device = text(self.texts, device - INTERFACE)?;
                    check_device_name(device).map_err(|error| error.to_string())?;
                    PortAttachment::Interface(device.clone())
                }
            },
            port_security: record.port_security[at],
        };
        let labels = self.label_sets.get(record.label_sets[at] as usize);
        Ok(Object {
            uid: Uid(record.uids[at]),
            created_revision: record.created_revisions[at],
            revision: record.revisions[at],
            resource: Resource {
                metadata: Metadata {
                    project: self.name("project", record.projects[at])?,
                    name: name.into(),
                    labels: labels.ok_or("there is no such set of labels")?.clone(),
                },
                spec: Arc::new(Spec::LogicalPort(spec)),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_port(n: u64, labels: &[(&str, &str)], addresses: &[&str]) -> Object {
        let spec = LogicalPortSpec {
            switch: ObjectRef::new("shop", "web"),
            mac: Mac::new([2, 0, 0, 0, 0, n as u8]).unwrap(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            host: n.is_multiple_of(2).then(|| format!("host-{n}").into()),
            attachment: match n {
                1 => PortAttachment::HostStack,
                2 => PortAttachment::Interface("eth1".into()),
                _ => PortAttachment::Derived,
            },
            port_security: n != 3,
        };
        let labels = labels.iter().map(|&(key, value)| (key.into(), value.into())).collect();
        Object {
            uid: Uid(n),
            created_revision: n + 1,
            revision: n + 2,
            resource: Resource::new("shop", format!("port-{n}"), labels, Spec::LogicalPort(spec)),
        }
    }

    fn mk_ports() -> Vec<Object> {
        vec![
            mk_port(1, &[], &[]),
            mk_port(2, &[("app", "web"), ("tier", "")], &["fd00::2", "10.0.0.2", "fd00::3"]),
            mk_port(3, &[("app", "web"), ("tier", "")], &["10.0.0.3"]),
            mk_port(4, &[("app", "db")], &["10.0.0.4", "10.0.1.4"]),
        ]
    }

    fn written(ports: &[Object]) -> SnapshotPorts {
        let mut writer = PortsWriter::default();
        for port in ports {
            let Spec::LogicalPort(spec) = &*port.resource.spec else { panic!("{port:?}") };
            writer.push(port, spec);
        }
        assert_eq!(writer.len(), ports.len());
        writer.finish()
    }

    #[test]
    fn ports_come_back() {
        let ports = mk_ports();
        assert_eq!(PortsReader::default().read(&written(&ports)), Ok(ports));
    }

    #[test]
    fn equal_texts_and_labels_are_one() {
        let mut reader = PortsReader::default();
        let one = reader.read(&written(&mk_ports())).unwrap();
        let two = reader.read(&written(&mk_ports())).unwrap();
        let (one, two) = (&one[1].resource.metadata, &two[2].resource.metadata);
        assert!(Arc::ptr_eq(&one.project, &two.project));
        let set = |ports: Vec<Object>, at: usize| ports[at].resource.metadata.labels.clone();
        let ports = reader.read(&written(&mk_ports())).unwrap();
        assert!(Arc::ptr_eq(&set(ports.clone(), 1), &set(ports, 2)));
    }

    #[test]
    fn records_that_do_not_fit_are_refused() {
        type Change = fn(&mut SnapshotPorts);
        let cases: [(&str, Change); 16] = [
            ("columns differ", |r| r.revisions.truncate(1)),
            ("columns differ", |r| r.uids.push(9)),
            ("columns differ", |r| r.macs.truncate(7)),
            ("columns differ", |r| r.names = None),
            ("there is no text 99", |r| r.projects[0] = 99),
            ("there is no text 98", |r| r.hosts[0] = 99),
            ("there is no text 97", |r| r.attachments[0] = 99),
            ("no such set of labels", |r| r.label_sets[0] = 99),
            ("labels are missing", |r| r.label_counts[2] = 9),
            ("a port has 129 labels: the most is 128", |r| r.label_counts[1] = 129),
            ("a port has label app twice", |r| r.labels[2] = r.labels[0]),
            ("labels of no port", |r| r.labels.push(0)),
            ("a port has 65 addresses: the most is 64", |r| r.address_counts[0] = 65),
            ("addresses of no port", |r| r.v4_addresses.push(1)),
            ("addresses are missing", |r| r.v6_addresses.truncate(16)),
            ("a text reaches beyond", |r| r.names.get_or_insert_default().lengths[0] = 99),
        ];
        for (expected, change) in cases {
            let mut record = written(&mk_ports());
            change(&mut record);
            let error = PortsReader::default().read(&record).unwrap_err();
            assert!(error.contains(expected), "{error}, not {expected}");
        }
        let mut record = written(&mk_ports());
        let texts = record.texts.get_or_insert_default();
        texts.joined = texts.joined.replace("shop", "sh/p");
        let error = PortsReader::default().read(&record).unwrap_err();
        assert!(error.contains("sh/p"), "{error}");
    }
}
