//! The objects that are read, checked.

use super::KubernetesError;
use super::fields::Field;
use super::read::Item;
use ipnet::IpNet;
use spanwire_topology::model::{
    CidrBlock, Requirement, Selector, Text, TransportProtocol, check_label_key, check_label_value,
    check_name,
};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Labels as they are written.
pub(super) type TextMap = BTreeMap<String, String>;

/// A `Node`.
#[derive(Debug, PartialEq)]
pub(super) struct Node {
    pub(super) internal_ips: Vec<IpAddr>,
    pub(super) pod_cidrs: Vec<IpNet>,
}

/// A `Pod`.
#[derive(Debug, PartialEq)]
pub(super) struct Pod {
    pub(super) labels: TextMap,
    pub(super) node: Option<String>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) host_network: bool,
    /// True if it has run to its end: its addresses may be another's by now.
    pub(super) is_over: bool,
    /// The numbers of named ports. Of equal names the first counts.
    pub(super) ports: BTreeMap<(TransportProtocol, String), u16>,
}

/// A `NetworkPolicy`.
#[derive(Debug, PartialEq)]
pub(super) struct NetworkPolicy {
    pub(super) pods: Selector,
    /// `None` if it does not isolate inbound.
    pub(super) ingress: Option<Vec<PolicyRule>>,
    /// `None` if it does not isolate outbound.
    pub(super) egress: Option<Vec<PolicyRule>>,
}

/// One rule of a policy.
#[derive(Debug, PartialEq)]
pub(super) struct PolicyRule {
    /// Empty means everyone.
    pub(super) peers: Vec<PolicyPeer>,
    /// Empty means everything.
    pub(super) ports: Vec<PolicyPort>,
}

/// One peer of a rule.
#[derive(Debug, PartialEq)]
pub(super) enum PolicyPeer {
    /// Addresses.
    Block(CidrBlock),
    /// Pods.
    Pods {
        /// Whose namespace this selects; `None` means the policy's own.
        namespaces: Option<Selector>,
        /// Which of them.
        pods: Selector,
    },
}

/// One port of a rule.
#[derive(Debug, PartialEq)]
pub(super) enum PolicyPort {
    /// Ports by number, both ends included; all if there are none.
    Numbers(TransportProtocol, Option<(u16, u16)>),
    /// A port by name.
    Named(TransportProtocol, String),
}

/// Namespace and name.
pub(super) type Name = (String, String);

/// The objects of a cluster.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub(super) nodes: BTreeMap<String, Node>,
    /// The labels of each namespace.
    pub(super) namespaces: BTreeMap<String, TextMap>,
    pub(super) pods: BTreeMap<Name, Pod>,
    pub(super) policies: BTreeMap<Name, NetworkPolicy>,
}

/// Reads objects. Those of other kinds come back as kind and name.
pub(super) fn read(items: Vec<Item>) -> Result<(Cluster, Vec<(String, String)>), KubernetesError> {
    let mut cluster = Cluster::default();
    let mut others = Vec::new();
    let mut seen: BTreeMap<(String, String), Item> = BTreeMap::new();
    for item in items {
        let (namespace, name) = name(&item)?;
        let shown = match namespace.is_empty() {
            true => name.clone(),
            false => format!("{namespace}/{name}"),
        };
        let object = format!("{} {shown}", item.kind);
        let group = item.value.get("apiVersion").and_then(|v| v.as_str()).unwrap_or_default();
        if let Some(first) = seen.get(&(group.to_owned(), object.clone())) {
            if first.value == item.value {
                continue;
            }
            let (first, second) = (first.file.clone(), item.file);
            return Err(KubernetesError::Twice { object, first, second });
        }
        let root = Field::root(&item.value, &item.file, &object);
        match (item.kind.as_str(), group) {
            ("Node", "v1" | "") => {
                cluster.nodes.insert(name, node(&root)?);
            }
            ("Namespace", "v1" | "") => {
                cluster.namespaces.insert(name, labels(&root)?);
            }
            ("Pod", "v1" | "") => {
                cluster.pods.insert((namespace, name), pod(&root)?);
            }
            ("NetworkPolicy", "networking.k8s.io/v1" | "") => {
                cluster.policies.insert((namespace, name), network_policy(&root)?);
            }
            _ => others.push((item.kind.clone(), shown)),
        }
        let key = (group.to_owned(), object);
        seen.insert(key, item);
    }
    Ok((cluster, others))
}

