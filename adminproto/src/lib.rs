//! The admin API: generated types, and conversions between them and the model.
//!
//! ```text
//!  bytes ◄─prost─► wire::*  ◄─convert─►  spanwire_topology::model::*
//! ```
//!
//! * [`wire`]: what `proto/spanwire/admin/v1` says, generated.
//! * [`convert`]: between the wire and the model.
//! * [`backup`]: a stream of the state, checked as it comes, and its form in a file.
//! * `testing`: generators of resources, with the feature of that name.
//! * [`FILE_DESCRIPTOR_SET`]: the same definitions for the reflection service.

pub mod backup;
pub mod convert;
#[cfg(feature = "testing")]
pub mod testing;

/// The generated types, client and server of `spanwire.admin.v1`. Their documentation is in
/// `proto/spanwire/admin/v1/*.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all)] // generated
pub mod wire {
    tonic::include_proto!("spanwire.admin.v1");
}

/// The definitions of `spanwire.admin.v1`, encoded as a `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/admin.bin"));
