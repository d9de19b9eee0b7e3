//! Which hosts have what in their datapath (guarantee G11).

use super::Publisher;
use spanwire_hostproto::{Rejection, SessionStatus};
use spanwire_topology::Engine;
use spanwire_topology::engine::{HostId, QueryError};
use spanwire_topology::model::{Kind, ObjectKey, Revision, Text};
use spanwire_topology::view::ItemKey;
use std::collections::BTreeSet;

/// What a wait is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every host there is.
    AllHosts,
    /// The hosts in the span of an object.
    Object {
        /// The object.
        key: ObjectKey,
        /// The object and what refers to it, at any distance: what is made of it.
        users: BTreeSet<ObjectKey>,
    },
}

/// How far hosts are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assessment {
    /// Hosts that shall have the revision.
    pub hosts: usize,
    /// Hosts that have it.
    pub realized: usize,
    /// The others, sorted by name, with the reason.
    pub missing: Vec<Missing>,
}

/// A host that does not have a revision, as far as one replica knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its name.
    pub name: Text,
    /// What is known of why.
    pub reason: String,
    /// When it connected, in milliseconds since the epoch; `None` if it is not connected.
    pub connected_since_ms: Option<u64>,
}

/// What is known of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostReport {
    /// Its name.
    pub name: Text,
    /// When it connected, in milliseconds since the epoch; `None` if it is not connected.
    pub connected_since_ms: Option<u64>,
    /// The revision that it has in its datapath, as far as is known.
    pub realized_revision: Revision,
    /// The revision of the last change to its view.
    pub view_revision: Revision,
    /// Its session, or the last one; `None` if it did not connect since this replica started.
    pub status: Option<SessionStatus>,
    /// What it could not apply: the item, the object it is made of, and why.
    pub rejections: Vec<(ItemKey, Option<ObjectKey>, String)>,
}

impl Scope {
    /// The scope of an object.
    pub fn of_object(engine: &Engine, key: ObjectKey) -> Scope {
        let mut users = BTreeSet::from([key.clone()]);
        let mut unseen = vec![key.clone()];
        while let Some(next) = unseen.pop() {
            unseen
                .extend(engine.users(&next).into_iter().filter(|user| users.insert(user.clone())));
        }
        Scope::Object { key, users }
    }

    /// The hosts concerned, sorted.
    pub fn hosts(&self, engine: &Engine) -> Result<Vec<HostId>, QueryError> {
        match self {
            Scope::AllHosts => {
                let names = engine.list(Kind::Host, None, None);
                Ok(names.filter_map(|o| engine.host_id(&o.resource.metadata.name)).collect())
            }
            Scope::Object { key, .. } => engine.span(key),
        }
    }

    /// True if a host that refuses an item does not have what is waited for: `item` is its name, and
    /// `object` what it is made of.
    pub fn concerns(&self, object: Option<&ObjectKey>, item: &str) -> bool {
        let Scope::Object { key, users } = self else { return true };
        // Ports and what they hang on are in shards, locators and domains without a reference.
        let is_part_of_topology =
            matches!(key.kind, Kind::Host | Kind::LogicalSwitch | Kind::LogicalRouter)
                || key.kind == Kind::LogicalPort;
        let is_of_topology = ["shard ", "domain ", "locators "].iter().any(|t| item.starts_with(t));
        (is_part_of_topology && is_of_topology) || object.is_some_and(|o| users.contains(o))
    }
}

/// Why a host that is connected does not have a revision yet.
pub(crate) fn why_behind(realized: Revision, phase: &str, pending: u32) -> String {
    format!("behind: it has revision {realized} ({phase}, {pending} items pending)")
}

/// The object that an item is made of, where there is one.
pub(crate) fn object_of(engine: &Engine, item: ItemKey) -> Option<ObjectKey> {
    match item {
        ItemKey::Port(uid) | ItemKey::Policy(uid) | ItemKey::Blocks(uid) => engine.key_of(uid),
        ItemKey::Shard { group, .. } => engine.key_of(group),
        ItemKey::Domain(_) | ItemKey::Locators(_) => None,
    }
}

impl Publisher {
    /// How many of the hosts concerned have a revision in their datapath.
    ///
    /// # Errors
    /// If the object does not exist any more.
    pub fn assess(
        &self,
        engine: &Engine,
        scope: &Scope,
        target: Revision,
    ) -> Result<Assessment, QueryError> {
        let newest = self.revision();
        let mut assessment = Assessment::default();
        for host in scope.hosts(engine)? {
            assessment.hosts += 1;
            match self.why_missing(engine, scope, host, target, newest) {
                None => assessment.realized += 1,
                Some((reason, connected_since_ms)) => {
                    let name = Text::from(engine.host_name(host).unwrap_or_default());
                    assessment.missing.push(Missing { name, reason, connected_since_ms });
                }
            }
        }
        assessment.missing.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(assessment)
    }

    fn why_missing(
        &self,
        engine: &Engine,
        scope: &Scope,
        host: HostId,
        target: Revision,
        newest: Revision,
    ) -> Option<(String, Option<u64>)> {
        let Some(connection) = self.connection(host) else {
            return Some(("not connected".to_owned(), None));
        };
        let since = Some(connection.connected_since_ms());
        let session = connection.session();
        let realized = session.realized_revision(newest);
        let status = session.status();
        drop(session);
        if realized < target {
            let pending = u32::try_from(status.pending).unwrap_or(u32::MAX);
            return Some((why_behind(realized, status.phase.as_str(), pending), since));
        }
        status.rejections.iter().find_map(|Rejection { key, reason }| {
            let (object, item) = (object_of(engine, *key), key.to_string());
            let is_concerned = scope.concerns(object.as_ref(), &item);
            let what = object.map_or(item, |object| object.to_string());
            is_concerned.then(|| (format!("it rejected {what}: {reason}"), since))
        })
    }

    /// What is known of a host.
    pub fn report(&self, engine: &Engine, host: HostId) -> HostReport {
        let name = Text::from(engine.host_name(host).unwrap_or_default());
        let versions = engine.host_items(host).into_iter().map(|(_, version)| version);
        let newest_item = versions.max().unwrap_or_default();
        let (connected_since_ms, realized_revision, view_revision, status) =
            match self.connection(host) {
                Some(connection) => {
                    let realized = connection.session().realized_revision(self.revision());
                    let view_revision = newest_item.max(connection.view_revision());
                    let status = Some(connection.status());
                    (Some(connection.connected_since_ms()), realized, view_revision, status)
                }
                None => {
                    let status = self.last_known(&name);
                    let acked = status.as_ref().map_or(0, |status| status.acked_revision);
                    (None, acked, newest_item, status)
                }
            };
        let rejections = status.iter().flat_map(|status| &status.rejections);
        let rejections = rejections
            .map(|Rejection { key, reason }| (*key, object_of(engine, *key), reason.clone()))
            .collect();
        HostReport {
            name,
            connected_since_ms,
            realized_revision,
            view_revision,
            status,
            rejections,
        }
    }
}
