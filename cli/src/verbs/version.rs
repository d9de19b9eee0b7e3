//! `spanwire version`: the version and what was built in.

use crate::cli::{Format, Global};
use crate::failure::Failure;
use crate::output::{print_json, print_line};
use serde_json::json;

/// Parts of the binary that a build can leave out.
const FEATURES: [(&str, bool); 3] = [
    ("controller", cfg!(feature = "controller")),
    ("agent", cfg!(feature = "agent")),
    ("lab", cfg!(feature = "lab")),
];

/// Runs the verb.
pub(crate) fn run(global: &Global) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let features: Vec<&str> = std::iter::once("client")
        .chain(FEATURES.iter().filter(|(_, built_in)| *built_in).map(|(name, _)| *name))
        .collect();
    match global.output {
        Format::Table | Format::Wide => {
            print_line(&format!("spanwire {version} ({})", features.join(", ")))
        }
        Format::Json | Format::Yaml => {
            print_json(&json!({ "version": version, "features": features }))
        }
    }
}
