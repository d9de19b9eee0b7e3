//! Generates the message types with protox, so that no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/eraftpb.proto");
    let descriptors = protox::compile(["proto/eraftpb.proto"], ["proto"])?;
    prost_build::Config::new()
        // Entries are cloned on their way through the Raft core: shared bytes make that cheap.
        .bytes(["."])
        .compile_fds(descriptors)?;
    Ok(())
}
