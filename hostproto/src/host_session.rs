//! The agent's end of the stream.

use crate::PROTOCOL_VERSION;
use crate::check::{Difference, Found};
use crate::codec::{encode_full, key_to_wire};
use crate::digest::{self, CHECK_VERSION, digest};
use crate::limits::{CHECK_MESSAGE_ENTRIES_MAX, INVENTORY_MESSAGE_ENTRIES_MAX};
use crate::message::{ClusterId, Drift, Hello, Rejection, Rejections, cut_detail};
use crate::staging::{StageError, Staging};
use crate::wire;
use crate::wire::complaint::Reason as ComplaintReason;
use crate::wire::controller_message::Message as FromController;
use crate::wire::host_message::Message as ToController;
use crate::wire::refused::Reason as RefusedReason;
use crate::wire::welcome::Resume;
use bytes::Bytes;
use spanwire_topology::model::{Revision, Text};
use spanwire_topology::view::{HostView, ItemKey};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Who the agent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostIdentity {
    /// The name of the host.
    pub host: Text,
    /// Random, kept in the agent's state directory.
    pub instance: u64,
    /// How often an agent was started as this instance, this start included; 0 if it is not known.
    pub starts: u32,
    /// Version of the agent.
    pub agent_version: String,
    /// Name of the datapath driver.
    pub datapath: String,
}

/// A view with the cluster it came from: what the agent keeps on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldView {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The view.
    pub view: Arc<HostView>,
}

/// One step of the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewChange {
    /// The cluster of the new view.
    pub cluster_id: ClusterId,
    /// The new view. Shared, items included: cheap. If the agent drops its own handle on a view
    /// before the next change, the session changes it in place instead of copying the map.
    pub view: Arc<HostView>,
    /// Items that are new, changed or gone (those not in `view`).
    pub changed: BTreeSet<ItemKey>,
    /// The revision of the old view.
    pub from: Revision,
    /// The revision of the new view.
    pub to: Revision,
    /// True if the new view replaces the old one whole: what is stored must be stored anew.
    pub replace: bool,
    /// The encoded updates that lead from the old view (or from nothing, with `replace`) to the new
    /// one, in order, for a store that appends.
    pub updates: Vec<Bytes>,
    /// What a check had found to be wrong with the old view, if this step repairs it: at most
    /// [`DIFFERENCES_MAX`](crate::limits::DIFFERENCES_MAX) items. The step replaces what is stored, which may be wrong as well.
    pub repaired: Vec<Difference>,
}

/// What the agent shall do.
#[derive(Debug, Clone, PartialEq)]
pub enum HostCommand {
    /// Send a message to the controller.
    Send(wire::HostMessage),
    /// Keep the new view, put it into the datapath, and then call
    /// [`HostSession::process_applied`]. With nothing in `changed`, only the revision moves.
    Apply(ViewChange),
    /// The controller refused the host: close the stream and connect again later, elsewhere if
    /// there is an elsewhere.
    Disconnect {
        /// Why.
        reason: wire::refused::Reason,
        /// Why, in the controller's words.
        detail: String,
    },
}

/// Where the session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPhase {
    /// There is no stream.
    Disconnected,
    /// Hello, or a complaint, was sent (or waits for the datapath); the answer is not there yet.
    AwaitingWelcome,
    /// Welcomed: takes batches.
    Following,
    /// A batch was handed out and is not applied yet.
    Applying,
    /// Refused.
    Refused,
}

/// The agent's end of the stream: a state machine without I/O that holds the view.
///
/// The view moves when a batch is complete and handed out, never before and never in part; what
/// goes wrong before that leaves it as it was. While a batch is being applied the session does not
/// speak of the view, so what it tells a controller is always in the datapath.
#[derive(Debug)]
pub struct HostSession {
    identity: HostIdentity,
    /// Hellos said since the start.
    hellos: u32,
    cluster_id: Option<ClusterId>,
    view: Arc<HostView>,
    stream: Stream,
    /// The revision that was handed out and is not applied yet.
    applying: Option<Revision>,
    rejections: Rejections,
    /// What was wrong with items that the batch being applied repairs, to be acknowledged.
    repaired: Vec<wire::ItemRepair>,
}

