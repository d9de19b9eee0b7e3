//! The Spanwire engine: a pure, incremental model of a software-defined network.
//!
//! Values go in, values come out. There is no I/O here, no clock, no randomness, no logging, and
//! nothing asynchronous, so the same transactions give the same bytes on every replica.
//!
//! ```text
//!  Transaction ──► Engine::apply ──► Changes { items changed, hosts that gained or lost items }
//!                      │
//!   resources ─► signatures ─► group members ─► shards ─┐
//!   switches, routers ─► routing domains ─► visibility ─┼─► span: which hosts each item matters to
//!   policies ─► applied groups ─► placements ───────────┘
//! ```
//!
//! * [`model`]: the nouns people write down: hosts, switches, routers, ports, groups, services,
//!   security policies.
//! * [`view`]: what a host is told: items, each identical for every host that has it.
//! * [`engine`]: from the first to the second, incrementally.
//! * [`planted`]: bugs for the tests to find; never in what is shipped.

pub mod engine;
pub mod model;
pub mod planted;
pub mod view;

pub use engine::lint;
pub use engine::{Changes, Engine, Refusal};
pub use model::{Kind, ObjectKey, ObjectRef, Resource, Revision, Spec, Transaction};
