//! Packets that would fare otherwise: each is judged in the state as it would be, and in the state as
//! it is.

use super::samples::{End, Samples};
use crate::engine::api::{Endpoint, PacketKind, Verdict};
use crate::engine::ids::PortId;
use crate::engine::state::Engine;
use crate::model::Kind;

/// The most packets that are tried.
pub const VERDICTS_MAX: usize = 10_000;
/// The most policies that are gone through for them, in one state.
const WORK_MAX: usize = 400_000;
/// The most packets that are listed.
pub const FLIPS_MAX: usize = 100;

/// A packet that would fare otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerdictFlip {
    /// Where it comes from.
    pub source: Endpoint,
    /// Where it goes.
    pub destination: Endpoint,
    /// What it carries.
    pub packet: PacketKind,
    /// What becomes of it.
    pub before: Verdict,
    /// What would.
    pub after: Verdict,
}

/// The packets that were tried.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerdictReport {
    /// Those that would fare otherwise, sorted by their ends; at most [`FLIPS_MAX`].
    pub flips: Vec<VerdictFlip>,
    /// How many more of those there are.
    pub flips_cut: u64,
    /// How many were tried.
    pub compared: u64,
    /// Not everything that the transaction touches was tried.
    pub is_cut: bool,
}

/// Packets with what would become of them.
pub(super) struct Trials {
    tried: Vec<(Endpoint, Endpoint, PacketKind, Verdict)>,
    is_cut: bool,
}

impl Engine {
    /// Judges packets in this state, the one after the transaction.
    pub(super) fn try_samples(&self, samples: Samples) -> Trials {
        let packets = samples.packets();
        let mut trials = Trials { tried: Vec::new(), is_cut: samples.is_cut };
        let mut work = 0;
        for (source, destination) in samples.pairs {
            work +=
                (self.policies_at(&source) + self.policies_at(&destination) + 1) * packets.len();
            if work > WORK_MAX || trials.tried.len() + packets.len() > VERDICTS_MAX {
                trials.is_cut = true;
                break;
            }
            let (source, destination) = (to_endpoint(source), to_endpoint(destination));
            for &packet in &packets {
                // An end that is not there after the transaction has no packets to lose.
                if let Ok(verdict) = self.verdict(&source, &destination, packet) {
                    trials.tried.push((source.clone(), destination.clone(), packet, verdict));
                }
            }
        }
        trials
    }

    /// Judges the same packets in this state, the one before the transaction.
    pub(super) fn compare_trials(&self, trials: Trials) -> VerdictReport {
        let mut report = VerdictReport { is_cut: trials.is_cut, ..VerdictReport::default() };
        for (source, destination, packet, after) in trials.tried {
            let Ok(before) = self.verdict(&source, &destination, packet) else { continue };
            report.compared += 1;
            if fate(&before) == fate(&after) {
                continue;
            }
            if report.flips.len() < FLIPS_MAX {
                report.flips.push(VerdictFlip { source, destination, packet, before, after });
            } else {
                report.flips_cut += 1;
            }
        }
        report
    }

    /// How many policies are gone through for an end.
    fn policies_at(&self, end: &End) -> usize {
        let End::Port(key) = end else { return 0 };
        let Some(port) = self.slot_of(key).filter(|_| key.kind == Kind::LogicalPort) else {
            return 0;
        };
        let groups = self.ports[PortId(port)].groups.iter();
        groups.map(|&group| self.groups[group].applied_by.len()).sum()
    }
}

fn to_endpoint(end: End) -> Endpoint {
    match end {
        End::Port(key) => Endpoint::Port(key, None),
        End::Outside(address) => Endpoint::Outside(address),
    }
}

/// What matters to the packet.
#[derive(PartialEq, Eq)]
enum Fate {
    Unreachable,
    Denied,
    Delivered,
}

fn fate(verdict: &Verdict) -> Fate {
    match verdict {
        Verdict::Unreachable { .. } => Fate::Unreachable,
        Verdict::DeniedAtSource(..) | Verdict::DeniedAtDestination(..) => Fate::Denied,
        Verdict::Allowed(..) => Fate::Delivered,
    }
}
