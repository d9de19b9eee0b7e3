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
    pub missing: Vec<(Text, String)>,
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

    /// True if a host that refuses the item does not have what is waited for.
    fn concerns(&self, engine: &Engine, item: ItemKey) -> bool {
        let Scope::Object { key, users } = self else { return true };
        // Ports and what they hang on are in shards, locators and domains without a reference.
        let is_part_of_topology =
            matches!(key.kind, Kind::Host | Kind::LogicalSwitch | Kind::LogicalRouter)
                || key.kind == Kind::LogicalPort;
        match item {
            ItemKey::Shard { .. } | ItemKey::Domain(_) | ItemKey::Locators(_)
                if is_part_of_topology =>
            {
                true
            }
            _ => object_of(engine, item).is_some_and(|object| users.contains(&object)),
        }
    }
}

/// The object that an item is made of, where there is one.
pub(super) fn object_of(engine: &Engine, item: ItemKey) -> Option<ObjectKey> {
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
                Some(reason) => {
                    let name = Text::from(engine.host_name(host).unwrap_or_default());
                    assessment.missing.push((name, reason));
                }
            }
        }
        assessment.missing.sort_unstable();
        Ok(assessment)
    }

    fn why_missing(
        &self,
        engine: &Engine,
        scope: &Scope,
        host: HostId,
        target: Revision,
        newest: Revision,
    ) -> Option<String> {
        let Some(connection) = self.connection(host) else {
            return Some("not connected".to_owned());
        };
        let session = connection.session();
        let realized = session.realized_revision(newest);
        let status = session.status();
        drop(session);
        if realized < target {
            return Some(format!(
                "behind: it has revision {realized} ({}, {} items pending)",
                status.phase.as_str(),
                status.pending
            ));
        }
        let rejected = status.rejections.iter().find(|r| scope.concerns(engine, r.key));
        rejected.map(|Rejection { key, reason }| match object_of(engine, *key) {
            Some(object) => format!("it rejected {object}: {reason}"),
            None => format!("it rejected {key}: {reason}"),
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
