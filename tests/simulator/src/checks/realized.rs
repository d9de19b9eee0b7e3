//! G11: what a replica says is in a host's datapath is there.

use super::{Finding, Reference, finding};
use spanwire_controller::publisher::Publisher;
use spanwire_topology::model::{Revision, Text};

/// Looks at all hosts that are connected to a replica. `enforced` says what a host really enforces.
pub fn check_realized(
    replica: u64,
    publisher: &Publisher,
    reference: &Reference,
    enforced: impl Fn(&Text) -> Option<Revision>,
) -> Result<(), Finding> {
    for connection in publisher.connections() {
        let host = connection.name();
        let Some(enforced) = enforced(host) else { continue };
        let realized = connection.realized(publisher.revision());
        // A host is not told of revisions that do not concern it: it has the last one that does.
        let needed = reference.last_change_of(host, realized);
        if enforced < needed {
            let what = format!(
                "replica {replica} says that {host} has revision {realized}, which needs {needed}; it \
                 has {enforced}"
            );
            return Err(finding("G11 realized", what));
        }
    }
    Ok(())
}
