//! What the datapath tests share.
//!
//! * [`world`]: a network as the engine holds it, and the views of its hosts.
//! * [`lab`]: hosts and workloads as network namespaces, with an underlay between the hosts.
//! * [`probe`]: packets from one workload to another, and what became of them.
//! * [`conformance`]: the suite that every driver has to pass.
//! * [`cases`]: its cases, as data.

// Each test binary uses its own part of this.
#![allow(dead_code)]

pub(crate) mod cases;
pub(crate) mod conformance;
pub(crate) mod lab;
pub(crate) mod probe;
pub(crate) mod world;
