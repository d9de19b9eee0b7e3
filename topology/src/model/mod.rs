//! The nouns of Spanwire, as people write them down. One noun a thing, everywhere.
//!
//! Everything here is a checked value: a [`Name`](name::check_name), a [`Mac`], a [`Selector`] that
//! exists is well formed. References between resources are checked by the engine when a
//! transaction is applied.

mod address;
mod group;
mod name;
mod object;
mod parse;
mod policy;
mod resource;
mod selector;
mod service;
mod sharing;
mod transaction;

pub use address::{AddressBlocks, Mac, MacError};
pub use group::{CidrBlock, CidrBlockError, GroupSpec, GroupTerm, ProjectScope};
pub use name::{
    DEFAULT_PROJECT, LABEL_TEXT_MAX, LABELS_MAX, Labels, NAME_MAX, NameError, SYSTEM_PROJECT,
    check_label_key, check_label_value, check_name,
};
pub use object::{Kind, ObjectKey, ObjectRef, ParseKindError, Revision, Text, Uid, Vni};
pub use parse::{
    AddressError, CidrError, DEVICE_NAME_MAX, DeviceNameError, check_device_name, parse_address,
    parse_cidr, quoted,
};
pub use policy::{
    Action, DefaultActions, Direction, POLICY_SIZE_MAX, Peer, Rule, SecurityPolicySpec,
    ServiceMatch,
};
pub use resource::{
    HostSpec, LogicalPortSpec, LogicalRouterSpec, LogicalSwitchSpec, Metadata, PORT_ADDRESSES_MAX,
    PortAttachment, Resource, RouterInterface, Spec, derived_device_name,
};
pub use selector::{Requirement, Selector, SelectorError};
pub use service::{
    IcmpVersion, PortRange, SERVICE_SIZE_MAX, ServiceEntry, ServiceSpec, TransportProtocol,
};
pub use sharing::Sharing;
pub use transaction::{Operation, TRANSACTION_OPERATIONS_MAX, Transaction};
