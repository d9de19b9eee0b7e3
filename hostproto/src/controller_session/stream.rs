//! The stream of batches and their acknowledgements.

use super::batch::{BatchCutter, to_parts};
use super::{ControllerSession, Plan, SessionEvent, State, in_message};
use crate::check::repairs_from_wire;
use crate::message::Rejections;
use crate::source::ViewSource;
use crate::wire;
use spanwire_topology::model::Revision;
use std::collections::VecDeque;
use std::time::Duration;

impl ControllerSession {
    pub(super) fn next_part(
        &mut self,
        source: &mut impl ViewSource,
        now: Duration,
    ) -> Option<wire::BatchPart> {
        let (part, to) = match &mut self.state {
            State::Sending { parts, to } => (parts.pop_front()?, *to),
            _ => {
                let (mut parts, to) = self.cut(source)?;
                let part = parts.pop_front()?;
                self.enter(State::Sending { parts, to }, now);
                (part, to)
            }
        };
        self.sent_updates += part.updates.len() as u64;
        if part.last {
            self.sent_batches += 1;
            self.sent_revision = to;
            self.enter(State::AwaitingAck { to }, now);
        }
        Some(part)
    }

    /// Cuts a batch: what is in it is fixed here, and all that happens later is for the next one.
    pub(super) fn cut(
        &mut self,
        source: &mut impl ViewSource,
    ) -> Option<(VecDeque<wire::BatchPart>, Revision)> {
        let to = source.revision();
        let plan = match &mut self.state {
            State::Cutting(plan) => Some(std::mem::replace(plan, Plan::Whole)),
            _ if self.pending.is_touched() && to >= self.revision => None,
            _ => return None,
        };
        let pending = self.pending.take();
        let repair = matches!(plan, Some(Plan::Repair { .. }));
        let mut by_ranges = false;
        let cutter = BatchCutter::new(source, &mut self.withheld);
        let (from, replace, updates) = match plan {
            Some(Plan::Whole) => (0, true, cutter.cut_whole()),
            Some(Plan::Difference(difference)) => {
                by_ranges = !difference.told.is_empty();
                (difference.from, false, cutter.cut_difference(&difference))
            }
            Some(Plan::Repair { held }) => {
                let (updates, found) = cutter.cut_repair(&held, &pending);
                self.checks.process_found(&found, to);
                (self.revision, false, updates)
            }
            None => (self.revision, false, cutter.cut_pending(pending, self.revision)),
        };
        self.revision = to;
        self.sent_by_ranges = by_ranges;
        let mut parts = to_parts(from, to, replace, updates);
        parts.iter_mut().for_each(|part| part.repair = repair);
        Some((parts, to))
    }

    pub(super) fn process_ack(
        &mut self,
        ack: wire::Ack,
        now: Duration,
    ) -> Result<SessionEvent, String> {
        let wire::Ack { revision, rejections, rejections_omitted, repaired } = ack;
        let rejections = Rejections::from_wire(rejections, rejections_omitted)
            .map_err(|error| in_message("acknowledgement", error))?;
        let repaired =
            repairs_from_wire(repaired).map_err(|error| in_message("acknowledgement", error))?;
        let is_of_repair = self.checks.is_running()
            && matches!(self.state, State::AwaitingAck { to } if revision == to);
        if !repaired.is_empty() && !is_of_repair {
            return Err("an acknowledgement tells of repairs, and none were sent".to_owned());
        }
        match &self.state {
            State::AwaitingAck { to } if revision == *to => {
                self.acked_revision = revision;
                self.host_cluster = self.cluster;
                self.complaints_in_a_row = 0;
                self.sent_by_ranges = false;
                self.enter(State::Idle, now);
            }
            // What the datapath refuses may change without a batch.
            State::AwaitingAck { .. }
            | State::Sending { .. }
            | State::Idle
            | State::AwaitingCheck { .. }
            | State::Cutting(Plan::Repair { .. })
                if revision == self.acked_revision && revision != 0 => {}
            State::AwaitingAck { to } => {
                return Err(format!("revision {revision} is acknowledged, and {to} was sent"));
            }
            _ => return Err(self.unexpected(&format!("an acknowledgement of {revision}"))),
        }
        self.rejections = rejections;
        if is_of_repair {
            self.checks.process_repaired(repaired);
            return Ok(self.checks.finish().map_or(SessionEvent::None, SessionEvent::Checked));
        }
        Ok(SessionEvent::Acknowledged { revision })
    }
}
