//! Nodes, namespaces and pods to hosts, a switch and ports.

use super::groups::Groups;
use super::objects::{Cluster, Pod, TextMap};
use super::{KubernetesError, KubernetesOptions, policies};
use crate::Import;
use crate::names::fnv64;
use crate::output::Output;
use ipnet::IpNet;
use spanwire_topology::model::{
    HostSpec, Kind, LABEL_TEXT_MAX, LABELS_MAX, Labels, LogicalPortSpec, LogicalSwitchSpec, Mac,
    ObjectRef, PortAttachment, SYSTEM_PROJECT, Spec, Text, TransportProtocol, check_name,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What the labels that a port has from its namespace start with.
pub const NAMESPACE_LABEL_PREFIX: &str = "ns.spanwire/";
/// The label with the name of the namespace.
pub const NAMESPACE_NAME_LABEL: &str = "ns.spanwire/kubernetes.io/metadata.name";
/// What comes between protocol and name in the label of a named port.
pub const PORT_LABEL_SUFFIX: &str = ".port.spanwire/";

/// A pod that became a port.
pub(super) struct Port {
    pub(super) namespace: Text,
    pub(super) labels: Labels,
    pub(super) named_ports: BTreeMap<(TransportProtocol, String), u16>,
}

/// Everything that the objects come to.
pub(super) fn translate(
    cluster: Cluster,
    others: Vec<(String, String)>,
    options: &KubernetesOptions,
) -> Result<Import, KubernetesError> {
    check_name("project", &options.cluster_project)?;
    check_name("switch", &options.switch)?;
    let mut out = Output::default();
    for (kind, name) in &others {
        let why = "only nodes, namespaces, pods and network policies are carried over";
        out.unsupported(kind, name, "the object", why);
    }
    let project: Text = options.cluster_project.as_str().into();
    hosts(&mut out, &cluster);
    let switch = switch(&mut out, &cluster, &project, &options.switch);
    let ports = ports(&mut out, &cluster, &switch);
    let mut groups = Groups::new(project);
    policies::translate(&mut out, &cluster, &ports, &mut groups);
    Ok(out.finish())
}

/// The key under which pods have a label of their namespace. Keys that would be too long are cut
/// and told apart by a hash of the whole.
pub(super) fn namespace_label(key: &str) -> String {
    let label = format!("{NAMESPACE_LABEL_PREFIX}{key}");
    if label.len() <= LABEL_TEXT_MAX {
        return label;
    }
    // Keys are ASCII, and the hash takes 17 bytes.
    let end = (0..=LABEL_TEXT_MAX - 17).rev().find(|end| label.is_char_boundary(*end));
    format!("{}-{:016x}", &label[..end.unwrap_or(0)], fnv64(key))
}

/// The key under which a port has the number of a named port.
pub(super) fn port_label(protocol: TransportProtocol, name: &str) -> String {
    format!("{}{PORT_LABEL_SUFFIX}{name}", protocol.as_str())
}

fn hosts(out: &mut Output, cluster: &Cluster) {
    let system: Text = SYSTEM_PROJECT.into();
    let of_pods = cluster.pods.values().filter(|pod| is_port(pod)).filter_map(|p| p.node.as_ref());
    let names: BTreeSet<&String> = cluster.nodes.keys().chain(of_pods).collect();
    for name in names {
        let node = cluster.nodes.get(name);
        let vtep = node.and_then(|node| node.internal_ips.first().copied());
        match (node, vtep) {
            (None, _) => {
                let text = "is named by pods and not among the objects: the host has no tunnel \
                            endpoint";
                out.note("Node", name, text);
            }
            (Some(_), None) => {
                out.note("Node", name, "has no InternalIP: the host has no tunnel endpoint");
            }
            (Some(_), Some(_)) => {}
        }
        let text: Text = out.take_name(Kind::Host, &system, name, "Node");
        out.resource(&system, &text, Labels::new(), Spec::Host(HostSpec { vtep }));
    }
}

fn switch(out: &mut Output, cluster: &Cluster, project: &Text, name: &str) -> ObjectRef {
    let subnets: BTreeSet<IpNet> =
        cluster.nodes.values().flat_map(|node| node.pod_cidrs.iter().copied()).collect();
    if subnets.is_empty() {
        let text = "no node has podCIDRs: the switch has no subnets";
        out.note("Node", "", text);
    }
    let name = out.names.take(Kind::LogicalSwitch, project, name);
    let spec = LogicalSwitchSpec { subnets: subnets.into_iter().collect() };
    out.resource(project, &name, Labels::new(), Spec::LogicalSwitch(spec));
    ObjectRef { project: project.clone(), name }
}

/// True if a pod has a port of its own.
fn is_port(pod: &Pod) -> bool {
    !pod.is_over && !pod.host_network && !pod.addresses.is_empty()
}

fn ports(out: &mut Output, cluster: &Cluster, switch: &ObjectRef) -> Vec<Port> {
    let mut ports = Vec::new();
    for ((namespace, name), pod) in &cluster.pods {
        let row = format!("{namespace}/{name}");
        if pod.is_over {
            continue;
        }
        if pod.host_network {
            out.note("Pod", &row, "shares the network of its host: it has no port");
            continue;
        }
        let Some(first) = pod.addresses.first() else {
            out.note("Pod", &row, "has no address yet: it has no port");
            continue;
        };
        let project: Text = namespace.as_str().into();
        let labels = labels(out, cluster, namespace, &row, pod);
        let port_name = out.take_name(Kind::LogicalPort, &project, name, "Pod");
        let spec = Spec::LogicalPort(LogicalPortSpec {
            switch: switch.clone(),
            mac: Mac::derived_from(*first),
            addresses: pod.addresses.iter().copied().collect(),
            host: pod.node.as_ref().map(|node| crate::names::to_name(node).into()),
            attachment: PortAttachment::Derived,
            port_security: true,
        });
        out.resource(&project, &port_name, labels.clone(), spec);
        ports.push(Port { namespace: project, labels, named_ports: pod.ports.clone() });
    }
    note_addresses(out, cluster);
    ports
}

fn note_addresses(out: &mut Output, cluster: &Cluster) {
    let cidrs: Vec<&IpNet> = cluster.nodes.values().flat_map(|node| &node.pod_cidrs).collect();
    let is_inside = |address: &IpAddr| cidrs.iter().any(|net| net.contains(address));
    let mut outside = cluster
        .pods
        .iter()
        .filter(|(_, pod)| is_port(pod))
        .filter(|(_, pod)| !cidrs.is_empty() && !pod.addresses.iter().all(is_inside));
    if let Some(((namespace, name), _)) = outside.next() {
        let text = format!(
            "{} pods have addresses outside of the podCIDRs of all nodes: {namespace}/{name}, ...",
            outside.count() + 1
        );
        out.note("Pod", "", text);
    }
}

/// The labels of a port: those of its pod, of its namespace, and its named ports.
fn labels(out: &mut Output, cluster: &Cluster, namespace: &str, row: &str, pod: &Pod) -> Labels {
    let none = TextMap::new();
    let of_namespace = cluster.namespaces.get(namespace).unwrap_or(&none);
    let name = (NAMESPACE_NAME_LABEL.to_owned(), namespace.to_owned());
    let of_namespace = of_namespace.iter().map(|(k, v)| (namespace_label(k), v.clone()));
    let of_ports = pod
        .ports
        .iter()
        .map(|((protocol, name), number)| (port_label(*protocol, name), number.to_string()));
    let of_pod = pod.labels.iter().map(|(k, v)| (k.clone(), v.clone()));
    let mut labels = Labels::new();
    // Later ones win: what a namespace and a port are called is not for the pod to say.
    for (key, value) in of_pod.chain(of_namespace).chain(of_ports).chain([name]) {
        labels.insert(key.into(), value.into());
    }
    if labels.len() > LABELS_MAX {
        let what = format!("{} labels with those of its namespace and ports", labels.len());
        let why = format!("a port has at most {LABELS_MAX}: the last in order are left out");
        out.unsupported("Pod", row, what, why);
        labels = labels.into_iter().take(LABELS_MAX).collect();
    }
    labels
}