/// Namespace and name of an object; the namespace of what has none is empty.
fn name(item: &Item) -> Result<Name, KubernetesError> {
    let object = format!("an object of kind {}", item.kind);
    let root = Field::root(&item.value, &item.file, &object);
    let metadata = root.required("metadata")?;
    let field = metadata.required("name")?;
    let name = field.text()?;
    check_name("name", name).map_err(|error| field.bad(error.to_string()))?;
    let namespace = match (item.kind.as_str(), metadata.get("namespace")?) {
        ("Pod" | "NetworkPolicy", None) => "default",
        (_, None) => "",
        (_, Some(field)) => {
            let namespace = field.text()?;
            check_name("namespace", namespace).map_err(|error| field.bad(error.to_string()))?;
            namespace
        }
    };
    Ok((namespace.to_owned(), name.to_owned()))
}

fn labels(root: &Field<'_>) -> Result<TextMap, KubernetesError> {
    let metadata = root.required("metadata")?;
    let labels = metadata.texts("labels")?;
    for (key, value) in &labels {
        check_label_key(key)
            .and_then(|()| check_label_value(value))
            .map_err(|error| metadata.bad(format!("labels: {error}")))?;
    }
    Ok(labels)
}

fn node(root: &Field<'_>) -> Result<Node, KubernetesError> {
    let mut internal_ips = Vec::new();
    if let Some(status) = root.get("status")? {
        for address in status.list("addresses")? {
            if address.optional_text("type")? == Some("InternalIP") {
                internal_ips.push(address.required("address")?.parsed("an IP address")?);
            }
        }
    }
    let mut pod_cidrs = Vec::new();
    if let Some(spec) = root.get("spec")? {
        for cidr in spec.list("podCIDRs")? {
            pod_cidrs.push(cidr.parsed::<IpNet>("a CIDR")?.trunc());
        }
        if let (true, Some(cidr)) = (pod_cidrs.is_empty(), spec.get("podCIDR")?) {
            pod_cidrs.push(cidr.parsed::<IpNet>("a CIDR")?.trunc());
        }
    }
    Ok(Node { internal_ips, pod_cidrs })
}

fn pod(root: &Field<'_>) -> Result<Pod, KubernetesError> {
    let spec = root.required("spec")?;
    let mut pod = Pod {
        labels: labels(root)?,
        node: spec.optional_text("nodeName")?.map(str::to_owned),
        addresses: Vec::new(),
        host_network: spec.flag("hostNetwork")?,
        is_over: false,
        ports: BTreeMap::new(),
    };
    if let Some(status) = root.get("status")? {
        pod.is_over = matches!(status.optional_text("phase")?, Some("Succeeded" | "Failed"));
        for entry in status.list("podIPs")? {
            if let Some(ip) = entry.get("ip")? {
                pod.addresses.push(ip.parsed("an IP address")?);
            }
        }
        if let (true, Some(ip)) = (pod.addresses.is_empty(), status.get("podIP")?)
            && !ip.text()?.is_empty()
        {
            pod.addresses.push(ip.parsed("an IP address")?);
        }
        pod.addresses.sort_unstable();
        pod.addresses.dedup();
    }
    for container in spec.list("containers")? {
        container_ports(&container, &mut pod)?;
    }
    for container in spec.list("initContainers")? {
        // Those that go on running beside the others can be talked to; the rest cannot.
        if container.optional_text("restartPolicy")? == Some("Always") {
            container_ports(&container, &mut pod)?;
        }
    }
    Ok(pod)
}

fn container_ports(container: &Field<'_>, pod: &mut Pod) -> Result<(), KubernetesError> {
    for port in container.list("ports")? {
        let Some(name) = port.optional_text("name")? else { continue };
        let number = port.required("containerPort")?.port_number()?;
        check_port_name(&port.required("name")?, name)?;
        pod.ports.entry((protocol(&port)?, name.to_owned())).or_insert(number);
    }
    Ok(())
}

/// RFC 6335, section 5.1, as the API server checks it, in so far as labels depend on it.
fn check_port_name(field: &Field<'_>, name: &str) -> Result<(), KubernetesError> {
    let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let has_letter = name.bytes().any(|byte| byte.is_ascii_lowercase());
    match name.len() <= 15 && has_letter && name.bytes().all(fine) {
        true => Ok(()),
        false => Err(field.bad(format!(
            "{name:?} is no port name: expected up to 15 lower-case letters, digits and hyphens, \
             at least one of them a letter"
        ))),
    }
}

fn protocol(port: &Field<'_>) -> Result<TransportProtocol, KubernetesError> {
    match port.optional_text("protocol")? {
        None | Some("TCP") => Ok(TransportProtocol::Tcp),
        Some("UDP") => Ok(TransportProtocol::Udp),
        Some("SCTP") => Ok(TransportProtocol::Sctp),
        Some(other) => Err(port.bad(format!("protocol {other:?} is not TCP, UDP or SCTP"))),
    }
}