/// What is known of the stream.
#[derive(Debug)]
enum Stream {
    Closed,
    /// Open, and the hello waits until what is being applied is applied.
    HelloDue,
    /// The hello or a complaint was sent.
    AwaitingWelcome {
        complained: bool,
    },
    /// Batches of this cluster may come.
    Following {
        cluster_id: ClusterId,
        staged: Option<StagedBatch>,
        /// True once something was handed out on this stream, so that the controller will know, or
        /// knows, that the view held is the one that acknowledgements speak of.
        acked: bool,
        /// A repair that was asked for while something was being applied.
        repair_due: Option<String>,
    },
    Refused,
}

/// The parts of a batch that are here.
#[derive(Debug)]
struct StagedBatch {
    from: Revision,
    to: Revision,
    replace: bool,
    repair: bool,
    next_sequence: u32,
    staging: Staging,
    updates: Vec<Bytes>,
}

/// Why the host can't go on with a message.
enum Misfit {
    /// The batch does not fit: complain, and the controller repairs it.
    Complain(ComplaintReason, String),
    /// The controller breaks the protocol: there is nothing to be had from this stream.
    Disconnect(RefusedReason, String),
}

impl Misfit {
    fn does_not_fit(detail: String) -> Misfit {
        Misfit::Complain(ComplaintReason::DoesNotFit, detail)
    }

    fn protocol(detail: impl Into<String>) -> Misfit {
        Misfit::Disconnect(RefusedReason::Protocol, detail.into())
    }
}

impl From<StageError> for Misfit {
    fn from(error: StageError) -> Misfit {
        let reason = match &error {
            StageError::Malformed(_) => ComplaintReason::Malformed,
            StageError::DoesNotFit { .. } => ComplaintReason::DoesNotFit,
        };
        Misfit::Complain(reason, error.to_string())
    }
}

impl HostSession {
    /// A session that starts from what was kept on disk, if anything was.
    pub fn new(identity: HostIdentity, held: Option<HeldView>) -> HostSession {
        let (cluster_id, view) = match held {
            Some(HeldView { cluster_id, view }) => (Some(cluster_id), view),
            None => (None, Arc::default()),
        };
        HostSession {
            identity,
            hellos: 0,
            cluster_id,
            view,
            stream: Stream::Closed,
            applying: None,
            rejections: Rejections::default(),
            repaired: Vec::new(),
        }
    }

    // ---- Events ----

    /// A stream is open.
    pub fn process_connected(&mut self) -> Vec<HostCommand> {
        if self.applying.is_some() {
            self.stream = Stream::HelloDue;
            return Vec::new();
        }
        self.stream = Stream::AwaitingWelcome { complained: false };
        vec![self.mk_hello()]
    }

    /// The stream is gone. What was staged is dropped; what is being applied goes on.
    pub fn process_disconnected(&mut self) {
        self.repaired.clear();
        self.stream = Stream::Closed;
    }

    /// Takes a message from the controller.
    pub fn process_message(&mut self, message: wire::ControllerMessage) -> Vec<HostCommand> {
        if matches!(self.stream, Stream::Closed | Stream::Refused) {
            return Vec::new();
        }
        let result = match message.message {
            Some(FromController::Welcome(welcome)) => self.process_welcome(welcome),
            Some(FromController::Part(part)) => self.process_part(part),
            Some(FromController::Check(check)) => self.process_check(check),
            Some(FromController::Refused(refused)) => {
                Err(Misfit::Disconnect(refused.reason(), cut_detail(&refused.detail).to_owned()))
            }
            None => Err(Misfit::protocol(
                "the controller sent a message of a kind that is not known here: it may be newer \
                 than this agent",
            )),
        };
        match result {
            Ok(commands) => commands,
            Err(Misfit::Complain(reason, detail)) => self.complain(reason, &detail),
            Err(Misfit::Disconnect(reason, detail)) => {
                self.stream = Stream::Refused;
                vec![HostCommand::Disconnect { reason, detail }]
            }
        }
    }

