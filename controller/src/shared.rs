//! What the core thread and the tasks share.

use crate::balance::Loads;
use crate::config::Limits;
use crate::data_dir::Identity;
use crate::history::{History, mk_transition};
use crate::limits::APPLY_TURN;
use crate::metrics::Metrics;
use crate::planted::{self, Bug};
use crate::publisher::{Publisher, Wake};
use crate::state::{Applied, End, EndedRequests, Known, Members, Prepared, Rejection, RequestId};
use parking_lot::{Mutex, RwLock, RwLockWriteGuard};
use raft::eraftpb::ConfState;
use spanwire_topology::Engine;
use spanwire_topology::model::{Labels, ObjectKey, Operation, Revision, Transaction};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What became of a transaction.
pub type Outcome = Result<Applied, Rejection>;

/// The members of the cluster, and which of them vote.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Membership {
    /// Who they are and where each is reached.
    pub members: Members,
    /// Voters and learners.
    pub conf_state: ConfState,
}

impl Membership {
    /// All members, of any kind.
    pub fn ids(&self) -> Vec<u64> {
        let ConfState { voters, learners, voters_outgoing, learners_next, auto_leave: _ } =
            &self.conf_state;
        let all = [voters, learners, voters_outgoing, learners_next];
        let ids: std::collections::BTreeSet<u64> = all.into_iter().flatten().copied().collect();
        ids.into_iter().collect()
    }
}

/// Where a replica stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The identity of the replica.
    pub replica_id: u64,
    /// What it is in the group.
    pub role: crate::consensus::Role,
    /// The leader it knows of; 0 if none.
    pub leader: u64,
    /// Its term.
    pub term: u64,
    /// The last log entry that its state includes.
    pub applied_index: u64,
    /// The last log entry that it knows to be committed.
    pub committed_index: u64,
    /// True if it knows of a leader, and its state was current at some moment since it started: it can
    /// serve.
    pub is_current: bool,
    /// The members, as of the last entry applied.
    pub membership: Arc<Membership>,
}

impl Standing {
    /// A replica that has just started and knows nothing of the others.
    pub fn of_follower(replica_id: u64) -> Standing {
        Standing {
            replica_id,
            role: crate::consensus::Role::Follower,
            leader: 0,
            term: 0,
            applied_index: 0,
            committed_index: 0,
            is_current: false,
            membership: Arc::default(),
        }
    }

    /// True if nothing is to be told of. Asked after every entry, so members are the same if nobody has
    /// made them anew.
    pub(crate) fn is_same(&self, other: &Standing) -> bool {
        // Taken apart whole, so that a field that is added is not forgotten here.
        let Standing {
            replica_id,
            role,
            leader,
            term,
            applied_index,
            committed_index,
            is_current,
            membership,
        } = self;
        Arc::ptr_eq(membership, &other.membership)
            && *replica_id == other.replica_id
            && *role == other.role
            && *leader == other.leader
            && *term == other.term
            && *applied_index == other.applied_index
            && *committed_index == other.committed_index
            && *is_current == other.is_current
    }
}

/// What the core thread and the tasks share.
///
/// The core thread is the only one that changes the network. Others take the state for writing only
/// to try a transaction and undo it, and to say which hosts are connected.
#[derive(Debug)]
pub struct Shared {
    /// The state of the network.
    pub state: RwLock<Engine>,
    /// Recent changes, for watches.
    pub history: History,
    /// The requests that came to their end.
    pub requests: Mutex<EndedRequests>,
    /// The streams of the hosts.
    pub publisher: Publisher,
    /// Where the replica stands.
    pub standing: watch::Sender<Standing>,
    /// The revision of the state; changes after whatever was written is readable.
    pub revision: watch::Sender<Revision>,
    /// How many hosts the other replicas serve.
    pub loads: Loads,
    /// What times of this run of the replica count from.
    started: Instant,
    /// Counters.
    pub metrics: Metrics,
}

impl Shared {
    /// The empty state of a replica.
    pub fn new(identity: Identity, limits: &Limits, metrics: Metrics) -> Shared {
        let Limits { change_log_bytes, item_cache_bytes, history_changes, .. } = *limits;
        Shared {
            state: RwLock::new(Engine::new()),
            history: History::new(history_changes),
            requests: Mutex::default(),
            publisher: Publisher::new(identity.cluster_id, change_log_bytes, item_cache_bytes),
            standing: watch::Sender::new(Standing::of_follower(identity.replica_id)),
            revision: watch::Sender::new(0),
            loads: Loads::default(),
            started: Instant::now(),
            metrics,
        }
    }

