//! The `spanwire` binary of this build.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The path of the binary, built if it is not there or not current: a test of one crate alone does
/// not build the binary of another.
///
/// # Panics
///
/// If it does not build.
pub fn spanwire() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY
        .get_or_init(|| {
            let test = std::env::current_exe().expect("a test knows its own path");
            // target/PROFILE/deps/TEST
            let profile = test.ancestors().nth(2).expect("tests lie in target/PROFILE/deps");
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let built = Command::new(cargo)
                .args(["build", "--quiet", "-p", "spanwire-cli", "--bin", "spanwire"])
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .status()
                .expect("cargo runs");
            assert!(built.success(), "the binary does not build");
            profile.join("spanwire")
        })
        .clone()
}
