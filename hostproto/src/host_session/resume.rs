//! How a host resumes: its hello, the welcome, what it holds, and its complaints.

use super::misfit::Misfit;
use super::{HostCommand, HostIdentity, HostSession, Stream, send};
use crate::PROTOCOL_VERSION;
use crate::codec::key_to_wire;
use crate::digest::CHECK_VERSION;
use crate::limits::INVENTORY_MESSAGE_ENTRIES_MAX;
use crate::message::{ClusterId, Hello, cut_detail};
use crate::ranges::RANGES_VERSION;
use crate::wire;
use crate::wire::complaint::Reason as ComplaintReason;
use crate::wire::host_message::Message as ToController;
use crate::wire::refused::Reason as RefusedReason;
use crate::wire::welcome::Resume;

impl HostSession {
    pub(super) fn process_welcome(
        &mut self,
        welcome: wire::Welcome,
    ) -> Result<Vec<HostCommand>, Misfit> {
        if !matches!(self.stream, Stream::AwaitingWelcome { .. }) {
            return Err(Misfit::protocol("the controller sent a welcome that nothing asked for"));
        }
        let resume = welcome.resume();
        let wire::Welcome { protocol_version, cluster_id, resume: number, revision } = welcome;
        if protocol_version != PROTOCOL_VERSION {
            let detail = format!(
                "the controller speaks version {protocol_version} of the host protocol and this \
                 agent version {PROTOCOL_VERSION}: install matching releases"
            );
            return Err(Misfit::Disconnect(RefusedReason::Version, detail));
        }
        let cluster_id = match ClusterId::from_wire(&cluster_id) {
            Ok(Some(cluster_id)) => cluster_id,
            Ok(None) => return Err(Misfit::protocol("the controller names no cluster")),
            Err(error) => return Err(Misfit::protocol(format!("bad welcome: {error}"))),
        };
        let is_same = self.cluster_id == Some(cluster_id) && self.view.revision > 0;
        let following =
            |acked| Stream::Following { cluster_id, staged: None, repair_due: None, acked };
        match resume {
            Resume::Snapshot => {
                self.stream = following(false);
                Ok(Vec::new())
            }
            Resume::Inventory if is_same => {
                self.stream = following(false);
                Ok(self.mk_inventory())
            }
            Resume::Current if is_same && revision >= self.view.revision => {
                self.stream = following(true);
                Ok(self.advance(cluster_id, revision))
            }
            Resume::Inventory | Resume::Current => Err(Misfit::protocol(format!(
                "the controller resumes from a view of cluster {cluster_id} at revision {revision} \
                 at most, and revision {} is held, of {}",
                self.view.revision,
                self.cluster_id.map_or_else(|| "no cluster".to_owned(), |id| id.to_string()),
            ))),
            Resume::Unspecified => {
                Err(Misfit::protocol(format!("the controller resumes in an unknown way, {number}")))
            }
        }
    }

    pub(super) fn mk_hello(&mut self) -> HostCommand {
        self.hellos = self.hellos.saturating_add(1);
        let HostIdentity { host, instance, starts, agent_version, datapath } = &self.identity;
        let attempt = match *starts {
            0 => 0,
            starts => (u64::from(starts) << 32) | u64::from(self.hellos),
        };
        let hello = Hello {
            host: host.clone(),
            instance: *instance,
            attempt,
            cluster_id: self.cluster_id,
            revision: self.view.revision,
            digest: self.digest(),
            agent_version: agent_version.clone(),
            datapath: datapath.clone(),
            check_version: CHECK_VERSION,
            ranges_version: RANGES_VERSION,
        };
        send(ToController::Hello(hello.to_wire()))
    }

    /// The keys and versions held, in messages of bounded length, of which there is at least one.
    pub(super) fn mk_inventory(&self) -> Vec<HostCommand> {
        let entries: Vec<wire::InventoryEntry> = self
            .view
            .items
            .iter()
            .map(|(key, item)| wire::InventoryEntry {
                key: Some(key_to_wire(*key)),
                version: item.version,
            })
            .collect();
        let mut chunks: Vec<Vec<wire::InventoryEntry>> =
            entries.chunks(INVENTORY_MESSAGE_ENTRIES_MAX).map(<[_]>::to_vec).collect();
        if chunks.is_empty() {
            chunks.push(Vec::new());
        }
        let count = chunks.len();
        let inventory = |(n, entries)| wire::Inventory { entries, last: n + 1 == count };
        chunks
            .into_iter()
            .enumerate()
            .map(|chunk| send(ToController::Inventory(inventory(chunk))))
            .collect()
    }

    pub(super) fn complain(&mut self, reason: ComplaintReason, detail: &str) -> Vec<HostCommand> {
        self.stream = Stream::AwaitingWelcome { complained: true };
        vec![send(ToController::Complaint(wire::Complaint {
            reason: reason.into(),
            detail: cut_detail(detail).to_owned(),
            revision: self.view.revision,
        }))]
    }
}