    /// The time since the replica started.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Applies log entries in order, and tells sessions and watches what changed. Returns what
    /// became of each, with the request that it answers, and the sessions to be woken once the
    /// requests are answered: a change may concern ten thousand hosts, and whoever made it would wait
    /// until all of these have had their turn.
    pub fn apply(&self, entries: Vec<Prepared>) -> (Vec<(RequestId, Outcome)>, Wake) {
        let mut outcomes = Vec::with_capacity(entries.len());
        let mut entries = entries.into_iter().peekable();
        let mut wake = Wake::default();
        while entries.peek().is_some() {
            // Those of an earlier turn have waited long enough.
            std::mem::take(&mut wake).wake();
            let turn_started = Instant::now();
            let mut engine = self.state.write();
            for entry in entries.by_ref() {
                let id = entry.request;
                let outcome = self.apply_one(&mut engine, entry, &mut wake);
                // Early releases did not say in the log who had asked.
                outcomes.extend(id.map(|id| (id, outcome)));
                if turn_started.elapsed() > APPLY_TURN {
                    break;
                }
            }
            let revision = engine.revision();
            // Readers who wait get their turn before the next entries.
            RwLockWriteGuard::unlock_fair(engine);
            self.metrics.apply_seconds.observe(turn_started.elapsed().as_secs_f64());
            self.revision.send_replace(revision);
            self.metrics.host_wakes.inc_by(wake.len() as u64);
        }
        if !outcomes.is_empty() {
            self.publisher.process_progress();
        }
        (outcomes, wake)
    }

    /// Puts a state in place of the present one. Hosts that are connected begin anew: what changed in
    /// between, nobody has recorded.
    pub fn restore(&self, engine: Engine, requests: EndedRequests) {
        let revision = engine.revision();
        let mut wake = Wake::default();
        let mut state = self.state.write();
        *state = engine;
        *self.requests.lock() = requests;
        self.history.reset(revision);
        self.publisher.reset(revision, &mut wake);
        drop(state);
        self.revision.send_replace(revision);
        wake.wake();
    }

    fn apply_one(&self, engine: &mut Engine, entry: Prepared, wake: &mut Wake) -> Outcome {
        let mut requests = self.requests.lock();
        if let Some(id) = entry.request.filter(|_| !planted::is(Bug::DoubleApplyOnRetry)) {
            match requests.get(&id, entry.since) {
                Known::New => {}
                Known::Applied(revision) => return Ok(Applied::Before(revision)),
                Known::Refused(index) => return Err(why_refused(engine, entry, index)),
                Known::Forgotten => return Err(Rejection::Forgotten),
            }
        }
        let result = entry.transaction.and_then(|transaction| {
            let labels_before = labels_before(engine, &transaction);
            let changes = engine.apply(&transaction, entry.index)?;
            Ok((changes, labels_before))
        });
        if let Some(id) = entry.request {
            requests.insert(id, End { index: entry.index, refused: result.is_err() });
        }
        drop(requests);
        match result {
            Ok((mut changes, labels_before)) => {
                self.metrics.transactions_committed.inc();
                self.publisher.process_changes(engine, &changes, wake);
                let transition = mk_transition(&mut changes, labels_before);
                self.history.push(transition.clone());
                Ok(Applied::Now(transition))
            }
            Err(rejection) => {
                self.metrics.transactions_rejected.inc();
                Err(rejection)
            }
        }
    }
}

/// Why a request is refused that was refused by an earlier entry. Of what was said then, only that is
/// remembered; most often the same would be said now.
fn why_refused(engine: &mut Engine, entry: Prepared, index: u64) -> Rejection {
    match entry.transaction.map(|transaction| engine.dry_run(&transaction)) {
        Err(malformed) => malformed,
        Ok(Err(refusal)) => Rejection::Refused(refusal),
        Ok(Ok(_)) => Rejection::Before(index),
    }
}

/// The labels that objects have before a transaction, of those it gives others.
fn labels_before(engine: &Engine, transaction: &Transaction) -> BTreeMap<ObjectKey, Arc<Labels>> {
    let changed = |operation: &Operation| {
        let Operation::Put { resource, .. } = operation else { return None };
        let key = resource.key();
        let before = &engine.get(&key)?.resource.metadata.labels;
        (*before != resource.metadata.labels).then(|| (key, before.clone()))
    };
    transaction.operations.iter().filter_map(changed).collect()
}
