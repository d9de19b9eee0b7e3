//! The driver that needs nothing but the kernel and the `nft` program.
//!
//! Both halves are made the same way: a pure function says what the kernel should have for a view,
//! another the difference from what it has, and a thin shell executes that. Names, marks and tables
//! are computed, so another run takes over what it finds without interrupting anything.
//!
//! ```text
//!  withdraw routes that are lost ─► firewall, one transaction ─► provide routes that are gained
//! ```
//!
//! What the kernel does with the packet of a workload, in the overlay:
//!
//! 1. `prerouting`: port security; the mark and the conntrack zone of its domain.
//! 2. `ip rule iif`: the routing table of its domain, and no other.
//! 3. `forward`: the outbound policies of its port; and, if the receiver's port is on this host
//!    too, the inbound policies of that.
//! 4. Out by the receiver's device; or by the VXLAN device of the receiver's domain; or, if another
//!    domain of this host is the receiver's, through a pair of devices into that domain.
//!
//! Limits, which the documentation repeats: an address of a workload must not be one of the host's
//! own; a [`PortAttachment::HostStack`](spanwire_topology::model::PortAttachment) port is guarded
//! but not reachable by the overlay; other firewalls on the host can still drop what ours accepts.

mod family;
mod firewall;
mod forwarding;
mod names;

use super::{
    Datapath, DatapathError, Finding, FindingKind, ForwardingMode, LinuxConfig, Rejection,
};
use firewall::Firewall;
use forwarding::{Forwarding, Transition};
use spanwire_topology::model::Text;
use spanwire_topology::view::{HostView, ItemKey};
use std::collections::BTreeSet;

/// The linux driver.
///
/// It works in the network namespace of the thread that made it, and must be used on threads in
/// that namespace only.
pub struct LinuxDatapath {
    firewall: Firewall,
    /// `None` if forwarding is somebody else's.
    forwarding: Option<Forwarding>,
    /// The view applied last.
    view: Option<HostView>,
    /// What each half could not apply.
    firewall_rejections: BTreeSet<Rejection>,
    forwarding_rejections: BTreeSet<Rejection>,
    rejections: Vec<Rejection>,
}

impl LinuxDatapath {
    /// A driver in the network namespace of the calling thread. Changes nothing yet.
    ///
    /// # Errors
    ///
    /// If the kernel's interfaces cannot be opened.
    pub fn new(config: LinuxConfig) -> Result<LinuxDatapath, DatapathError> {
        let forwarding = match config.forwarding {
            ForwardingMode::Overlay => Some(Forwarding::open(config.clone())?),
            ForwardingMode::None => None,
        };
        Ok(LinuxDatapath {
            firewall: Firewall::new(config),
            forwarding,
            view: None,
            firewall_rejections: BTreeSet::new(),
            forwarding_rejections: BTreeSet::new(),
            rejections: Vec::new(),
        })
    }

    /// Takes what is lost away, changes the firewall if `with_firewall`, provides what is gained.
    fn change(
        &mut self,
        view: &HostView,
        with_firewall: bool,
        mut transition: Option<Transition>,
    ) -> Result<Option<Transition>, DatapathError> {
        if let (Some(forwarding), Some(transition)) = (&mut self.forwarding, &mut transition) {
            forwarding.withdraw(transition)?;
        }
        if with_firewall {
            self.firewall_rejections = self.firewall.apply(view)?;
        }
        if let (Some(forwarding), Some(transition)) = (&mut self.forwarding, &mut transition) {
            forwarding.provide(transition)?;
            let missing: BTreeSet<Text> = forwarding.missing_devices(transition);
            self.forwarding_rejections = transition.rejections(&missing);
        }
        let both = self.firewall_rejections.union(&self.forwarding_rejections);
        self.rejections = both.cloned().collect();
        Ok(transition)
    }
}

/// True if an item of a kind that forwarding depends on is among those that changed.
fn concerns_forwarding(changed: Option<&BTreeSet<ItemKey>>) -> bool {
    changed.is_none_or(|changed| {
        changed
            .iter()
            .any(|key| matches!(key, ItemKey::Domain(_) | ItemKey::Port(_) | ItemKey::Locators(_)))
    })
}

/// The same for the firewall.
fn concerns_firewall(changed: Option<&BTreeSet<ItemKey>>) -> bool {
    changed.is_none_or(|changed| changed.iter().any(|key| !matches!(key, ItemKey::Locators(_))))
}

impl Datapath for LinuxDatapath {
    fn name(&self) -> &'static str {
        "linux"
    }

    fn apply(
        &mut self,
        view: &HostView,
        changed: Option<&BTreeSet<ItemKey>>,
    ) -> Result<Vec<Rejection>, DatapathError> {
        // After a failure it is unknown what is in force, so everything is compared.
        let changed = changed.filter(|_| self.view.is_some());
        self.view = None;
        let transition = match &mut self.forwarding {
            Some(forwarding) if concerns_forwarding(changed) => Some(forwarding.prepare(view)?),
            _ => None,
        };
        let with_firewall = concerns_firewall(changed) || self.firewall.depends_on_locators();
        self.change(view, with_firewall, transition)?;
        // Items are shared: this copies keys and pointers.
        self.view = Some(view.clone());
        Ok(self.rejections.clone())
    }

    fn audit(&mut self) -> Result<Vec<Finding>, DatapathError> {
        let Some(view) = self.view.take() else { return Ok(Vec::new()) };
        let outcome = self.audit_against(&view);
        self.view = Some(view);
        outcome
    }

    fn rejections(&self) -> &[Rejection] {
        &self.rejections
    }

    fn remove_all(&mut self) -> Result<(), DatapathError> {
        self.view = None;
        // A workload that is still plugged in must not come out in the host's own network, so
        // forwarding goes first.
        if let Some(forwarding) = &mut self.forwarding {
            forwarding.remove_all()?;
        }
        self.firewall.remove_all()?;
        self.firewall_rejections.clear();
        self.forwarding_rejections.clear();
        self.rejections.clear();
        Ok(())
    }
}

impl LinuxDatapath {
    fn audit_against(&mut self, view: &HostView) -> Result<Vec<Finding>, DatapathError> {
        let before = self.rejections.clone();
        let mut findings = self.firewall.audit()?;
        if let Some(forwarding) = &mut self.forwarding
            && let Some((transition, mut found)) = forwarding.inspect(view)?
        {
            let transition = self.change(view, false, Some(transition))?;
            for finding in &mut found {
                let failed = transition.as_ref().is_some_and(|t| t.has_failed(&finding.subject));
                finding.repaired = !failed;
            }
            findings.extend(found);
        }
        let now = &self.rejections;
        findings.extend(before.into_iter().filter(|was| !now.contains(was)).map(|was| Finding {
            kind: FindingKind::Resolved,
            subject: was.to_string(),
            repaired: true,
        }));
        findings.sort();
        Ok(findings)
    }
}