    /// The view of the last [`HostCommand::Apply`] is in the datapath, but for `rejections`, which
    /// replace all earlier ones. A revision that was not handed out last is ignored.
    pub fn process_applied(
        &mut self,
        revision: Revision,
        rejections: Vec<Rejection>,
    ) -> Vec<HostCommand> {
        if self.applying != Some(revision) {
            return Vec::new();
        }
        self.applying = None;
        self.rejections = Rejections::new(rejections);
        let repair = match &mut self.stream {
            Stream::HelloDue => {
                self.stream = Stream::AwaitingWelcome { complained: false };
                return vec![self.mk_hello()];
            }
            // The stream on which the batch came is gone.
            Stream::Closed | Stream::Refused | Stream::AwaitingWelcome { .. } => return Vec::new(),
            Stream::Following { repair_due, .. } => repair_due.take(),
        };
        let mut commands = vec![self.mk_ack()];
        self.repaired.clear();
        if let Some(detail) = repair {
            commands.extend(self.complain(ComplaintReason::DoesNotFit, &detail));
        }
        commands
    }

    /// What the datapath refuses has changed, without a change of the view. Told at once if the
    /// controller knows which revision the view stands for, else with the next acknowledgement.
    pub fn process_rejections(&mut self, rejections: Vec<Rejection>) -> Vec<HostCommand> {
        let rejections = Rejections::new(rejections);
        let is_news = rejections != self.rejections;
        self.rejections = rejections;
        match &self.stream {
            Stream::Following { acked: true, .. } if self.applying.is_none() && is_news => {
                vec![self.mk_ack()]
            }
            _ => Vec::new(),
        }
    }

    /// The datapath differed from the view and was put right.
    pub fn process_drift(
        &mut self,
        findings: Vec<String>,
        repaired_total: u64,
    ) -> Vec<HostCommand> {
        let Drift { findings, repaired_total } = Drift::new(findings, repaired_total);
        match self.stream {
            // Before the hello nothing else may be sent.
            Stream::Closed | Stream::Refused | Stream::HelloDue => Vec::new(),
            Stream::AwaitingWelcome { .. } | Stream::Following { .. } => {
                vec![send(ToController::Drift(wire::DriftReport { findings, repaired_total }))]
            }
        }
    }

    /// Asks the controller to compare and repair the view (guarantee G13), now or when what is
    /// being applied is applied. A resume that is under way does so anyway.
    pub fn request_repair(&mut self, detail: impl Into<String>) -> Vec<HostCommand> {
        let detail = detail.into();
        match &mut self.stream {
            Stream::Following { repair_due, .. } if self.applying.is_some() => {
                *repair_due = Some(detail);
                Vec::new()
            }
            Stream::Following { .. } => self.complain(ComplaintReason::DoesNotFit, &detail),
            Stream::Closed
            | Stream::Refused
            | Stream::HelloDue
            | Stream::AwaitingWelcome { .. } => Vec::new(),
        }
    }

    // ---- State ----

    /// Where the session is.
    pub fn phase(&self) -> HostPhase {
        match &self.stream {
            Stream::Closed => HostPhase::Disconnected,
            Stream::HelloDue | Stream::AwaitingWelcome { .. } => HostPhase::AwaitingWelcome,
            Stream::Following { .. } if self.applying.is_some() => HostPhase::Applying,
            Stream::Following { .. } => HostPhase::Following,
            Stream::Refused => HostPhase::Refused,
        }
    }

    /// The view held: the newest that was handed out to be applied.
    pub fn view(&self) -> &Arc<HostView> {
        &self.view
    }

    /// The revision of the view held; 0 if none.
    pub fn revision(&self) -> Revision {
        self.view.revision
    }

