//! Resources and the bodies of the smaller kinds.

use super::error::{ConvertError, Path, Problem};
use super::fields::{
    Referrer, from_all, from_key, from_labels, from_ref, from_refs, to_address, to_cidr, to_key_at,
    to_labels, to_list, to_name,
};
use super::group::{from_group, to_group};
use super::policy::{from_policy, to_policy};
use super::service::{from_service, to_service};
use crate::wire;
use crate::wire::logical_port_spec::Attachment;
use spanwire_topology::engine::Object;
use spanwire_topology::model::{
    HostSpec, Kind, LogicalPortSpec, LogicalRouterSpec, LogicalSwitchSpec, Mac, Metadata,
    PORT_ADDRESSES_MAX, PortAttachment, Resource, RouterInterface, Spec, check_device_name,
};
use std::net::IpAddr;
use std::sync::Arc;

type Result<T> = std::result::Result<T, ConvertError>;

/// The resource that a message stands for. The status is ignored.
///
/// Errors name the object and the field, as in `policy default/web: spec.rules[2].action: ...`.
pub fn to_resource(resource: &wire::Resource) -> Result<Resource> {
    let wire::Resource { key, labels, spec, status: _ } = resource;
    let key_path = Path::Root("key");
    let Some(key) = key else {
        return Err(key_path.missing("the kind, project and name of the object"));
    };
    let key = to_key_at(key, &key_path)?;
    to_body(&key, labels, spec.as_ref()).map_err(|error| match error.object {
        Some(_) => error,
        None => ConvertError { object: Some(key), ..error },
    })
}

fn to_body(
    key: &spanwire_topology::ObjectKey,
    labels: &std::collections::BTreeMap<String, String>,
    spec: Option<&wire::resource::Spec>,
) -> Result<Resource> {
    let labels = to_labels(labels, &Path::Root("labels"))?;
    let path = Path::Root("spec");
    let Some(spec) = spec else {
        return Err(path.missing("the body of the object"));
    };
    let spec = to_spec(spec, Referrer { project: &key.project }, &path)?;
    if spec.kind() != key.kind {
        return Err(path.error(Problem::Contradiction(match key.kind {
            Kind::Host => "the key says Host: expected the field host",
            Kind::LogicalSwitch => "the key says LogicalSwitch: expected the field logical_switch",
            Kind::LogicalRouter => "the key says LogicalRouter: expected the field logical_router",
            Kind::LogicalPort => "the key says LogicalPort: expected the field logical_port",
            Kind::Group => "the key says Group: expected the field group",
            Kind::Service => "the key says Service: expected the field service",
            Kind::SecurityPolicy => {
                "the key says SecurityPolicy: expected the field security_policy"
            }
        })));
    }
    Ok(Resource {
        metadata: Metadata {
            project: key.project.clone(),
            name: key.name.clone(),
            labels: Arc::new(labels),
        },
        spec: Arc::new(spec),
    })
}

/// A resource as a message, without a status.
pub fn from_resource(resource: &Resource) -> wire::Resource {
    let Resource { metadata, spec } = resource;
    let Metadata { project: _, name: _, labels } = metadata; // in the key
    wire::Resource {
        key: Some(from_key(&resource.key())),
        labels: from_labels(labels),
        spec: Some(from_spec(spec)),
        status: None,
    }
}

/// An object as a message, with its status.
pub fn from_object(object: &Object) -> wire::Resource {
    let Object { uid, created_revision, revision, resource } = object;
    wire::Resource {
        status: Some(wire::ResourceStatus {
            uid: uid.0,
            created_revision: *created_revision,
            revision: *revision,
        }),
        ..from_resource(resource)
    }
}

fn to_spec(spec: &wire::resource::Spec, referrer: Referrer<'_>, path: &Path<'_>) -> Result<Spec> {
    use wire::resource::Spec as Wire;
    Ok(match spec {
        Wire::Host(spec) => Spec::Host(to_host(spec, path)?),
        Wire::LogicalSwitch(spec) => Spec::LogicalSwitch(to_switch(spec, path)?),
        Wire::LogicalRouter(spec) => Spec::LogicalRouter(to_router(spec, referrer, path)?),
        Wire::LogicalPort(spec) => Spec::LogicalPort(to_port(spec, referrer, path)?),
        Wire::Group(spec) => Spec::Group(to_group(spec, referrer, path)?),
        Wire::Service(spec) => Spec::Service(to_service(spec, path)?),
        Wire::SecurityPolicy(spec) => Spec::SecurityPolicy(to_policy(spec, referrer, path)?),
    })
}

fn from_spec(spec: &Spec) -> wire::resource::Spec {
    use wire::resource::Spec as Wire;
    match spec {
        Spec::Host(spec) => Wire::Host(from_host(spec)),
        Spec::LogicalSwitch(spec) => Wire::LogicalSwitch(from_switch(spec)),
        Spec::LogicalRouter(spec) => Wire::LogicalRouter(from_router(spec)),
        Spec::LogicalPort(spec) => Wire::LogicalPort(from_port(spec)),
        Spec::Group(spec) => Wire::Group(from_group(spec)),
        Spec::Service(spec) => Wire::Service(from_service(spec)),
        Spec::SecurityPolicy(spec) => Wire::SecurityPolicy(from_policy(spec)),
    }
}

