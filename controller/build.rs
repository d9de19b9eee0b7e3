//! Generates the Rust types of `spanwire.peer.v1` from `proto/`, with a protobuf compiler in Rust:
//! no `protoc` is needed on the machine.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../proto");
    let files = ["spanwire/peer/v1/log.proto", "spanwire/peer/v1/snapshot.proto"];
    for file in files {
        println!("cargo:rerun-if-changed={}", root.join(file).display());
    }
    let descriptors = protox::compile(files, [root])?;
    prost_build::Config::new()
        // Resources are those of the admin API: one definition for request, log and snapshot.
        .extern_path(".spanwire.admin.v1", "::spanwire_adminproto::wire")
        .compile_fds(descriptors)?;
    Ok(())
}