fn network_policy(root: &Field<'_>) -> Result<NetworkPolicy, KubernetesError> {
    let spec = root.required("spec")?;
    let pods = match spec.get("podSelector")? {
        Some(field) => selector(&field)?,
        None => Selector::default(),
    };
    let ingress = rules(&spec, "ingress", "from")?;
    let egress = rules(&spec, "egress", "to")?;
    let (mut isolates_in, mut isolates_out) = (false, false);
    let types = spec.list("policyTypes")?;
    for policy_type in &types {
        match policy_type.text()? {
            "Ingress" => isolates_in = true,
            "Egress" => isolates_out = true,
            other => {
                return Err(policy_type.bad(format!("{other:?} is not Ingress or Egress")));
            }
        }
    }
    if types.is_empty() {
        // The default of the API: inbound always, outbound if there are rules for it.
        (isolates_in, isolates_out) = (true, !egress.is_empty());
    }
    Ok(NetworkPolicy {
        pods,
        ingress: isolates_in.then_some(ingress),
        egress: isolates_out.then_some(egress),
    })
}

fn rules(spec: &Field<'_>, name: &str, peers: &str) -> Result<Vec<PolicyRule>, KubernetesError> {
    let rule = |rule: &Field<'_>| {
        Ok(PolicyRule {
            peers: rule.list(peers)?.iter().map(peer).collect::<Result<_, _>>()?,
            ports: rule.list("ports")?.iter().map(port).collect::<Result<_, _>>()?,
        })
    };
    spec.list(name)?.iter().map(rule).collect()
}

fn peer(field: &Field<'_>) -> Result<PolicyPeer, KubernetesError> {
    let (namespaces, pods) = (field.get("namespaceSelector")?, field.get("podSelector")?);
    let Some(block) = field.get("ipBlock")? else {
        if namespaces.is_none() && pods.is_none() {
            let problem = "a peer needs podSelector, namespaceSelector or ipBlock";
            return Err(field.bad(problem));
        }
        return Ok(PolicyPeer::Pods {
            namespaces: namespaces.as_ref().map(selector).transpose()?,
            pods: pods.as_ref().map(selector).transpose()?.unwrap_or_default(),
        });
    };
    if namespaces.is_some() || pods.is_some() {
        return Err(field.bad("ipBlock cannot stand beside a selector: make it a peer of its own"));
    }
    let cidr: IpNet = block.required("cidr")?.parsed("a CIDR")?;
    let except = block.list("except")?;
    let except = except.iter().map(|field| field.parsed("a CIDR"));
    let except = except.collect::<Result<_, _>>()?;
    Ok(PolicyPeer::Block(
        CidrBlock::new(cidr, except).map_err(|error| block.bad(error.to_string()))?,
    ))
}

fn port(field: &Field<'_>) -> Result<PolicyPort, KubernetesError> {
    let protocol = protocol(field)?;
    let end = field.get("endPort")?;
    let Some(port) = field.get("port")? else {
        return match end {
            None => Ok(PolicyPort::Numbers(protocol, None)),
            Some(end) => Err(end.bad("it needs a port to start from")),
        };
    };
    if port.number().is_none() {
        let name = port.text()?;
        check_port_name(&port, name)?;
        return match end {
            None => Ok(PolicyPort::Named(protocol, name.to_owned())),
            Some(end) => Err(end.bad("it cannot stand beside a port by name")),
        };
    }
    let first = port.port_number()?;
    let last = match &end {
        Some(end) => end.port_number()?,
        None => first,
    };
    if let (Some(end), true) = (&end, last < first) {
        return Err(end.bad(format!("{last} is smaller than port {first}")));
    }
    Ok(PolicyPort::Numbers(protocol, Some((first, last))))
}

/// A `LabelSelector`.
fn selector(field: &Field<'_>) -> Result<Selector, KubernetesError> {
    let text = |text: &str| -> Text { text.into() };
    let mut requirements = Vec::new();
    for (key, value) in field.texts("matchLabels")? {
        requirements.push(Requirement::In(text(&key), vec![text(&value)]));
    }
    for expression in field.list("matchExpressions")? {
        let key = text(expression.required("key")?.text()?);
        let values = expression.list("values")?;
        let values: Vec<Text> =
            values.iter().map(|value| value.text().map(text)).collect::<Result<_, _>>()?;
        let has_values = !values.is_empty();
        let operator = expression.required("operator")?;
        requirements.push(match operator.text()? {
            "In" => Requirement::In(key, values),
            "NotIn" => Requirement::NotIn(key, values),
            "Exists" | "DoesNotExist" if has_values => {
                return Err(operator.bad("it takes no values"));
            }
            "Exists" => Requirement::Exists(key),
            "DoesNotExist" => Requirement::DoesNotExist(key),
            other => {
                let problem = format!("{other:?} is not In, NotIn, Exists or DoesNotExist");
                return Err(operator.bad(problem));
            }
        });
    }
    Selector::new(requirements).map_err(|error| field.bad(error.to_string()))
}
