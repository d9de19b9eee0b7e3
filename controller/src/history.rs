//! The recent changes of objects, for watches.
//!
//! A ring that is bounded by its number of changes. A watch has no queue: it remembers the revision
//! it has seen and reads on from there when it can. One that is too slow finds that the ring no
//! longer reaches back to it, and is told so.

use parking_lot::Mutex;
use spanwire_topology::engine::{Changes, ObjectChange, Outcome};
use spanwire_topology::model::{Labels, ObjectKey, Revision};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What a transaction changed, for watches and for the caller who asked for it.
#[derive(Debug)]
pub struct Transition {
    /// The revision.
    pub revision: Revision,
    /// The objects in the order of [`Changes::objects`](spanwire_topology::Changes::objects), with
    /// those that were already as asked for.
    pub objects: Vec<ObjectChange>,
    /// The labels that objects had before, of those whose labels changed: a watch with a selector
    /// must say that an object has left it.
    pub labels_before: BTreeMap<ObjectKey, Arc<Labels>>,
}

impl Transition {
    /// The objects that are not as they were before.
    pub fn changed(&self) -> impl Iterator<Item = &ObjectChange> {
        self.objects.iter().filter(|change| change.outcome != Outcome::Unchanged)
    }
}

/// A revision whose following changes are not kept any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "history reaches back to revision {floor}, not to {revision}: list the objects again and watch \
     from the revision of the answer"
)]
pub struct OutOfReach {
    /// The revision asked for.
    pub revision: Revision,
    /// The oldest revision from which changes are known.
    pub floor: Revision,
}

/// The recent transitions.
#[derive(Debug)]
pub struct History {
    changes_max: usize,
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    transitions: VecDeque<Arc<Transition>>,
    changes: usize,
    /// Every change after this revision is in the ring.
    floor: Revision,
}

impl History {
    /// An empty history that keeps at most so many changes, unless one transaction has more.
    pub fn new(changes_max: usize) -> History {
        History { changes_max, ring: Mutex::new(Ring::default()) }
    }

    /// Starts again at the revision of a restored state.
    pub fn reset(&self, revision: Revision) {
        *self.ring.lock() = Ring { floor: revision, ..Ring::default() };
    }

    /// Takes the next transition.
    pub fn push(&self, transition: Arc<Transition>) {
        if transition.changed().next().is_none() {
            return;
        }
        let mut ring = self.ring.lock();
        ring.changes += transition.objects.len();
        ring.transitions.push_back(transition);
        while ring.changes > self.changes_max && ring.transitions.len() > 1 {
            let Some(oldest) = ring.transitions.pop_front() else { break };
            ring.changes -= oldest.objects.len();
            ring.floor = oldest.revision;
        }
    }

    /// The first transition after a revision; `None` if there is none yet.
    pub fn after(&self, revision: Revision) -> Result<Option<Arc<Transition>>, OutOfReach> {
        let ring = self.ring.lock();
        if revision < ring.floor {
            return Err(OutOfReach { revision, floor: ring.floor });
        }
        let next = ring.transitions.partition_point(|transition| transition.revision <= revision);
        Ok(ring.transitions.get(next).cloned())
    }
}

/// The transition that a transaction made, from what the engine says of it.
pub fn mk_transition(
    changes: &mut Changes,
    labels_before: BTreeMap<ObjectKey, Arc<Labels>>,
) -> Arc<Transition> {
    Arc::new(Transition {
        revision: changes.revision,
        objects: std::mem::take(&mut changes.objects),
        labels_before,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanwire_topology::engine::Object;
    use spanwire_topology::model::{HostSpec, Resource, Spec, Uid};

    fn mk(revision: Revision, outcomes: &[Outcome]) -> Arc<Transition> {
        let spec = Spec::Host(HostSpec::default());
        let resource = Resource::new("system", "host-1", Labels::new(), spec);
        let object = Object { uid: Uid(1), created_revision: 1, revision, resource };
        let mk_change =
            |outcome: &Outcome| ObjectChange { outcome: *outcome, object: object.clone() };
        let objects = outcomes.iter().map(mk_change).collect();
        Arc::new(Transition { revision, objects, labels_before: BTreeMap::new() })
    }

    fn after(history: &History, revision: Revision) -> Result<Option<Revision>, Revision> {
        let next = history.after(revision).map_err(|error| error.floor)?;
        Ok(next.map(|transition| transition.revision))
    }

    #[test]
    fn a_watch_reads_on_from_what_it_has_seen() {
        let history = History::new(100);
        assert_eq!(after(&history, 0), Ok(None));
        history.push(mk(3, &[Outcome::Created]));
        history.push(mk(4, &[Outcome::Unchanged]));
        history.push(mk(6, &[Outcome::Configured]));
        assert_eq!(after(&history, 0), Ok(Some(3)));
        assert_eq!(after(&history, 3), Ok(Some(6)), "revision 4 changed nothing");
        assert_eq!(after(&history, 5), Ok(Some(6)));
        assert_eq!(after(&history, 6), Ok(None));
    }

    #[test]
    fn history_is_bounded_and_says_how_far_it_reaches() {
        let history = History::new(4);
        for revision in 1..=5 {
            history.push(mk(revision, &[Outcome::Created, Outcome::Created]));
        }
        assert_eq!(after(&history, 2), Err(3));
        assert_eq!(after(&history, 3), Ok(Some(4)));
        history.push(mk(6, &[Outcome::Created; 9]));
        assert_eq!(after(&history, 5), Ok(Some(6)), "one transaction is kept, however large");
        assert_eq!(after(&history, 4), Err(5));
        history.reset(20);
        assert_eq!(after(&history, 19), Err(20));
        assert_eq!(after(&history, 20), Ok(None));
    }
}
