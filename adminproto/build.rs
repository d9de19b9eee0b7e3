//! Generates the Rust types of `spanwire.admin.v1` from `proto/`, with a protobuf compiler in Rust:
//! no `protoc` is needed on the machine.

use prost::Message;
use std::error::Error;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../proto");
    let files = ["admin", "resource", "verdict"].map(|n| format!("spanwire/admin/v1/{n}.proto"));
    for file in &files {
        println!("cargo:rerun-if-changed={}", root.join(file).display());
    }
    let descriptors = protox::compile(files, [root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // The reflection service hands these bytes out as they are.
    std::fs::write(out.join("admin.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Labels are a map in the model too, and a map with an order encodes the same every time.
        .btree_map(".")
        // Who has a connection brings it: nothing in here opens one.
        .build_transport(false)
        .compile_fds(descriptors)?;
    Ok(())
}
