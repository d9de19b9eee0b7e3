//! The state machine once more, fed with what is committed, in its plainest form: an engine that is
//! never restored, and a list of all requests that is never cut.

use super::{Finding, finding};
use foldhash::fast::FixedState;
use raft::eraftpb::{Entry, EntryType};
use spanwire_controller::state::{self, End, RequestId, encode_snapshot, prepare};
use spanwire_topology::Engine;
use spanwire_topology::model::{Revision, Text};
use spanwire_topology::view::HostView;
use std::collections::BTreeMap;
use std::hash::BuildHasher as _;
use std::sync::Arc;

/// What every replica must come to.
#[derive(Debug)]
pub struct Reference {
    engine: Engine,
    applied_index: u64,
    ends: BTreeMap<RequestId, End>,
    /// One number for the state at each revision.
    digests: BTreeMap<Revision, u64>,
    /// What each host must have at each revision.
    views: BTreeMap<Revision, BTreeMap<Text, Arc<HostView>>>,
    hosts: Vec<Text>,
}

/// One number for the state of an engine.
pub fn digest(engine: &Engine) -> u64 {
    let network = engine.export();
    let state = state::State { network, applied_index: engine.revision(), ..Default::default() };
    FixedState::with_seed(2).hash_one(encode_snapshot(&state))
}

impl Reference {
    /// The empty state, to look at with these hosts' eyes.
    pub fn new(hosts: Vec<Text>) -> Reference {
        let engine = Engine::new();
        let digests = BTreeMap::from([(0, digest(&engine))]);
        let views = BTreeMap::from([(0, BTreeMap::new())]);
        Reference { engine, applied_index: 0, ends: BTreeMap::new(), digests, views, hosts }
    }

    /// The last entry that was taken.
    pub fn applied_index(&self) -> u64 {
        self.applied_index
    }

    /// The state.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// How a request ended.
    pub fn end(&self, id: &RequestId) -> Option<End> {
        self.ends.get(id).copied()
    }

    /// Takes the next committed entry.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), Finding> {
        self.applied_index = entry.index;
        if entry.get_entry_type() != EntryType::EntryNormal {
            return Ok(());
        }
        let prepared = prepare(entry).map_err(|e| finding("reference", e.to_string()))?;
        let Some(prepared) = prepared else { return Ok(()) };
        let Some(id) = prepared.request else { return Ok(()) };
        if self.ends.contains_key(&id) {
            return Ok(());
        }
        let applied = prepared.transaction.ok().map(|t| self.engine.apply(&t, entry.index));
        let refused = !matches!(applied, Some(Ok(_)));
        self.ends.insert(id, End { index: entry.index, refused });
        if !refused {
            self.remember();
        }
        Ok(())
    }

    fn remember(&mut self) {
        let revision = self.engine.revision();
        self.digests.insert(revision, digest(&self.engine));
        let before = self.views.last_key_value().map(|(_, views)| views.clone());
        let mut views = before.unwrap_or_default();
        for name in &self.hosts {
            let Some(host) = self.engine.host_id(name) else { continue };
            let view = self.engine.host_view(host);
            // A view is told from the one before only by its items.
            if views.get(name).is_none_or(|before| before.items != view.items) {
                views.insert(name.clone(), Arc::new(view));
            }
        }
        self.views.insert(revision, views);
    }

    /// The number of the state as of a log entry.
    pub fn digest_at(&self, revision: Revision) -> Option<u64> {
        self.digests.get(&revision).copied()
    }

    /// What a host must have at a revision; `None` if that is yet to come.
    pub fn view_at(&self, host: &Text, revision: Revision) -> Option<Arc<HostView>> {
        if revision > self.applied_index {
            return None;
        }
        let (_, views) = self.views.range(..=revision).next_back()?;
        Some(views.get(host).cloned().unwrap_or_default())
    }

    /// The newest revision up to this one that changed what a host must have.
    pub fn last_change_of(&self, host: &Text, revision: Revision) -> Revision {
        let (_, views) = match self.views.range(..=revision).next_back() {
            Some(found) => found,
            None => return 0,
        };
        views.get(host).map_or(0, |view| view.revision)
    }
}
