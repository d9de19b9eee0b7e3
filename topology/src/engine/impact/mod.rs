//! What a transaction would do, beyond what hosts would be told: which parts of domains would come
//! to lie in others, and which packets would fare otherwise.
//!
//! | Module | Subject |
//! |---|---|
//! | `domains` | switches that would lie in another domain |
//! | `samples` | the ends and packets that are tried |
//! | `verdicts` | packets that would fare otherwise |

mod domains;
mod samples;
mod verdicts;

pub use domains::{DomainMove, DomainMoveKind};
pub use verdicts::{FLIPS_MAX, VERDICTS_MAX, VerdictFlip, VerdictReport};

use super::api::{Changes, ObjectChange, Refusal};
use super::state::Engine;
use crate::model::{Operation, Revision, Transaction};
use samples::Samples;

/// What a transaction would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast<R> {
    /// What was looked at in the state as it would be.
    pub seen: R,
    /// Parts of domains that would come to lie in another, sorted by the two.
    pub domain_moves: Vec<DomainMove>,
    /// Packets that would fare otherwise.
    pub verdicts: VerdictReport,
}

/// What one host would be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostImpact {
    /// The name of the host.
    pub host: String,
    /// Items.
    pub items: usize,
    /// Members of groups that it would gain.
    pub members_added: usize,
    /// Members of groups that it would lose.
    pub members_removed: usize,
    /// Bytes of the batch that it would be sent.
    pub bytes: u64,
}

/// All that there is to say before a transaction is applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Impact {
    /// The revision of the state that was asked.
    pub revision: Revision,
    /// The objects, sorted by key.
    pub objects: Vec<ObjectChange>,
    /// Hosts that would be told something, sorted by name.
    pub hosts: Vec<HostImpact>,
    /// See [`Forecast::domain_moves`].
    pub domain_moves: Vec<DomainMove>,
    /// See [`Forecast::verdicts`].
    pub verdicts: VerdictReport,
}

impl Engine {
    /// As [`Engine::dry_run_with`], and says what would become of domains and of packets. Costs what
    /// the transaction touches, and what the packets cost that are tried, which is bounded.
    pub fn forecast<R>(
        &mut self,
        transaction: &Transaction,
        look: impl FnOnce(&Engine, &Changes) -> R,
    ) -> Result<Forecast<R>, Refusal> {
        let keys: Vec<_> = transaction
            .operations
            .iter()
            .map(|operation| match operation {
                Operation::Put { resource, .. } => resource.key(),
                Operation::Delete { key, .. } => key.clone(),
            })
            .collect();
        let last_uid = self.last_uid;
        let mut samples = Samples::default();
        samples.add_objects(self, &keys);
        let (seen, domain_moves, trials) =
            self.try_transaction(transaction, |engine, changes, journal| {
                samples.add_objects(engine, &keys);
                samples.add_changed_members(engine, &changes);
                let trials = engine.try_samples(samples);
                let moves = engine.domain_moves(journal, last_uid);
                (look(engine, &changes), moves, trials)
            })?;
        Ok(Forecast { seen, domain_moves, verdicts: self.compare_trials(trials) })
    }
}
