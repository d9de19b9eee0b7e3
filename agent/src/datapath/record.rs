//! The driver that keeps the view in memory: for scale tests, for laptops, and as the reference of
//! the conformance suite.

use super::evaluate::{self, Destination, EvaluateError, Judgement, Packet};
use super::{Datapath, DatapathError, Finding, Rejection};
use spanwire_topology::model::{Direction, Uid};
use spanwire_topology::view::{HostView, ItemKey};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Keeps the view in memory and answers what would happen to a packet.
///
/// Clones share the view: one goes to the thread that applies, another stays with whoever asks.
#[derive(Debug, Clone, Default)]
pub struct RecordDatapath {
    view: Arc<Mutex<Arc<HostView>>>,
}

impl RecordDatapath {
    /// A datapath with an empty view.
    pub fn new() -> RecordDatapath {
        RecordDatapath::default()
    }

    /// The view applied last.
    pub fn view(&self) -> Arc<HostView> {
        self.view.lock().clone()
    }

    /// Whether a packet that carries `source` may leave a port: port security is off, or the
    /// address is one of the port's own.
    ///
    /// # Errors
    ///
    /// If the port is not in the view.
    pub fn admits_source(&self, from: Uid, source: IpAddr) -> Result<bool, EvaluateError> {
        let view = self.view();
        let port = evaluate::port(&view, from).ok_or(EvaluateError::NoPort(from))?;
        Ok(!port.port_security || port.addresses.contains(&source))
    }

    /// What the policies of a port say about the first packet of a connection to it
    /// ([`Direction::In`]) or from it.
    ///
    /// # Errors
    ///
    /// If the view does not have what the answer depends on.
    pub fn judge(
        &self,
        port: Uid,
        direction: Direction,
        packet: &Packet,
    ) -> Result<Judgement, EvaluateError> {
        evaluate::judge(&self.view(), port, direction, packet)
    }

    /// Where a packet from a port to an address goes.
    ///
    /// # Errors
    ///
    /// If the view does not have what the answer depends on.
    pub fn route(&self, from: Uid, address: IpAddr) -> Result<Destination, EvaluateError> {
        evaluate::route(&self.view(), from, address)
    }
}

impl Datapath for RecordDatapath {
    fn name(&self) -> &'static str {
        "record"
    }

    fn apply(
        &mut self,
        view: &HostView,
        _changed: Option<&BTreeSet<ItemKey>>,
    ) -> Result<Vec<Rejection>, DatapathError> {
        // Items are shared, so this copies keys and pointers; one assignment is one step.
        *self.view.lock() = Arc::new(view.clone());
        Ok(Vec::new())
    }

    fn audit(&mut self) -> Result<Vec<Finding>, DatapathError> {
        Ok(Vec::new())
    }

    fn rejections(&self) -> &[Rejection] {
        &[]
    }

    fn remove_all(&mut self) -> Result<(), DatapathError> {
        *self.view.lock() = Arc::default();
        Ok(())
    }
}
