//! The host stream: how a controller keeps a host's view.
//!
//! Nothing here does I/O, reads a clock or waits: bytes and events go in, messages and commands
//! come out, and time is an argument. The controller and the agent put a thin shell around it.
//!
//! ```text
//!   controller                                                    host
//!
//!   Engine ─ Changes ─► ChangeLog (each delta encoded once)
//!      │                   │
//!      └── ViewSource ─────┤
//!                          ▼
//!   events ──► ControllerSession ◄─── gRPC: HostMessage ───── HostSession ◄── applied, rejections
//!              one per host; no       Hello, Inventory,       HostView        drift
//!              queue: what is         Ack, Complaint              │
//!              pending, by item ────► ControllerMessage ────►     └─► Apply {view, changed}
//!                                     Welcome, BatchPart                 one datapath step
//! ```
//!
//! # The protocol
//!
//! The host speaks first. Its `Hello` says which cluster its view came from, the revision it stands
//! for, and a [`digest`](digest::digest) of the keys and versions in it. The `Welcome` says how to
//! resume:
//!
//! * `SNAPSHOT`, if it holds nothing, or the view of another cluster: one batch with the whole view
//!   follows, which replaces what is held.
//! * `CURRENT`, if it holds what it should, which equal digests tell: an `Ack` follows, and its
//!   view now stands for the revision in the `Welcome`.
//! * `INVENTORY`, if it holds something else of this cluster: the host lists keys and versions, and
//!   one batch with the difference follows. Within the history of the [log] what differs is deltas.
//!   Past it an item is sent whole, but for long lists: of those that differ the controller first asks
//!   for [ranges], and then sends the members of those ranges that differ.
//!
//! If the host holds a revision that this replica has not reached, the replica waits until it gets
//! there, at most [`limits::CATCH_UP_WAIT`], and then refuses with `BEHIND`: what it could send is
//! the past (guarantee G5).
//!
//! From then on the controller sends *batches*. A batch leads from the revision the host holds to
//! the newest; it is cut when it starts, sent in parts, and applied by the host in one step when
//! the last part is there (guarantee G4). The next one starts when the host has acknowledged it: so
//! there is one batch in flight, and whatever changes meanwhile coalesces into *pending* items
//! (decision 6). A slow host costs a map of pending keys and no more (guarantee G8).
//!
//! A host that cannot use a batch keeps its last good state and sends a `Complaint`. It is answered
//! with another `Welcome`: the first time with `INVENTORY` and no deltas (nor ranges, if the batch had
//! any), then with `SNAPSHOT`, and after [`limits::COMPLAINTS_MAX`] in a row the stream ends.
//!
//! When the host has all it was sent, the controller may send a `Check`: the revision, and one
//! [digest](digest::contents) of all contents. The host compares, and says that it matches or gives
//! the digest of each item. Then a batch that *repairs* follows, with the items that differ, whole, and
//! the acknowledgement tells which members were wrong. Until the answer is there nothing else is sent,
//! so that both speak of one revision; what changes meanwhile is pending (guarantee G13).
//!
//! An item has a version: the revision of its last change. Between two changes it is the same for
//! every host, so its full form and each of its deltas are encoded once ([`log::ChangeLog`]) and
//! the bytes are shared by all batches that carry them.
//!
//! # The modules
//!
//! * [`wire`]: what `proto/spanwire/host/v1/host.proto` generates.
//! * [`codec`]: items, deltas and keys to bytes and back. Every decoder is total.
//! * [`digest`]: one number for a set of keys and versions, and one for contents.
//! * [`check`]: what a check of a host's view found.
//! * [`log`]: deltas and full items, encoded once, within bounds; what hosts that were away equally are sent.
//! * [`ranges`]: what differs of a long list past history, without the rest of it.
//! * [`source`]: what a session reads from, and its implementation over the engine.
//! * [`controller_session`], [`host_session`]: both ends.
//! * [`impact`]: what a transaction would cost on the wire, and do.
//! * [`stream_codec`]: messages in gRPC's frames; [`frames`]: those to hosts, of shared parts.
//! * [`staging`]: updates onto a view, whole or not at all.
//! * [`limits`]: every bound of the protocol, in one place.

pub mod check;
pub mod codec;
pub mod controller_session;
pub mod digest;
pub mod frames;
pub mod host_session;
pub mod impact;
pub mod limits;
pub mod log;
pub mod message;
pub mod ranges;
pub mod source;
pub mod staging;
pub mod stream_codec;

/// The generated types of `spanwire.host.v1`, and its client and server.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod wire {
    tonic::include_proto!("spanwire.host.v1");
}

/// The encoded `FileDescriptorSet` of `spanwire.host.v1`, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/host.bin"));

/// The version of the protocol that both ends speak.
pub const PROTOCOL_VERSION: u32 = 2;

/// The path of the stream over HTTP/2: its service and its one method.
pub const SUBSCRIBE_PATH: &str = "/spanwire.host.v1.HostStream/Subscribe";

pub use check::{CheckReport, Difference, Found, Members};
pub use codec::{Change, DecodeError, ItemUpdate, decode_update};
pub use controller_session::{ControllerSession, SessionEvent, SessionStatus};
pub use host_session::{HeldView, HostCommand, HostIdentity, HostSession, ViewChange};
pub use log::ChangeLog;
pub use message::{ClusterId, Hello, Rejection};
pub use source::{EngineSource, ViewSource};
