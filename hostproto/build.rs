//! Generates the Rust types of `spanwire.host.v1` from `proto/`, with a protobuf compiler in Rust:
//! no `protoc` is needed on the machine.

use prost::Message;
use std::error::Error;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../proto");
    let file = "spanwire/host/v1/host.proto";
    println!("cargo:rerun-if-changed={}", root.join(file).display());
    let descriptors = protox::compile([file], [root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // The reflection service hands these bytes out as they are.
    std::fs::write(out.join("host.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Updates are encoded once and shared by all hosts that take them.
        .bytes(".")
        // Who has a connection brings it: nothing in here opens one.
        .build_transport(false)
        .codec_path("crate::stream_codec::StreamCodec")
        .compile_fds(descriptors)?;
    Ok(())
}
