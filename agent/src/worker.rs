//! The thread that keeps the view and puts it into the datapath. Both block, and one comes after
//! the other: a view is enforced only when it is on disk, so that a restart never goes back to an
//! earlier one than was enforced (guarantee G5).

use crate::datapath::Datapath;
use crate::events::{Job, WorkerEvent};
use crate::store::Store;
use spanwire_hostproto::ViewChange;
use spanwire_topology::view::{HostView, ItemKey};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{Receiver, Sender};

/// The thread's own state.
pub(crate) struct Worker {
    store: Store,
    datapath: Box<dyn Datapath>,
    /// What failed, and will be tried again.
    failed: Option<Failed>,
    /// True once the datapath has taken a view in this run. Before that, what it enforces may come
    /// from an earlier run, and no step says how it differs.
    taken: bool,
}

enum Failed {
    /// Not on disk, and so not in the datapath.
    Store(ViewChange),
    /// On disk, and not in the datapath.
    Datapath(Arc<HostView>, Option<Duration>),
}

impl Worker {
    pub(crate) fn new(store: Store, datapath: Box<dyn Datapath>) -> Worker {
        Worker { store, datapath, failed: None, taken: false }
    }

    /// Does jobs until there will be no more, or nobody is interested in what becomes of them.
    pub(crate) fn run(mut self, mut jobs_rx: Receiver<Job>, events_tx: &Sender<WorkerEvent>) {
        while let Some(job) = jobs_rx.blocking_recv() {
            let event = match job {
                Job::Restore(view) => Some(self.apply(view, None, None)),
                Job::Apply(change) => Some(self.store_and_apply(change)),
                Job::Retry => self.retry(),
                Job::Audit => Some(self.audit()),
            };
            if let Some(event) = event
                && events_tx.blocking_send(event).is_err()
            {
                return;
            }
        }
    }

    fn store_and_apply(&mut self, change: ViewChange) -> WorkerEvent {
        let start = Instant::now();
        if let Err(error) = self.store.write(&change) {
            let revision = change.to;
            self.failed = Some(Failed::Store(change));
            return WorkerEvent::Failed { revision, problem: error.to_string() };
        }
        let stored_in = Some(start.elapsed());
        let ViewChange { view, changed, replace, repaired, .. } = change;
        // What is the same in a view that replaces another may have another version all the same. A repair
        // replaces what is stored, and of the view what it names.
        let is_whole = replace && repaired.is_empty();
        self.apply(view, (!is_whole).then_some(&changed), stored_in)
    }

    /// The view is dropped before the answer is there: then the session changes it in place.
    fn apply(
        &mut self,
        view: Arc<HostView>,
        changed: Option<&BTreeSet<ItemKey>>,
        stored_in: Option<Duration>,
    ) -> WorkerEvent {
        let start = Instant::now();
        let revision = view.revision;
        let changed = changed.filter(|_| self.taken);
        match self.datapath.apply(&view, changed) {
            Ok(rejections) => {
                self.taken = true;
                let applied_in = start.elapsed();
                WorkerEvent::Applied { revision, rejections, stored_in, applied_in }
            }
            Err(error) => {
                self.failed = Some(Failed::Datapath(view, stored_in));
                WorkerEvent::Failed { revision, problem: error.to_string() }
            }
        }
    }

    fn retry(&mut self) -> Option<WorkerEvent> {
        match self.failed.take()? {
            Failed::Store(change) => Some(self.store_and_apply(change)),
            // Whatever the failed attempt left, all of it is compared.
            Failed::Datapath(view, stored_in) => Some(self.apply(view, None, stored_in)),
        }
    }

    fn audit(&mut self) -> WorkerEvent {
        match self.datapath.audit() {
            Ok(findings) => {
                let rejections = self.datapath.rejections().to_vec();
                WorkerEvent::Audited { findings, rejections }
            }
            Err(error) => WorkerEvent::AuditFailed { problem: error.to_string() },
        }
    }
}
