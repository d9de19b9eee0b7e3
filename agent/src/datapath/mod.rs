//! Datapath drivers: what makes a host do what its view says.
//!
//! ```text
//!  HostView ──► Datapath::apply ──► rejections (the rest is in force)
//!                    │
//!       record: keeps the view, answers what would happen to a packet
//!       linux:  firewall (nftables) + forwarding (rtnetlink)
//! ```
//!
//! A driver is synchronous and blocks: give it a thread of its own. It never goes back by itself:
//! which view is the newest is for its caller to know.
//!
//! * [`evaluate`]: what a view says about a packet, straight from the definitions.
//! * [`record`]: the driver that keeps the view in memory.
//! * [`linux`]: the driver that needs nothing but the kernel and `nft`.

mod config;
mod error;
pub mod evaluate;
pub mod linux;
pub mod record;

pub use config::{ForwardingMode, LinuxConfig, VXLAN_PORT};
pub use error::{DatapathError, Finding, FindingKind, Rejection};

use spanwire_topology::view::{HostView, ItemKey};
use std::collections::BTreeSet;

/// A datapath driver.
pub trait Datapath: Send {
    /// The name of the driver in configuration, logs and reports.
    fn name(&self) -> &'static str;

    /// Brings the datapath in one step (guarantee G4) to `view`.
    ///
    /// `changed` names the items that differ from the view of the last call, those that are gone
    /// included; `None` means that this is unknown, and everything is compared. Returns what could
    /// not be applied, sorted; all the rest is in force. The same as [`Datapath::rejections`]
    /// until the next audit.
    ///
    /// # Errors
    ///
    /// If nothing could be applied. The datapath then still enforces what it did before, except
    /// that routes which `view` lacks may be gone already. The next call may be with any view;
    /// until one succeeds, audits find nothing.
    fn apply(
        &mut self,
        view: &HostView,
        changed: Option<&BTreeSet<ItemKey>>,
    ) -> Result<Vec<Rejection>, DatapathError>;

    /// Compares the datapath with the view applied last, and puts right what differs: what others
    /// removed or changed, and what was rejected and has become possible (a workload's device has
    /// appeared). Returns what it found, sorted. Cheap enough to be called every few seconds.
    ///
    /// # Errors
    ///
    /// If the datapath could not be read, or what differs could not be put right at all.
    fn audit(&mut self) -> Result<Vec<Finding>, DatapathError>;

    /// What of the view applied last is not in force now, sorted. [`Datapath::apply`] and
    /// [`Datapath::audit`] change it: report it after either.
    fn rejections(&self) -> &[Rejection];

    /// Removes everything that this driver has ever put into the datapath of the host, also in an
    /// earlier run, and nothing else.
    ///
    /// # Errors
    ///
    /// If something of ours remains.
    fn remove_all(&mut self) -> Result<(), DatapathError>;
}
