//! G5: a host never goes back to an earlier revision, whichever replica it talks to.

use super::{Finding, finding};
use spanwire_topology::model::{Revision, Text};
use std::collections::BTreeMap;

/// The newest revision that each host enforced.
#[derive(Debug, Default)]
pub struct ForwardOnly(BTreeMap<Text, Revision>);

impl ForwardOnly {
    /// A host enforces a revision.
    pub fn check(&mut self, host: &Text, revision: Revision) -> Result<(), Finding> {
        let newest = self.0.entry(host.clone()).or_default();
        if revision < *newest {
            let what = format!("{host} enforces revision {revision} after {newest}");
            return Err(finding("G5 forward only", what));
        }
        *newest = revision;
        Ok(())
    }
}
