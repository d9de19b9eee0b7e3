//! G8: a host that does not read costs bounded memory: a place for each of its items, and no queue.

use super::{Finding, finding};
use spanwire_controller::publisher::Publisher;
use spanwire_topology::Engine;

/// Places beyond the items that a host has: for those that it lost since it last read.
const LOST_MAX: usize = 256;

/// Looks at all hosts that are connected to a replica.
pub fn check_slow_hosts(publisher: &Publisher, engine: &Engine) -> Result<(), Finding> {
    for connection in publisher.connections() {
        let pending = connection.status().pending;
        let items = engine.host_items(connection.host()).len();
        if pending > items + LOST_MAX {
            let what = format!("{} has {items} items and {pending} wait", connection.name());
            return Err(finding("G8 slow hosts", what));
        }
    }
    Ok(())
}