fn to_host(spec: &wire::HostSpec, path: &Path<'_>) -> Result<HostSpec> {
    let wire::HostSpec { vtep } = spec;
    let vtep = match vtep.as_str() {
        "" => None,
        _ => Some(to_address(vtep, &path.field("vtep"))?),
    };
    Ok(HostSpec { vtep })
}

fn from_host(spec: &HostSpec) -> wire::HostSpec {
    let HostSpec { vtep } = spec;
    wire::HostSpec { vtep: vtep.map(|vtep| vtep.to_string()).unwrap_or_default() }
}

fn to_switch(spec: &wire::LogicalSwitchSpec, path: &Path<'_>) -> Result<LogicalSwitchSpec> {
    let wire::LogicalSwitchSpec { subnets } = spec;
    Ok(LogicalSwitchSpec { subnets: to_list(subnets, &path.field("subnets"), to_cidr)? })
}

fn from_switch(spec: &LogicalSwitchSpec) -> wire::LogicalSwitchSpec {
    let LogicalSwitchSpec { subnets } = spec;
    wire::LogicalSwitchSpec { subnets: from_all(subnets) }
}

fn to_router(
    spec: &wire::LogicalRouterSpec,
    referrer: Referrer<'_>,
    path: &Path<'_>,
) -> Result<LogicalRouterSpec> {
    let wire::LogicalRouterSpec { interfaces, silent, uplinks, peerings } = spec;
    let to_interface = |interface: &wire::RouterInterface, path: &Path<'_>| {
        let wire::RouterInterface { switch, addresses } = interface;
        let expected = "the switch that the interface is on";
        Ok(RouterInterface {
            switch: referrer.to_required_ref(switch.as_ref(), expected, &path.field("switch"))?,
            addresses: to_list(addresses, &path.field("addresses"), to_address)?,
        })
    };
    Ok(LogicalRouterSpec {
        interfaces: to_list(interfaces, &path.field("interfaces"), to_interface)?,
        advertise: !silent,
        uplinks: referrer.to_refs(uplinks, &path.field("uplinks"))?,
        peerings: referrer.to_refs(peerings, &path.field("peerings"))?,
    })
}

fn from_router(spec: &LogicalRouterSpec) -> wire::LogicalRouterSpec {
    let LogicalRouterSpec { interfaces, advertise, uplinks, peerings } = spec;
    wire::LogicalRouterSpec {
        interfaces: interfaces
            .iter()
            .map(|RouterInterface { switch, addresses }| wire::RouterInterface {
                switch: Some(from_ref(switch)),
                addresses: from_all(addresses),
            })
            .collect(),
        silent: !advertise,
        uplinks: from_refs(uplinks),
        peerings: from_refs(peerings),
    }
}

fn to_port(
    spec: &wire::LogicalPortSpec,
    referrer: Referrer<'_>,
    path: &Path<'_>,
) -> Result<LogicalPortSpec> {
    let wire::LogicalPortSpec { switch, mac, addresses, host, attachment, port_security_off } =
        spec;
    let expected = "the switch that the port is on";
    let switch = referrer.to_required_ref(switch.as_ref(), expected, &path.field("switch"))?;
    let addresses_path = path.field("addresses");
    if addresses.len() > PORT_ADDRESSES_MAX {
        return Err(addresses_path
            .error(Problem::TooMany { found: addresses.len(), max: PORT_ADDRESSES_MAX }));
    }
    let addresses: Vec<IpAddr> = to_list(addresses, &addresses_path, to_address)?;
    let mac_path = path.field("mac");
    let mac = match (mac.as_str(), addresses.first()) {
        ("", Some(address)) => Mac::derived_from(*address),
        ("", None) => {
            return Err(mac_path.missing("a MAC address, or an address to derive one from"));
        }
        (mac, _) => mac.parse().map_err(|error| mac_path.error(Problem::Mac(error)))?,
    };
    let host = match host.as_str() {
        "" => None,
        host => Some(to_name("host", host, &path.field("host"))?),
    };
    let attachment = match attachment {
        None | Some(Attachment::HostStack(false)) => PortAttachment::Derived,
        Some(Attachment::HostStack(true)) => PortAttachment::HostStack,
        Some(Attachment::Interface(name)) => {
            check_device_name(name).map_err(|error| path.field("interface").error(error))?;
            PortAttachment::Interface(name.as_str().into())
        }
    };
    let addresses = addresses.into_iter().collect();
    let port_security = !port_security_off;
    Ok(LogicalPortSpec { switch, mac, addresses, host, attachment, port_security })
}

fn from_port(spec: &LogicalPortSpec) -> wire::LogicalPortSpec {
    let LogicalPortSpec { switch, mac, addresses, host, attachment, port_security } = spec;
    wire::LogicalPortSpec {
        switch: Some(from_ref(switch)),
        mac: mac.to_string(),
        addresses: from_all(addresses),
        host: host.as_deref().unwrap_or_default().to_owned(),
        attachment: match attachment {
            PortAttachment::Derived => None,
            PortAttachment::Interface(name) => Some(Attachment::Interface(name.to_string())),
            PortAttachment::HostStack => Some(Attachment::HostStack(true)),
        },
        port_security_off: !port_security,
    }
}