    /// The cluster of the view held.
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.cluster_id
    }

    /// The digest of the view held.
    pub fn digest(&self) -> u64 {
        digest(self.view.items.iter().map(|(key, item)| (*key, item.version)))
    }

    // ---- Messages from the controller ----

    fn process_welcome(&mut self, welcome: wire::Welcome) -> Result<Vec<HostCommand>, Misfit> {
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

    /// The view held is also that of a later revision.
    fn advance(&mut self, cluster_id: ClusterId, to: Revision) -> Vec<HostCommand> {
        let from = self.view.revision;
        if to == from {
            return vec![self.mk_ack()];
        }
        Arc::make_mut(&mut self.view).revision = to;
        self.applying = Some(to);
        vec![HostCommand::Apply(ViewChange {
            cluster_id,
            view: Arc::clone(&self.view),
            changed: BTreeSet::new(),
            from,
            to,
            replace: false,
            updates: Vec::new(),
            repaired: Vec::new(),
        })]
    }

    fn process_part(&mut self, part: wire::BatchPart) -> Result<Vec<HostCommand>, Misfit> {
        let (cluster_id, staged) = match &mut self.stream {
            Stream::Following { cluster_id, staged, .. } => (*cluster_id, staged.take()),
            // The rest of a batch that was complained about.
            Stream::AwaitingWelcome { complained: true } => return Ok(Vec::new()),
            _ => return Err(Misfit::protocol("the controller sent a batch before its welcome")),
        };
        if self.applying.is_some() {
            return Err(Misfit::protocol(
                "the controller sent a batch before the last one was acknowledged",
            ));
        }
        let mut batch = match staged {
            Some(batch) => batch,
            None => self.begin_batch(cluster_id, &part)?,
        };
        let wire::BatchPart {
            from_revision,
            to_revision,
            sequence,
            last,
            replace,
            updates,
            repair,
        } = part;
        let expected = (batch.from, batch.to, batch.replace, batch.repair, batch.next_sequence);
        if (from_revision, to_revision, replace, repair, sequence) != expected {
            return Err(Misfit::does_not_fit(format!(
                "part {sequence} of a batch from {from_revision} to {to_revision} came where part \
                 {} of one from {} to {} was due",
                batch.next_sequence, batch.from, batch.to
            )));
        }
        batch.next_sequence += 1;
        for update in &updates {
            batch.staging.stage(&self.view, update)?;
        }
        batch.updates.extend(updates);
        if last {
            return Ok(self.commit(cluster_id, batch));
        }
        if let Stream::Following { staged, .. } = &mut self.stream {
            *staged = Some(batch);
        }
        Ok(Vec::new())
    }

    /// Checks that a batch leads from what is held to something later.
    fn begin_batch(
        &self,
        cluster_id: ClusterId,
        part: &wire::BatchPart,
    ) -> Result<StagedBatch, Misfit> {
        let (from, to, replace) = (part.from_revision, part.to_revision, part.replace);
        let held = self.view.revision;
        let is_same = self.cluster_id == Some(cluster_id);
        if !replace && !is_same {
            return Err(Misfit::does_not_fit(format!(
                "the first batch of cluster {cluster_id} must replace the view"
            )));
        }
        let expected = if replace { 0 } else { held };
        if from != expected {
            return Err(Misfit::does_not_fit(format!(
                "a batch from revision {from} came where one from {expected} was due"
            )));
        }
        if is_same && to < held {
            return Err(Misfit::does_not_fit(format!(
                "a batch leads back to revision {to} from {held}"
            )));
        }
        if part.repair && replace {
            return Err(Misfit::does_not_fit(
                "a batch both repairs the view and replaces it".to_owned(),
            ));
        }
        let staging = if part.repair { Staging::of_repair(to) } else { Staging::new(to, replace) };
        Ok(StagedBatch {
            from,
            to,
            replace,
            repair: part.repair,
            next_sequence: 0,
            staging,
            updates: Vec::new(),
        })
    }

    fn commit(&mut self, cluster_id: ClusterId, batch: StagedBatch) -> Vec<HostCommand> {
        let StagedBatch { from: _, to, replace, repair, next_sequence: _, staging, updates } =
            batch;
        let from = self.view.revision;
        let repaired = if repair { staging.differences(&self.view) } else { Vec::new() };
        self.repaired = repaired
            .iter()
            .filter(|difference| difference.found == Found::Differs)
            .map(|Difference { key, members, .. }| members.to_wire(*key))
            .collect();
        let changed = staging.commit(Arc::make_mut(&mut self.view));
        self.cluster_id = Some(cluster_id);
        self.applying = Some(to);
        if let Stream::Following { acked, .. } = &mut self.stream {
            *acked = true;
        }
        let view = Arc::clone(&self.view);
        let updates = if repair { whole(&view) } else { updates };
        let replace = replace || repair;
        vec![HostCommand::Apply(ViewChange {
            cluster_id,
            view,
            changed,
            from,
            to,
            replace,
            updates,
            repaired,
        })]
    }

    /// Compares the contents that are held with what the controller says (guarantee G13).
    fn process_check(&mut self, check: wire::Check) -> Result<Vec<HostCommand>, Misfit> {
        let wire::Check { revision, digest } = check;
        match &self.stream {
            Stream::Following { staged: None, .. } if self.applying.is_none() => {}
            // It was on its way when the host complained.
            Stream::AwaitingWelcome { complained: true } => return Ok(Vec::new()),
            _ => {
                return Err(Misfit::protocol(
                    "the controller sent a check before the last batch was acknowledged",
                ));
            }
        }
        if revision != self.view.revision {
            return Err(Misfit::does_not_fit(format!(
                "a check of revision {revision}, and {} is held",
                self.view.revision
            )));
        }
        let items = self.view.items.iter();
        let contents: Vec<(ItemKey, u64)> = items
            .map(|(key, held)| {
                (*key, digest::content(&encode_full(*key, held.version, &held.item)))
            })
            .collect();
        let matches = digest::contents(contents.iter().map(|(_, content)| *content)) == digest;
        let told: &[(ItemKey, u64)] = if matches { &[] } else { &contents };
        let mut results: Vec<wire::CheckResult> = told
            .chunks(CHECK_MESSAGE_ENTRIES_MAX)
            .map(|entries| {
                let entries = entries.iter().map(|(key, digest)| wire::CheckEntry {
                    key: Some(key_to_wire(*key)),
                    digest: *digest,
                });
                wire::CheckResult { revision, matches, entries: entries.collect(), last: false }
            })
            .collect();
        match results.last_mut() {
            Some(result) => result.last = true,
            None => {
                results.push(wire::CheckResult { revision, matches, entries: vec![], last: true });
            }
        }
        Ok(results.into_iter().map(|result| send(ToController::Check(result))).collect())
    }

    // ---- Messages to the controller ----

    fn complain(&mut self, reason: ComplaintReason, detail: &str) -> Vec<HostCommand> {
        self.stream = Stream::AwaitingWelcome { complained: true };
        vec![send(ToController::Complaint(wire::Complaint {
            reason: reason.into(),
            detail: cut_detail(detail).to_owned(),
            revision: self.view.revision,
        }))]
    }

    fn mk_hello(&mut self) -> HostCommand {
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
        };
        send(ToController::Hello(hello.to_wire()))
    }

    fn mk_ack(&self) -> HostCommand {
        send(ToController::Ack(wire::Ack {
            revision: self.view.revision,
            rejections: self.rejections.to_wire(),
            rejections_omitted: self.rejections.omitted,
            repaired: self.repaired.clone(),
        }))
    }

    /// The keys and versions held, in messages of bounded length, of which there is at least one.
    fn mk_inventory(&self) -> Vec<HostCommand> {
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
}

/// Every item of a view, encoded.
fn whole(view: &HostView) -> Vec<Bytes> {
    let items = view.items.iter();
    items.map(|(key, held)| encode_full(*key, held.version, &held.item)).collect()
}

fn send(message: ToController) -> HostCommand {
    HostCommand::Send(wire::HostMessage { message: Some(message) })
}

#[cfg(test)]
mod tests;
