//! Consensus: what is written, in which order, and that it stays written.
//!
//! ```text
//!            Event ──► Node (Raft core, no I/O) ──► Step { send, write }
//!                        ▲                             │ driver: LogStore::write, synced
//!                        └──────── process_written ◄───┘
//!                                       └──► Written { send, restore, apply }
//! ```
//!
//! * [`log`]: where a replica keeps entries, hard state, members and snapshot, and the disk under
//!   it, which a simulation may replace by one with faults.
//! * [`transfer`]: snapshots on their way from one replica to another.
//! * [`node`]: one replica of the group as a state machine without I/O, around `raft::RawNode`.

pub mod log;
mod logger;
pub mod node;
pub(crate) mod raft_store;
pub mod transfer;

pub use log::{DirDisk, Disk, FaultDisk, LogStore, MemoryLog, RedbLog, StoreError, Write};
pub use node::{Event, Node, NodeConfig, NodeError, PeerProgress, Role, Step, Written};
