//! Snapshots of a replica: taken, given to others, taken from others.

use super::super::snapshotter::SnapshotJob;
use super::Replica;
use crate::consensus::transfer::{ChunkRequest, IncomingEvent, Part, SnapshotName};
use crate::consensus::{Event, LogStore, Role};
use crate::limits::SNAPSHOT_STALL;
use crate::peer::PeerMessage;
use crate::planted::{self, Bug};
use crate::state;
use crate::telemetry;

impl<S: LogStore> Replica<S> {
    /// An offer goes to the Raft core when its data is there, unless the core does not need it.
    pub(super) fn process_offer(&mut self, offer: Box<raft::eraftpb::Message>) {
        let index = offer.get_snapshot().get_metadata().index;
        if index <= self.node.committed_index() {
            // The core says to the sender how far it is.
            self.process_event(Event::Message(offer));
            return;
        }
        let event = self.incoming.process_offer(offer, self.now.elapsed);
        self.process_incoming(event);
    }

    pub(super) fn process_incoming(&mut self, event: IncomingEvent) {
        let IncomingEvent { requests, complete, problem } = event;
        if let Some(problem) = problem {
            telemetry::snapshot_part_refused(&problem);
        }
        for (to, request) in requests {
            self.transport.send(to, PeerMessage::SnapshotRequest(request));
        }
        if let Some(offer) = complete {
            self.process_event(Event::Message(offer));
        }
    }

    pub(super) fn process_chunk_request(&mut self, from: u64, request: ChunkRequest) {
        let now = self.now.elapsed;
        if let Some(since) = self.taking_snapshot.get_mut(&from) {
            *since = now;
        }
        let mut part = self.outgoing.part(request, now);
        if part == Part::NotHeld
            && let Some(data) = self.snapshot_data(request.name)
        {
            self.outgoing.hold(request.name, data, now);
            part = self.outgoing.part(request, now);
        }
        let message = match part {
            Part::Chunk(chunk) => PeerMessage::SnapshotChunk(chunk),
            Part::NotHeld => PeerMessage::SnapshotGone(request.name),
        };
        self.transport.send(from, message);
    }

    /// The data of the snapshot that is kept, if it is this one.
    pub(super) fn snapshot_data(&self, name: SnapshotName) -> Option<bytes::Bytes> {
        let is_it = |metadata: &raft::eraftpb::SnapshotMetadata| {
            (metadata.index, metadata.term) == (name.index, name.term)
        };
        if !self.store.snapshot_metadata().as_ref().is_some_and(is_it) {
            return None;
        }
        match self.store.snapshot() {
            Ok(snapshot) => snapshot.filter(|s| is_it(s.get_metadata())).map(|s| s.data),
            Err(error) => {
                // Another replica may have a better one; this one's log goes on without.
                telemetry::snapshot_failed(&error);
                None
            }
        }
    }

    /// A replica that was offered a snapshot and says nothing may not have got the offer.
    pub(super) fn offer_snapshots_again(&mut self) {
        if self.node.role() != Role::Leader {
            self.taking_snapshot.clear();
            return;
        }
        let now = self.now.elapsed;
        for id in self.membership.ids() {
            if !self.node.progress(id).is_some_and(|progress| progress.needs_snapshot) {
                self.taking_snapshot.remove(&id);
                continue;
            }
            let since = self.taking_snapshot.entry(id).or_insert(now);
            if now >= *since + SNAPSHOT_STALL {
                *since = now;
                self.process_event(Event::SnapshotStalled(id));
            }
        }
    }

    /// A snapshot to be written, if one is due. Called between two steps: the state is that of the
    /// last entry applied.
    pub fn take_snapshot_job(&mut self) -> Option<SnapshotJob<S>> {
        if self.node.take_wants_snapshot() {
            self.snapshotter.want();
        }
        if !self.snapshotter.is_due(self.applied_index) {
            return None;
        }
        let compact_to = self.snapshotter.begin(self.applied_index, self.outgoing.oldest_index());
        let (state, conf_state) = (self.state(), self.node.conf_state());
        Some(SnapshotJob { store: self.store.clone(), state, conf_state, compact_to })
    }

    /// The state of the last entry applied. Sharing the objects is quick; encoding and writing them is
    /// not, and happens beside.
    pub(super) fn state(&self) -> state::State {
        let requests = match planted::is(Bug::SnapshotWithoutRequests) {
            true => state::EndedRequests::default(),
            false => self.shared.requests.lock().clone(),
        };
        state::State {
            network: self.shared.state.read().export(),
            members: self.members.clone(),
            requests,
            applied_index: self.applied_index,
        }
    }
}
