//! A slow, obvious implementation of Spanwire's guarantees G1, G2, G3 and G6, straight from their
//! definitions, to compare the engine with.
//!
//! It takes a plain set of resources and searches the whole of it for every question. Nothing is
//! incremental, nothing is numbered, and nothing is shared with the engine but the nouns: so a
//! mistake in the engine's bookkeeping cannot be a mistake here as well.
//!
//! ```text
//!  resources ──► Network ──► host_view(host)          what the host must have, and nothing else
//!                  │  └────► verdict(from, to, what)  what must become of a packet
//!                  ├── domains: connected components, searched
//!                  └── groups: sets of ports, by going through every port
//!  State ──► apply(transaction)   what a transaction may do, and every reason to refuse it
//!  Engine ──► canonical_view      the engine's answer in the same form
//! ```
//!
//! Views are compared in a form that does not depend on uids or VNIs: a domain is named by its
//! switches, everything else by its key.

mod canonical;
mod domains;
mod groups;
mod hosts;
mod transactions;
mod verdict;

pub use canonical::{
    CanonicalError, CanonicalItem, CanonicalKey, CanonicalRule, CanonicalView, DomainName,
    engine_view_canonical,
};
pub use hosts::Network;
pub use transactions::{State, Stored, problems};

use spanwire_topology::{ObjectKey, Resource};
use std::collections::BTreeMap;

/// A set of resources by key.
pub type Resources = BTreeMap<ObjectKey, Resource>;
