//! Generates the Rust types of `spanwire.peer.v1` from `proto/`, with a protobuf compiler in Rust:
//! no `protoc` is needed on the machine.

use prost::Message;
use std::error::Error;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../proto");
    let files = ["log", "peer", "snapshot"].map(|n| format!("spanwire/peer/v1/{n}.proto"));
    for file in &files {
        println!("cargo:rerun-if-changed={}", root.join(file).display());
    }
    let descriptors = protox::compile(files, [root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // The reflection service hands these bytes out as they are.
    std::fs::write(out.join("peer.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Resources are those of the admin API: one definition for request, log and snapshot.
        .extern_path(".spanwire.admin.v1", "::spanwire_adminproto::wire")
        // What is large is shared and not copied.
        .bytes(".spanwire.peer.v1.Envelope")
        .bytes(".spanwire.peer.v1.SnapshotChunk")
        .bytes(".spanwire.peer.v1.Forward")
        .compile_fds(descriptors)?;
    Ok(())
}
