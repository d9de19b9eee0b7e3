//! Importers: network models made by other tools, as Spanwire resources.
//!
//! ```text
//!  ovsdb-client dump ──┐                                   ┌─► resources, sorted, ready to apply
//!  ovsdb-server ───────┴─► ovn ─────────┐                  │
//!                                       ├─► Import ────────┼─► unsupported, row by row
//!  kubectl get -o json|yaml ─► kubernetes ┘                └─► notes: what was decided, and why
//! ```
//!
//! Everything here is a function from bytes to values. Only [`mod@file`] opens files and only
//! [`ovn::fetch`] opens a socket. Bad input is an error that names the place; input that is good
//! but says something the model has no word for is listed in [`Import::unsupported`], and the
//! caller decides whether to go on without it.
//!
//! * [`ovn`]: an OVN northbound database.
//! * [`kubernetes`]: nodes, namespaces, pods and network policies.

pub mod file;
pub mod kubernetes;
pub mod ovn;

mod names;
mod output;
mod report;

pub use report::{Import, Note, Unsupported};
