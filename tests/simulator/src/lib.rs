//! The cluster and its hosts in one thread, from one seed.
//!
//! Everything that a controller or an agent is made of and that can be wrong is the real thing: the Raft
//! node, its driver, the log on its database, snapshots and how they travel, the state machine, the
//! publisher, the sessions of the hosts at both ends, what balances hosts and what has them checked. What is simulated is what they stand on: the
//! [`network`], the disk under the log ([`storage`]), clocks, the datapath of a [`host`], and people
//! ([`admin`]).
//!
//! ```text
//!            ┌──────────────── Schedule (simulated time) ────────────────┐
//!  clients ──┤  replica: Replica + RedbLog on a FaultDisk, own clock     ├── checks
//!  operator ─┤     ▲  Envelope bytes  ▼       ▲ HostMessage ▼            │   after every step
//!  faults ───┤  network: delay, loss, copies, order, partitions          │
//!            │  hosts: HostSession, a view on disk, a slow datapath      │
//!            └───────────────────────────────────────────────────────────┘
//! ```
//!
//! One seed gives one run: nothing reads the real clock or real randomness. After every step the
//! [`checks`] are made. After a minute of trouble everything is healed, and must converge.

pub mod admin;
pub mod checks;
pub mod corruption;
mod faults;
pub mod host;
pub mod network;
pub mod replica;
pub mod schedule;
mod simulation;
pub mod storage;
pub mod trace;
pub mod workload;

pub use checks::Finding;
pub use simulation::{Options, Report, run};
