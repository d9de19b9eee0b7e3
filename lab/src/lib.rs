//! Labs: hosts and their workloads as network namespaces on one machine, for demos and tests.
//!
//! ```text
//!   spw-LAB-fabric        bridge "underlay" with the fabric address: the controller is here
//!      │ h0     │ h1
//!      │        │            veth pairs; the far ends are called "underlay" and have the VTEPs
//!   spw-LAB-h-A │         a host each: an agent runs here, and makes the overlay
//!      │ spw…   │ spw…
//!      │ eth0   │ eth0       veth pairs; the far ends have the port's MAC and addresses
//!   spw-LAB-w-… spw-LAB-w-…  a workload each
//! ```
//!
//! Nothing is ever made in the machine's own namespace, and none of its devices, addresses, routes
//! or filters is touched. [`Lab::down`] removes exactly what [`Lab::up`] and its successors made,
//! also from another process after a crash: see [`LabRecord`].
//!
//! * [`LabSpec`]: what the lab shall be, by hand or from a model.
//! * [`Lab`]: up, down, processes, workloads that come, move and go.
//! * [`probe`]: whether packets get from one workload to another, thousands of pairs a second.

mod error;
mod ip;
mod lab;
mod namespace;
pub mod probe;
mod process;
mod record;
mod slice;
mod spec;

pub use error::{LabError, Missing};
pub use lab::{Lab, ProcessSpec};
pub use namespace::run_in as run_in_namespace;
pub use process::{ProcessId, ProcessRecord};
pub use record::{LabPhase, LabRecord, Place, STATE_ROOT, list};
pub use slice::slice;
pub use spec::{
    DEFAULT_UNDERLAY, DEFAULT_UNDERLAY_MTU, LAB_HOST_NAME_MAX, LAB_HOSTS_MAX, LAB_NAME_MAX,
    LAB_WORKLOADS_MAX, LabHost, LabSpec, LabWorkload, OVERLAY_OVERHEAD, UNDERLAY_MTU_MAX,
    UNDERLAY_MTU_MIN, WorkloadKey, assign_vteps,
};

use std::net::Ipv6Addr;

/// The device of a host that leads to the underlay, and the bridge in the fabric.
pub const UNDERLAY_DEVICE: &str = "underlay";
/// The device of a workload.
pub const WORKLOAD_DEVICE: &str = "eth0";
/// The IPv6 gateway of every workload: the agent's end of the link answers for it.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
