//! Batches: staged part by part, and handed out whole.

use super::misfit::Misfit;
use super::{HostCommand, HostSession, Stream, ViewChange, send};
use crate::check::{Difference, Found};
use crate::codec::encode_full;
use crate::message::ClusterId;
use crate::staging::Staging;
use crate::wire;
use crate::wire::host_message::Message as ToController;
use bytes::Bytes;
use spanwire_topology::model::Revision;
use spanwire_topology::view::HostView;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The parts of a batch that are here.
#[derive(Debug)]
pub(super) struct StagedBatch {
    from: Revision,
    to: Revision,
    replace: bool,
    repair: bool,
    next_sequence: u32,
    staging: Staging,
    updates: Vec<Bytes>,
}

impl HostSession {
    /// The view held is also that of a later revision.
    pub(super) fn advance(&mut self, cluster_id: ClusterId, to: Revision) -> Vec<HostCommand> {
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

    pub(super) fn process_part(
        &mut self,
        part: wire::BatchPart,
    ) -> Result<Vec<HostCommand>, Misfit> {
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
        for update in updates {
            let whole = batch.staging.stage(&self.view, &update)?;
            batch.updates.push(whole.unwrap_or(update));
        }
        if last {
            return Ok(self.commit(cluster_id, batch));
        }
        if let Stream::Following { staged, .. } = &mut self.stream {
            *staged = Some(batch);
        }
        Ok(Vec::new())
    }

    /// Checks that a batch leads from what is held to something later.
    pub(super) fn begin_batch(
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

    pub(super) fn commit(&mut self, cluster_id: ClusterId, batch: StagedBatch) -> Vec<HostCommand> {
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

    pub(super) fn mk_ack(&self) -> HostCommand {
        send(ToController::Ack(wire::Ack {
            revision: self.view.revision,
            rejections: self.rejections.to_wire(),
            rejections_omitted: self.rejections.omitted,
            repaired: self.repaired.clone(),
        }))
    }
}

/// Every item of a view, encoded.
fn whole(view: &HostView) -> Vec<Bytes> {
    let items = view.items.iter();
    items.map(|(key, held)| encode_full(*key, held.version, &held.item)).collect()
}
